//! Load that servers report about themselves.

mod common;

use common::{Rig, number, server};

#[test]
fn a_load_report_is_read_and_not_forwarded_to_the_client() {
    let (address, _) = server(|connection| {
        while let Some(request) = connection.request() {
            let load = match request.split(' ').nth(1) {
                Some("/text") => "TEXT application_utilization=0.8,cpu_utilization=0.7",
                Some("/json") => "JSON {\"cpu_utilization\": 0.25}",
                _ => "TEXT nonsense",
            };
            connection.answer(format!(
                "HTTP/1.1 200 OK\r\nEndpoint-Load-Metrics: {load}\r\nX-Other: a\r\nContent-Length: 2\r\n\r\nok"
            ));
        }
    });
    let extra = "[service.shop.balance]\nload_header = \"endpoint-load-metrics\"\n";
    let rig = Rig::new(&[address], extra);
    let load = |rig: &Rig| number(rig, "evenkeel_server_reported_load", &["shop"]);
    let mut client = rig.client();
    for (path, expected) in [("/text", 0.8), ("/json", 0.25), ("/other", 0.25)] {
        let response = client.get(path);
        assert_eq!(response.header("endpoint-load-metrics"), None);
        assert_eq!(response.header("x-other"), Some("a"));
        assert_eq!(response.body, b"ok");
        assert!(
            (load(&rig) - expected).abs() < 1e-9,
            "{path}: {}",
            load(&rig)
        );
    }

    // Without the key nobody looks, and the field passes.
    let rig = Rig::new(&[address], "");
    let response = rig.client().get("/text");
    assert!(response.header("endpoint-load-metrics").is_some());
    assert!(load(&rig) < 1e-9);
}
