//! Incidents across services: the incident of the service that showed the symptom first covers those of the others.
//!
//! The incidents of the others end in it. Their servers stay in rotation and are left alone until each service is
//! healthy; the remaining incident closes when all are.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use evenkeel_core::Instant;

use crate::common_cause::{
    CommonCause, CrossServiceSymptom, ServiceSymptom, Symptom, across, of_service,
};
use crate::contract::Output;
use crate::detect::{Detection, Detector};
use crate::incident::CloseReason;
use crate::keeper::Keeper;
use crate::keeper::case::Case;
use crate::keeper::service::WatchedService;
use crate::kind::FaultKind;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl WatchedService {
    fn has_trouble(&self) -> bool {
        self.common.is_some() || self.servers.iter().any(|server| server.case.is_some())
    }

    /// When its open trouble began: that of its incident, else the first of those of its servers.
    fn trouble_since(&self) -> Option<Instant> {
        let common = self.common.as_ref().map(|common| common.case.onset);
        let cases = self
            .servers
            .iter()
            .filter_map(|server| server.case.as_deref());
        common.or_else(|| cases.map(|case| case.onset).min())
    }

    /// Whether its own incident goes on as that of another service.
    fn is_held(&self) -> bool {
        let common = self.common.as_ref();
        common.is_some_and(|common| common.follows.is_some())
    }
}

impl Keeper {
    /// Looks, now and then while several services have incidents, whether they have one cause.
    pub(in crate::keeper) fn judge_across(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.services.len() < 2 || now < self.across_at {
            return;
        }
        self.across_at = now + LOOK_EVERY;
        let troubled = self.services.iter().filter(|service| service.has_trouble());
        if troubled.count() < 2 {
            return;
        }
        let members = self.services.iter();
        let members = members.filter(|service| service.present > 0).count();
        let symptoms: Vec<_> = self
            .services
            .iter()
            .map(|service| {
                let is_asked = service.has_trouble() && !service.is_suspended();
                let found = is_asked
                    .then(|| of_service(&service.views(now)))
                    .flatten()?;
                // The current symptoms may have begun long before the remembered ones.
                let since = service.trouble_since().unwrap_or(found.since);
                Some(ServiceSymptom { since, ..found })
            })
            .collect();
        if let Some(found) = across(&symptoms, members) {
            let is_told = |&slot: &usize| {
                let common = self.services[slot].common.as_ref();
                common.is_some_and(|common| common.follows.is_some() || common.holds_others)
            };
            if !found.services.iter().all(is_told) {
                self.hold_together(now, &found, &symptoms_began(&symptoms, &found), out);
            }
        }
    }

    fn hold_together(
        &mut self,
        now: Instant,
        found: &CrossServiceSymptom,
        began: &[Instant],
        out: &mut Vec<Output>,
    ) {
        let kind = self.kind_across(found);
        for (&slot, &onset) in found.services.iter().zip(began) {
            if self.services[slot].common.is_none() {
                let cause = cause_of(&self.services[slot], (found.symptom, kind), onset, now);
                self.open_common(now, slot, cause, None, out);
            }
        }
        // An incident that already covers others continues to cover them.
        let leads = |&&slot: &&usize| {
            let common = self.services[slot].common.as_ref();
            common.is_some_and(|common| common.holds_others)
        };
        let leader = found.services.iter().find(leads).or(found.services.first());
        let Some(&leader) = leader else { return };
        let Some(common) = &self.services[leader].common else {
            return;
        };
        if common.follows.is_some() {
            return;
        }
        let id = common.case.incident.id.clone();
        for &slot in found.services.iter().filter(|slot| **slot != leader) {
            self.hold(now, slot, (leader, &id), out);
        }
        self.report_others(now, leader, found, kind);
        self.record_common(leader, out);
    }

    /// The incident of a service ends in that of another one.
    fn hold(
        &mut self,
        now: Instant,
        slot: usize,
        (leader, into): (usize, &str),
        out: &mut Vec<Output>,
    ) {
        let service = &mut self.services[slot];
        let name = service.spec.name.clone();
        let objective = service.spec.options.objective;
        let Some(common) = &mut service.common else {
            return;
        };
        if common.follows.is_some() || common.holds_others {
            return;
        }
        common.follows = Some(into.to_owned());
        let detection = Detection {
            by: Detector::FailureRatio,
            onset: common.case.onset,
            text: String::new(),
        };
        // Nobody is shown this one.
        let mut unseen = Case::new(
            common.case.incident.id.clone(),
            name.clone(),
            String::new(),
            &detection,
            now,
            self.shared.epoch,
        );
        unseen.kind = common.case.kind;
        let mut case = std::mem::replace(&mut common.case, unseen);
        let servers: Vec<String> = case
            .incident
            .servers
            .iter()
            .map(|server| format!("{name}/{server}"))
            .collect();
        let text = format!("other services show the same: it continues as {into}");
        case.note(now, "diagnosis", text);
        let ended = case.incident.id.clone();
        let impact = service.traffic.impact(case.totals, now, objective.as_ref());
        self.shared
            .report(now, case, (CloseReason::Merged, impact), out);
        if let Some(common) = &mut self.services[leader].common {
            common.holds_others = true;
            let text =
                format!("service {name} shows the same: its incident {ended} ends in this one");
            common.case.note(now, "detection", text);
            let known = &mut common.case.incident.servers;
            let new: Vec<String> = servers
                .into_iter()
                .filter(|one| !known.contains(one))
                .collect();
            known.extend(new);
        }
    }

    /// Writes into the one incident which services it holds, and what they may share.
    fn report_others(
        &mut self,
        now: Instant,
        leader: usize,
        found: &CrossServiceSymptom,
        kind: FaultKind,
    ) {
        let held = self.services.iter().enumerate();
        let held = held.filter(|(slot, service)| {
            service.is_held() || *slot == leader || found.services.contains(slot)
        });
        let (mut names, mut hosts) = (Vec::new(), BTreeSet::new());
        for (_, service) in held {
            names.push(service.spec.name.as_str());
            hosts.extend(service.servers.iter().filter_map(|server| server.host));
        }
        let mut evidence = vec![format!(
            "services {} {} at the same time",
            names.join(", "),
            found.symptom.words()
        )];
        let own = self.self_watch.open.as_ref();
        evidence.extend(own.map(|own| {
            let id = &own.case.incident.id;
            format!("evenkeel itself has a fault: see {id}")
        }));
        let hosts: Vec<IpAddr> = hosts.into_iter().collect();
        evidence.push(match hosts.as_slice() {
            [host] => format!("possible shared causes: the machine {host}, a dependency, the network, a recent change, evenkeel itself"),
            _ => "possible shared causes: a dependency, the network, a recent change, evenkeel itself".to_owned(),
        });
        let Some(common) = &mut self.services[leader].common else {
            return;
        };
        common.across = evidence;
        common.cause.kind = kind;
        common.diagnose(now, &self.shared.names);
    }

    /// If no service can be reached, evenkeel's own connectivity is the more likely cause.
    fn kind_across(&self, found: &CrossServiceSymptom) -> FaultKind {
        let present = self.services.iter().filter(|service| service.present > 0);
        match found.symptom {
            Symptom::Unreachable if present.count() == found.services.len() => {
                FaultKind::PartitionedBalancer
            }
            Symptom::Unreachable => FaultKind::Unreachable,
            Symptom::Sheds => FaultKind::Overload,
            Symptom::Errs
            | Symptom::BreaksOff
            | Symptom::Hangs
            | Symptom::Refuses
            | Symptom::FailsProbes
            | Symptom::Lags => FaultKind::DependencyFailure,
        }
    }
}

fn symptoms_began(
    symptoms: &[Option<ServiceSymptom>],
    found: &CrossServiceSymptom,
) -> Vec<Instant> {
    let began = found.services.iter().map(|&slot| symptoms[slot]);
    began
        .map(|one| one.map_or(Instant::ZERO, |one| one.since))
        .collect()
}

/// The symptom that a service's servers have in common with those of others.
fn cause_of(
    service: &WatchedService,
    (symptom, kind): (Symptom, FaultKind),
    onset: Instant,
    now: Instant,
) -> CommonCause {
    let views = service.views(now);
    let alike = views.iter().enumerate().filter(|(_, view)| {
        let view = view.as_ref();
        view.is_some_and(|view| view.symptom == Some(symptom))
    });
    let servers: Vec<usize> = alike.map(|(index, _)| index).collect();
    CommonCause {
        kind,
        confidence: 0.8,
        evidence: vec![format!(
            "{} of {} servers {}",
            servers.len(),
            views.iter().flatten().count(),
            symptom.words()
        )],
        servers,
        symptom: Some(symptom),
        failing: None,
        by_statistics: false,
        onset,
    }
}
