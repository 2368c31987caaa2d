//! A lint for fault injection.

use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::file::ConfigFile;
use crate::file::inject::InjectConfig;
use crate::file::value::OrDisabled;

/// Fault injection is on: customers should not be the first to notice.
pub(super) fn injects(file: &ConfigFile, out: &mut Diagnostics) {
    let services = file.service.iter().flat_map(|map| &map.value);
    let of_services = services.filter_map(|(_, service)| service.inject.as_ref());
    let of_services = of_services.map(|inject| (&inject.key, &inject.value));
    let listeners = file.listen.iter().flat_map(|map| &map.value);
    let routes =
        listeners.flat_map(|(_, listen)| listen.routes.iter().flat_map(|list| &list.value));
    let of_routes = routes.filter_map(|route| {
        let inject = route.inject.as_ref()?;
        match &inject.value {
            OrDisabled::On(table) => Some((&inject.key, table)),
            OrDisabled::Off => None,
        }
    });
    let all: Vec<(&TextRange, &InjectConfig)> = of_services.chain(of_routes).collect();
    for (key, _) in all {
        let message = "faults are injected on purpose";
        let diagnostic = Diagnostic::new(
            Code::FaultsInjected,
            key.clone(),
            message,
            "clients see them",
        );
        out.push(diagnostic.help("remove it when the experiment is over"));
    }
}
