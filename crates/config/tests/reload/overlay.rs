//! Changes at run time against a model in which whoever spoke last is right: the API, or the file when what it says has changed.

use std::collections::BTreeMap;

use evenkeel_config::change::{
    AddedServer, FreeSlots, Overlay, OverlayDropReason, RefusedChange, apply_overlay, difference,
    lay_out,
};
use evenkeel_config::plan::Plan;
use evenkeel_core::Random;

use super::{SHOP, generate, plan};

/// Port, weight and bound.
type Listed = (u16, u32, u32);

/// A server in the model.
#[derive(Debug, Clone, Default)]
struct ModelServer {
    file: Option<Listed>,
    added: Option<Listed>,
    removed: bool,
    weight: Option<u32>,
    bound: Option<u32>,
}

#[derive(Debug, Default)]
struct Model(BTreeMap<(String, String), ModelServer>);

fn servers(plan: &Plan) -> BTreeMap<(String, String), Listed> {
    let services = plan.services.iter();
    let all = services.flat_map(|service| {
        service.servers.iter().map(|server| {
            let name = (service.name.clone(), server.name.clone());
            (
                name,
                (
                    server.address.as_ref().unwrap().tcp().unwrap().port(),
                    server.weight,
                    server.max_requests,
                ),
            )
        })
    });
    all.collect()
}

impl Model {
    fn file(&mut self, plan: &Plan) {
        let listed = servers(plan);
        for name in listed.keys() {
            self.0.entry(name.clone()).or_default();
        }
        for (name, server) in &mut self.0 {
            let before = std::mem::replace(&mut server.file, listed.get(name).copied());
            let has_service = plan.services.iter().any(|service| service.name == name.0);
            let Some(now) = server.file else {
                server.removed = false;
                server.weight = None;
                server.bound = None;
                if !has_service {
                    server.added = None;
                }
                continue;
            };
            server.added = None;
            if before.is_none_or(|before| before.0 != now.0) {
                server.removed = false;
            }
            if before.is_none_or(|before| before.1 != now.1) || server.weight == Some(now.1) {
                server.weight = None;
            }
            if before.is_none_or(|before| before.2 != now.2) || server.bound == Some(now.2) {
                server.bound = None;
            }
        }
    }

    fn servers(&self) -> BTreeMap<(String, String), Listed> {
        let all = self.0.iter().filter_map(|(name, server)| {
            let (port, weight, bound) = server.added.or(server.file)?;
            let weight = server.weight.unwrap_or(weight);
            let bound = server.bound.unwrap_or(bound);
            (!server.removed).then(|| (name.clone(), (port, weight, bound)))
        });
        all.collect()
    }
}

/// One call of the API, on the overlay and on the model.
fn call(random: &mut Random, overlay: &mut Overlay, now: &Plan, model: &mut Model) {
    let service = ["shop", "api"][random.below(2)];
    let server = ["a", "b", "c", "d", "e", "f", "x", "y"][random.below(8)];
    let key = (service.to_owned(), server.to_owned());
    let number = 1 + u32::try_from(random.below(4)).unwrap();
    match random.below(5) {
        0 => {
            let port = 9_600 + u16::from(server.as_bytes()[0]) + u16::from(service == "api") * 200;
            let added = AddedServer {
                name: server.to_owned(),
                address: ([127, 0, 0, 1], port).into(),
                weight: number,
                tier: 0,
                max_requests: 0,
            };
            if overlay.add_server(now, service, added).is_ok() {
                model.0.entry(key).or_default().added = Some((port, number, 0));
            }
        }
        1 => {
            if overlay.remove_server(now, service, server).is_ok() {
                let server = model.0.get_mut(&key).unwrap();
                server.removed = server.added.take().is_none();
                server.weight = None;
                server.bound = None;
            }
        }
        2 => {
            if overlay.put_back(service, server).is_ok() {
                model.0.get_mut(&key).unwrap().removed = false;
            }
        }
        which => {
            let set = if which == 3 {
                overlay.set_weight(now, service, server, number)
            } else {
                overlay.set_max_requests(now, service, server, number)
            };
            if set.is_ok() {
                let server = model.0.get_mut(&key).unwrap();
                match (&mut server.added, which) {
                    (Some(added), 3) => added.1 = number,
                    (Some(added), _) => added.2 = number,
                    (None, 3) => server.weight = Some(number),
                    (None, _) => server.bound = Some(number),
                }
            }
        }
    }
}

#[test]
fn five_hundred_sequences_of_reloads_and_calls_agree_with_the_model() {
    let mut dropped = 0;
    for seed in 0..500 {
        let mut random = Random::seeded(seed);
        let (mut overlay, mut model) = (Overlay::default(), Model::default());
        let mut file = plan(&generate::listed(&mut random));
        model.file(&file);
        let mut running = file.clone();
        let mut free = FreeSlots::default();
        for step in 0..30 {
            if random.below(4) == 0 {
                file = plan(&generate::listed(&mut random));
                model.file(&file);
            } else {
                call(&mut random, &mut overlay, &running, &mut model);
            }
            let text = serde_json::to_string(&overlay).unwrap();
            assert_eq!(serde_json::from_str::<Overlay>(&text).unwrap(), overlay);
            let with = apply_overlay(file.clone(), &overlay);
            dropped += with.dropped.len();
            overlay = with.overlay;
            let new = lay_out(&running, with.plan, &free);
            assert_eq!(
                servers(&new),
                model.servers(),
                "seed {seed}, step {step}: {overlay:?}"
            );
            let changes = difference(&running, &new);
            assert_eq!(changes.apply(&running), new, "seed {seed}, step {step}");
            free.vacate(&running, &new, step);
            free.release(&[step.saturating_sub(1), step, step + 1]);
            running = new;
            let again = apply_overlay(file.clone(), &overlay);
            assert!(
                again.dropped.is_empty() && again.overlay == overlay,
                "seed {seed}"
            );
            assert_eq!(overlay.is_empty(), overlay.lines().is_empty());
        }
    }
    assert!(dropped > 500, "{dropped}");
}

fn added(name: &str, port: u16) -> AddedServer {
    AddedServer {
        name: name.to_owned(),
        address: ([127, 0, 0, 1], port).into(),
        weight: 1,
        tier: 0,
        max_requests: 0,
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let file = plan(SHOP);
    let mut overlay = Overlay::default();
    let mut add = |service: &str, server| overlay.add_server(&file, service, server);
    let taken = |name: &str| Err(RefusedChange::Taken(name.to_owned()));
    assert_eq!(add("shop", added("a", 9_500)), taken("a"));
    assert_eq!(add("shop", added("new", 9_002)), taken("b"));
    assert_eq!(
        add("shop", added("New", 9_500)),
        Err(RefusedChange::BadName("New".to_owned()))
    );
    assert_eq!(
        add("shoo", added("new", 9_500)),
        Err(RefusedChange::UnknownService("shoo".to_owned()))
    );
    assert_eq!(
        overlay.set_weight(&file, "shop", "a", 1_001),
        Err(RefusedChange::OutOfRange(1, 1_000))
    );
    let alone = plan(
        &SHOP
            .replace("run =", "# ")
            .replace(", { name = \"b\", address = \"127.0.0.1:9002\" }", ""),
    );
    assert_eq!(
        overlay.remove_server(&alone, "shop", "a"),
        Err(RefusedChange::LastServer("a".to_owned()))
    );
    let dns = plan(&SHOP.replace(
        "run =",
        "discover = { dns = \"shop.internal:80\", slots = 2 }\nrun =",
    ));
    assert_eq!(
        overlay.set_weight(&dns, "shop", "dns-1", 2),
        Err(RefusedChange::FromDns("dns-1".to_owned()))
    );
    assert!(overlay.is_empty());
}

#[test]
fn the_file_holds_over_an_address_that_was_added() {
    let mut overlay = Overlay::default();
    overlay
        .add_server(&plan(SHOP), "shop", added("new", 9_500))
        .unwrap();
    assert_eq!(
        overlay.lines(),
        ["service shop: server new added at run time: 127.0.0.1:9500, weight 1"]
    );
    let file = plan(&SHOP.replace("9002", "9500"));
    let with = apply_overlay(file.clone(), &overlay);
    assert_eq!(with.dropped.len(), 1);
    assert_eq!(with.dropped[0].reason, OverlayDropReason::InFile);
    assert_eq!((with.plan, with.overlay), (file, Overlay::default()));
}
