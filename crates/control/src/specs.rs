//! The plan as the keeper sees it: services and servers by name, and who manages each.
//!
//! Separate from the loop because a rebuilt keeper needs it too.

use std::collections::BTreeSet;

use evenkeel_config::Plan;
use evenkeel_config::plan::{ManagedPlan, ServerPlan, ServicePlan};
use evenkeel_core::{ServerId, ServiceId};
use evenkeel_fault::contract::{Managed, ServerSpec, ServiceSpec};

use crate::act::order_limit;

/// The services of `plan` as the keeper knows them, by slot: one without a service is vacant.
pub(crate) fn specs(plan: &Plan) -> Vec<ServiceSpec> {
    let Some(any) = plan.services.first() else {
        return Vec::new();
    };
    let slots = plan.services.iter().map(|service| service.id.0 + 1).max();
    let vacant = |id| ServiceSpec::vacant(ServiceId(id), any.fault.clone());
    let mut specs: Vec<ServiceSpec> = (0..slots.unwrap_or_default()).map(vacant).collect();
    for service in &plan.services {
        specs[service.id.0 as usize] = spec(service);
    }
    specs
}

fn spec(service: &ServicePlan) -> ServiceSpec {
    let all = service.servers.iter();
    let is_unlimited =
        service.limit.adaptive.is_none() && all.clone().any(|server| server.max_requests == 0);
    let slots = all.map(|server| server.index as usize + 1).max();
    let mut servers = vec![ServerSpec::vacant(); slots.unwrap_or_default()];
    for server in &service.servers {
        servers[server.index as usize] = server_spec(server);
    }
    ServiceSpec {
        id: service.id,
        name: service.name.clone(),
        options: service.fault.clone(),
        is_unlimited,
        servers,
    }
}

fn server_spec(server: &ServerPlan) -> ServerSpec {
    ServerSpec {
        name: server.name.clone(),
        address: server.address.as_ref().map(ToString::to_string),
        tier: server.tier,
        managed: match &server.managed {
            ManagedPlan::Child(_) => Managed::Child,
            ManagedPlan::Commands { restart, stop } => Managed::Commands {
                restart: restart.is_some(),
                stop: stop.is_some(),
            },
            ManagedPlan::Nothing => Managed::Nothing,
        },
        rolls_back: match &server.managed {
            ManagedPlan::Child(child) => child.roll_back.is_some(),
            ManagedPlan::Commands { .. } | ManagedPlan::Nothing => false,
        },
        order_limit: order_limit(&server.managed),
    }
}

/// The servers of `plan` that come from DNS.
pub(crate) fn discovered(plan: &Plan) -> BTreeSet<ServerId> {
    let of_service = |service: &ServicePlan| {
        let id = service.id;
        let groups = service.discover.clone().into_iter();
        let servers = groups.flat_map(|group| group.servers);
        servers.map(move |index| ServerId { service: id, index })
    };
    plan.services.iter().flat_map(of_service).collect()
}

/// The names of a service's servers.
pub(crate) fn server_names(service: &ServiceSpec) -> Vec<String> {
    let servers = service.servers.iter();
    servers.map(|server| server.name.clone()).collect()
}
