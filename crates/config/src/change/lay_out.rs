//! Gives a new plan the slots of the running one: whatever has the same name in both has the same slot, so that all that is
//! known under it stays known.

use std::collections::BTreeMap;

use evenkeel_core::ServiceId;
use evenkeel_request::route::{Route, Target};
use evenkeel_request::{FallbackTo, Mirror, Policies};

use super::slots::{FreeSlots, PlanSlot, SlotAllocator};
use crate::plan::{DiscoverPlan, ListenerPlan, Plan, ServicePlan};

/// `new` with the slots of `running`: services by name, servers by name within their service, routes by listener and
/// conditions, policies by the service or the route that they belong to. What is new takes slots that are neither in use in
/// `running` nor held in `free`. What the running plan knows by other means than the file is taken over where the file says the
/// same: the keys of sticky sessions, and the addresses of listed servers that follow a name in DNS.
#[must_use]
pub fn lay_out(running: &Plan, mut new: Plan, free: &FreeSlots) -> Plan {
    let slots = SlotAllocator::new(running, free);
    let before: BTreeMap<&str, &ServicePlan> = running
        .services
        .iter()
        .map(|service| (service.name.as_str(), service))
        .collect();
    let mut ids = BTreeMap::new();
    let mut free_ids = slots.of_kind(PlanSlot::Service);
    for service in &mut new.services {
        let old = before.get(service.name.as_str());
        let id = old.map_or_else(
            || ServiceId(free_ids.next().unwrap_or(u32::MAX)),
            |old| old.id,
        );
        ids.insert(service.id, id);
        service.id = id;
        match old {
            Some(old) => keep_servers(old, service, &slots),
            None => number_servers(service),
        }
    }
    map_services(&mut new, &|id| ids.get(&id).copied().unwrap_or(id));
    place_routes(running, &mut new, &slots);
    place_policies(running, &mut new, &slots);
    new
}

fn keep_servers(old: &ServicePlan, new: &mut ServicePlan, slots: &SlotAllocator<'_>) {
    let before: BTreeMap<&str, u32> = old
        .servers
        .iter()
        .map(|server| (server.name.as_str(), server.index))
        .collect();
    let mut free = slots.of_kind(|index| PlanSlot::Server(old.id, index));
    let mut indexes = BTreeMap::new();
    for server in &mut new.servers {
        let known = before.get(server.name.as_str()).copied();
        let index = known.unwrap_or_else(|| free.next().unwrap_or(u32::MAX));
        indexes.insert(server.index, index);
        server.index = index;
    }
    map_groups(new, &indexes);
    keep_addresses(old, new);
    if let (Some(old), Some(new)) = (&old.sticky, &mut new.sticky)
        && old.key_file == new.key_file
        && new.key.0.is_empty()
    {
        new.key = old.key.clone();
    }
}

/// The first plan of a service: the index is the place in the list.
fn number_servers(service: &mut ServicePlan) {
    let mut indexes = BTreeMap::new();
    for (index, server) in (0..).zip(&mut service.servers) {
        indexes.insert(server.index, index);
        server.index = index;
    }
    map_groups(service, &indexes);
}

fn map_groups(service: &mut ServicePlan, indexes: &BTreeMap<u32, u32>) {
    let groups = service.discover.iter_mut();
    for index in groups.flat_map(|group| &mut group.servers) {
        *index = indexes.get(index).copied().unwrap_or(*index);
    }
}

/// The address of a listed server that follows a name is what DNS said when the file was read. It is `discover` that moves the
/// server, so that another answer is no change of the configuration.
fn keep_addresses(old: &ServicePlan, new: &mut ServicePlan) {
    let before = followed(&old.discover);
    let after = followed(&new.discover);
    let servers = old.servers.iter();
    let addresses: BTreeMap<u32, _> = servers.map(|one| (one.index, one.address)).collect();
    for server in &mut new.servers {
        let name = after.get(&server.index);
        if name.is_some()
            && name == before.get(&server.index)
            && let Some(address) = addresses.get(&server.index)
        {
            server.address = *address;
        }
    }
}

/// The name and the port that listed servers follow, by their index.
fn followed(groups: &[DiscoverPlan]) -> BTreeMap<u32, (&str, Option<u16>)> {
    let groups = groups.iter().filter(|group| group.fixed.is_some());
    let servers = groups.filter_map(|group| {
        let index = group.servers.first()?;
        Some((*index, (group.name.as_str(), group.port)))
    });
    servers.collect()
}

/// Replaces each id of a service that another part of the plan refers to.
fn map_services(plan: &mut Plan, map: &impl Fn(ServiceId) -> ServiceId) {
    let all = |id: &mut ServiceId| *id = map(*id);
    let mirror = |mirror: &mut Option<Mirror>| {
        if let Some(mirror) = mirror {
            all(&mut mirror.to);
        }
    };
    let policies = |policies: &mut Policies| {
        if let Some(fallback) = &mut policies.fallback
            && let FallbackTo::Service(id) = &mut fallback.to
        {
            all(id);
        }
    };
    for service in &mut plan.services {
        mirror(&mut service.mirror);
        policies(&mut service.policies);
    }
    for listener in &mut plan.listeners {
        listener.default_service.iter_mut().for_each(all);
        for route in &mut listener.routes {
            match &mut route.target {
                Target::Service(id) => all(id),
                Target::Split(split) => split.services_mut().for_each(all),
                Target::Redirect(_) => {}
            }
            mirror(&mut route.mirror);
            for (id, own) in &mut route.policies {
                all(id);
                policies(own);
            }
        }
    }
    let names = plan.dns.iter_mut().flat_map(|dns| &mut dns.names);
    names.for_each(|name| all(&mut name.service));
}

/// What a route is known by: its listener, its conditions, and the how-manieth it is of those that are equal in this.
type RouteKey = (String, String, usize);

/// The keys of a listener's routes, in their order.
fn route_keys(listener: &ListenerPlan) -> Vec<RouteKey> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let keys = listener.routes.iter().map(|route| {
        let conditions = conditions(route);
        let number = seen.entry(conditions.clone()).or_default();
        *number += 1;
        (listener.name.clone(), conditions, *number)
    });
    keys.collect()
}

fn conditions(route: &Route) -> String {
    let Route {
        host,
        path,
        methods,
        headers,
        query,
        cookies,
        ..
    } = route;
    format!("{:?}", (host, path, methods, headers, query, cookies))
}

fn place_routes(running: &Plan, new: &mut Plan, slots: &SlotAllocator<'_>) {
    let mut places = BTreeMap::new();
    for listener in &running.listeners {
        for (key, route) in route_keys(listener).into_iter().zip(&listener.routes) {
            places.insert(key, route.place);
        }
    }
    let mut free = slots.of_kind(PlanSlot::Route);
    for listener in &mut new.listeners {
        for (key, route) in route_keys(listener).iter().zip(&mut listener.routes) {
            let known = places.get(key).copied();
            route.place = known.unwrap_or_else(|| free.next().unwrap_or(u32::MAX));
        }
    }
}

/// The policies of a plan, each with the service, and the route if they are its own.
fn place_policies(running: &Plan, new: &mut Plan, slots: &SlotAllocator<'_>) {
    let mut places = BTreeMap::new();
    for service in &running.services {
        places.insert((None, service.id), service.policies.place);
    }
    for route in running.listeners.iter().flat_map(|all| &all.routes) {
        for (service, own) in &route.policies {
            places.insert((Some(route.place), *service), own.place);
        }
    }
    let mut free = slots.of_kind(PlanSlot::Policies);
    let mut place = |key| {
        let known = places.get(&key).copied();
        known.unwrap_or_else(|| free.next().unwrap_or(u32::MAX))
    };
    for service in &mut new.services {
        service.policies.place = place((None, service.id));
    }
    for route in new.listeners.iter_mut().flat_map(|all| &mut all.routes) {
        for (service, own) in &mut route.policies {
            own.place = place((Some(route.place), *service));
        }
    }
}
