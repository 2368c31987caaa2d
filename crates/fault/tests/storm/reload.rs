//! Random reloads.

use evenkeel_core::{Random, ServerId, ServiceId};
use evenkeel_fault::contract::{Managed, ServerSpec, ServiceSpec};
use evenkeel_fault::policy::Mode;
use evenkeel_fault::{PlanChange, ServerUpdate, ServiceUpdate};

/// Changes the service at random, and says what was changed.
pub(crate) fn plan_change(random: &mut Random, service: &mut ServiceSpec) -> PlanChange {
    let mut servers = Vec::new();
    let number = random.below(3);
    for _ in 0..number {
        let index = random.below(service.servers.len());
        let at = u32::try_from(index).expect("small");
        if servers.iter().any(|(one, _)| *one == at) {
            continue;
        }
        let server = &mut service.servers[index];
        let update = if server.is_vacant() {
            *server = ServerSpec {
                name: format!("s{index}"),
                address: Some(format!("127.0.0.1:{}", 9001 + index)),
                managed: MANAGED[random.below(3)],
                order_limit: std::time::Duration::from_secs(110),
                ..ServerSpec::vacant()
            };
            ServerUpdate::Added
        } else if random.below(2) == 0 {
            *server = ServerSpec::vacant();
            ServerUpdate::Removed
        } else if random.below(2) == 0 {
            server.address = Some(format!("127.0.0.1:{}", 9100 + random.below(800)));
            ServerUpdate::Replaced
        } else {
            server.rolls_back = !server.rolls_back;
            ServerUpdate::Changed
        };
        servers.push((at, update));
    }
    if random.below(3) == 0 {
        let modes = [Mode::Automatic, Mode::Ask, Mode::DryRun, Mode::Off];
        service.options.recover.mode = modes[random.below(4)];
    }
    if random.below(3) == 0 {
        service.options.detect.consecutive_failures = 5 + random.below(5) as u32;
        let ratio = service.options.detect.failure_ratio.as_mut();
        ratio.expect("set").window = std::time::Duration::from_secs(5 + random.below(10) as u64);
    }
    let outdated = (0_u32..)
        .zip(&service.servers)
        .filter(|(_, server)| server.managed == Managed::Child && random.below(3) == 0);
    let outdated = outdated.map(|(index, _)| ServerId::new(0, index)).collect();
    let spec = service.clone();
    let changed = ServiceUpdate::Changed { spec, servers };
    let services = match random.below(20) {
        // Gone, and there again.
        0 => vec![
            ServiceUpdate::Removed(ServiceId(0)),
            ServiceUpdate::Added(service.clone()),
        ],
        _ => vec![changed],
    };
    PlanChange { services, outdated }
}

const MANAGED: [Managed; 3] = [
    Managed::Child,
    Managed::Commands {
        restart: true,
        stop: false,
    },
    Managed::Nothing,
];
