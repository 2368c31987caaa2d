//! Reloads as values: plans keep their slots, and the difference of two plans makes one into the other.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod generate;
mod overlay;
mod runtime;
mod settings;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use evenkeel_config::change::{FreeSlots, ServerPlanChange, ServiceChange, difference, lay_out};
use evenkeel_config::plan::Plan;
use evenkeel_config::{Environment, Loaded, Settings, load_with_settings, render};
use evenkeel_core::{Random, ServiceId};
use evenkeel_request::FallbackTo;

/// The plan of a file that must be valid. Names have another address each time that they are asked for.
pub(crate) fn read(text: &str) -> Loaded {
    read_with_settings(text).0
}

/// The same, with the settings.
pub(crate) fn read_with_settings(text: &str) -> (Loaded, Settings) {
    let asked = Cell::new(text.len());
    let resolver = |_: &str| -> Result<Vec<SocketAddr>, String> {
        asked.set(asked.get() + 1);
        Ok(vec![SocketAddr::from((
            [10, 0, 0, (asked.get() % 250) as u8],
            80,
        ))])
    };
    let around = Environment {
        base_dir: Path::new("/etc/shop"),
        state_dir: Path::new("/state"),
        cores: 4,
        descriptors: 65_536,
        resolver: &resolver,
        socket: &|_, _| Ok(()),
    };
    let loaded = load_with_settings(text, "evenkeel.toml", &around);
    loaded.unwrap_or_else(|wrong| {
        panic!(
            "{text}\n{}",
            render::human(&wrong, render::Style::default())
        )
    })
}

fn plan(text: &str) -> Plan {
    read(text).plan
}

/// The slot of each thing of a plan, by name.
fn slots(plan: &Plan) -> BTreeMap<String, String> {
    let mut slots = BTreeMap::new();
    for service in &plan.services {
        let name = &service.name;
        slots.insert(format!("service {name}"), service.id.0.to_string());
        let place = service.policies.place;
        slots.insert(format!("policies {name}"), format!("policies {place}"));
        for server in &service.servers {
            let slot = format!("{} {}", service.id.0, server.index);
            slots.insert(format!("server {name}/{}", server.name), slot);
        }
    }
    for listener in &plan.listeners {
        for route in &listener.routes {
            let conditions = (&route.host, &route.path, &route.methods, &route.headers);
            let rest = (&route.query, &route.cookies);
            let name = format!("{}: {conditions:?} {rest:?}", listener.name);
            for (service, policies) in &route.policies {
                let service = &plan.service(*service).unwrap().name;
                let place = policies.place;
                slots.insert(format!("{name} for {service}"), format!("policies {place}"));
            }
            slots.insert(name, format!("route {}", route.place));
        }
    }
    slots
}

/// Each reference to a service, as its name.
fn references(plan: &Plan) -> Vec<Option<&str>> {
    let mut ids: Vec<Option<ServiceId>> = Vec::new();
    let fallback = |policies: &evenkeel_request::Policies| match policies.fallback.as_ref()?.to {
        FallbackTo::Service(id) => Some(id),
        FallbackTo::Own | FallbackTo::Response(_) => None,
    };
    for service in &plan.services {
        ids.push(Some(service.id));
        ids.push(service.mirror.as_ref().map(|mirror| mirror.to));
        ids.push(fallback(&service.policies));
    }
    for listener in &plan.listeners {
        ids.push(listener.default_service);
        for route in &listener.routes {
            ids.extend(route.target.services().map(Some));
            ids.push(route.mirror.as_ref().map(|mirror| mirror.to));
            for (id, policies) in &route.policies {
                ids.extend([Some(*id), fallback(policies)]);
            }
        }
    }
    let names = plan.dns.iter().flat_map(|dns| &dns.names);
    ids.extend(names.map(|name| Some(name.service)));
    let name = |id: ServiceId| plan.service(id).unwrap().name.as_str();
    ids.into_iter().map(|id| id.map(name)).collect()
}

#[test]
fn the_difference_of_two_plans_applied_to_one_gives_the_other() {
    for seed in 0..600 {
        let mut random = Random::seeded(seed);
        let (old, text) = (generate::file(&mut random), generate::file(&mut random));
        let old = plan(&old);
        let free = FreeSlots::default();
        let new = lay_out(&old, plan(&text), &free);
        let changes = difference(&old, &new);
        assert_eq!(changes.apply(&old), new, "seed {seed}");
        assert!(difference(&new, &new).is_empty(), "seed {seed}");
        let again = lay_out(&new, plan(&text), &free);
        assert!(
            difference(&new, &again).is_empty(),
            "seed {seed}: the same file again"
        );
        assert_eq!(changes.is_empty(), old == new, "seed {seed}");
        let live = changes.clone().without_restart().apply(&old);
        assert_eq!(
            difference(&live, &new).needs_restart(),
            changes.needs_restart()
        );
    }
}

#[test]
fn names_keep_their_slots_and_references_their_services() {
    for seed in 0..600 {
        let mut random = Random::seeded(seed);
        let (old, text) = (generate::file(&mut random), generate::file(&mut random));
        let old = plan(&old);
        let read = plan(&text);
        let new = lay_out(&old, read.clone(), &FreeSlots::default());
        let (before, after) = (slots(&old), slots(&new));
        for (name, slot) in &after {
            if let Some(kept) = before.get(name) {
                assert_eq!(kept, slot, "seed {seed}: {name}");
            }
        }
        let distinct: BTreeSet<&String> = after.values().collect();
        assert_eq!(distinct.len(), after.len(), "seed {seed}: {after:?}");
        assert_eq!(references(&new), references(&read), "seed {seed}");
        for (new, read) in new.services.iter().zip(&read.services) {
            for (new_group, group) in new.discover.iter().zip(&read.discover) {
                let names = |service: &evenkeel_config::plan::ServicePlan, slots: &[u32]| {
                    let server = |index: &u32| service.server(*index).unwrap().name.clone();
                    slots.iter().map(server).collect::<Vec<_>>()
                };
                assert_eq!(names(new, &new_group.servers), names(read, &group.servers));
            }
        }
    }
}

/// A random number of older generations is held while the configuration changes again and again.
#[test]
fn a_slot_has_no_new_owner_while_its_old_one_is_held() {
    for seed in 0..120 {
        let mut random = Random::seeded(seed);
        let mut running = plan(&generate::file(&mut random));
        let mut free = FreeSlots::default();
        let mut held: Vec<(u64, Plan)> = Vec::new();
        for generation in 0..12 {
            let new = lay_out(&running, plan(&generate::file(&mut random)), &free);
            free.vacate(&running, &new, generation);
            held.push((generation, running));
            held.retain(|_| random.below(3) > 0);
            let live = held.iter().map(|(generation, _)| *generation);
            free.release(&live.chain([generation + 1]).collect::<Vec<_>>());
            running = new;
            let owners = owners(&running);
            for (_, plan) in &held {
                for (slot, name) in self::owners(plan) {
                    let now = owners.get(&slot);
                    assert!(
                        now.is_none_or(|now| *now == name),
                        "seed {seed}: {slot}: {name} {now:?}"
                    );
                }
            }
        }
        free.release(&[]);
        assert_eq!(free.held(), 0);
    }
}

/// A tunnel may hold the first generation for ever. What comes and goes after it takes the same few slots again and again.
#[test]
fn a_generation_that_is_held_for_ever_holds_only_its_own_slots() {
    let text = |n: u64| {
        SHOP.replace(
            "[service.shop]",
            &format!(
                "[service.s{n}]\nservers = [\"127.0.0.1:{}\"]\n[service.shop]",
                n + 1
            ),
        )
    };
    let mut running = plan(&text(0));
    let mut free = FreeSlots::default();
    let mut most = 0;
    for generation in 0..200 {
        let new = lay_out(&running, plan(&text(generation + 1)), &free);
        free.vacate(&running, &new, generation);
        free.release(&[0, generation + 1]);
        running = new;
        most = most.max(free.held());
        let ids = running.services.iter().map(|service| service.id.0);
        assert!(ids.max() <= Some(3), "{generation}: {running:?}");
    }
    assert!(most <= 6, "{most}");
}

fn owners(plan: &Plan) -> BTreeMap<String, String> {
    let kind = |name: &str, slot: String| match name.split_once(' ') {
        Some((kind @ ("service" | "server"), _)) => (format!("{kind} {slot}"), name.to_owned()),
        _ => (slot, name.to_owned()),
    };
    let slots = slots(plan);
    slots
        .into_iter()
        .map(|(name, slot)| kind(&name, slot))
        .collect()
}

const SHOP: &str = r#"
[listen.web]
address = "127.0.0.1:8080"
service = "shop"
[service.shop]
servers = [{ name = "a", address = "127.0.0.1:9001" }, { name = "b", address = "127.0.0.1:9002" }]
run = { command = ["./shop", "{port}"], ports = [9003] }
"#;

#[test]
fn a_change_lists_what_differs() {
    let old = plan(SHOP);
    let changed = |from: &str, to: &str| {
        let new = lay_out(&old, plan(&SHOP.replace(from, to)), &FreeSlots::default());
        difference(&old, &new)
    };
    let one_service = |from: &str, to: &str| match &changed(from, to).services[..] {
        [ServiceChange::Changed(change)] => (**change).clone(),
        other => panic!("{other:?}"),
    };
    let weight = one_service("9002\"", "9002\", weight = 3");
    let [ServerPlanChange::Changed { index: 1, what }] = &weight.servers[..] else {
        panic!("{weight:?}")
    };
    assert!(what.weight && !what.address && !what.limits && !what.run && !what.commands);
    assert!(!weight.settings && !weight.fault && !weight.discover && !weight.server_order);
    let run = one_service("\"./shop\"", "\"./shop\", \"-v\"");
    let [ServerPlanChange::Changed { index: 2, what }] = &run.servers[..] else {
        panic!("{run:?}")
    };
    assert!(what.run && !what.address && !what.commands);
    let fault = one_service("run =", "detect = { consecutive_failures = 9 }\nrun =");
    assert!(fault.fault && !fault.settings && fault.servers.is_empty());
    let settings = one_service("run =", "timeout = { connect = \"3s\" }\nrun =");
    assert!(settings.settings && !settings.fault && settings.servers.is_empty());
    let restart = changed("[listen.web]", "[store]\nurl = \"memory:\"\n[listen.web]");
    assert_eq!(restart.needs_restart(), ["store"]);
    assert!(restart.without_restart().is_empty());
}

/// What evenkeel reads from a file of its own is not in the configuration, and is no change of it.
#[test]
fn the_key_of_sticky_sessions_stays() {
    let text = SHOP.replace("run =", "balance = { sticky = { cookie = \"s\" } }\nrun =");
    let mut old = plan(&text);
    old.services[0].sticky.as_mut().unwrap().key.0 = b"secret".to_vec();
    let new = lay_out(&old, plan(&text), &FreeSlots::default());
    assert!(difference(&old, &new).is_empty());
}
