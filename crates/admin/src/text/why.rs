//! Why each server of a service gets its share: the policy, a table, and a sentence per server, followed by what
//! recovery would do next.

use super::table::{Align, TextTable, painted};
use super::{clean, maybe_duration, maybe_share, share};
use crate::why::{ServerWhy, ServiceWhy};

/// The output of `status --why`.
#[must_use]
pub fn why(view: &ServiceWhy, colour: bool) -> String {
    let name = painted(&clean(&view.name), colour.then_some("1"));
    let mut out = format!("{name}  {}\n", clean(&view.policy));
    let options = view
        .options
        .iter()
        .map(|(name, value)| format!("{} = {}", clean(name), clean(value)));
    let options: Vec<String> = options.collect();
    if !options.is_empty() {
        out += &format!("  options: {}\n", options.join(", "));
    }
    out += &format!("  score: {}\n", clean(&view.score));
    if view.panic {
        out += "  panic: too few servers are usable, so suspected ones are used as well\n";
    }
    if view.servers.is_empty() {
        return out + "\n  It has no servers.\n";
    }
    out.push('\n');
    out += &table(view);
    out.push('\n');
    for server in &view.servers {
        out += &format!("  {}: {}\n", clean(&server.name), clean(&server.sentence));
    }
    out + &recovery(view)
}

/// What recovery would do next: one line if everything is healthy.
fn recovery(view: &ServiceWhy) -> String {
    let mut out = format!("\n  recovery  {}\n", clean(&view.recovery.text));
    let is_told = |server: &&ServerWhy| server.recovery.waits_for != "nothing";
    for server in view.servers.iter().filter(is_told) {
        out += &format!(
            "  {}: {}\n",
            clean(&server.name),
            clean(&server.recovery.text)
        );
    }
    for one in &view.success {
        let put_off = if one.put_off {
            ": other actions are tried first"
        } else {
            ""
        };
        out += &format!(
            "  {} against {}: helped {} of {} times{put_off}\n",
            clean(&one.action),
            clean(&one.fault),
            one.verified,
            one.tried
        );
    }
    out
}

fn table(view: &ServiceWhy) -> String {
    let mut table = TextTable::new(&[
        ("SERVER", Align::Left),
        ("WEIGHT", Align::Right),
        ("TIER", Align::Right),
        ("STANDING", Align::Left),
        ("TAKES", Align::Right),
        ("LATENCY", Align::Right),
        ("IN FLIGHT", Align::Right),
        ("SCORE", Align::Right),
        ("INTENDED", Align::Right),
        ("GOT", Align::Right),
        ("PICKS", Align::Left),
    ]);
    for server in &view.servers {
        table.row(cells(server).map(|cell| (cell, None)));
    }
    table.text("  ")
}

fn cells(server: &ServerWhy) -> [String; 11] {
    let picks: Vec<String> = server
        .picks
        .iter()
        .map(|(reason, number)| format!("{} {number}", clean(reason)))
        .collect();
    [
        clean(&server.name),
        server.weight.to_string(),
        server.tier.to_string(),
        clean(&server.standing),
        format!("{:.0} %", server.part * 100.0),
        maybe_duration(server.latency_ms),
        server.in_flight.to_string(),
        server
            .score
            .map_or_else(|| "-".to_owned(), |score| format!("{score:.3}")),
        share(server.share_intended),
        maybe_share(server.share_got),
        if picks.is_empty() {
            "-".to_owned()
        } else {
            picks.join(", ")
        },
    ]
}
