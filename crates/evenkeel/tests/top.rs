//! `evenkeel top` and `status --why` against a running program: as plain lines, and on a pseudo-terminal.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use common::{PROGRAM, Program, call, free_ports, wait_for};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;

/// A program on a pseudo-terminal.
struct OnTerminal {
    child: Child,
    /// Our end.
    hand: File,
    /// The program's end of the pseudo-terminal, kept to read its modes.
    terminal: File,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl OnTerminal {
    fn start(arguments: &[&str]) -> Self {
        let hand = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&hand).unwrap();
        unlockpt(&hand).unwrap();
        let name = ptsname(&hand, Vec::new()).unwrap();
        let open = || {
            File::options()
                .read(true)
                .write(true)
                .open(name.to_str().unwrap())
                .unwrap()
        };
        let terminal = open();
        let size = Winsize {
            ws_row: 30,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).unwrap();
        let child = Command::new(PROGRAM)
            .args(arguments)
            .env("TERM", "xterm-256color")
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(open()))
            .spawn()
            .unwrap();
        let hand = File::from(hand);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, kept) = (hand.try_clone().unwrap(), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = reader.read(&mut buffer) {
                kept.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self {
            child,
            hand,
            terminal,
            seen,
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    fn wait_to_see(&self, what: &str) {
        wait_for(what, || self.text().contains(what).then_some(()));
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits for its end, after which the terminal must be as before.
    fn assert_ends_and_gives_back(&mut self) {
        let status = wait_for("the end of top", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{}", self.text());
        assert!(!self.is_raw(), "the terminal is raw still");
        self.wait_to_see("\u{1b}[?1049l");
        wait_for("a cursor that is seen", || {
            let text = self.text();
            let (shown, hidden) = (text.rfind("\u{1b}[?25h"), text.rfind("\u{1b}[?25l"));
            (shown >= hidden).then_some(())
        });
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // It has ended already if all went well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn admin(program: &Program) -> String {
    format!("http://{}", program.admin)
}

#[test]
fn it_draws_and_gives_the_terminal_back() {
    let program = Program::with_children("");
    let admin = admin(&program);
    for end in ["q", "\u{3}", "\u{1b}"] {
        let mut top = OnTerminal::start(&["top", "--every", "0.2", "--admin", &admin]);
        top.wait_to_see("\u{1b}[?1049h");
        top.wait_to_see("shop");
        top.wait_to_see("INTENDED");
        top.wait_to_see("50.0");
        assert!(top.is_raw(), "keys come at once");
        top.hand.write_all(end.as_bytes()).unwrap();
        top.assert_ends_and_gives_back();
    }
}

#[test]
fn a_signal_ends_it_and_gives_the_terminal_back() {
    let program = Program::with_children("");
    let mut top = OnTerminal::start(&["top", "--admin", &admin(&program)]);
    top.wait_to_see("INTENDED");
    common::signal(top.child.id(), "TERM");
    top.assert_ends_and_gives_back();
}

#[test]
fn an_unreachable_evenkeel_is_reported_and_polled_again() {
    let nobody = format!("127.0.0.1:{}", free_ports(1)[0]);
    let mut top = OnTerminal::start(&["top", "--every", "0.2", "--admin", &nobody]);
    top.wait_to_see("nothing listens");
    top.hand.write_all(b"q").unwrap();
    top.assert_ends_and_gives_back();
}

#[test]
fn it_outlives_what_it_watches() {
    let program = Program::with_children("");
    let mut top = OnTerminal::start(&["top", "--every", "0.2", "--admin", &admin(&program)]);
    top.wait_to_see("INTENDED");
    drop(program);
    top.wait_to_see("trying again");
    assert!(top.child.try_wait().unwrap().is_none(), "it goes on");
    top.hand.write_all(b"q").unwrap();
    top.assert_ends_and_gives_back();
}

#[test]
fn without_a_terminal_top_prints_plain_lines() {
    let program = Program::with_children("");
    let admin = admin(&program);
    let arguments = ["top", "--count", "2", "--every", "0.1", "--admin", &admin];
    let top = call(program.folder.path(), &arguments);
    assert_eq!(top.status, Some(0), "{top:?}");
    let services: Vec<&str> = top
        .out
        .lines()
        .filter(|line| line.starts_with("shop  "))
        .collect();
    assert_eq!(services.len(), 2, "{}", top.out);
    assert!(services[0].contains("2 up"), "{}", top.out);
    assert!(top.out.contains("intended 50.0 %"), "{}", top.out);
    assert!(!top.out.contains('\u{1b}'), "{:?}", top.out);

    let nobody = format!("127.0.0.1:{}", free_ports(1)[0]);
    let none = call(
        program.folder.path(),
        &["top", "--count", "2", "--every", "0.1", "--admin", &nobody],
    );
    assert_eq!(none.status, Some(1), "{none:?}");
    assert_eq!(none.err.matches("nothing listens").count(), 2, "{none:?}");
    for wrong in ["0", "-1", "x", "1e9", "NaN"] {
        let refused = call(program.folder.path(), &["top", "--every", wrong]);
        assert_eq!(refused.status, Some(2), "{wrong}: {refused:?}");
    }
}

/// Rates, once requests have come.
fn measured(program: &Program) -> Value {
    wait_for("rates", || {
        // Enough of them that it does not matter where in the round each worker begins.
        for _ in 0..100 {
            let answer = common::get(program.address(), "/").unwrap();
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        let view = program.api("/api/services/shop");
        let are_up = view["servers_by_state"]["up"] == 2;
        (are_up && view["recent"]["requests_per_second"].as_f64()? > 1.0).then_some(view)
    })
}

#[test]
fn rates_and_latencies_of_servers_are_measured() {
    let program = Program::with_children("[service.shop.balance]\npolicy = \"round-robin\"");
    let view = measured(&program);
    let number = |place: &str| view.pointer(place).unwrap().as_f64().unwrap();
    assert!(number("/recent/sent_bytes_per_second") > 10.0, "{view}");
    assert!(number("/recent/received_bytes_per_second") > 10.0, "{view}");
    assert!(
        number("/recent/p99_ms") >= number("/recent/p50_ms"),
        "{view}"
    );
    assert!(number("/p99_ms") >= number("/p90_ms"), "{view}");
    assert!(
        (number("/servers_by_state/up") - 2.0).abs() < 1e-9,
        "{view}"
    );
    let got = number("/servers/0/share_got") + number("/servers/1/share_got");
    assert!((got - 1.0).abs() < 1e-6, "{view}");
    for server in ["/servers/0", "/servers/1"] {
        let number = |name: &str| number(&format!("{server}/{name}"));
        assert!((number("share_intended") - 0.5).abs() < 1e-9, "{view}");
        // One may have been out for a while on a busy machine.
        assert!(number("share_got") > 0.0, "{view}");
        assert!(number("picks/policy") >= 1.0, "{view}");
        assert!(number("recent/requests_per_second") > 0.0, "{view}");
        assert!(number("p99_ms") > 0.0, "{view}");
    }
    // A server may be in doubt for a moment.
    wait_for("both up in the metrics", || {
        let metrics = common::get(program.admin, "/metrics").unwrap().body;
        let lines = [
            "evenkeel_servers{service=\"shop\",state=\"up\"} 2\n",
            "evenkeel_servers{service=\"shop\",state=\"down\"} 0\n",
            "evenkeel_server_share_intended{service=\"shop\",server=",
        ];
        lines
            .iter()
            .all(|line| metrics.contains(line))
            .then_some(())
    });
}

#[test]
fn servers_say_how_busy_they_are() {
    let program = Program::with_children(
        "[service.shop.balance]\npolicy = \"prequal\"\nprequal = { probe = \"/load\", timeout = \"5s\" }\n",
    );
    let why = program.api("/api/services/shop/why");
    let score = why["score"].as_str().unwrap();
    assert!(
        score.contains("as evenkeel sees them, since 0 of 2 answered at /load"),
        "{why}"
    );
    assert_eq!(why["options"]["prequal"], "GET /load within 5.0 s", "{why}");

    let busy = std::thread::spawn({
        let address = program.servers()[0].address;
        move || common::get(address, "/delay/3000")
    });
    let why = wait_for("both to have said it", || {
        common::get(program.address(), "/").unwrap();
        let why = program.api("/api/services/shop/why");
        let said = |place: usize| why["servers"][place]["said_in_flight"].as_f64();
        (said(0)? > 0.5 && said(1)? < 0.5).then_some(why)
    });
    let score = why["score"].as_str().unwrap();
    assert!(
        score.contains("as reported by servers: 2 of 2 answered at /load"),
        "{why}"
    );
    let sentence = why["servers"][0]["sentence"].as_str().unwrap();
    assert!(sentence.contains("By its own report: "), "{why}");
    let metrics = common::get(program.admin, "/metrics").unwrap().body;
    let line = "evenkeel_prequal_probes_total{service=\"shop\",result=\"answered\"} ";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(busy.join().unwrap().unwrap().status, 200);
}

#[test]
fn why_a_server_gets_nothing() {
    let program = Program::with_children("[service.shop.balance]\npolicy = \"round-robin\"");
    let admin = admin(&program);
    let name = program.servers()[0].name.clone();
    let in_folder = |arguments: &[&str]| {
        call(
            program.folder.path(),
            &[arguments, &["--admin", &admin]].concat(),
        )
    };
    let drained = in_folder(&["drain", &format!("shop/{name}")]);
    assert_eq!(drained.status, Some(0), "{drained:?}");
    let why = wait_for("a server that drains", || {
        let why = program.api("/api/services/shop/why");
        let is_shown = why["servers"][0]["recovery"]["waits_for"] == "maintenance";
        (why["servers"][0]["standing"] == "draining" && is_shown).then_some(why)
    });
    assert_eq!(why["servers"][0]["share_intended"], 0.0, "{why}");
    assert_eq!(why["servers"][1]["share_intended"], 1.0, "{why}");
    let said = why["servers"][0]["sentence"].as_str().unwrap();
    assert!(
        said.contains(&format!("evenkeel restore shop/{name}")),
        "{said}"
    );
    let text = in_folder(&["status", "shop", "--why"]);
    assert_eq!(text.status, Some(0), "{text:?}");
    for part in ["shop  round-robin", "panic_below", "INTENDED", said] {
        assert!(text.out.contains(part), "{part}:\n{}", text.out);
    }
    let json = in_folder(&["status", "shop", "--why", "--format", "json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["name"], "shop");
    let recovery = "nothing: it is in maintenance";
    assert!(text.out.contains(recovery), "{}", text.out);
    let shown = &json["servers"][0]["recovery"];
    assert_eq!(shown["waits_for"], "maintenance", "{json}");
    assert_eq!(json["servers"][1]["recovery"]["waits_for"], "nothing");
    let all = in_folder(&["status", "--why"]);
    assert!(all.out.contains(recovery), "{}", all.out);
    let all = in_folder(&["status", "--why", "--format", "json"]);
    let all: Value = serde_json::from_str(&all.out).unwrap();
    assert_eq!(all[0]["name"], "shop");
}
