//! Lints for mirroring.

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::{ConfigFile, Located, mirror};

/// A method that changes something is mirrored.
pub(super) fn unsafe_method_mirrored(file: &ConfigFile, out: &mut Diagnostics) {
    let services = file.service.iter().flat_map(|map| &map.value);
    let of_services = services.filter_map(|(_, service)| service.mirror.as_ref());
    let listeners = file.listen.iter().flat_map(|map| &map.value);
    let routes =
        listeners.flat_map(|(_, listen)| listen.routes.iter().flat_map(|list| &list.value));
    let of_routes = routes.filter_map(|route| route.mirror.as_ref());
    let mirrors: Vec<&Located<mirror::MirrorConfig>> = of_services.chain(of_routes).collect();
    for method in mirrors
        .iter()
        .flat_map(|mirror| &mirror.methods)
        .flat_map(|methods| &methods.value)
    {
        if matches!(
            method.as_str(),
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "QUERY"
        ) {
            continue;
        }
        let message = format!("each copy of a {} does its work twice", method.value);
        let help = "an order may be placed twice, a mail sent twice; keep it only if the other service has data of its own";
        out.push(
            Diagnostic::new(
                Code::UnsafeMethodMirrored,
                method.span.clone(),
                message,
                "changes something",
            )
            .help(help),
        );
    }
}
