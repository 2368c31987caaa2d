//! The guardian has died, and with it all the processes that it held: one fault, one incident per service.
//!
//! The first server whose exit is reported opens it. The others are named in it, restarted as on an operator's order,
//! and verified; only one that does not come back gets an incident of its own.

use std::time::Duration;

use evenkeel_core::{Exit, Instant, ServerId};

use crate::contract::Output;
use crate::detect::{Detection, Detector};
use crate::kind::FaultKind;
use crate::policy::Mode;
use crate::recover::Author;

use super::server::WatchedServer;
use super::shown::PlannedKind;
use super::{Keeper, ServerContext};

/// Ends that come in within this time are of the same death.
const TOGETHER: Duration = Duration::from_secs(5);

impl WatchedServer {
    /// Whether its open incident is about the guardian's death.
    fn is_about_guardian(&self, now: Instant) -> bool {
        let mut ended = self.facts.process.ended_since(now.before(TOGETHER));
        self.case.is_some() && ended.any(|ended| ended.exit.guardian.is_some())
    }
}

impl Keeper {
    /// Takes in the end of a process, if it came with the guardian's and an incident says that already.
    pub(super) fn joins_guardian(
        &mut self,
        now: Instant,
        id: ServerId,
        exit: &Exit,
        out: &mut Vec<Output>,
    ) -> bool {
        if exit.guardian.is_none() || exit.asked {
            return false;
        }
        let Some(service) = self.services.get(id.service.0 as usize) else {
            return false;
        };
        let automatic = service.spec.options.recover.mode == Mode::Automatic;
        let server = service.servers.get(id.index as usize);
        let Some(server) = server.filter(|server| server.case.is_none() && server.held.is_none())
        else {
            return false;
        };
        let name = server.name.clone();
        let others = service.servers.iter().filter(|other| other.id != id);
        let lead = others.map(|other| other.is_about_guardian(now).then_some(other.id));
        let Some(lead) = lead.flatten().next().filter(|_| automatic) else {
            return false;
        };
        self.with(now, id, out, |work| work.lost_with_guardian());
        self.with(now, lead, out, |work| {
            if let Some(case) = work.case() {
                let text = format!("the process of {name} ended with it and is restarted");
                case.note(now, "signal", text);
                case.incident.servers.push(name);
            }
        });
        true
    }
}

impl ServerContext<'_> {
    fn lost_with_guardian(&mut self) {
        self.server.facts.process.lost();
        let kind = FaultKind::ProcessCrashed;
        if !self.order_routine(PlannedKind::Restart, Author::Evenkeel, kind) {
            self.detected(&Detection {
                by: Detector::Supervisor,
                onset: self.now,
                text: "its process ended with the guardian".to_owned(),
            });
        }
    }
}
