//! The plan as the keeper sees it: services and servers by name, and who manages each.
//!
//! Separate from the loop because a rebuilt keeper needs it too.

use evenkeel_config::Plan;
use evenkeel_config::plan::ManagedPlan;
use evenkeel_core::ServiceId;
use evenkeel_fault::contract::{Managed, ServerSpec, ServiceSpec};

use crate::act::order_limit;

/// The services of `plan` as the keeper knows them.
pub(crate) fn specs(plan: &Plan) -> Vec<ServiceSpec> {
    let services = (0_u32..)
        .zip(&plan.services)
        .map(|(id, service)| ServiceSpec {
            id: ServiceId(id),
            name: service.name.clone(),
            options: service.fault.clone(),
            is_unlimited: service.limit.adaptive.is_none()
                && service
                    .servers
                    .iter()
                    .any(|server| server.max_requests == 0),
            servers: service
                .servers
                .iter()
                .map(|server| ServerSpec {
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
                })
                .collect(),
        });
    services.collect()
}

/// The names of a service's servers.
pub(crate) fn server_names(service: &ServiceSpec) -> Vec<String> {
    let servers = service.servers.iter();
    servers.map(|server| server.name.clone()).collect()
}
