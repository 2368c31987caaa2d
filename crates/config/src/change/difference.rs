//! Finds what differs between two plans.

use std::collections::BTreeMap;

use super::{
    Changes, DnsChange, ListOrder, ListenerChange, RestartChanges, ServerDifference,
    ServerPlanChange, ServiceChange, ServiceDifference,
};
use crate::plan::{DnsPlan, ListenerPlan, ManagedPlan, Plan, ServerPlan, ServicePlan};

/// What has to change for `old` to become `new`, which has its slots: see [`lay_out`](super::lay_out()).
#[must_use]
pub fn difference(old: &Plan, new: &Plan) -> Changes {
    let Plan {
        reload,
        workers,
        admin,
        store,
        log,
        listeners,
        dns,
        services,
    } = new;
    Changes {
        services: differing_services(&old.services, services),
        listeners: differing_listeners(&old.listeners, listeners),
        dns: differing_dns(&old.dns, dns),
        log: changed(&old.log, log),
        reload: changed(&old.reload, reload),
        order: ListOrder {
            services: order(&old.services, services, |service| service.id),
            listeners: order(&old.listeners, listeners, |one| one.name.clone()),
            dns: order(&old.dns, dns, |one| one.name.clone()),
        },
        restart: RestartChanges {
            workers: changed(&old.workers, workers),
            admin: changed(&old.admin, admin),
            store: changed(&old.store, store),
        },
    }
}

/// The new value, if it is not the old one.
fn changed<T: PartialEq + Clone>(old: &T, new: &T) -> Option<T> {
    (old != new).then(|| new.clone())
}

/// The items of two lists, matched by key.
struct Matched<'a, T> {
    removed: Vec<&'a T>,
    both: Vec<(&'a T, &'a T)>,
    added: Vec<&'a T>,
}

fn matched<'a, T, K: Ord>(old: &'a [T], new: &'a [T], key: impl Fn(&'a T) -> K) -> Matched<'a, T> {
    let mut before: BTreeMap<K, &T> = old.iter().map(|item| (key(item), item)).collect();
    let (mut both, mut added) = (Vec::new(), Vec::new());
    for item in new {
        match before.remove(&key(item)) {
            Some(earlier) => both.push((earlier, item)),
            None => added.push(item),
        }
    }
    let removed = old.iter().filter(|item| before.contains_key(&key(item)));
    Matched {
        removed: removed.collect(),
        both,
        added,
    }
}

/// The order of `new`, if it is not that of `old` without what goes and with what comes at its end.
fn order<T, K: Ord + Clone>(old: &[T], new: &[T], key: impl Fn(&T) -> K) -> Option<Vec<K>> {
    let before: BTreeMap<K, usize> = old.iter().map(&key).zip(0..).collect();
    let places = new
        .iter()
        .map(|item| before.get(&key(item)).copied().unwrap_or(usize::MAX));
    (!places.is_sorted()).then(|| new.iter().map(&key).collect())
}

fn differing_services(old: &[ServicePlan], new: &[ServicePlan]) -> Vec<ServiceChange> {
    let sides = matched(old, new, |service| (service.id, service.name.as_str()));
    let removed = sides
        .removed
        .into_iter()
        .map(|service| ServiceChange::Removed {
            id: service.id,
            name: service.name.clone(),
        });
    let both = sides.both.into_iter().filter(|(old, new)| old != new);
    let both = both.map(|(old, new)| ServiceChange::Changed(Box::new(service(old, new))));
    let added = sides.added.into_iter();
    let added = added.map(|service| ServiceChange::Added(Box::new(service.clone())));
    removed.chain(both).chain(added).collect()
}

/// How a service differs. A field that is not named here does not compile.
fn service(old: &ServicePlan, new: &ServicePlan) -> ServiceDifference {
    let ServicePlan {
        id: _,
        name: _,
        servers,
        discover,
        balance,
        hash_on,
        sticky,
        limit,
        hold_requests,
        load_header,
        ask,
        policies,
        breaker,
        request_headers,
        response_headers,
        mirror,
        fault,
    } = new;
    let settings = old.balance != *balance
        || old.hash_on != *hash_on
        || old.sticky != *sticky
        || old.limit != *limit
        || old.hold_requests != *hold_requests
        || old.load_header != *load_header
        || old.ask != *ask
        || old.policies != *policies
        || old.breaker != *breaker
        || old.request_headers != *request_headers
        || old.response_headers != *response_headers
        || old.mirror != *mirror;
    ServiceDifference {
        settings,
        fault: old.fault != *fault,
        servers: differing_servers(&old.servers, servers),
        server_order: order(&old.servers, servers, |server| server.index).is_some(),
        discover: old.discover != *discover,
        plan: new.clone(),
    }
}

fn differing_servers(old: &[ServerPlan], new: &[ServerPlan]) -> Vec<ServerPlanChange> {
    let sides = matched(old, new, |server| (server.index, server.name.as_str()));
    let removed = sides.removed.into_iter();
    let removed = removed.map(|server| ServerPlanChange::Removed {
        index: server.index,
        name: server.name.clone(),
    });
    let both = sides.both.into_iter().filter(|(old, new)| old != new);
    let both = both.map(|(old, new)| ServerPlanChange::Changed {
        index: new.index,
        what: server(old, new),
    });
    let added = sides.added.into_iter();
    let added = added.map(|server| ServerPlanChange::Added {
        index: server.index,
    });
    removed.chain(both).chain(added).collect()
}

/// How a server differs. A field that is not named here does not compile.
fn server(old: &ServerPlan, new: &ServerPlan) -> ServerDifference {
    let ServerPlan {
        index: _,
        name: _,
        address,
        weight,
        tier,
        near,
        max_requests,
        managed,
    } = new;
    let differs = old.managed != *managed;
    let is_run = |managed: &ManagedPlan| matches!(managed, ManagedPlan::Child(_));
    let by_commands = |managed: &ManagedPlan| matches!(managed, ManagedPlan::Commands { .. });
    ServerDifference {
        address: old.address != *address,
        weight: (old.weight, old.tier, old.near) != (*weight, *tier, *near),
        limits: old.max_requests != *max_requests,
        run: differs && (is_run(&old.managed) || is_run(managed)),
        commands: differs && (by_commands(&old.managed) || by_commands(managed)),
    }
}

fn differing_listeners(old: &[ListenerPlan], new: &[ListenerPlan]) -> Vec<ListenerChange> {
    let sides = matched(old, new, |listener| listener.name.as_str());
    let removed = sides.removed.into_iter();
    let removed = removed.map(|listener| ListenerChange::Removed {
        name: listener.name.clone(),
    });
    let both = sides.both.into_iter().filter(|(old, new)| old != new);
    let both = both.map(|(old, new)| listener(old, new));
    let added = sides.added.into_iter();
    let added = added.map(|listener| ListenerChange::Added(Box::new(listener.clone())));
    removed.chain(both).chain(added).collect()
}

fn listener(old: &ListenerPlan, new: &ListenerPlan) -> ListenerChange {
    let ListenerPlan {
        name: _,
        address,
        socket,
        default_service,
        routes,
        limits,
    } = new;
    ListenerChange::Changed {
        address: old.address != *address || old.socket != *socket,
        limits: old.limits != *limits,
        routes: old.routes != *routes || old.default_service != *default_service,
        plan: Box::new(new.clone()),
    }
}

fn differing_dns(old: &[DnsPlan], new: &[DnsPlan]) -> Vec<DnsChange> {
    let sides = matched(old, new, |listener| listener.name.as_str());
    let removed = sides.removed.into_iter();
    let removed = removed.map(|listener| DnsChange::Removed {
        name: listener.name.clone(),
    });
    let both = sides.both.into_iter().filter(|(old, new)| old != new);
    let both = both.map(|(old, new)| dns_listener(old, new));
    let added = sides.added.into_iter().cloned().map(DnsChange::Added);
    removed.chain(both).chain(added).collect()
}

fn dns_listener(old: &DnsPlan, new: &DnsPlan) -> DnsChange {
    let DnsPlan {
        name: _,
        address,
        names,
        rate,
    } = new;
    DnsChange::Changed {
        address: old.address != *address,
        names: old.names != *names,
        rate: old.rate != *rate,
        plan: new.clone(),
    }
}
