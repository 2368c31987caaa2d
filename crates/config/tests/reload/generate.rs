//! Random configurations as text: always valid, and alike enough that two of them share services, servers and routes.

use std::fmt::Write as _;

use evenkeel_core::Random;

/// The services that a file may have, besides `spare` and `extra`, which every file has.
const SERVICES: [&str; 5] = ["shop", "api", "blog", "pay", "search"];
const SERVERS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A random file.
pub(crate) fn file(random: &mut Random) -> String {
    let mut text = String::new();
    top_level(random, &mut text);
    let services = some(random, &SERVICES, 1);
    for service in &services {
        let place = SERVICES.iter().position(|name| name == service).unwrap();
        write_service(random, service, place, &mut text);
    }
    text += "[service.spare]\nservers = [\"127.0.0.1:9900\"]\n";
    text += "[service.extra]\nservers = [\"127.0.0.1:9901\"]\n";
    for (place, listener) in some_places(random, &["web", "inner", "partners"]) {
        write_listener(random, listener, 8_000 + place, &services, &mut text);
    }
    text += "[listen.fixed]\naddress = \"127.0.0.1:8099\"\nservice = \"spare\"\n";
    for (place, listener) in some_places(random, &["names", "more-names"]) {
        write_dns(random, listener, 8_500 + place, &services, &mut text);
    }
    text
}

/// A file with one service and listed servers only, for changes at run time.
pub(crate) fn listed(random: &mut Random) -> String {
    let mut text =
        String::from("[listen.web]\naddress = \"127.0.0.1:8000\"\nservice = \"spare\"\n");
    text += "[service.spare]\nservers = [\"127.0.0.1:9900\"]\n";
    for (place, service) in [(0, "shop"), (1, "api")] {
        if random.below(8) > 0 {
            write!(text, "[service.{service}]\nservers = [").unwrap();
            let servers = some(random, &SERVERS, 1);
            for server in servers {
                write_server(random, server, place, &mut text);
            }
            text += "]\n";
        }
    }
    text
}

fn chance(random: &mut Random, one_in: usize) -> bool {
    random.below(one_in) == 0
}

fn one<'a, T: ?Sized>(random: &mut Random, of: &[&'a T]) -> &'a T {
    of[random.below(of.len())]
}

/// Some of these in random order, at least so many.
fn some<'a>(random: &mut Random, of: &[&'a str], least: usize) -> Vec<&'a str> {
    let mut left = of.to_vec();
    let number = least + random.below(of.len() + 1 - least);
    (0..number)
        .map(|_| left.remove(random.below(left.len())))
        .collect()
}

fn some_places<'a>(random: &mut Random, of: &[&'a str]) -> Vec<(usize, &'a str)> {
    let place = |name: &&str| of.iter().position(|one| one == name).unwrap();
    let some = some(random, of, 0);
    some.into_iter().map(|name| (place(&name), name)).collect()
}

/// The line, half of the time, with one of the values.
fn maybe(random: &mut Random, text: &mut String, key: &str, values: &[&str]) {
    if chance(random, 2) {
        writeln!(text, "{key} = {}", one(random, values)).unwrap();
    }
}

fn top_level(random: &mut Random, text: &mut String) {
    maybe(random, text, "reload", &["\"watch\"", "\"manual\""]);
    maybe(random, text, "workers", &["2", "4"]);
    maybe(random, text, "zone", &["\"east\"", "\"west\""]);
    if chance(random, 3) {
        let port = one(random, &["7070", "7071"]);
        writeln!(text, "[admin]\naddress = \"127.0.0.1:{port}\"").unwrap();
    }
    if chance(random, 4) {
        *text += "[store]\nurl = \"memory:\"\n";
    }
    *text += "[log]\n";
    maybe(random, text, "level", &["\"debug\"", "\"warn\""]);
    maybe(random, text, "access", &["true", "false"]);
}

fn write_server(random: &mut Random, name: &str, service: usize, text: &mut String) {
    let place = SERVERS.iter().position(|one| *one == name).unwrap();
    let port = 9_000 + service * 100 + place + 50 * random.below(2);
    write!(text, "{{ name = \"{name}\", address = \"127.0.0.1:{port}\"").unwrap();
    if chance(random, 2) {
        write!(text, ", weight = {}", 1 + random.below(3)).unwrap();
    }
    if chance(random, 3) {
        write!(text, ", max_requests = {}", 10 + random.below(2)).unwrap();
    }
    if chance(random, 4) {
        *text += ", tier = \"backup\"";
    }
    if chance(random, 4) {
        *text += ", zone = \"east\"";
    }
    if chance(random, 4) {
        *text += ", managed_by = { exec = { restart = [\"./restart\", \"{server}\"] } }";
    }
    *text += " },\n";
}

fn write_service(random: &mut Random, name: &str, place: usize, text: &mut String) {
    writeln!(text, "[service.{name}]").unwrap();
    *text += "servers = [\n";
    for server in some(random, &SERVERS, 1) {
        write_server(random, server, place, text);
    }
    if chance(random, 3) {
        writeln!(text, "\"name.internal:{}\",", 80 + random.below(2)).unwrap();
    }
    *text += "]\n";
    if chance(random, 3) {
        let slots = 1 + random.below(4);
        let hold = 1 + random.below(3);
        writeln!(
            text,
            "discover = {{ dns = \"{name}.internal:80\", slots = {slots}, hold = \"{hold}m\" }}"
        )
        .unwrap();
    }
    if chance(random, 3) {
        let ports = some(random, &["0", "1", "2"], 1);
        let ports: Vec<String> = ports
            .iter()
            .map(|port| format!("95{place}{port}"))
            .collect();
        let word = random.below(3);
        writeln!(
            text,
            "run = {{ command = [\"./{name}\", \"--port\", \"{{port}}\", \"{word}\"], ports = [{}] }}",
            ports.join(", ")
        )
        .unwrap();
    }
    write_settings(random, name, text);
    write_fault(random, name, text);
}

/// What is not about single servers: keys of the service, and then its tables.
fn write_settings(random: &mut Random, name: &str, text: &mut String) {
    maybe(
        random,
        text,
        "response_headers",
        &[
            "{ remove = [\"server\"] }",
            "{ set = { x-by = \"{server}\" } }",
        ],
    );
    maybe(
        random,
        text,
        "mirror",
        &[
            "{ service = \"spare\", share = 0.5 }",
            "{ service = \"spare\", share = 1 }",
        ],
    );
    maybe(
        random,
        text,
        "fallback",
        &["{ service = \"spare\" }", "{ status = 200, body = \"[]\" }"],
    );
    maybe(random, text, "hedge", &["{}", "{ after = \"30ms\" }"]);
    maybe(random, text, "breaker", &["{}", "{ open_for = \"3s\" }"]);
    maybe(random, text, "hold_requests", &["{}", "{ requests = 7 }"]);
    maybe(
        random,
        text,
        "objective",
        &["{ availability = 0.99 }", "{ availability = 0.999 }"],
    );
    maybe(random, text, "diagnose", &["{ timeout = \"1s\" }"]);
    writeln!(text, "[service.{name}.timeout]").unwrap();
    maybe(random, text, "connect", &["\"1s\"", "\"2s\""]);
    maybe(random, text, "total", &["\"60s\"", "\"30s\""]);
    writeln!(text, "[service.{name}.balance]").unwrap();
    maybe(
        random,
        text,
        "policy",
        &["\"random\"", "\"least-requests\"", "\"maglev\""],
    );
    maybe(
        random,
        text,
        "sticky",
        &["{ cookie = \"shop-server\" }", "{ header = \"x-server\" }"],
    );
    writeln!(text, "[service.{name}.limit]").unwrap();
    maybe(random, text, "concurrency", &["50", "\"adaptive\""]);
    maybe(
        random,
        text,
        "rate",
        &[
            "{ per_second = 5 }",
            "{ per_second = 6, by = \"source-ip\" }",
        ],
    );
}

fn write_fault(random: &mut Random, name: &str, text: &mut String) {
    writeln!(text, "[service.{name}.detect]").unwrap();
    maybe(
        random,
        text,
        "probe",
        &["{ http = \"/health\" }", "{ every = \"3s\" }"],
    );
    maybe(random, text, "slow", &["\"off\"", "{ times_peers = 4 }"]);
    writeln!(text, "[service.{name}.recover]").unwrap();
    maybe(random, text, "mode", &["\"ask\"", "\"dry-run\""]);
    maybe(random, text, "keep_serving", &["0.25", "0.75"]);
    if chance(random, 3) {
        let first = one(random, &["\"eject\"", "\"drain\""]);
        writeln!(
            text,
            "[[service.{name}.recover.playbook]]\nwhen = [\"process-hung\"]\ndo = [{first}, \"restart\"]"
        )
        .unwrap();
    }
}

fn write_listener(
    random: &mut Random,
    name: &str,
    port: usize,
    services: &[&str],
    text: &mut String,
) {
    let port = port + 10 * random.below(2);
    let service = one(random, services);
    writeln!(text, "[listen.{name}]\naddress = \"127.0.0.1:{port}\"").unwrap();
    writeln!(text, "service = \"{service}\"").unwrap();
    maybe(
        random,
        text,
        "limits",
        &["{ headers = 50 }", "{ idle_time = \"30s\" }"],
    );
    *text += "routes = [\n";
    let conditions = [
        "path = \"/v1/*\"",
        "path = \"/cart\"",
        "path = \"~^/[0-9]+\"",
        "host = \"api.example.com\"",
        "host = \"*.example.com\", method = [\"GET\"]",
        "header = { x-canary = \"~^a\" }",
        "query = { beta = \"1\" }, cookie = { group = \"b\" }",
    ];
    for conditions in some(random, &conditions, 0) {
        let target = match random.below(4) {
            0 => "redirect = { to = \"https://example.com{path}\" }".to_owned(),
            1 => format!("split = {{ {} = 5, extra = 95 }}", one(random, services)),
            _ => format!("service = \"{}\"", one(random, services)),
        };
        write!(text, "{{ {conditions}, {target}").unwrap();
        if !target.starts_with("redirect") {
            if chance(random, 3) {
                let own = [
                    "timeout = { total = \"5s\" }",
                    "hedge = \"off\"",
                    "retry = { limit = 1 }",
                    "fallback = { service = \"spare\" }",
                ];
                write!(text, ", {}", one(random, &own)).unwrap();
            }
            if chance(random, 4) {
                *text += ", mirror = { service = \"spare\", share = 0.1 }";
            }
            if chance(random, 4) {
                *text += ", rate = { per_second = 9 }";
            }
        }
        *text += " },\n";
    }
    *text += "]\n";
}

fn write_dns(random: &mut Random, name: &str, port: usize, services: &[&str], text: &mut String) {
    let port = port + 10 * random.below(2);
    writeln!(
        text,
        "[listen.{name}]\nprotocol = \"dns\"\naddress = \"127.0.0.1:{port}\""
    )
    .unwrap();
    maybe(random, text, "rate", &["50", "100"]);
    let (service, ttl) = (one(random, services), 1 + random.below(3));
    writeln!(
        text,
        "names = [{{ name = \"{service}.example.com\", service = \"{service}\", ttl = \"{ttl}s\" }}]"
    )
    .unwrap();
}
