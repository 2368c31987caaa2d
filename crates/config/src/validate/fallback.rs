//! Fallbacks that lead on.

use crate::file::File;
use crate::mistake::{Code, Mistake, Mistakes};

/// A service that answers for another one has no third one behind it: a request has two services at most.
pub(super) fn fallbacks_end(file: &File, out: &mut Mistakes) {
    let services = || file.service.iter().flat_map(|map| &map.value);
    let target = |name: &str| {
        let (_, service) = services().find(|(other, _)| other.value == name)?;
        service.value.fallback.as_ref()?.value.service.as_ref()
    };
    for (name, _) in services() {
        let Some(to) = target(name) else { continue };
        let Some(third) = target(to) else { continue };
        let message = if to.value == name.value {
            format!("`{}` would be its own fallback", name.value)
        } else {
            format!("`{}` falls back to `{}` in turn", to.value, third.value)
        };
        let mistake = Mistake::new(Code::Contradiction, to.span.clone(), message, "leads on");
        out.push(
            mistake.help("a fallback ends at one other service, or at an answer in this file"),
        );
    }
}
