//! The changes that were made at run time, one by one: what was changed, when and by whom, for people and programs.

use std::collections::BTreeMap;
use std::fmt;

use super::overlay::{AddedServer, ChangeNote, OverlaidNumber, Overlay, ServiceOverlay};

/// One change that was made at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeChange {
    /// The service.
    pub service: String,
    /// The server.
    pub server: String,
    /// What was changed.
    pub kind: RuntimeChangeKind,
    /// When, and by whom; of the last change of this server.
    pub note: ChangeNote,
}

/// What was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeChangeKind {
    /// The file does not have this server.
    Added(AddedServer),
    /// The file has the server; it is not used.
    Removed,
    /// It has another weight.
    Weight {
        /// What the file said when it was changed.
        file: u32,
        /// What holds.
        value: u32,
    },
    /// It has another bound on concurrent requests; 0: none.
    MaxRequests {
        /// What the file said when it was changed.
        file: u32,
        /// What holds.
        value: u32,
    },
}

impl RuntimeChangeKind {
    /// A word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Added(_) => "added",
            Self::Removed => "removed",
            Self::Weight { .. } => "weight",
            Self::MaxRequests { .. } => "max-requests",
        }
    }
}

impl fmt::Display for RuntimeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (service, server) = (&self.service, &self.server);
        write!(f, "service {service}: server {server}")?;
        match &self.kind {
            RuntimeChangeKind::Added(added) => {
                let (address, weight) = (&added.address, added.weight);
                write!(f, " added at run time: {address}, weight {weight}")?;
                if added.tier > 0 {
                    write!(f, ", tier {}", added.tier)?;
                }
                if added.max_requests > 0 {
                    write!(f, ", max_requests {}", added.max_requests)?;
                }
                Ok(())
            }
            RuntimeChangeKind::Removed => f.write_str(" removed at run time"),
            RuntimeChangeKind::Weight { file, value } => {
                write!(f, ": weight {file} → {value} at run time")
            }
            RuntimeChangeKind::MaxRequests { file, value } => {
                write!(f, ": max_requests {file} → {value} at run time")
            }
        }
    }
}

impl Overlay {
    /// Each change: those of a service together, servers that were added first.
    #[must_use]
    pub fn changes(&self) -> Vec<RuntimeChange> {
        let mut list = Vec::new();
        for (service, changes) in &self.services {
            changes.list(&mut |server, kind| {
                list.push(RuntimeChange {
                    service: service.clone(),
                    server: server.to_owned(),
                    kind,
                    note: changes.notes.get(server).cloned().unwrap_or_default(),
                });
            });
        }
        list
    }

    /// Whether this has the same change, whenever and by whomever it was made.
    #[must_use]
    pub fn has(&self, change: &RuntimeChange) -> bool {
        let Some(changes) = self.services.get(&change.service) else {
            return false;
        };
        let mut found = false;
        changes.list(&mut |server, kind| found |= server == change.server && kind == change.kind);
        found
    }

    /// One line for each change.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.changes().iter().map(ToString::to_string).collect()
    }
}

impl ServiceOverlay {
    fn list<'a>(&'a self, each: &mut impl FnMut(&'a str, RuntimeChangeKind)) {
        for added in &self.added {
            each(&added.name, RuntimeChangeKind::Added(added.clone()));
        }
        for server in self.removed.keys() {
            each(server, RuntimeChangeKind::Removed);
        }
        let mut numbers =
            |numbers: &'a BTreeMap<String, OverlaidNumber>,
             kind: fn(OverlaidNumber) -> RuntimeChangeKind| {
                for (server, number) in numbers {
                    each(server, kind(*number));
                }
            };
        numbers(&self.weights, |number| RuntimeChangeKind::Weight {
            file: number.file,
            value: number.value,
        });
        numbers(&self.max_requests, |number| {
            RuntimeChangeKind::MaxRequests {
                file: number.file,
                value: number.value,
            }
        });
    }
}
