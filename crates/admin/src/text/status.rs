//! The current state, as a table per service.

use evenkeel_fault::Maintenance;
use evenkeel_fault::maintenance::TakenOut;

use super::table::{Align, TextTable, painted};
use super::{
    clean, count, duration, maybe_duration, maybe_share, rate, share, throughput, to_the_second,
};
use crate::backend::{ServerView, ServiceView};

/// The services and their servers.
#[must_use]
pub fn status(services: &[ServiceView], colour: bool) -> String {
    if services.is_empty() {
        return "There are no services.\n".to_owned();
    }
    let parts: Vec<String> = services.iter().map(|view| service(view, colour)).collect();
    parts.join("\n")
}

fn service(view: &ServiceView, colour: bool) -> String {
    let up = view
        .servers
        .iter()
        .filter(|server| matches!(server.state.as_str(), "up" | "doubtful"))
        .count();
    let servers = format!("{up} of {} up", count(view.servers.len() as u64, "server"));
    let mut facts = vec![
        clean(&view.policy),
        servers,
        count(view.requests, "request"),
        format!("{} failed", view.failed),
    ];
    if view.saved_by_retry > 0 {
        facts.push(format!("{} saved by retry", view.saved_by_retry));
    }
    for (name, value) in [("p50", view.p50_ms), ("p99", view.p99_ms)] {
        facts.extend(value.map(|ms| format!("{name} {}", duration(ms))));
    }
    facts.push(format!("retry budget {:.0}", view.retry_budget));
    let mut line = format!(
        "{}  {}\n",
        painted(&clean(&view.name), colour.then_some("1")),
        facts.join(", ")
    );
    if view.recent.seconds > 0.0 {
        line += &recent(view);
    }
    line += &service_maintenance(view);
    for note in &view.notes {
        line.push_str(&format!("! {}\n", clean(note)));
    }
    if view.servers.is_empty() {
        return line;
    }
    let mut table = TextTable::new(&[
        ("SERVER", Align::Left),
        ("ADDRESS", Align::Left),
        ("STATE", Align::Left),
        ("STANDING", Align::Left),
        ("WEIGHT", Align::Right),
        ("TIER", Align::Right),
        ("IN FLIGHT", Align::Right),
        ("ATTEMPTS", Align::Right),
        ("FAILURES", Align::Right),
        ("PER SECOND", Align::Right),
        ("INTENDED", Align::Right),
        ("GOT", Align::Right),
        ("LATENCY", Align::Right),
        ("P99", Align::Right),
        ("PID", Align::Right),
    ]);
    for server in &view.servers {
        table.row(cells(server, colour));
    }
    line += &table.text("  ");
    for server in &view.servers {
        line += &about(view, server);
    }
    line
}

/// The service's maintenance, and how it ends.
fn service_maintenance(view: &ServiceView) -> String {
    let Some(held) = &view.maintenance else {
        return String::new();
    };
    if view.maintenance_ends {
        return "! maintenance is ending: requests wait for the first server that is verified\n"
            .to_owned();
    }
    let end = format!("`evenkeel maintenance {} off`", clean(&view.name));
    format!("! in maintenance {}\n", terms(held, &end))
}

/// Notes on a server for the operator: who has taken it out, or what is wrong and what comes next.
fn about(service: &ServiceView, server: &ServerView) -> String {
    let name = clean(&server.name);
    let mut text = String::new();
    if let Some(held) = &server.maintenance {
        let how = match held.how {
            Some(TakenOut::Drained) => "drained",
            Some(TakenOut::Ejected) | None => "ejected",
        };
        let end = format!("`evenkeel restore {}/{name}`", clean(&service.name));
        text += &format!("  ! {name}: in maintenance ({how}) {}\n", terms(held, &end));
    }
    if let Some(incident) = &server.incident {
        let fault = incident.fault.as_deref().unwrap_or("not diagnosed yet");
        text += &format!(
            "  ! {name}: incident {} ({}), {}: {}; next: {}\n",
            clean(&incident.id),
            clean(&incident.status),
            clean(fault),
            clean(&incident.reason),
            clean(&incident.next)
        );
    }
    text
}

/// Since when, by whom, until when and why something is in maintenance, and how it ends.
fn terms(held: &Maintenance, end: &str) -> String {
    let mut text = format!("since {} UTC", to_the_second(&held.since));
    if let Some(by) = &held.by {
        text += &format!(" by {}", clean(by));
    }
    if let Some(reason) = &held.reason {
        text += &format!(": {}", clean(reason));
    }
    match &held.until {
        Some(until) => text + &format!("; until {} UTC or {end}", to_the_second(until)),
        None => text + &format!("; until {end}"),
    }
}

/// Its recent activity in a line.
fn recent(view: &ServiceView) -> String {
    let recent = &view.recent;
    let mut facts = vec![
        format!("{} requests/s", rate(recent.requests_per_second)),
        format!("{} failed/s", rate(recent.failures_per_second)),
        format!("to servers {}", throughput(recent.sent_bytes_per_second)),
        format!(
            "from servers {}",
            throughput(recent.received_bytes_per_second)
        ),
        format!("{} in flight", view.in_flight),
    ];
    if view.waiting > 0 {
        facts.push(format!("{} waiting", view.waiting));
    }
    if view.held > 0 {
        facts.push(format!("{} held until a server returns", view.held));
    }
    for (name, value) in [
        ("p50", recent.p50_ms),
        ("p90", recent.p90_ms),
        ("p99", recent.p99_ms),
    ] {
        facts.extend(value.map(|ms| format!("{name} {}", duration(ms))));
    }
    format!("  last {:.0} s: {}\n", recent.seconds, facts.join(", "))
}

fn cells(server: &ServerView, colour: bool) -> [(String, Option<&'static str>); 15] {
    let plain = |text: String| (text, None);
    [
        plain(clean(&server.name)),
        plain(clean(&server.address)),
        (clean(&server.state), colour.then(|| paint(&server.state))),
        plain(clean(&server.standing)),
        plain(server.weight.to_string()),
        plain(server.tier.to_string()),
        plain(match server.limit {
            Some(limit) => format!("{} of {limit}", server.in_flight),
            None => server.in_flight.to_string(),
        }),
        plain(server.attempts.to_string()),
        plain(server.failures.to_string()),
        plain(rate(server.recent.requests_per_second)),
        plain(share(server.share_intended)),
        plain(maybe_share(server.share_got)),
        plain(maybe_duration(server.latency_ms)),
        plain(maybe_duration(server.p99_ms)),
        plain(
            server
                .pid
                .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        ),
    ]
}

/// Green is healthy, yellow is in between or by order, red is out of service.
fn paint(state: &str) -> &'static str {
    match state {
        "up" => "32",
        "ejected" | "down" | "down: unresolved" => "31",
        _ => "33",
    }
}
