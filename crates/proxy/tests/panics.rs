//! What becomes of a worker when one of its lasting tasks panics.

mod common;

use std::net::TcpListener;

use common::{Rig, always};

/// The panic is one of the task's, said and counted; what the task does goes on.
#[test]
fn a_worker_goes_on_after_a_panic_in_any_of_its_tasks() {
    let (server, _) = always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    // Its connections wait in the kernel's queue and are never answered.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = silent.local_addr().map(|address| (silent, address));
    let (_silent, hangs) = silent.expect("an address");
    let rig = Rig::of(&format!(
        "workers = 1\n[listen.web]\naddress = \"127.0.0.1:0\"\nroutes = [{{ path = \"/hangs\", service = \"hangs\" }}, \
         {{ path = \"/\", service = \"shop\" }}]\n[service.shop]\nservers = [\"{server}\"]\n\
         [service.hangs]\nservers = [\"{hangs}\"]\ntimeout = {{ attempt = \"100ms\" }}\nretry.limit = 0\n"
    ));
    let state = rig.proxy().state();
    let mut kept = rig.client();
    assert_eq!(kept.get("/").status, 200);
    for task in ["accept", "timers", "client-watch", "rescue", "sweep"] {
        state.tasks().inject_panic(task);
        let restarts = state.tasks().restarts(task);
        rig.wait_for(|_| restarts.value() == 1);
        assert_eq!(kept.get("/").status, 200, "{task}");
        assert_eq!(rig.client().get("/").status, 200, "{task}");
        assert_eq!(kept.get("/hangs").status, 504, "{task}");
    }
    assert_eq!(state.workers_lost(), 0);
}
