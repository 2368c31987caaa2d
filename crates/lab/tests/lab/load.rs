//! The open-loop load against a real server process, healthy and faulty.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel_lab::{FaultRelay, LoadPlan, OpenLoad, RelayFault, RequestMix};

use crate::common::{Process, body_of, eventually};

#[test]
fn it_keeps_its_rate_and_each_request_arrives_once() {
    let server = Process::server("one", &[]);
    let clock = evenkeel_runtime::Clock::start();
    let mut plan = LoadPlan::new(server.address, 500.0);
    plan.mix = vec![
        RequestMix::get("/x").weight(3),
        RequestMix::post("/echo", 100),
    ];
    plan.id_prefix = Some("t".to_owned());
    let load = OpenLoad::start(plan).unwrap();
    eventually("400 answers", || load.snapshot().ok >= 400);
    let live = load.snapshot();
    assert!(live.last_second.count() > 0 && live.last_second.count() <= live.total.count());
    let stats = load.stop();
    let most = clock.now().as_nanos() as f64 / 1e9 * 500.0 + 1.0;
    assert!(
        stats.sent as f64 <= most,
        "{} in more than its time",
        stats.sent
    );
    assert_eq!(
        (stats.failed, stats.in_flight, stats.ok),
        (0, 0, stats.sent)
    );
    assert_eq!(stats.by_status.keys().copied().collect::<Vec<_>>(), [200]);
    assert!(stats.total.quantile(0.5) >= Duration::from_millis(2));
    let seen = server.get("/seen").unwrap();
    let ids: Vec<&str> = body_of(&seen)
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    assert_eq!(ids.len() as u64, stats.sent);
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "no id twice"
    );
    let posts = body_of(&seen)
        .lines()
        .filter(|line| line.starts_with("POST "))
        .count();
    assert!(
        posts > 50 && posts < ids.len() / 2,
        "{posts} of {}",
        ids.len()
    );
}

#[test]
fn a_stall_shows_in_all_requests_that_it_delays() {
    let server = Process::server("one", &["--base-delay-ms", "0"]);
    let relay = FaultRelay::start(server.address).unwrap();
    let load = OpenLoad::start(LoadPlan {
        connections: 2,
        ..LoadPlan::new(relay.address(), 200.0)
    })
    .unwrap();
    eventually("a first answer", || load.snapshot().ok >= 10);
    relay.set(RelayFault::BlackHole).unwrap();
    eventually("80 requests wait", || load.snapshot().in_flight >= 80);
    relay.set(RelayFault::None).unwrap();
    eventually("they are answered", || load.snapshot().in_flight <= 10);
    let stats = load.stop();
    assert_eq!(stats.failed, 0, "{:?}", stats.by_error);
    let late = stats
        .total
        .quantile(1.0 - 40.0 / stats.total.count() as f64);
    assert!(
        late >= Duration::from_millis(150),
        "half of them waited 200 ms or more: {late:?}"
    );
}

#[test]
fn what_fails_is_named_and_never_retried() {
    let server = Process::server("one", &[]);
    let relay = FaultRelay::start(server.address).unwrap();
    let mut plan = LoadPlan::new(relay.address(), 200.0);
    plan.timeout = Duration::from_millis(300);
    plan.mix = vec![
        RequestMix::get("/status/503"),
        RequestMix::get("/cut/1000"),
        RequestMix::get("/garbage"),
        RequestMix::get("/reset"),
    ];
    plan.id_prefix = Some("f".to_owned());
    let load = OpenLoad::start(plan.clone()).unwrap();
    eventually("each kind of failure", || {
        let stats = load.snapshot();
        stats.by_status.contains_key(&503)
            && ["truncated", "bad-response", "reset"]
                .iter()
                .all(|word| stats.by_error.contains_key(word))
    });
    let stats = load.stop();
    assert_eq!((stats.ok, stats.failed), (0, stats.sent));
    assert!(
        stats.failures.iter().any(
            |failure| failure.why == "503" && failure.request.starts_with("GET /status/503 f-")
        )
    );
    let seen = server.get("/seen").unwrap();
    assert_eq!(
        body_of(&seen).lines().count() as u64,
        stats.sent,
        "each arrived once"
    );

    plan.mix = vec![RequestMix::get("/")];
    let load = OpenLoad::start(plan).unwrap();
    relay.set(RelayFault::BlackHole).unwrap();
    eventually("timeouts", || {
        load.snapshot().by_error.contains_key("timeout")
    });
    relay.set(RelayFault::Refuse).unwrap();
    eventually("refusals", || {
        load.snapshot().by_error.contains_key("connect")
    });
    relay.set(RelayFault::None).unwrap();
    let ok = load.snapshot().ok;
    eventually("answers again", || load.snapshot().ok > ok + 20);
}
