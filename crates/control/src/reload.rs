//! A new plan for the loop, and what it changes for the keeper: the specs of two plans, compared.

use std::collections::BTreeSet;
use std::mem::discriminant;
use std::sync::Arc;

use evenkeel_config::Plan;
use evenkeel_core::{ServerId, ServiceId};
use evenkeel_fault::contract::{ServerSpec, ServiceSpec};
use evenkeel_fault::{ServerUpdate, ServiceUpdate};
use tokio::sync::oneshot;

/// A new plan for the loop. The request path has it already.
#[derive(Debug)]
pub struct ReloadRequest {
    /// The plan. Services and servers of the same name have the same ids as in the plan before.
    pub plan: Arc<Plan>,
    /// Is told when it holds.
    pub applied: oneshot::Sender<()>,
}

/// What becomes of each service and server. `discovered`: the servers that come from DNS in both plans, whose addresses say nothing.
pub(crate) fn service_updates(
    before: &[ServiceSpec],
    after: &[ServiceSpec],
    discovered: &BTreeSet<ServerId>,
) -> Vec<ServiceUpdate> {
    let slots = before.len().max(after.len());
    let occupied = |spec: &&ServiceSpec| !spec.name.is_empty();
    let mut updates = Vec::new();
    for slot in 0..slots {
        let known = before.get(slot).filter(occupied);
        let wanted = after.get(slot).filter(occupied);
        let renamed = known.zip(wanted).is_some_and(|(a, b)| a.name != b.name);
        match (known, wanted) {
            (Some(known), Some(wanted)) if !renamed => {
                let servers = server_updates(known, wanted, discovered);
                if !servers.is_empty() || !has_same_settings(known, wanted) {
                    let spec = wanted.clone();
                    updates.push(ServiceUpdate::Changed { spec, servers });
                }
            }
            _ => {
                updates.extend(known.map(|known| ServiceUpdate::Removed(known.id)));
                updates.extend(wanted.cloned().map(ServiceUpdate::Added));
            }
        }
    }
    updates
}

/// Servers aside.
fn has_same_settings(known: &ServiceSpec, wanted: &ServiceSpec) -> bool {
    known.options == wanted.options && known.is_unlimited == wanted.is_unlimited
}

fn server_updates(
    before: &ServiceSpec,
    after: &ServiceSpec,
    discovered: &BTreeSet<ServerId>,
) -> Vec<(u32, ServerUpdate)> {
    let slots = before.servers.len().max(after.servers.len());
    let occupied = |spec: &&ServerSpec| !spec.is_vacant();
    let mut updates = Vec::new();
    for (index, slot) in (0_u32..).zip(0..slots) {
        let known = before.servers.get(slot).filter(occupied);
        let wanted = after.servers.get(slot).filter(occupied);
        let id = ServerId {
            service: after.id,
            index,
        };
        let mut add = |update| updates.push((index, update));
        match (known, wanted) {
            (None, None) => {}
            (None, Some(_)) => add(ServerUpdate::Added),
            (Some(_), None) => add(ServerUpdate::Removed),
            (Some(known), Some(wanted)) if known.name != wanted.name => {
                add(ServerUpdate::Removed);
                add(ServerUpdate::Added);
            }
            (Some(known), Some(wanted)) => {
                let has_moved = known.address != wanted.address && !discovered.contains(&id);
                let is_run_otherwise =
                    discriminant(&known.managed) != discriminant(&wanted.managed);
                let same_address = ServerSpec {
                    address: known.address.clone(),
                    ..wanted.clone()
                };
                if has_moved || is_run_otherwise {
                    add(ServerUpdate::Replaced);
                } else if same_address != *known {
                    add(ServerUpdate::Changed);
                }
            }
        }
    }
    updates
}

/// The slots of services that are named in `before` and are gone, or have another name, in `after`.
pub(crate) fn removed_services(before: &[String], after: &[ServiceSpec]) -> Vec<ServiceId> {
    let is_gone = |(id, name): &(u32, &String)| {
        let next = after.get(*id as usize);
        !name.is_empty() && next.is_none_or(|spec| spec.name != **name)
    };
    let services = (0_u32..).zip(before).filter(is_gone);
    services.map(|(id, _)| ServiceId(id)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use evenkeel_config::resolve::Environment;

    use super::*;
    use crate::specs::specs;

    fn plan(text: &str) -> Plan {
        let around = Environment {
            base_dir: Path::new("/"),
            state_dir: Path::new("/"),
            cores: 1,
            descriptors: 65_536,
            resolver: &|_| Err("no names here".to_owned()),
            socket: &|_, _| Ok(()),
        };
        let loaded = evenkeel_config::load(text, "test.toml", &around);
        loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan
    }

    const LISTEN: &str = "[listen.web]\naddress = \"127.0.0.1:0\"\nservice = \"shop\"\n";

    fn shop(servers: &str, more: &str) -> Plan {
        plan(&format!(
            "{LISTEN}[service.shop]\nservers = [{servers}]\n{more}"
        ))
    }

    fn updates(before: &Plan, after: &Plan) -> Vec<ServiceUpdate> {
        service_updates(&specs(before), &specs(after), &BTreeSet::new())
    }

    #[test]
    fn unchanged_services_get_no_update() {
        let one = shop("\"127.0.0.1:1\", \"127.0.0.1:2\"", "");
        assert!(updates(&one, &one).is_empty());
    }

    #[test]
    fn servers_and_services_come_and_go_by_their_slots() {
        let one = shop(
            "\"127.0.0.1:1\", \"127.0.0.1:2\"",
            "[service.cart]\nservers = [\"127.0.0.1:9\"]\n",
        );
        let mut two = shop("\"127.0.0.1:2\", \"127.0.0.1:3\"", "");
        // As they are laid out: names keep their slots.
        let services: Vec<&str> = one
            .services
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        let place = services
            .iter()
            .position(|name| *name == "shop")
            .expect("there");
        two.services[0].id = one.services[place].id;
        two.services[0].servers[0].index = 1;
        two.services[0].servers[1].index = 2;
        let told = updates(&one, &two);
        assert_eq!(told.len(), 2, "{told:?}");
        let changed = told.iter().find_map(|update| match update {
            ServiceUpdate::Changed { servers, .. } => Some(servers.clone()),
            ServiceUpdate::Added(_) | ServiceUpdate::Removed(_) => None,
        });
        let (gone, new) = ((0, ServerUpdate::Removed), (2, ServerUpdate::Added));
        assert_eq!(changed, Some(vec![gone, new]));
        assert!(
            told.iter()
                .any(|update| matches!(update, ServiceUpdate::Removed(_)))
        );
    }

    #[test]
    fn another_address_is_another_server_unless_dns_says_so() {
        let one = shop("\"127.0.0.1:1\"", "");
        let mut two = one.clone();
        two.services[0].servers[0].address = Some("127.0.0.1:7".parse().expect("an address"));
        let (before, after) = (specs(&one), specs(&two));
        let told = |discovered| service_updates(&before, &after, &discovered);
        let replaced = vec![(0, ServerUpdate::Replaced)];
        assert!(matches!(
            &told(BTreeSet::new())[..],
            [ServiceUpdate::Changed { servers, .. }] if *servers == replaced
        ));
        assert!(told(BTreeSet::from([ServerId::new(0, 0)])).is_empty());
        two.services[0].servers[0].tier = 1;
        let told = service_updates(
            &before,
            &specs(&two),
            &BTreeSet::from([ServerId::new(0, 0)]),
        );
        let changed = vec![(0, ServerUpdate::Changed)];
        assert!(matches!(
            &told[..],
            [ServiceUpdate::Changed { servers, .. }] if *servers == changed
        ));
    }
}
