//! Resolves mirroring: the service that gets the copies, and which requests are copied.

use evenkeel_request::Mirror;

use super::typed::{find_service, methods, pick_whole, section};
use crate::defaults;
use crate::diagnostic::Diagnostics;
use crate::file::{ConfigFile, Located, mirror};

/// The settings described by `typed`.
pub(super) fn resolve_mirror(
    file: &ConfigFile,
    typed: Option<&Located<mirror::MirrorConfig>>,
    out: &mut Diagnostics,
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
