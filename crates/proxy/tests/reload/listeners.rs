//! Listeners come and go.

use super::*;

/// Its requests end, its idle connections close, its port is free; the other listener and its connections stay.
#[test]
fn a_removed_listener_closes_after_its_requests() {
    let (a, seen, release) = holding();
    let text = |more: &str| format!("{}{more}", shop(&[a], ""));
    let rig = Reloaded::of(&text(
        "[listen.more]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n",
    ));
    let (web, more) = (rig.listener("web"), rig.listener("more"));
    let mut stays = Client::connect(web);
    assert_eq!(stays.get("/").status, 200);
    let (mut idle, mut busy) = (Client::connect(more), Client::connect(more));
    assert_eq!(idle.get("/").status, 200);
    busy.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_until_seen(&rig.rig, &seen, 3);
    rig.reload(&text(""));
    assert!(idle.rest().is_empty(), "it is closed");
    rig.rig.wait_for(|_| TcpStream::connect(more).is_err());
    drop(TcpListener::bind(more).expect("nobody listens there"));
    release.send(()).expect("the server waits");
    let response = busy.response();
    assert_eq!(
        (response.status, response.header("connection")),
        (200, Some("close"))
    );
    assert!(busy.rest().is_empty(), "it is closed");
    assert_eq!(stays.get("/").status, 200, "the same connection");
    assert_eq!(
        rig.rig.proxy().addresses(),
        [("web".to_owned(), web.into())]
    );
    rig.settle();
}

/// Its task has panicked and is not yet started again, so the client waits in the queue of the socket.
#[test]
fn a_client_that_was_not_accepted_yet_is_served_when_its_listener_is_removed() {
    let (a, _) = always(OK);
    let rig = Reloaded::of(&shop(&[a], ""));
    let web = rig.listener("web");
    let state = rig.rig.proxy().state();
    state.tasks().inject_panic("accept");
    let restarts = state.tasks().restarts("accept");
    rig.rig.wait_for(|_| restarts.value() == 1);
    let mut client = Client::connect(web);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    rig.reload(&shop(&[a], "").replace(
        "[listen.web]\naddress = \"127.0.0.1:0\"",
        "[listen.front]\naddress = \"127.0.0.2:0\"",
    ));
    let response = client.response();
    assert_eq!(response.status, 200);
    assert!(client.rest().is_empty());
    assert!(TcpStream::connect(web).is_err());
    assert_eq!(rig.rig.client().get("/").status, 200);
}

#[test]
fn a_listener_comes_and_another_one_takes_over_the_sockets_of_one_that_goes() {
    let (a, _) = always(OK);
    let rig = Reloaded::of(&shop(&[a], ""));
    let web = rig.listener("web");
    let mut client = Client::connect(web);
    assert_eq!(client.get("/").status, 200);
    let second = "[listen.more]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n";
    let fixed = |name: &str| shop(&[a], second).replace("listen.web", &format!("listen.{name}"));
    let fixed = |name: &str| fixed(name).replacen("127.0.0.1:0", &web.to_string(), 1);
    // The address as it is written is another one, so the listener is another one, whose address is in use.
    let refused = rig.try_reload(&fixed("web")).expect_err("it is in use");
    assert_eq!(refused.listener.as_deref(), Some("web"));
    assert_eq!(client.get("/").status, 200);
    rig.reload(&format!("{}{second}", shop(&[a], "")));
    assert_eq!(Client::connect(rig.listener("more")).get("/").status, 200);
    // With another name for the same address its sockets stay, and so does the port.
    let renamed = format!("{}{second}", shop(&[a], "")).replace("listen.web", "listen.front");
    rig.reload(&renamed);
    assert_eq!(rig.listener("front"), web);
    assert!(client.rest().is_empty(), "it was the other listener's");
    assert_eq!(Client::connect(web).get("/").status, 200);
}

/// Nothing of the plan holds if one of its listeners cannot be opened.
#[test]
fn a_listener_that_cannot_be_opened_changes_nothing() {
    let ((a, _), (b, seen)) = (always(OK), always(OK));
    let rig = Reloaded::of(&shop(&[a], ""));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|address| (taken, address));
    let (_taken, address) = taken.expect("an address");
    let second = "[listen.free]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n";
    let third = format!("[listen.taken]\naddress = \"{address}\"\nservice = \"shop\"\n");
    let generation = rig.rig.proxy().state().generation();
    let refused = rig.try_reload(&format!("{}{second}{third}", shop(&[b], "")));
    let refused = refused.expect_err("it is in use");
    assert_eq!(refused.listener.as_deref(), Some("taken"));
    assert_eq!(rig.rig.proxy().state().generation(), generation);
    assert_eq!(rig.rig.proxy().addresses().len(), 1);
    for _ in 0..4 {
        assert_eq!(rig.rig.client().get("/").status, 200);
    }
    assert!(seen.lock().expect("no panic").is_empty());
}

#[test]
fn a_worker_that_is_started_again_accepts_on_the_listeners_of_the_newest_plan() {
    let (a, _) = always(OK);
    let with = |name: &str| {
        let more = format!("[listen.{name}]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n");
        format!("{}{more}", shop(&[a], ""))
    };
    let rig = Reloaded::of(&with("old"));
    rig.reload(&with("new"));
    let state = rig.rig.proxy().state();
    state.tasks().inject_panic("worker");
    let restarts = state.tasks().restarts("worker");
    rig.rig.wait_for(|_| restarts.value() == 1);
    for name in ["web", "new"] {
        assert_eq!(
            Client::connect(rig.listener(name)).get("/").status,
            200,
            "{name}"
        );
    }
    rig.reload(&shop(&[a], ""));
    assert_eq!(rig.rig.client().get("/").status, 200);
    rig.settle();
}
