//! A lint for the file descriptor limit of the process.

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::ConfigFile;
use crate::plan::most_clients;
use crate::resolve::{Draft, is_dns};

/// More clients than can be connected. A default is no wish: it counts half, so that it is only said where much is missing.
pub(super) fn few_descriptors(
    file: &ConfigFile,
    draft: &Draft,
    descriptors: u64,
    out: &mut Diagnostics,
) {
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
        "`limits.connections` add up to {all}, but the process may have only {descriptors} open file descriptors: at most {most} clients"
    );
    let needed = (all as u64) * 2 + 64;
    let help = format!(
        "raise the limit to {needed} (`LimitNOFILE={needed}` for systemd, `ulimit -Hn` in a shell), or lower `limits.connections`"
    );
    let diagnostic = Diagnostic::new(Code::FewDescriptors, span, message, "cannot be reached");
    out.push(diagnostic.help(help));
}
