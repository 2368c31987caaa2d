//! Changes that an operator asks for, and those of them that are kept for the next start.

use evenkeel_config::Settings;
use evenkeel_config::change::{
    ChangeNote, NewServer, Overlay, OverlayDropReason, RefusedChange, RequestedChange,
    apply_overlay, drift,
};
use evenkeel_config::plan::Plan;
use evenkeel_core::Random;

use super::{SHOP, generate, plan};

fn note(at: &str) -> ChangeNote {
    ChangeNote {
        at: at.to_owned(),
        by: Some("ada".to_owned()),
    }
}

fn new_server(name: Option<&str>, port: u16) -> NewServer {
    NewServer {
        name: name.map(str::to_owned),
        address: ([127, 0, 0, 1], port).into(),
        weight: None,
        tier: None,
        max_requests: None,
    }
}

fn remove(server: &str) -> RequestedChange {
    RequestedChange::Remove {
        server: server.to_owned(),
    }
}

fn weight(server: &str, weight: u32) -> RequestedChange {
    RequestedChange::Weight {
        server: server.to_owned(),
        weight,
    }
}

fn asked(
    overlay: &Overlay,
    file: &Plan,
    change: &RequestedChange,
) -> Result<(Overlay, String), RefusedChange> {
    overlay.with(file, ("shop", change), 50, note("now"))
}

fn lines(overlay: &Overlay) -> Vec<String> {
    let mut lines = overlay.lines();
    lines.sort();
    lines
}

#[test]
fn what_is_not_said_of_a_new_server_is_as_in_a_file() {
    let file = plan(SHOP);
    let add = RequestedChange::Add(new_server(None, 9_500));
    let (overlay, name) = asked(&Overlay::default(), &file, &add).unwrap();
    assert_eq!(name, "127-0-0-1-9500");
    let after = apply_overlay(file, &overlay).plan;
    let shop = after.services.iter().find(|one| one.name == "shop");
    let added = shop.unwrap().servers.iter().find(|one| one.name == name);
    let added = added.unwrap();
    assert_eq!((added.weight, added.tier, added.max_requests), (1, 0, 50));
    let change = &overlay.changes()[0];
    assert_eq!((change.kind.word(), &change.note), ("added", &note("now")));
}

#[test]
fn a_server_of_the_file_that_was_removed_is_used_again_by_its_address() {
    let file = plan(SHOP);
    let (removed, _) = asked(&Overlay::default(), &file, &remove("b")).unwrap();
    let mut again = new_server(None, 9_002);
    again.weight = Some(7);
    let (overlay, name) = asked(&removed, &file, &RequestedChange::Add(again)).unwrap();
    assert_eq!(name, "b");
    assert_eq!(
        overlay.lines(),
        ["service shop: server b: weight 1 → 7 at run time"]
    );
    let elsewhere = RequestedChange::Add(new_server(Some("b"), 9_500));
    let address = ([127, 0, 0, 1], 9_002).into();
    assert_eq!(
        asked(&removed, &file, &elsewhere).unwrap_err(),
        RefusedChange::WasRemoved("b".to_owned(), Some(address))
    );
    let other_tier = RequestedChange::Add(NewServer {
        tier: Some(1),
        ..new_server(Some("b"), 9_002)
    });
    assert_eq!(
        asked(&removed, &file, &other_tier).unwrap_err(),
        RefusedChange::OtherTier("b".to_owned(), 0)
    );
    // Its address may be another's by now.
    let other = RequestedChange::Add(new_server(Some("c"), 9_002));
    let (mut overlay, _) = asked(&removed, &file, &other).unwrap();
    assert_eq!(
        overlay.put_back("shop", "b"),
        Err(RefusedChange::Taken("c".to_owned()))
    );
}

#[test]
fn what_evenkeel_runs_is_changed_in_the_file_only() {
    let file = plan(SHOP);
    let supervised = RefusedChange::Supervised("shop-1".to_owned());
    let bound = RequestedChange::MaxRequests {
        server: "shop-1".to_owned(),
        max_requests: 1,
    };
    for change in [remove("shop-1"), weight("shop-1", 2), bound] {
        assert_eq!(
            asked(&Overlay::default(), &file, &change).unwrap_err(),
            supervised
        );
    }
    let nowhere = RequestedChange::Add(new_server(None, 0));
    assert_eq!(
        asked(&Overlay::default(), &file, &nowhere).unwrap_err(),
        RefusedChange::NoPort
    );
}

#[test]
fn a_service_gets_so_many_servers_at_run_time_and_no_more() {
    let file = plan(SHOP);
    let mut overlay = Overlay::default();
    for port in 20_000..21_000 {
        let add = RequestedChange::Add(new_server(None, port));
        overlay = asked(&overlay, &file, &add).unwrap().0;
    }
    let add = RequestedChange::Add(new_server(None, 21_000));
    assert_eq!(
        asked(&overlay, &file, &add).unwrap_err(),
        RefusedChange::TooMany(1_000)
    );
}

/// One change, kept or not, on both sides.
fn both(
    (now, kept): (&Overlay, &Overlay),
    file: &Plan,
    change: &RequestedChange,
) -> Result<(Overlay, Overlay), RefusedChange> {
    let (now, server) = asked(now, file, change)?;
    let kept = kept.with_kept(file, ("shop", change, &server), 50, note("now"))?;
    Ok((now, kept))
}

#[test]
fn what_is_kept_may_differ_from_what_holds() {
    let file = plan(SHOP);
    let none = Overlay::default();
    let c = RequestedChange::Add(new_server(Some("c"), 9_500));
    // Kept, and removed without that: it can be added again.
    let (now, kept) = both((&none, &none), &file, &c).unwrap();
    let (now, _) = asked(&now, &file, &remove("c")).unwrap();
    assert!(now.is_empty());
    let (now, kept) = both((&now, &kept), &file, &c).unwrap();
    assert_eq!((lines(&now), now.changes().len()), (lines(&kept), 1));
    // Not kept, and removed for good: nothing is left to be kept.
    let (now, _) = asked(&none, &file, &c).unwrap();
    let (now, kept) = both((&now, &none), &file, &remove("c")).unwrap();
    assert!(now.is_empty() && kept.is_empty());
    // Of the file, removed without keeping it, and used again for good.
    let (now, _) = asked(&none, &file, &remove("b")).unwrap();
    let b = RequestedChange::Add(new_server(Some("b"), 9_002));
    let (now, kept) = both((&now, &none), &file, &b).unwrap();
    assert!(now.is_empty() && kept.is_empty());
    // A weight of a server that is not kept.
    let (now, _) = asked(&none, &file, &c).unwrap();
    assert_eq!(
        both((&now, &none), &file, &weight("c", 3)).unwrap_err(),
        RefusedChange::UnknownServer("c".to_owned())
    );
    assert!(now.has(&now.changes()[0]) && !none.has(&now.changes()[0]));
}

/// If everything is kept, what holds after a restart is what holds now, also with files that change in between.
#[test]
fn what_is_always_kept_is_the_same_after_a_restart() {
    let (mut made, mut refused) = (0, 0);
    for seed in 0..300 {
        let mut random = Random::seeded(seed);
        let (mut now, mut kept) = (Overlay::default(), Overlay::default());
        let mut file = plan(&generate::listed(&mut random));
        for step in 0..30 {
            if random.below(5) == 0 {
                file = plan(&generate::listed(&mut random));
                now = apply_overlay(file.clone(), &now).overlay;
                kept = apply_overlay(file.clone(), &kept).overlay;
            }
            let server = ["a", "b", "c", "d", "e", "f", "x", "y"][random.below(8)];
            let number = 1 + u32::try_from(random.below(4)).unwrap();
            let change = match random.below(4) {
                0 => {
                    let port = 9_600 + u16::from(server.as_bytes()[0]);
                    RequestedChange::Add(new_server(Some(server), port))
                }
                1 => remove(server),
                2 => weight(server, number),
                _ => RequestedChange::MaxRequests {
                    server: server.to_owned(),
                    max_requests: number,
                },
            };
            match asked(&now, &file, &change) {
                Ok(_) => {
                    (now, kept) = both((&now, &kept), &file, &change).unwrap();
                    made += 1;
                }
                Err(_) => refused += 1,
            }
            assert_eq!(now, kept, "seed {seed}, step {step}: {change:?}");
            let text = serde_json::to_string(&kept).unwrap();
            assert_eq!(serde_json::from_str::<Overlay>(&text).unwrap(), kept);
        }
    }
    assert!(made > 1_000 && refused > 1_000, "{made} {refused}");
}

#[test]
fn drift_is_what_a_reload_would_change_and_what_it_would_leave() {
    let settings = |text: &str| Settings::of(text, "evenkeel.toml", &plan(text));
    let file = plan(SHOP);
    let c = RequestedChange::Add(new_server(Some("c"), 9_500));
    let (overlay, _) = asked(&Overlay::default(), &file, &c).unwrap();
    let (overlay, _) = asked(&overlay, &file, &weight("a", 5)).unwrap();
    let running = settings(SHOP).with_overlay(&overlay);
    let same = drift(&running, &overlay, (file.clone(), settings(SHOP)));
    assert!(!same.is_empty() && same.changes.is_empty() && same.ended.is_empty());
    assert_eq!(same.runtime, overlay.changes());
    let changed = SHOP.replace(
        "name = \"a\", address = \"127.0.0.1:9001\"",
        "name = \"a\", address = \"127.0.0.1:9001\", weight = 2",
    );
    let differs = drift(&running, &overlay, (plan(&changed), settings(&changed)));
    assert_eq!(
        differs.changes[0].to_string(),
        "service shop: server a: weight 5 → 2"
    );
    assert_eq!(differs.ended[0].reason, OverlayDropReason::ChangedInFile);
    assert_eq!(differs.runtime.len(), 1);
    let none = Overlay::default();
    assert!(drift(&settings(SHOP), &none, (file, settings(SHOP))).is_empty());
}

#[test]
fn a_service_says_the_bound_of_servers_that_have_none_of_their_own() {
    for (limit, bound) in [
        ("", 0),
        ("[service.shop.limit]\nconcurrency = 70\n", 70),
        ("[service.shop.limit]\nconcurrency = \"adaptive\"\n", 1_000),
        (
            "[service.shop.limit]\nconcurrency = \"adaptive\"\nadaptive = { max = 90 }\n",
            90,
        ),
    ] {
        let text = format!(
            "[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n[service.shop]\nservers = [\"127.0.0.1:9001\"]\n{limit}"
        );
        let plan = plan(&text);
        let settings = Settings::of(&text, "evenkeel.toml", &plan);
        assert_eq!(settings.common_bound("shop"), bound, "{limit}");
        assert_eq!(plan.services[0].servers[0].max_requests, bound, "{limit}");
        assert_eq!(settings.common_bound("none"), 0);
    }
}
