//! Copies of requests: the service that gets them, and which requests.

use evenkeel_request::Mirror;

use super::typed::{find_service, methods, pick_whole, section};
use crate::defaults;
use crate::file::{At, File, mirror};
use crate::mistake::Mistakes;

/// What `typed` asks for.
pub(super) fn resolve_mirror(
    file: &File,
    typed: Option<&At<mirror::Mirror>>,
    out: &mut Mistakes,
) -> Option<Mirror> {
    let typed = section(Some(typed?));
    let given = methods(typed.methods.as_ref(), out);
    let usual = || {
        defaults::MIRROR_METHODS
            .value
            .iter()
            .map(|&method| method.to_owned())
    };
    Some(Mirror {
        to: find_service(file, typed.service.as_ref()?, out)?,
        share: typed.share.as_ref()?.value,
        methods: if given.is_empty() {
            usual().collect()
        } else {
            given
        },
        in_flight: pick_whole(typed.in_flight.as_ref(), defaults::MIRROR_IN_FLIGHT),
    })
}
