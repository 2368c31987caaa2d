//! What was changed at run time through the API, kept apart from the file: servers added and removed, weights and bounds.
//!
//! It is applied to each plan that is read from the file, so it lives through a reload. The file holds where it says
//! otherwise: where it names what was added, where it has changed what was changed, and where what was changed is gone.

use std::collections::BTreeMap;
use std::fmt;

use evenkeel_core::Endpoint;
use serde::{Deserialize, Serialize};

use crate::plan::{ManagedPlan, Plan, ServerPlan, ServicePlan};

/// All changes that were made at run time, by service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Overlay {
    pub(crate) services: BTreeMap<String, ServiceOverlay>,
}

/// The changes of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServiceOverlay {
    /// Servers that the file does not have, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) added: Vec<AddedServer>,
    /// Servers of the file that are not used, by name, with the address that the file gave them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) removed: BTreeMap<String, Option<Endpoint>>,
    /// Weights, by server.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) weights: BTreeMap<String, OverlaidNumber>,
    /// Bounds on concurrent requests, by server.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) max_requests: BTreeMap<String, OverlaidNumber>,
    /// Who changed each of these servers last.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) notes: BTreeMap<String, ChangeNote>,
}

/// When something was changed at run time, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChangeNote {
    /// When, in RFC 3339; empty if it is not known.
    pub at: String,
    /// By whom, if that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A server that was added at run time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddedServer {
    /// Its name, unique in the service.
    pub name: String,
    /// Its address.
    pub address: Endpoint,
    /// Its weight, 1 to 1,000.
    pub weight: u32,
    /// Its tier: 0 is primary, 1 is backup.
    #[serde(default)]
    pub tier: u8,
    /// The most requests that it has at once; 0: no bound.
    #[serde(default)]
    pub max_requests: u32,
}

/// A number that was set at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OverlaidNumber {
    /// The number.
    pub(crate) value: u32,
    /// What the file said then.
    pub(crate) file: u32,
}

/// A plan with the changes that were made at run time.
#[derive(Debug)]
pub struct OverlaidPlan {
    /// The plan.
    pub plan: Plan,
    /// The changes that still hold.
    pub overlay: Overlay,
    /// Those that do not, because the file says otherwise.
    pub dropped: Vec<DroppedChange>,
}

/// A change that no longer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DroppedChange {
    /// The service.
    pub service: String,
    /// The server.
    pub server: String,
    /// Why.
    pub reason: OverlayDropReason,
}

/// Why a change that was made at run time no longer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverlayDropReason {
    /// The file has the server, or its address, that was added.
    InFile,
    /// The file no longer has the service or the server that was changed.
    GoneFromFile,
    /// The file has changed the address, the weight or the bound since.
    ChangedInFile,
    /// The file says the same now.
    SameInFile,
}

impl fmt::Display for DroppedChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            OverlayDropReason::InFile => "the file has this server now",
            OverlayDropReason::GoneFromFile => "the file no longer has it",
            OverlayDropReason::ChangedInFile => "the file has changed since",
            OverlayDropReason::SameInFile => "the file says the same now",
        };
        let (service, server) = (&self.service, &self.server);
        write!(
            f,
            "service {service}: server {server}: the change made at run time no longer holds: {why}"
        )
    }
}

/// `file`, a plan as it was read, with the changes of `overlay`. The file holds:
///
/// - over an added server, if it names a server of this name or with this address;
/// - over a removed server, if it no longer has it, or gives it another address than when it was removed;
/// - over a weight or a bound, if it no longer has the server, or says something else than when the number was set.
#[must_use]
pub fn apply_overlay(file: Plan, overlay: &Overlay) -> OverlaidPlan {
    let mut result = OverlaidPlan {
        plan: file,
        overlay: Overlay::default(),
        dropped: Vec::new(),
    };
    for (name, changes) in &overlay.services {
        let mut services = result.plan.services.iter_mut();
        let mut dropped = Vec::new();
        let kept = match services.find(|service| service.name == *name) {
            Some(service) => overlay_service(service, changes, &mut dropped),
            None => {
                let servers = changes.servers();
                dropped.extend(servers.map(|server| (server, OverlayDropReason::GoneFromFile)));
                ServiceOverlay::default()
            }
        };
        let dropped = dropped.into_iter().map(|(server, reason)| DroppedChange {
            service: name.clone(),
            server: server.to_owned(),
            reason,
        });
        result.dropped.extend(dropped);
        if kept != ServiceOverlay::default() {
            result.overlay.services.insert(name.clone(), kept);
        }
    }
    result
}

/// Applies the changes of one service, and returns those that hold.
fn overlay_service<'a>(
    service: &mut ServicePlan,
    changes: &'a ServiceOverlay,
    dropped: &mut Vec<(&'a str, OverlayDropReason)>,
) -> ServiceOverlay {
    let mut kept = ServiceOverlay::default();
    for (name, number) in &changes.weights {
        if hold(
            service,
            (name, *number),
            |server| &mut server.weight,
            dropped,
        ) {
            kept.weights.insert(name.clone(), *number);
        }
    }
    for (name, number) in &changes.max_requests {
        if hold(
            service,
            (name, *number),
            |server| &mut server.max_requests,
            dropped,
        ) {
            kept.max_requests.insert(name.clone(), *number);
        }
    }
    for (name, address) in &changes.removed {
        match service.servers.iter().find(|server| server.name == *name) {
            None => dropped.push((name, OverlayDropReason::GoneFromFile)),
            Some(server) if server.address != *address && !follows(service, server.index) => {
                dropped.push((name, OverlayDropReason::ChangedInFile));
            }
            Some(server) => {
                let index = server.index;
                service.servers.retain(|server| server.index != index);
                service.discover.retain(|group| group.servers != [index]);
                kept.removed.insert(name.clone(), address.clone());
            }
        }
    }
    for added in &changes.added {
        let same = |server: &ServerPlan| {
            server.name == added.name || server.address.as_ref() == Some(&added.address)
        };
        if service.servers.iter().any(same) {
            dropped.push((&added.name, OverlayDropReason::InFile));
        } else {
            let last = service.servers.iter().map(|server| server.index).max();
            let index = last.map_or(0, |last| last.saturating_add(1));
            service.servers.push(added.plan(index));
            kept.added.push(added.clone());
        }
    }
    // The group of a listed server that follows a name says its weight, too.
    let servers = service.servers.iter();
    let numbers: BTreeMap<u32, (u32, u8)> = servers
        .map(|server| (server.index, (server.weight, server.tier)))
        .collect();
    for group in &mut service.discover {
        let numbers = group.servers.first().and_then(|index| numbers.get(index));
        if let (Some(fixed), Some(numbers)) = (&mut group.fixed, numbers) {
            *fixed = *numbers;
        }
    }
    kept.notes.clone_from(&changes.notes);
    kept.drop_stale_notes();
    kept
}

/// Sets a number of a server, unless the file says otherwise.
fn hold<'a>(
    service: &mut ServicePlan,
    (name, number): (&'a str, OverlaidNumber),
    of: impl Fn(&mut ServerPlan) -> &mut u32,
    dropped: &mut Vec<(&'a str, OverlayDropReason)>,
) -> bool {
    let mut servers = service.servers.iter_mut();
    let Some(server) = servers.find(|server| server.name == name) else {
        dropped.push((name, OverlayDropReason::GoneFromFile));
        return false;
    };
    let now = of(server);
    if *now == number.value {
        dropped.push((name, OverlayDropReason::SameInFile));
    } else if *now != number.file {
        dropped.push((name, OverlayDropReason::ChangedInFile));
    } else {
        *now = number.value;
        return true;
    }
    false
}

/// Whether this server follows a name in DNS, so that its address is not what the file says.
pub(super) fn follows(service: &ServicePlan, index: u32) -> bool {
    service
        .discover
        .iter()
        .any(|group| group.fixed.is_some() && group.servers == [index])
}

impl AddedServer {
    fn plan(&self, index: u32) -> ServerPlan {
        ServerPlan {
            index,
            name: self.name.clone(),
            address: Some(self.address.clone()),
            weight: self.weight,
            tier: self.tier,
            near: false,
            max_requests: self.max_requests,
            managed: ManagedPlan::Nothing,
        }
    }
}

impl ServiceOverlay {
    /// Forgets who changed servers of which no change is left.
    pub(super) fn drop_stale_notes(&mut self) {
        let mut notes = std::mem::take(&mut self.notes);
        notes.retain(|server, _| self.servers().any(|changed| changed == server));
        self.notes = notes;
    }

    /// The servers that are concerned; one may be named twice.
    fn servers(&self) -> impl Iterator<Item = &str> {
        let added = self.added.iter().map(|server| &server.name);
        let removed = self.removed.keys();
        let weights = self.weights.keys();
        let all = added.chain(removed).chain(weights);
        all.chain(self.max_requests.keys()).map(String::as_str)
    }
}
