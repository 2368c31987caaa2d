//! Rejects chains of fallback services.

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::listen::RouteConfig;
use crate::file::value::OrDisabled;
use crate::file::{ConfigFile, Located};

/// A service that answers for another one has no third one behind it: a request has two services at most.
pub(super) fn fallbacks_end(file: &ConfigFile, out: &mut Diagnostics) {
    of_services(file, out);
    of_routes(file, out);
}

fn of_services(file: &ConfigFile, out: &mut Diagnostics) {
    for (name, _) in file.service.iter().flat_map(|map| &map.value) {
        let Some(to) = target(file, name) else {
            continue;
        };
        leads_on(file, to, to.value == name.value, out);
    }
}

fn of_routes(file: &ConfigFile, out: &mut Diagnostics) {
    let listeners = file.listen.iter().flat_map(|map| &map.value);
    for route in listeners
        .flat_map(|(_, listener)| &listener.routes)
        .flat_map(|routes| &routes.value)
    {
        let own = route.fallback.as_ref().map(|fallback| &fallback.value);
        let Some(OrDisabled::On(own)) = own else {
            continue;
        };
        let Some(to) = &own.service else { continue };
        leads_on(file, to, leads_to(route, to), out);
    }
}

fn leads_to(route: &RouteConfig, name: &str) -> bool {
    let mut parts = route.split.iter().flat_map(|split| &split.value);
    (route.service.as_ref()).is_some_and(|service| service.value == name)
        || parts.any(|(part, _)| part.value == name)
}

/// The service that answers instead of the one with this name.
fn target<'a>(file: &'a ConfigFile, name: &str) -> Option<&'a Located<String>> {
    let mut services = file.service.iter().flat_map(|map| &map.value);
    let (_, service) = services.find(|(other, _)| other.value == name)?;
    service.value.fallback.as_ref()?.value.service.as_ref()
}

fn leads_on(file: &ConfigFile, to: &Located<String>, itself: bool, out: &mut Diagnostics) {
    let message = if itself {
        format!("`{}` would be its own fallback", to.value)
    } else if let Some(third) = target(file, to) {
        format!("`{}` falls back to `{}` in turn", to.value, third.value)
    } else {
        return;
    };
    let diagnostic = Diagnostic::new(Code::Contradiction, to.span.clone(), message, "leads on");
    out.push(
        diagnostic.help("a fallback leads to one other service at most, or to a fixed response"),
    );
}
