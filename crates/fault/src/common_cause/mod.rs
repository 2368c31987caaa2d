//! Detects whether the servers of a service suffer from one cause: a route, a shared dependency, overload, a wrong
//! probe. Evaluated before any single server is judged: if a cause is shared, restarting or ejecting servers costs
//! capacity and repairs nothing.
//!
//! A pure function of a view, tested by tables. It reports nothing if one server differs from the others.

mod across;
mod route;
mod symptom;

pub use across::{CrossServiceSymptom, ServiceSymptom, across, of_service};
pub use route::{Failing, failing};
pub use symptom::{JudgedServer, Symptom};

use evenkeel_core::Instant;

use crate::detect::Overload;
use crate::kind::FaultKind;
use crate::signal::RouteTally;

/// A service as the judge sees it.
#[derive(Debug, Clone, Copy)]
pub struct JudgedService<'a> {
    /// Its servers, by index; `None` for those without evidence: absent, in maintenance, starting, or dead.
    pub servers: &'a [Option<JudgedServer>],
    /// Its routes.
    pub routes: &'a [RouteTally],
    /// The overload of the servers, if there is one.
    pub overload: Option<&'a Overload>,
    /// Requests that came lately, as a multiple of what is usual.
    pub load: f64,
}

/// One cause for what several servers, or one route on all of them, suffer from.
#[derive(Debug, Clone, PartialEq)]
pub struct CommonCause {
    /// The kind of fault.
    pub kind: FaultKind,
    /// How sure, 0 to 1.
    pub confidence: f64,
    /// The places of the servers that show it, the first to show it first.
    pub servers: Vec<usize>,
    /// The symptom of the servers; none if it is about routes.
    pub symptom: Option<Symptom>,
    /// The routes that fail, if it is about routes.
    pub failing: Option<Failing>,
    /// It is no symptom that servers share, only more of something than usual: no other incident is merged into it.
    pub by_statistics: bool,
    /// Its first sign.
    pub onset: Instant,
    /// The reason, in words; routes are named by the caller.
    pub evidence: Vec<String>,
}

/// So many times the usual load is too much, if servers fail under it.
const HIGH_LOAD: f64 = 1.8;

/// The common cause of what is seen, if there is one.
#[must_use]
pub fn common_cause(view: &JudgedService<'_>) -> Option<CommonCause> {
    of_load(view)
        .or_else(|| of_route(view))
        .or_else(|| of_servers(view))
}

fn of_load(view: &JudgedService<'_>) -> Option<CommonCause> {
    let overload = view.overload?;
    let is_there = |slot: &usize| view.servers.get(*slot).is_some_and(Option::is_some);
    let servers: Vec<usize> = overload.servers.iter().copied().filter(is_there).collect();
    (!servers.is_empty()).then(|| CommonCause {
        kind: FaultKind::Overload,
        confidence: 0.9,
        servers,
        symptom: None,
        failing: None,
        by_statistics: false,
        onset: overload.since,
        evidence: vec![overload.text.clone()],
    })
}

fn of_route(view: &JudgedService<'_>) -> Option<CommonCause> {
    let members = view.servers.iter().flatten().count();
    let failing = failing(view.routes, members)?;
    let mut servers = places(view, |server| server.symptom.is_some());
    if servers.is_empty() {
        servers = places(view, |_| true);
    }
    let mut evidence = vec![format!(
        "{} of {} of its requests failed, on {} of {members} servers",
        failing.failed, failing.total, failing.servers
    )];
    evidence.push(format!(
        "{} of {} other requests succeeded on the same servers",
        failing.others_succeeded, failing.others_total
    ));
    Some(CommonCause {
        kind: FaultKind::BrokenRoute,
        symptom: None,
        confidence: 0.9,
        servers,
        onset: failing.since,
        failing: Some(failing),
        by_statistics: false,
        evidence,
    })
}

fn of_servers(view: &JudgedService<'_>) -> Option<CommonCause> {
    let members = view.servers.iter().flatten().count();
    let all = Symptom::ALL.into_iter().map(|symptom| {
        let servers = places(view, |server| server.symptom == Some(symptom));
        (symptom, servers)
    });
    let (symptom, servers) = all.max_by_key(|(_, servers)| servers.len())?;
    // While another server is healthy, failing ones are better out of rotation, individually; costly actions are
    // refused nevertheless (`SymptomCounts`).
    let others_well = view
        .servers
        .iter()
        .flatten()
        .any(|server| server.symptom.is_none() && server.is_well);
    let is_served = |slot: &usize| view.servers[*slot].is_some_and(|server| server.is_well);
    let is_unserved = symptom != Symptom::FailsProbes || !servers.iter().all(is_served);
    if !is_shared(servers.len(), members) || others_well && is_unserved {
        return None;
    }
    let kind = kind_of(symptom, view)?;
    let onset = servers
        .iter()
        .filter_map(|&slot| view.servers[slot])
        .map(|server| server.since)
        .min()?;
    let mut evidence = vec![format!(
        "{} of {members} servers {} at the same time",
        servers.len(),
        symptom.words()
    )];
    if view.load >= HIGH_LOAD {
        evidence.push(format!(
            "{:.1} times as many requests as usual arrive",
            view.load
        ));
    }
    Some(CommonCause {
        kind,
        symptom: Some(symptom),
        confidence: if servers.len() == members { 0.85 } else { 0.7 },
        servers,
        failing: None,
        by_statistics: false,
        onset,
        evidence,
    })
}

/// Whether this many of `members` servers with the same symptom have a shared cause: at least half of them, and more
/// than one.
const fn is_shared(alike: usize, members: usize) -> bool {
    alike >= 2 && alike * 2 >= members
}

/// How many servers of a service show the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SymptomCounts {
    by_symptom: [usize; Symptom::ALL.len()],
    members: usize,
}

impl SymptomCounts {
    /// Counts them.
    #[must_use]
    pub fn count(servers: &[Option<JudgedServer>]) -> Self {
        let mut alike = Self::default();
        for server in servers.iter().flatten() {
            alike.members += 1;
            if let Some(symptom) = server.symptom {
                alike.by_symptom[symptom.index()] += 1;
            }
        }
        alike
    }

    /// So many lag behind their peers, those among them that are only in doubt.
    #[must_use]
    pub const fn with_slow(mut self, slow: usize) -> Self {
        self.by_symptom[Symptom::Lags.index()] = slow;
        self
    }

    /// If half of the servers or more show this, how many of how many.
    #[must_use]
    pub fn shared(&self, symptom: Symptom) -> Option<(usize, usize)> {
        let alike = self.by_symptom[symptom.index()];
        is_shared(alike, self.members).then_some((alike, self.members))
    }
}

fn kind_of(symptom: Symptom, view: &JudgedService<'_>) -> Option<FaultKind> {
    let is_high = view.load >= HIGH_LOAD;
    Some(match symptom {
        Symptom::Sheds => FaultKind::Overload,
        Symptom::Errs | Symptom::BreaksOff | Symptom::Hangs if is_high => FaultKind::Overload,
        Symptom::Errs | Symptom::BreaksOff | Symptom::Hangs => FaultKind::DependencyFailure,
        Symptom::Unreachable => FaultKind::Unreachable,
        Symptom::FailsProbes => FaultKind::BadProbe,
        // A closed port is repaired server by server; slowness is judged against the usual speed.
        Symptom::Refuses | Symptom::Lags => return None,
    })
}

/// The places of the servers that are so, those that have shown it longest first.
fn places(view: &JudgedService<'_>, is_so: impl Fn(&JudgedServer) -> bool) -> Vec<usize> {
    let all = view.servers.iter().enumerate();
    let mut found: Vec<(Instant, usize)> = all
        .filter_map(|(slot, server)| server.as_ref().map(|server| (slot, server)))
        .filter(|(_, server)| is_so(server))
        .map(|(slot, server)| (server.since, slot))
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, slot)| slot).collect()
}

#[cfg(test)]
mod tests;
