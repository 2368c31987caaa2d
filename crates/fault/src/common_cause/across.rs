//! Detects causes shared by several services, by comparing what their servers show. Services have in common a
//! dependency, the network, the machine, a deploy, or evenkeel itself; restarting a server repairs none of these.

use std::time::Duration;

use evenkeel_core::Instant;

use super::{JudgedServer, Symptom};

/// They must have begun to show it within this time.
const WITHIN: Duration = Duration::from_secs(10);

/// The symptom of the servers of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceSymptom {
    /// What.
    pub symptom: Symptom,
    /// When it began.
    pub since: Instant,
}

/// Services that show the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrossServiceSymptom {
    /// What.
    pub symptom: Symptom,
    /// Their places, the one that showed it first before the others.
    pub services: Vec<usize>,
}

/// The symptom of more than half of a service's servers, or of half of them and at least two.
#[must_use]
pub fn of_service(servers: &[Option<JudgedServer>]) -> Option<ServiceSymptom> {
    let members = servers.iter().flatten().count();
    let found = Symptom::ALL.into_iter().filter_map(|symptom| {
        let alike = servers.iter().flatten();
        let alike = alike.filter(|server| server.symptom == Some(symptom));
        let count = alike.clone().count();
        let is_most = count * 2 > members || count >= 2 && count * 2 >= members;
        let since = alike.map(|server| server.since).min()?;
        is_most.then_some((count, ServiceSymptom { symptom, since }))
    });
    let (_, most) = found.max_by_key(|(count, _)| *count)?;
    Some(most)
}

/// The services that have one cause: two at least, and half of all that have servers.
#[must_use]
pub fn across(services: &[Option<ServiceSymptom>], members: usize) -> Option<CrossServiceSymptom> {
    let mut best: Option<CrossServiceSymptom> = None;
    let unhealthy = services.iter().flatten();
    for first in unhealthy.filter(|one| may_be_shared(one.symptom)) {
        let is_alike = |other: &ServiceSymptom| {
            other.symptom == first.symptom
                && other.since >= first.since
                && other.since.since(first.since) <= WITHIN
        };
        let alike = services.iter().enumerate();
        let alike = alike.filter_map(|(slot, one)| one.filter(is_alike).map(|one| (one, slot)));
        let mut alike: Vec<(Instant, usize)> = alike.map(|(one, slot)| (one.since, slot)).collect();
        let is_shared = alike.len() >= 2 && alike.len() * 2 >= members;
        let is_more = best
            .as_ref()
            .is_none_or(|best| alike.len() > best.services.len());
        if is_shared && is_more {
            alike.sort_unstable();
            best = Some(CrossServiceSymptom {
                symptom: first.symptom,
                services: alike.into_iter().map(|(_, slot)| slot).collect(),
            });
        }
    }
    best
}

/// A port that is closed is repaired server by server, and a probe is a service's own.
const fn may_be_shared(symptom: Symptom) -> bool {
    match symptom {
        Symptom::Sheds
        | Symptom::Errs
        | Symptom::BreaksOff
        | Symptom::Hangs
        | Symptom::Unreachable => true,
        Symptom::Refuses | Symptom::FailsProbes | Symptom::Lags => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhealthy(symptom: Symptom, second: u64) -> Option<ServiceSymptom> {
        let since = Instant::from_millis(second * 1_000);
        Some(ServiceSymptom { symptom, since })
    }

    #[test]
    fn half_of_the_services_and_two_at_least_at_the_same_time() {
        use Symptom::{Errs, Hangs, Refuses, Unreachable};
        for (services, members, expected) in [
            (
                vec![unhealthy(Errs, 3), unhealthy(Errs, 1)],
                2,
                Some((Errs, vec![1, 0])),
            ),
            (
                vec![unhealthy(Errs, 3), unhealthy(Errs, 1), None],
                4,
                Some((Errs, vec![1, 0])),
            ),
            (vec![unhealthy(Errs, 3), unhealthy(Errs, 1), None], 5, None),
            (vec![unhealthy(Errs, 3)], 1, None),
            (vec![unhealthy(Errs, 3), None], 2, None),
            (vec![unhealthy(Errs, 3), unhealthy(Hangs, 3)], 2, None),
            (vec![unhealthy(Errs, 3), unhealthy(Errs, 14)], 2, None),
            // An old trouble of one service does not hide a new one of others.
            (
                vec![
                    unhealthy(Hangs, 1),
                    unhealthy(Hangs, 60),
                    unhealthy(Hangs, 61),
                ],
                3,
                Some((Hangs, vec![1, 2])),
            ),
            (vec![unhealthy(Refuses, 3), unhealthy(Refuses, 3)], 2, None),
            (
                vec![
                    unhealthy(Unreachable, 3),
                    unhealthy(Unreachable, 3),
                    unhealthy(Errs, 3),
                ],
                3,
                Some((Unreachable, vec![0, 1])),
            ),
        ] {
            let found = across(&services, members);
            let found = found.map(|found| (found.symptom, found.services));
            assert_eq!(found, expected, "{services:?} of {members}");
        }
    }

    #[test]
    fn a_service_shows_what_most_of_its_servers_show() {
        let server = |symptom: Option<Symptom>| {
            Some(JudgedServer {
                symptom,
                since: Instant::from_millis(5),
                is_well: symptom.is_none(),
            })
        };
        let errs = || server(Some(Symptom::Errs));
        for (servers, expected) in [
            (vec![errs()], true),
            (vec![errs(), server(None)], false),
            (vec![errs(), errs(), server(None)], true),
            (vec![errs(), errs(), server(None), server(None)], true),
            (vec![errs(), None], true),
            (vec![errs(), server(None), server(None)], false),
            (vec![], false),
        ] {
            assert_eq!(of_service(&servers).is_some(), expected, "{servers:?}");
        }
    }
}
