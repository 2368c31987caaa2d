//! A lint about the limit of the process that evenkeel will be.

use crate::file::File;
use crate::mistake::{Code, Mistake, Mistakes};
use crate::plan::most_clients;
use crate::resolve::{Draft, is_dns};

/// More clients than can be connected. A default is no wish: it counts half, so that it is only said where much is missing.
pub(super) fn few_descriptors(file: &File, draft: &Draft, descriptors: u64, out: &mut Mistakes) {
    let listeners = file.listen.iter().flat_map(|map| &map.value);
    let listeners = listeners.filter(|(_, listener)| !is_dns(listener));
    let (mut wanted, mut first) = (0, None);
    for ((name, typed), plan) in listeners.zip(&draft.plan.listeners) {
        let limits = typed.value.limits.as_ref();
        let typed = limits.and_then(|limits| limits.value.connections.as_ref());
        let connections = plan.limits.connections as u64;
        wanted += if typed.is_some() {
            connections
        } else {
            connections / 2
        };
        let span = typed.map_or(&name.span, |typed| &typed.span);
        first.get_or_insert_with(|| span.clone());
    }
    let most = most_clients(descriptors);
    let (Some(span), true) = (first, wanted > most) else {
        return;
    };
    let all = draft.plan.listeners.iter();
    let all: usize = all.map(|listener| listener.limits.connections).sum();
    let message = format!(
        "`limits.connections` come to {all}, and the process may have {descriptors} descriptors open: at most {most} clients"
    );
    let needed = (all as u64) * 2 + 64;
    let help = format!(
        "let it have {needed} (`LimitNOFILE={needed}` for systemd, `ulimit -Hn` of a shell), or bound `limits.connections`"
    );
    let mistake = Mistake::new(Code::FewDescriptors, span, message, "cannot be reached");
    out.push(mistake.help(help));
}
