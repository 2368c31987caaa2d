//! Rejects circular mirroring.

use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::file::{ConfigFile, Located, mirror};

/// Requests of one service are copied to another.
struct MirrorEdge<'a> {
    from: &'a str,
    to: &'a Located<String>,
}

/// No service gets copies of its own requests, not even through others: it would be impossible to tell which load is
/// its own.
pub(super) fn mirrors_end_somewhere(file: &ConfigFile, out: &mut Diagnostics) {
    let mut all = copies(file);
    all.sort_by_key(|copies| copies.to.span.start);
    let mut kept: Vec<&MirrorEdge<'_>> = Vec::new();
    let mut said: Vec<TextRange> = Vec::new();
    for copies in &all {
        let Some(way) = way(&kept, &copies.to.value, copies.from) else {
            kept.push(copies);
            continue;
        };
        if said.contains(&copies.to.span) {
            continue;
        }
        said.push(copies.to.span.clone());
        let (message, label) = if way.len() == 1 {
            (
                format!("`{}` would mirror its requests to itself", copies.from),
                "the same service",
            )
        } else {
            (
                format!(
                    "the copies go in a circle: {} → {}",
                    copies.from,
                    way.join(" → ")
                ),
                "comes back",
            )
        };
        let diagnostic =
            Diagnostic::new(Code::Contradiction, copies.to.span.clone(), message, label);
        out.push(diagnostic.help("mirror to a service that does not mirror back to this one"));
    }
}

fn copies(file: &ConfigFile) -> Vec<MirrorEdge<'_>> {
    fn target(mirror: Option<&Located<mirror::MirrorConfig>>) -> Option<&Located<String>> {
        mirror?.service.as_ref()
    }
    let services = file.service.iter().flat_map(|map| &map.value);
    let of_services = services.filter_map(|(name, service)| {
        let to = target(service.mirror.as_ref())?;
        Some(MirrorEdge { from: name, to })
    });
    let listeners = file.listen.iter().flat_map(|map| &map.value);
    let routes =
        listeners.flat_map(|(_, listen)| listen.routes.iter().flat_map(|list| &list.value));
    let of_routes = routes.flat_map(|route| {
        let split = route
            .split
            .iter()
            .flat_map(|split| split.value.iter().map(|(name, _)| name));
        let to = target(route.mirror.as_ref());
        let from = route.service.iter().chain(split);
        from.filter_map(move |from| Some(MirrorEdge { from, to: to? }))
    });
    of_services.chain(of_routes).collect()
}

/// The services on a way from `start` to `end`, both included.
fn way<'a>(edges: &[&MirrorEdge<'a>], start: &'a str, end: &str) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![start]];
    let mut seen = vec![start];
    while let Some(way) = ways.pop() {
        let last = way.last().copied().unwrap_or_default();
        if last == end {
            return Some(way);
        }
        for edge in edges.iter().filter(|edge| edge.from == last) {
            if !seen.contains(&edge.to.as_str()) {
                seen.push(&edge.to.value);
                ways.push(way.iter().copied().chain([edge.to.as_str()]).collect());
            }
        }
    }
    None
}
