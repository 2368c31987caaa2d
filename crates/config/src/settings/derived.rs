//! Defaults that follow from other keys: each is taken from the plan, in which it was decided.

use evenkeel_fault::policy::ProbeKind;
use evenkeel_tolerate::queue::CodelRule;
use serde_json::Value as Json;

use super::{Origin, Setting};
use crate::file::quantity::type_duration;
use crate::plan::{Plan, ServicePlan};

/// Adds them to the settings that were read.
pub(super) fn fill_derived(root: &mut Setting, plan: &Plan) {
    fill(root, "workers", plan.workers.into());
    let Some(services) = root.key_mut("service") else {
        return;
    };
    for plan in &plan.services {
        if let Some(service) = services.key_mut(&plan.name) {
            fill_service(service, plan);
        }
    }
}

fn fill_service(service: &mut Setting, plan: &ServicePlan) {
    if let Some(Setting::List(servers)) = service.key_mut("servers") {
        for (server, plan) in servers.iter_mut().zip(&plan.servers) {
            fill(server, "name", plan.name.clone().into());
            if plan.max_requests > 0 {
                fill(server, "max_requests", plan.max_requests.into());
            }
        }
    }
    let duration = |duration| Json::from(type_duration(duration));
    if let Some(timeout) = service.key_mut("timeout") {
        fill(timeout, "attempt", duration(plan.policies.timeout.attempt));
    }
    if let Some(retry) = service.key_mut("retry") {
        let limit = plan.policies.retry.timeout_limit;
        fill(retry, "timeout_limit", limit.into());
    }
    if let Some(limit) = service.key_mut("limit") {
        if let (Some(queue), CodelRule::MinimumDelay(codel)) =
            (limit.key_mut("queue"), plan.limit.queue.codel)
        {
            fill(queue, "target", duration(codel.target));
        }
        if let (Some(rate), Some(rule)) = (limit.key_mut("rate"), &plan.limit.rate) {
            fill(rate, "burst", rule.rate.burst.into());
        }
    }
    let probe = service
        .key_mut("detect")
        .and_then(|detect| detect.key_mut("probe"));
    if let (
        Some(probe),
        ProbeKind::Http {
            host: Some(host), ..
        },
    ) = (probe, &plan.fault.detect.probe.kind)
    {
        fill(probe, "host", host.clone().into());
    }
}

/// Sets a key that the file leaves out.
fn fill(table: &mut Setting, key: &str, value: Json) {
    match table.key(key) {
        Some(Setting::Value(_, Origin::File { .. })) => {}
        _ => table.put(key, value, Origin::Derived),
    }
}
