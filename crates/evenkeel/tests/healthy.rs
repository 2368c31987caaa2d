//! A healthy service: pauses like those of a garbage collector, load that doubles and halves, rolling restarts, one
//! error in a hundred, sparse traffic, cold starts. No server is restarted.
//!
//! Half a minute in a test run; `cargo xtask healthy` runs for a quarter of an hour on a quiet machine, with at most
//! one false alarm.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::io::Write as _;
use std::time::Duration;

use common::{PROBED, Program, ask, call, now, pause, sample_server, shop, signal};
use evenkeel_core::Random;
use evenkeel_lab::{LoadPlan, OpenLoad, RequestMix};

/// Set by `cargo xtask healthy`: how many minutes it lives.
const MINUTES: &str = "EVENKEEL_HEALTHY_MINUTES";
/// Parts of a life that last for a time.
const PARTS: u32 = 6;
/// How long each lasts in a test run.
const SHORT: Duration = Duration::from_secs(3);

struct Life {
    program: Program,
    random: Random,
    part: Duration,
    failed: u64,
}

impl Life {
    fn begin(part: Duration) -> Self {
        let command = format!(r#"{}, "--mode-file", "{{folder}}/mode""#, sample_server());
        Self {
            program: Program::up(&shop(3, &command, PROBED)),
            random: Random::seeded(1),
            part,
            failed: 0,
        }
    }

    fn load(&self, rate: f64) -> OpenLoad {
        let mix = vec![
            RequestMix::get("/").weight(20),
            RequestMix::get("/delay/20").weight(4),
            RequestMix::post("/orders", 200).weight(4),
            RequestMix::get("/bytes/100000"),
        ];
        let plan = LoadPlan::new(self.program.address(), rate);
        OpenLoad::start(LoadPlan { mix, ..plan }).unwrap()
    }

    fn end(&mut self, load: OpenLoad) {
        self.failed += load.stop().failed;
    }

    /// One part of a life, under this load.
    fn lives(&mut self, rate: f64, mut each_time: impl FnMut(&mut Self)) {
        let load = self.load(rate);
        let end = now() + self.part;
        while now() < end {
            each_time(self);
            pause();
        }
        self.end(load);
    }

    /// As when a garbage collector stops the world, now and then.
    fn pauses(&mut self) {
        self.lives(100.0, |life| {
            let servers = life.program.servers();
            let place = life.random.below(3);
            let pid = servers[place].pid.unwrap();
            signal(pid, "STOP");
            (0..=life.random.below(12)).for_each(|_| pause());
            signal(pid, "CONT");
            (0..life.random.below(80)).for_each(|_| pause());
        });
    }

    fn load_doubles_and_halves(&mut self) {
        let usual = self.load(80.0);
        self.lives(80.0, |_| {});
        self.end(usual);
        self.lives(40.0, |_| {});
    }

    /// An operator restarts one server after the other.
    fn rolls(&mut self) {
        let load = self.load(100.0);
        let admin = format!("http://{}", self.program.admin);
        for server in self.program.servers() {
            let name = format!("shop/{}", server.name);
            let words = ["restart", &name, "--wait", "--admin", &admin];
            let done = call(self.program.folder.path(), &words);
            assert_eq!(done.status, Some(0), "{done:?}");
        }
        self.end(load);
    }

    fn tell_all(&self, mode: &str) {
        for server in self.program.servers() {
            let answer = ask(server.address, "POST", "/mode", mode).unwrap();
            assert_eq!(answer.status, 200);
        }
    }
}

#[test]
fn nobody_is_restarted_for_what_passes() {
    let minutes = std::env::var(MINUTES).ok();
    let minutes: Option<u32> = minutes.map(|text| text.parse().unwrap());
    let part = minutes.map_or(SHORT, |minutes| Duration::from_secs(60) * minutes / PARTS);
    let mut life = Life::begin(part);
    life.pauses();
    life.load_doubles_and_halves();
    life.rolls();
    life.tell_all("status 500 0.01");
    life.lives(100.0, |_| {});
    life.tell_all("ok");
    life.lives(1.0, |_| {});
    let mode = life.program.folder.path().join("mode");
    std::fs::write(&mode, "cold 60 8").unwrap();
    life.rolls();
    life.lives(100.0, |_| {});
    std::fs::remove_file(mode).unwrap();

    let incidents = life.program.incidents_of_services();
    let actions = incidents.iter().flat_map(|incident| &incident.actions);
    let costly = actions.filter(|one| ["restart", "stop"].contains(&one.action.as_str()));
    assert_eq!(costly.count(), 0, "{incidents:#?}");
    if let Some(minutes) = minutes {
        let text = format!(
            "{minutes} minutes: {} incidents, no restart, {} requests failed",
            incidents.len(),
            life.failed
        );
        assert!(incidents.len() <= 1, "{text}: {incidents:#?}");
        writeln!(std::io::stdout(), "{text}").unwrap();
    }
}
