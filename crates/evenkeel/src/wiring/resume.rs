//! Restores maintenance before the first request: whatever was in maintenance when evenkeel ended is out of service
//! again. The control loop, which starts later, reads the same records and takes over from then on.

use evenkeel_config::Plan;
use evenkeel_core::{Directive, EjectionReason, Instant, ServerId};
use evenkeel_fault::MaintenanceRecord;
use evenkeel_fault::maintenance::TakenOut;
use evenkeel_history::Store;
use evenkeel_proxy::ProxyState;
use evenkeel_runtime::Clock;

/// Applies the store's maintenance records to the balancer. A store that cannot be read is reported when it is opened.
pub(super) fn take_out(plan: &Plan, state: &ProxyState, clock: Clock) {
    let file = plan.store.file.as_deref().filter(|file| file.exists());
    let store = file.and_then(|file| Store::open_read_only(file).ok());
    let records = store.and_then(|store| store.maintenance().ok());
    for record in records.unwrap_or_default() {
        apply(&record, plan, state, clock.now());
    }
}

fn apply(record: &MaintenanceRecord, plan: &Plan, state: &ProxyState, now: Instant) {
    let mut services = plan.services.iter();
    let Some(service) = services.find(|planned| planned.name == record.service) else {
        return;
    };
    let Some(name) = &record.server else {
        state.set_maintenance(service.id, true);
        return;
    };
    // The slot's server is not known from DNS yet.
    let mut servers = service.servers.iter();
    let found = servers.find(|server| server.name == *name && server.address.is_some());
    let Some(found) = found else { return };
    let server = ServerId {
        service: service.id,
        index: found.index,
    };
    let directive = match record.maintenance.how {
        Some(TakenOut::Ejected) => Directive::Eject {
            server,
            verdict: EjectionReason::Known,
            until: Instant::NEVER,
        },
        Some(TakenOut::Drained) | None => Directive::Drain { server },
    };
    state.apply(&directive, now);
}
