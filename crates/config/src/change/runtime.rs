//! Changes at run time: what an operator may add, remove and set, checked before it becomes a part of the overlay.

use std::fmt;

use evenkeel_core::Endpoint;

use super::overlay::{AddedServer, OverlaidNumber, Overlay, ServiceOverlay};
use crate::file::value::is_name;
use crate::plan::{ManagedPlan, Plan, ServerPlan, ServicePlan};

/// The greatest weight, as in the file.
const GREATEST_WEIGHT: u32 = 1_000;
/// The greatest bound on concurrent requests, as in the file.
const GREATEST_BOUND: u32 = 1_000_000;
/// The last tier, as in the file.
const LAST_TIER: u32 = 9;
/// Servers of a service that may be added at run time: more belong into the file.
const MOST_ADDED: usize = 1_000;

/// Why a change at run time is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusedChange {
    /// There is no such service.
    UnknownService(String),
    /// The service has no such server.
    UnknownServer(String),
    /// This cannot be the name of a server.
    BadName(String),
    /// The service has a server of this name or with this address.
    Taken(String),
    /// The file has a server of this name, which was removed at run time; its address, unless it follows a name.
    WasRemoved(String, Option<Endpoint>),
    /// The file has the server, which was removed at run time and is to be used again, in this tier.
    OtherTier(String, u8),
    /// Port 0 is no address of a server.
    NoPort,
    /// The service has as many servers that were added at run time as it may have.
    TooMany(usize),
    /// The number is not one that the key takes: the least and the greatest.
    OutOfRange(u32, u32),
    /// The server comes from DNS, which says whether it is there and what its weight is.
    FromDns(String),
    /// evenkeel runs the server, and only the file says which ones it runs.
    Supervised(String),
    /// It is the only server of the service.
    LastServer(String),
}

impl fmt::Display for RefusedChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownService(name) => write!(f, "there is no service `{name}`"),
            Self::UnknownServer(name) => write!(f, "the service has no server `{name}`"),
            Self::BadName(name) => write!(
                f,
                "`{}` cannot be a name: a name is 1 to 63 of: a-z, 0-9 and -",
                name.escape_debug()
            ),
            Self::Taken(name) => write!(f, "the server `{name}` has this name or this address"),
            Self::WasRemoved(name, Some(address)) => write!(
                f,
                "the server `{name}` of the file was removed at run time: add it with its address {address} to use it again, \
                 or choose another name"
            ),
            Self::WasRemoved(name, None) => write!(
                f,
                "the server `{name}` of the file was removed at run time: choose another name"
            ),
            Self::OtherTier(name, tier) => {
                write!(f, "the file has the server `{name}`, in tier {tier}")
            }
            Self::NoPort => f.write_str("a server's address has a port other than 0"),
            Self::TooMany(most) => write!(
                f,
                "the service has {most} servers that were added at run time, which is the most: put them into the file"
            ),
            Self::OutOfRange(min, max) => {
                write!(f, "expected a whole number from {min} to {max}")
            }
            Self::FromDns(name) => write!(
                f,
                "the server `{name}` comes from DNS, which says whether it is there and what its weight is"
            ),
            Self::Supervised(name) => write!(
                f,
                "evenkeel runs the server `{name}`: change `run` in the file and reload; `evenkeel drain` takes it out of service"
            ),
            Self::LastServer(name) => write!(
                f,
                "`{name}` is the only server of the service; maintenance takes a whole service out"
            ),
        }
    }
}

impl std::error::Error for RefusedChange {}

pub(super) type Checked<T = ()> = Result<T, RefusedChange>;

impl Overlay {
    /// Adds a server to a service of `now`, the file's plan with this overlay.
    ///
    /// # Errors
    /// If the service does not exist, the name or the address is taken, or a value is outside its limits.
    pub fn add_server(&mut self, now: &Plan, service: &str, server: AddedServer) -> Checked {
        let plan = find_service(now, service)?;
        if !is_name(&server.name) {
            return Err(RefusedChange::BadName(server.name));
        }
        in_range(server.weight, 1, GREATEST_WEIGHT)?;
        in_range(server.max_requests, 0, GREATEST_BOUND)?;
        in_range(server.tier.into(), 0, LAST_TIER)?;
        if server
            .address
            .tcp()
            .is_some_and(|address| address.port() == 0)
        {
            return Err(RefusedChange::NoPort);
        }
        let same = |other: &&ServerPlan| {
            other.name == server.name || other.address.as_ref() == Some(&server.address)
        };
        if let Some(other) = plan.servers.iter().find(same) {
            return Err(RefusedChange::Taken(other.name.clone()));
        }
        let changes = self.services.entry(service.to_owned()).or_default();
        // A server of the file that was removed comes back as what it is now.
        let refused = if let Some(address) = changes.removed.get(&server.name) {
            Some(RefusedChange::WasRemoved(
                server.name.clone(),
                address.clone(),
            ))
        } else if changes.added.len() >= MOST_ADDED {
            Some(RefusedChange::TooMany(MOST_ADDED))
        } else {
            changes.added.push(server);
            None
        };
        self.tidy(service);
        refused.map_or(Ok(()), Err)
    }

    /// Removes a server from a service of `now`, the file's plan with this overlay. One that was added at run time is
    /// forgotten.
    ///
    /// # Errors
    /// If it does not exist, comes from DNS, or is the last one.
    pub fn remove_server(&mut self, now: &Plan, service: &str, server: &str) -> Checked {
        let plan = find_service(now, service)?;
        let found = find_server(plan, server)?;
        check_changeable(plan, found)?;
        if plan.servers.len() == 1 {
            return Err(RefusedChange::LastServer(server.to_owned()));
        }
        let address = found.address.clone();
        let changes = self.services.entry(service.to_owned()).or_default();
        let before = changes.added.len();
        changes.added.retain(|added| added.name != server);
        changes.weights.remove(server);
        changes.max_requests.remove(server);
        if changes.added.len() == before {
            changes.removed.insert(server.to_owned(), address);
        }
        self.tidy(service);
        Ok(())
    }

    /// Uses a server of the file again that was removed.
    ///
    /// # Errors
    /// If it was not removed, or a server with its address was added since.
    pub fn put_back(&mut self, service: &str, server: &str) -> Checked {
        let changes = self.services.get_mut(service);
        let removed = match changes {
            Some(changes) => {
                let address = changes.removed.get(server).cloned().flatten();
                let mut added = changes.added.iter();
                if let Some(other) = added.find(|added| Some(&added.address) == address.as_ref()) {
                    return Err(RefusedChange::Taken(other.name.clone()));
                }
                changes.removed.remove(server)
            }
            None => None,
        };
        self.tidy(service);
        removed.map_or_else(
            || Err(RefusedChange::UnknownServer(server.to_owned())),
            |_| Ok(()),
        )
    }

    /// Sets the weight of a server of `now`, the file's plan with this overlay.
    ///
    /// # Errors
    /// If it does not exist, its weight comes from DNS, or the number is not one from 1 to 1,000.
    pub fn set_weight(&mut self, now: &Plan, service: &str, server: &str, weight: u32) -> Checked {
        in_range(weight, 1, GREATEST_WEIGHT)?;
        let found = checked_server(now, service, server)?;
        let before = found.weight;
        let changes = self.services.entry(service.to_owned()).or_default();
        match added(changes, server) {
            Some(added) => added.weight = weight,
            None => set(&mut changes.weights, server, before, weight),
        }
        self.tidy(service);
        Ok(())
    }

    /// Sets the bound on concurrent requests of a server of `now`, the file's plan with this overlay; 0: none.
    ///
    /// # Errors
    /// If it does not exist, comes from DNS, or the number is above 1,000,000.
    pub fn set_max_requests(
        &mut self,
        now: &Plan,
        service: &str,
        server: &str,
        bound: u32,
    ) -> Checked {
        in_range(bound, 0, GREATEST_BOUND)?;
        let found = checked_server(now, service, server)?;
        let before = found.max_requests;
        let changes = self.services.entry(service.to_owned()).or_default();
        match added(changes, server) {
            Some(added) => added.max_requests = bound,
            None => set(&mut changes.max_requests, server, before, bound),
        }
        self.tidy(service);
        Ok(())
    }

    /// Whether nothing was changed at run time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    pub(super) fn tidy(&mut self, service: &str) {
        if let Some(changes) = self.services.get_mut(service) {
            changes.drop_stale_notes();
        }
        if self.services.get(service) == Some(&ServiceOverlay::default()) {
            self.services.remove(service);
        }
    }
}

/// Sets a number, and remembers what the file says; the file's own number is no change.
fn set(
    numbers: &mut std::collections::BTreeMap<String, OverlaidNumber>,
    server: &str,
    now: u32,
    value: u32,
) {
    let file = numbers.get(server).map_or(now, |number| number.file);
    if file == value {
        numbers.remove(server);
    } else {
        numbers.insert(server.to_owned(), OverlaidNumber { value, file });
    }
}

fn added<'a>(changes: &'a mut ServiceOverlay, server: &str) -> Option<&'a mut AddedServer> {
    let mut added = changes.added.iter_mut();
    added.find(|added| added.name == server)
}

fn in_range(number: u32, min: u32, max: u32) -> Checked {
    if (min..=max).contains(&number) {
        Ok(())
    } else {
        Err(RefusedChange::OutOfRange(min, max))
    }
}

fn find_service<'a>(plan: &'a Plan, name: &str) -> Checked<&'a ServicePlan> {
    let mut services = plan.services.iter();
    let found = services.find(|service| service.name == name);
    found.ok_or_else(|| RefusedChange::UnknownService(name.to_owned()))
}

fn find_server<'a>(service: &'a ServicePlan, name: &str) -> Checked<&'a ServerPlan> {
    let mut servers = service.servers.iter();
    let found = servers.find(|server| server.name == name);
    found.ok_or_else(|| RefusedChange::UnknownServer(name.to_owned()))
}

/// A server that may be changed.
fn checked_server<'a>(plan: &'a Plan, service: &str, server: &str) -> Checked<&'a ServerPlan> {
    let service = find_service(plan, service)?;
    let found = find_server(service, server)?;
    check_changeable(service, found)?;
    Ok(found)
}

fn check_changeable(service: &ServicePlan, server: &ServerPlan) -> Checked {
    if is_discovered(service, server) {
        return Err(RefusedChange::FromDns(server.name.clone()));
    }
    match server.managed {
        ManagedPlan::Child(_) => Err(RefusedChange::Supervised(server.name.clone())),
        ManagedPlan::Nothing | ManagedPlan::Commands { .. } => Ok(()),
    }
}

/// Whether the server is one of a group from DNS, so that DNS says whether it is there.
fn is_discovered(service: &ServicePlan, server: &ServerPlan) -> bool {
    let mut groups = service.discover.iter();
    groups.any(|group| group.fixed.is_none() && group.servers.contains(&server.index))
}
