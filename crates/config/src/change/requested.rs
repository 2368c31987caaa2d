//! A change that an operator asks for, made to the changes that hold now or to those that are kept for the next start.

use evenkeel_core::Endpoint;

use super::overlay::{AddedServer, ChangeNote, Overlay, apply_overlay};
use super::runtime::{Checked, RefusedChange};
use crate::defaults;
use crate::file::Address;
use crate::plan::{Plan, ServerPlan};

/// A change of one service at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedChange {
    /// Add a server, or use one of the file again that was removed.
    Add(NewServer),
    /// Remove a server.
    Remove {
        /// Its name.
        server: String,
    },
    /// Set the weight of a server.
    Weight {
        /// Its name.
        server: String,
        /// From 1 to 1,000.
        weight: u32,
    },
    /// Set the bound on concurrent requests of a server.
    MaxRequests {
        /// Its name.
        server: String,
        /// Up to 1,000,000; 0: none.
        max_requests: u32,
    },
}

/// A server to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewServer {
    /// Its name; as in the file, the default is made of the address.
    pub name: Option<String>,
    /// Its address.
    pub address: Endpoint,
    /// Its weight; 1 if it is not said.
    pub weight: Option<u32>,
    /// Its tier; primary (0) if it is not said.
    pub tier: Option<u8>,
    /// Its bound on concurrent requests; that of its service if it is not said.
    pub max_requests: Option<u32>,
}

impl Overlay {
    /// These changes and one more, and the name of the server that it is about. `file` is the plan of the file, and `bound` the
    /// bound on concurrent requests of servers of this service that have none of their own.
    ///
    /// # Errors
    /// Why the change cannot be made.
    pub fn with(
        &self,
        file: &Plan,
        (service, change): (&str, &RequestedChange),
        bound: u32,
        note: ChangeNote,
    ) -> Checked<(Self, String)> {
        let mut changed = self.clone();
        let now = apply_overlay(file.clone(), self).plan;
        let server = match change {
            RequestedChange::Add(new) => changed.add((file, &now), service, new, bound)?,
            RequestedChange::Remove { server } => {
                changed.remove_server(&now, service, server)?;
                server.clone()
            }
            RequestedChange::Weight { server, weight } => {
                changed.set_weight(&now, service, server, *weight)?;
                server.clone()
            }
            RequestedChange::MaxRequests {
                server,
                max_requests,
            } => {
                changed.set_max_requests(&now, service, server, *max_requests)?;
                server.clone()
            }
        };
        changed.note(service, &server, note);
        Ok((changed, server))
    }

    /// As [`Overlay::with`], for the changes that are kept for the next start, which may be others than those that hold now: a server
    /// that is to be removed need not be there, and one that is to be added may be. `server`: what [`Overlay::with`] has returned.
    ///
    /// # Errors
    /// Why the change cannot be made.
    pub fn with_kept(
        &self,
        file: &Plan,
        (service, change, server): (&str, &RequestedChange, &str),
        bound: u32,
        note: ChangeNote,
    ) -> Checked<Self> {
        let mut kept = self.clone();
        let change = match change {
            RequestedChange::Add(new) => {
                if let Some(changes) = kept.services.get_mut(service) {
                    changes.added.retain(|added| added.name != server);
                }
                kept.tidy(service);
                let planned = apply_overlay(file.clone(), &kept).plan;
                let found = server_of(&planned, service, server);
                if found.is_some_and(|one| one.address.as_ref() == Some(&new.address)) {
                    kept.set_numbers(&planned, (service, server), new)?;
                    kept.note(service, server, note);
                    return Ok(kept);
                }
                RequestedChange::Add(NewServer {
                    name: Some(server.to_owned()),
                    ..new.clone()
                })
            }
            RequestedChange::Remove { .. } => {
                let planned = apply_overlay(file.clone(), self).plan;
                if server_of(&planned, service, server).is_none() {
                    return Ok(kept);
                }
                change.clone()
            }
            RequestedChange::Weight { .. } | RequestedChange::MaxRequests { .. } => change.clone(),
        };
        kept.with(file, (service, &change), bound, note)
            .map(|(kept, _)| kept)
    }

    fn note(&mut self, service: &str, server: &str, note: ChangeNote) {
        if let Some(changes) = self.services.get_mut(service) {
            changes.notes.insert(server.to_owned(), note);
        }
        self.tidy(service);
    }

    /// Sets what is said of a server of `now` that is there already.
    fn set_numbers(
        &mut self,
        now: &Plan,
        (service, server): (&str, &str),
        new: &NewServer,
    ) -> Checked {
        if let Some(weight) = new.weight {
            self.set_weight(now, service, server, weight)?;
        }
        if let Some(bound) = new.max_requests {
            self.set_max_requests(now, service, server, bound)?;
        }
        Ok(())
    }

    /// Adds a server to `now`, the file's plan with these changes, and returns its name.
    fn add(
        &mut self,
        (file, now): (&Plan, &Plan),
        service: &str,
        new: &NewServer,
        bound: u32,
    ) -> Checked<String> {
        if let Some(name) = self.removed_by_file(service, new) {
            self.put_back(service, &name)?;
            let again = apply_overlay(file.clone(), self).plan;
            self.set_numbers(&again, (service, &name), new)?;
            let tier = server_of(&again, service, &name).map(|one| one.tier);
            return match tier.filter(|tier| new.tier.is_some_and(|wanted| wanted != *tier)) {
                Some(tier) => Err(RefusedChange::OtherTier(name, tier)),
                None => Ok(name),
            };
        }
        let added = AddedServer {
            name: new.name(),
            address: new.address.clone(),
            weight: new.weight.unwrap_or(defaults::SERVER_WEIGHT.value),
            tier: new.tier.unwrap_or(0),
            max_requests: new.max_requests.unwrap_or(bound),
        };
        let name = added.name.clone();
        self.add_server(now, service, added)?;
        Ok(name)
    }

    /// The server of the file that was removed and has this address, and this name if one is given.
    fn removed_by_file(&self, service: &str, new: &NewServer) -> Option<String> {
        let removed = &self.services.get(service)?.removed;
        let mut removed = removed.iter().filter(|(name, address)| {
            address.as_ref() == Some(&new.address)
                && new.name.as_ref().is_none_or(|wanted| wanted == *name)
        });
        removed.next().map(|(name, _)| name.clone())
    }
}

fn server_of<'a>(plan: &'a Plan, service: &str, server: &str) -> Option<&'a ServerPlan> {
    let mut services = plan.services.iter();
    let service = services.find(|planned| planned.name == service)?;
    service
        .servers
        .iter()
        .find(|planned| planned.name == server)
}

impl NewServer {
    fn name(&self) -> String {
        let default = || Address::At(self.address.clone()).server_name();
        self.name.clone().unwrap_or_else(default)
    }
}
