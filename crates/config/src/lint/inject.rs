//! A lint about faults on purpose.

use crate::file::File;
use crate::file::inject::Inject;
use crate::file::value::Switch;
use crate::mistake::{Code, Mistake, Mistakes, Span};

/// Faults on purpose are on: nobody should find that out from a customer.
pub(super) fn injects(file: &File, out: &mut Mistakes) {
    let services = file.service.iter().flat_map(|map| &map.value);
    let of_services = services.filter_map(|(_, service)| service.inject.as_ref());
    let of_services = of_services.map(|inject| (&inject.key, &inject.value));
    let listeners = file.listen.iter().flat_map(|map| &map.value);
    let routes =
        listeners.flat_map(|(_, listen)| listen.routes.iter().flat_map(|list| &list.value));
    let of_routes = routes.filter_map(|route| {
        let inject = route.inject.as_ref()?;
        match &inject.value {
            Switch::On(table) => Some((&inject.key, table)),
            Switch::Off => None,
        }
    });
    let all: Vec<(&Span, &Inject)> = of_services.chain(of_routes).collect();
    for (key, _) in all {
        let message = "faults are injected on purpose";
        let mistake = Mistake::new(
            Code::FaultsInjected,
            key.clone(),
            message,
            "clients see them",
        );
        out.push(mistake.help("take it out when the experiment is over"));
    }
}
