//! Reports on a period for each service: means over its incidents, and its availability.
//!
//! Separate from the store because these are plain formulas over its content.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_fault::Incident;
use evenkeel_fault::incident::IncidentStatus;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How one service fared in a period. Drills are counted apart and are in no mean. Times are in milliseconds; what
/// cannot be known yet is absent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PeriodReport {
    /// The service's name.
    pub service: String,
    /// Incidents that began in the period.
    pub incidents: u32,
    /// Of these, those that are not over.
    pub open: u32,
    /// Incidents that were made on purpose.
    pub drills: u32,
    /// Mean time to detection.
    pub mttd_ms: Option<f64>,
    /// Mean time to restore: detection + diagnosis + recovery.
    pub mttr_ms: Option<f64>,
    /// Mean time between the onsets of two incidents; from two incidents on.
    pub mtbf_ms: Option<f64>,
    /// Half of the incidents were restored within this time.
    pub p50_restore_ms: Option<f64>,
    /// Nine of ten incidents were restored within this time.
    pub p90_restore_ms: Option<f64>,
    /// Requests in the period.
    pub requests: u64,
    /// Of these, those that the client saw fail.
    pub failed: u64,
    /// The share of requests that did not fail; from the first request on.
    pub availability: Option<f64>,
}

/// One report per service that has incidents (oldest first) or traffic, by name.
pub(crate) fn reports(
    incidents: &[Incident],
    traffic: &BTreeMap<String, (u64, u64)>,
) -> Vec<PeriodReport> {
    let with_incidents = incidents.iter().map(|incident| incident.service.as_str());
    let services: BTreeSet<&str> = traffic
        .keys()
        .map(String::as_str)
        .chain(with_incidents)
        .collect();
    let one = |service: &&str| {
        let of_service: Vec<&Incident> = incidents
            .iter()
            .filter(|incident| incident.service == **service)
            .collect();
        report(
            service,
            &of_service,
            traffic.get(*service).copied().unwrap_or_default(),
        )
    };
    services.iter().map(one).collect()
}

fn report(service: &str, all: &[&Incident], (requests, failed): (u64, u64)) -> PeriodReport {
    let (drills, real): (Vec<&Incident>, Vec<&Incident>) =
        all.iter().partition(|incident| incident.drill);
    let detections: Vec<f64> = real
        .iter()
        .filter_map(|incident| incident.durations_ms.detection)
        .collect();
    let mut restores: Vec<f64> = real
        .iter()
        .filter_map(|incident| incident.durations_ms.time_to_restore())
        .collect();
    restores.sort_by(f64::total_cmp);
    let open = real
        .iter()
        .filter(|incident| incident.status != IncidentStatus::Closed)
        .count();
    PeriodReport {
        service: service.to_owned(),
        incidents: count(real.len()),
        open: count(open),
        drills: count(drills.len()),
        mttd_ms: mean(&detections),
        mttr_ms: mean(&restores),
        mtbf_ms: between(&real),
        p50_restore_ms: quantile(&restores, 0.5),
        p90_restore_ms: quantile(&restores, 0.9),
        requests,
        failed,
        availability: (requests > 0).then(|| 1.0 - failed.min(requests) as f64 / requests as f64),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The smallest value that at least the share `q` of all values does not exceed.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn between(incidents: &[&Incident]) -> Option<f64> {
    let onsets = incidents
        .iter()
        .filter_map(|incident| incident.onset.parse::<Timestamp>().ok());
    let onsets: Vec<i64> = onsets.map(Timestamp::as_millisecond).collect();
    let (first, last) = (onsets.iter().min()?, onsets.iter().max()?);
    (onsets.len() > 1).then(|| (last - first) as f64 / (onsets.len() - 1) as f64)
}
