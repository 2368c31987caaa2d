//! Opens an incident of a service: merges those of single servers, and has a few servers examined.

use evenkeel_core::Instant;
use evenkeel_core::stat::SlidingWindow;

use crate::common_cause::CommonCause;
use crate::contract::{Examination, OrderId, Output, ProbePace};
use crate::detect::{Detection, Detector};
use crate::incident::CloseReason;
use crate::keeper::Keeper;
use crate::keeper::case::Case;
use crate::keeper::service::WatchedService;
use crate::keeper::shown::PublishedState;
use crate::kind::FaultKind;
use crate::policy::Mode;

use super::{CommonIncident, LOOK_EVERY, Mitigation, WINDOW};

/// So many servers are examined, at most.
const EXAMINED: usize = 8;

impl CommonIncident {
    /// Its record names the servers that the cause explains.
    pub(super) fn name_servers(&mut self, service: &WatchedService) {
        let names = self.cause.servers.iter().filter_map(|&at| {
            let server = service.servers.get(at)?;
            Some(server.name.clone())
        });
        let names: Vec<String> = names.collect();
        // Those of other services stay.
        let servers = &mut self.case.incident.servers;
        let others = servers.drain(..).filter(|name| name.contains('/'));
        let others: Vec<String> = others.collect();
        *servers = names;
        servers.extend(others);
        self.case.changed = true;
    }
}

impl Keeper {
    pub(in crate::keeper::common) fn open_common(
        &mut self,
        now: Instant,
        slot: usize,
        cause: CommonCause,
        detection: Option<&(u32, Detection)>,
        out: &mut Vec<Output>,
    ) {
        let service = &mut self.services[slot];
        let first = service.first_of(&cause).filter(|_| !cause.by_statistics);
        let case = match first {
            Some(index) => {
                let mut case = service.servers[index].case.take();
                if let Some(case) = &mut case {
                    case.give_up_actions(now, "the cause is not the server's own");
                    case.note(now, "diagnosis", "other servers show the same".to_owned());
                }
                case
            }
            None => None,
        };
        let case = case.map_or_else(
            || {
                let detection = detection_of(&cause, detection);
                let id = self.shared.next_id(detection.onset.min(now));
                let name = service.spec.name.clone();
                let mut case =
                    Case::new(id, name, String::new(), &detection, now, self.shared.epoch);
                case.totals = service.traffic.at(case.onset);
                case
            },
            |case| *case,
        );
        let mut common = CommonIncident {
            case,
            ends: SlidingWindow::new(WINDOW),
            succeeded: 0,
            row: 0,
            well_since: None,
            last_failure: now,
            last_success: now,
            failed_in_row: 0,
            vetoes: Vec::new(),
            was_overload: false,
            failing: Vec::new(),
            returns: 0,
            published_closed: Vec::new(),
            mitigation: Mitigation::default(),
            limits: Vec::new(),
            shed_before: service.traffic.latest.shed,
            looked: service.traffic.latest,
            is_calm: false,
            examined: Vec::new(),
            recheck_at: now + LOOK_EVERY,
            follows: None,
            holds_others: false,
            across: Vec::new(),
            change: service.change_before(now, &cause),
            cause,
        };
        common.name_servers(service);
        common.diagnose(now, &self.shared.names);
        common.find_limits(now, service);
        common.choose_mitigation(now, service);
        if service.spec.options.recover.mode != Mode::Off {
            common.report_closed(now, &self.shared.names);
        }
        let id = common.case.incident.id.clone();
        service.common = Some(Box::new(common));
        self.merge(now, slot, &id, out);
        self.escalate_common(now, slot, out);
        self.examine_some(slot, out);
    }

    /// Incidents of single servers that the common cause explains end in it, and their servers return to rotation.
    pub(super) fn merge(&mut self, now: Instant, slot: usize, into: &str, out: &mut Vec<Output>) {
        let Some(common) = &self.services[slot].common else {
            return;
        };
        if common.cause.by_statistics {
            return;
        }
        let servers = common.cause.servers.clone();
        let mut ended = Vec::new();
        for index in 0..self.services[slot].servers.len() {
            let server = &self.services[slot].servers[index];
            let (id, is_alive) = (server.id, server.facts.process.down.is_none());
            let merges = servers.contains(&index) && server.may_merge();
            let lost_its_case = server.case.is_none()
                && server.routine.is_none()
                && (server.shown.is_suspicion() || server.shown == PublishedState::Trial);
            if !is_alive || !(merges || lost_its_case) {
                continue;
            }
            self.with(now, id, out, |work| {
                if let Some(merged) = work.merged(into) {
                    ended.push(format!(
                        "incident {merged} of {} ends in this one",
                        work.server.name
                    ));
                }
                work.server.restore(false, work.out);
                work.server.set_pace(ProbePace::Fast, work.out);
            });
        }
        if let Some(common) = &mut self.services[slot].common {
            for text in ended {
                common.case.note(now, "diagnosis", text);
            }
        }
    }

    /// Has a few of the servers examined that do not answer.
    fn examine_some(&mut self, slot: usize, out: &mut Vec<Output>) {
        let service = &mut self.services[slot];
        let Some(common) = &mut service.common else {
            return;
        };
        if service.spec.options.recover.mode == Mode::Off || common.cause.by_statistics {
            return;
        }
        for &index in common.cause.servers.iter().take(EXAMINED) {
            self.shared.orders += 1;
            let id = OrderId(self.shared.orders);
            common.examined.push((id, index));
            out.push(Output::Examine {
                id,
                server: service.servers[index].id,
                timeout: service.spec.options.diagnose_timeout,
            });
        }
    }

    /// The examination of a server of the service's incident.
    pub(in crate::keeper) fn examined_for_common(
        &mut self,
        now: Instant,
        id: OrderId,
        examination: &Examination,
        out: &mut Vec<Output>,
    ) {
        for slot in 0..self.services.len() {
            let service = &mut self.services[slot];
            let Some(common) = &mut service.common else {
                continue;
            };
            let Some(found) = common.examined.iter().position(|(one, _)| *one == id) else {
                continue;
            };
            let (_, index) = common.examined.swap_remove(found);
            if !examination.is_stopped() {
                return;
            }
            let server = service.servers[index].id;
            let name = &service.servers[index].name;
            let text = format!("the process of {name} is stopped (state T): that is its own fault");
            common.case.note(now, "diagnosis", text.clone());
            common.cause.servers.retain(|one| *one != index);
            common.case.incident.servers.retain(|one| one != name);
            let onset = common.case.onset;
            let is_empty = common.cause.servers.is_empty();
            let detection = Detection {
                by: Detector::Probe,
                onset,
                text,
            };
            let from = common.case.incident.id.clone();
            self.with(now, server, out, |work| {
                work.found_stopped(&detection, examination, &from);
            });
            self.tell_split(now, slot, index);
            if is_empty {
                self.close_common(now, slot, None, CloseReason::Split, out);
            }
            return;
        }
    }

    /// Writes into the incident of the service which incident goes on with a server that is no longer its own.
    fn tell_split(&mut self, now: Instant, slot: usize, index: usize) {
        let WatchedService {
            common, servers, ..
        } = &mut self.services[slot];
        let case = servers[index].case.as_deref();
        if let (Some(common), Some(case)) = (common, case) {
            let text = format!("{} goes on as {}", servers[index].name, case.incident.id);
            common.case.note(now, "diagnosis", text);
        }
    }

    fn escalate_common(&mut self, now: Instant, slot: usize, out: &mut Vec<Output>) {
        let service = &mut self.services[slot];
        let mode = service.spec.options.recover.mode;
        let Some(common) = &mut service.common else {
            return;
        };
        if mode != Mode::Off {
            let why = if common.cause.by_statistics {
                "no action on a server is known to help"
            } else {
                "servers are not ejected or restarted for a cause that they share"
            };
            common.case.escalate(now, why);
        }
        self.record_common(slot, out);
    }
}

/// The detection at one of its servers, or the cause itself.
fn detection_of(cause: &CommonCause, of_server: Option<&(u32, Detection)>) -> Detection {
    if let Some((_, detection)) = of_server {
        return Detection {
            onset: detection.onset.min(cause.onset),
            ..detection.clone()
        };
    }
    Detection {
        by: if cause.kind == FaultKind::Overload {
            Detector::Load
        } else {
            Detector::FailureRatio
        },
        onset: cause.onset,
        text: cause.evidence.join("; "),
    }
}
