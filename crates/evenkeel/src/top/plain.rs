//! Plain lines, once per interval: a line for each service, each server and each open incident.

use std::fmt::Write as _;

use evenkeel_admin::text::{clean, duration, rate, share, throughput};
use evenkeel_admin::{ServerView, ServiceView};
use evenkeel_fault::{Incident, Maintenance};

use super::{Fetcher, Snapshot};
use crate::logging;
use crate::output::{self, CommandEnding, Result};

/// Prints `count` answers, or for ever. What was not answered is said on standard error, and counts as well.
pub(crate) fn print_all(fetcher: &Fetcher, count: Option<u64>) -> Result {
    let mut left = count;
    let mut ending = CommandEnding::Good;
    while left != Some(0) {
        ending = match fetcher.next() {
            Ok(snapshot) => {
                output::print(lines(&snapshot))?;
                CommandEnding::Good
            }
            Err(why) => {
                logging::print_message(format_args!("evenkeel: {why}"));
                CommandEnding::Wrong
            }
        };
        left = left.map(|left| left - 1);
    }
    Ok(ending)
}

/// One answer, as lines.
fn lines(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    for view in &snapshot.services {
        line(&mut out, &service(view));
        for one in &view.servers {
            line(&mut out, &server(&view.name, one));
        }
    }
    for one in &snapshot.incidents {
        line(&mut out, &incident(one));
    }
    if out.is_empty() {
        line(&mut out, "There are no services.");
    }
    out
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a String takes everything");
}

fn service(view: &ServiceView) -> String {
    let recent = &view.recent;
    let mut facts = vec![
        format!("{} requests/s", rate(recent.requests_per_second)),
        format!("{} errors/s", rate(recent.failures_per_second)),
        format!("in {}", throughput(recent.sent_bytes_per_second)),
        format!("out {}", throughput(recent.received_bytes_per_second)),
    ];
    for (name, value) in [("p50", recent.p50_ms), ("p99", recent.p99_ms)] {
        facts.extend(value.map(|ms| format!("{name} {}", duration(ms))));
    }
    facts.push(states(view));
    facts.extend(view.maintenance.as_ref().map(maintenance));
    format!("{}  {}", clean(&view.name), facts.join(", "))
}

fn server(service: &str, view: &ServerView) -> String {
    let mut facts = vec![
        clean(&view.state),
        format!("intended {}", share(view.share_intended)),
    ];
    facts.extend(view.maintenance.as_ref().map(maintenance));
    facts.extend(view.share_got.map(|got| format!("got {}", share(got))));
    facts.push(format!(
        "{} requests/s",
        rate(view.recent.requests_per_second)
    ));
    facts.extend(view.recent.p99_ms.map(|ms| format!("p99 {}", duration(ms))));
    facts.push(format!("{} in flight", view.in_flight));
    facts.extend(
        view.latency_ms
            .map(|ms| format!("latency {}", duration(ms))),
    );
    format!(
        "{}/{}  {}",
        clean(service),
        clean(&view.name),
        facts.join(", ")
    )
}

/// Since when, by whom, until when and why it is in maintenance.
fn maintenance(held: &Maintenance) -> String {
    let mut text = format!("out since {}", clean(&held.since));
    for (word, value) in [
        ("by", &held.by),
        ("until", &held.until),
        ("for", &held.reason),
    ] {
        if let Some(value) = value {
            text.push_str(&format!(" {word} {}", clean(value)));
        }
    }
    text
}

/// Servers by state: `2 up, 1 ejected`.
pub(super) fn states(view: &ServiceView) -> String {
    if view.servers_by_state.is_empty() {
        return "no servers".to_owned();
    }
    let states = view
        .servers_by_state
        .iter()
        .map(|(state, number)| format!("{number} {}", clean(state)));
    states.collect::<Vec<_>>().join(", ")
}

/// An open incident in a line.
pub(super) fn incident(incident: &Incident) -> String {
    let found = incident.diagnosis.first();
    let servers: Vec<String> = incident.servers.iter().map(|name| clean(name)).collect();
    format!(
        "incident {}  {}  {}/{}  {}",
        clean(&incident.id),
        incident.standing(),
        clean(&incident.service),
        servers.join(","),
        found.map_or("being diagnosed", |finding| finding.fault.word()),
    )
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use evenkeel_admin::RecentTraffic;

    use super::*;

    pub(in crate::top) fn snapshot() -> Snapshot {
        let recent = |requests_per_second| RecentTraffic {
            seconds: 10.0,
            requests_per_second,
            failures_per_second: 0.5,
            sent_bytes_per_second: 1500.0,
            received_bytes_per_second: 2e6,
            p50_ms: Some(1.5),
            p90_ms: Some(4.0),
            p99_ms: Some(20.0),
        };
        let server = |name: &str, state: &str, intended, rate| ServerView {
            name: name.to_owned(),
            state: state.to_owned(),
            share_intended: intended,
            share_got: Some(intended / 2.0),
            in_flight: 3,
            latency_ms: Some(1.25),
            recent: recent(rate),
            ..ServerView::default()
        };
        let service = |name: &str, servers: Vec<ServerView>| ServiceView {
            name: name.to_owned(),
            policy: "least-response-time".to_owned(),
            servers_by_state: servers
                .iter()
                .fold(BTreeMap::new(), |mut by_state, server| {
                    *by_state.entry(server.state.clone()).or_default() += 1;
                    by_state
                }),
            servers,
            recent: recent(120.0),
            ..ServiceView::default()
        };
        let incident = serde_json::from_str(
            r#"{"id": "2026-11-22-0008", "drill": false, "status": "open", "service": "shop", "servers": ["shop-2"],
            "onset": "2026-11-22T10:00:00.000Z", "durations_ms": {}, "detected_by": "probe", "diagnosis": [], "actions": [],
            "impact": {"requests": 1, "failed": 1, "saved_by_retry": 0, "budget_spent": 0}, "timeline": []}"#,
        );
        Snapshot::new(
            vec![
                service(
                    "shop",
                    vec![
                        server("shop-1", "up", 0.75, 90.0),
                        server("shop\u{1b}[2J", "up", 0.25, 30.0),
                        server("shop-2", "ejected", 0.0, 0.0),
                    ],
                ),
                service("empty", Vec::new()),
            ],
            vec![incident.unwrap()],
        )
    }

    #[test]
    fn a_line_for_each_and_none_moves_the_cursor() {
        let shown = lines(&snapshot());
        assert_eq!(
            shown,
            "shop  120 requests/s, 0.5 errors/s, in 1.5 kB/s, out 2 MB/s, p50 1.5 ms, p99 20 ms, 1 ejected, 2 up\n\
             shop/shop-1  up, intended 75.0 %, got 37.5 %, 90.0 requests/s, p99 20 ms, 3 in flight, latency 1.2 ms\n\
             shop/shop\\u{1b}[2J  up, intended 25.0 %, got 12.5 %, 30.0 requests/s, p99 20 ms, 3 in flight, latency 1.2 ms\n\
             shop/shop-2  ejected, intended 0.0 %, got 0.0 %, 0 requests/s, p99 20 ms, 3 in flight, latency 1.2 ms\n\
             empty  120 requests/s, 0.5 errors/s, in 1.5 kB/s, out 2 MB/s, p50 1.5 ms, p99 20 ms, no servers\n\
             incident 2026-11-22-0008  open  shop/shop-2  being diagnosed\n"
        );
        assert_eq!(lines(&Snapshot::default()), "There are no services.\n");
    }
}
