//! Medians, ratios and tables of the benchmark's results.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::proxy::BenchProxy;
use super::workload::Workload;

/// A core that was less busy than this was not the limit: the cell says nothing about its proxy.
const BUSY_ENOUGH: f64 = 0.9;

/// One proxy under one workload in one round.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The round, from 0.
    pub round: usize,
    /// The proxy.
    pub proxy: BenchProxy,
    /// The workload's name.
    pub workload: &'static str,
    /// Right answers while it was measured.
    pub requests: u64,
    /// Wrong answers and broken connections.
    pub failed: u64,
    /// CPU time of all threads and children per request, in microseconds.
    pub cpu_us: f64,
    /// The utilisation of the proxy's core, 0 to 1, by any process.
    pub core_busy: f64,
    /// The share of one core that the proxy itself took.
    pub proxy_busy: f64,
    /// Right answers per second.
    pub per_second: f64,
    /// Median, 99th and 99.9th percentile of the time of an answer, in milliseconds.
    pub quantiles_ms: [f64; 3],
    /// Resident memory in bytes, at the end.
    pub resident: u64,
}

impl Cell {
    /// Whether the proxy's core was busy enough for the cell to count.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.core_busy >= BUSY_ENOUGH && self.requests > 0
    }

    fn json(&self) -> Value {
        json!({
            "round": self.round, "proxy": self.proxy.name(), "workload": self.workload,
            "requests": self.requests, "failed": self.failed, "cpu_us_per_request": self.cpu_us,
            "core_busy": self.core_busy, "proxy_busy": self.proxy_busy, "void": !self.counts(),
            "requests_per_second": self.per_second, "p50_ms": self.quantiles_ms[0], "p99_ms": self.quantiles_ms[1],
            "p99_9_ms": self.quantiles_ms[2], "resident_bytes": self.resident,
        })
    }
}

/// The middle of `values`; of two middles, their mean. `None` if there are none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn cells_of<'a>(
    cells: &'a [Cell],
    proxy: BenchProxy,
    workload: &'a str,
) -> impl Iterator<Item = &'a Cell> {
    cells
        .iter()
        .filter(move |cell| cell.proxy == proxy && cell.workload == workload)
}

/// The median of the rounds' ratios of CPU per request, `proxy` to `other`, with the number of rounds in which both
/// count.
#[must_use]
pub fn ratio(
    cells: &[Cell],
    workload: &str,
    proxy: BenchProxy,
    other: BenchProxy,
) -> Option<(f64, usize)> {
    let mut ratios = Vec::new();
    for mine in cells_of(cells, proxy, workload).filter(|cell| cell.counts()) {
        let theirs =
            cells_of(cells, other, workload).find(|cell| cell.round == mine.round && cell.counts());
        ratios.extend(theirs.map(|theirs| mine.cpu_us / theirs.cpu_us));
    }
    let rounds = ratios.len();
    median(ratios).map(|ratio| (ratio, rounds))
}

/// Medians of one proxy under one workload over the rounds that count.
fn medians(cells: &[Cell], proxy: BenchProxy, workload: &str) -> Option<[f64; 6]> {
    let values = |get: fn(&Cell) -> f64| {
        median(
            cells_of(cells, proxy, workload)
                .filter(|cell| cell.counts())
                .map(get)
                .collect(),
        )
    };
    Some([
        values(|cell| cell.cpu_us)?,
        values(|cell| cell.per_second)?,
        values(|cell| cell.quantiles_ms[0])?,
        values(|cell| cell.quantiles_ms[1])?,
        values(|cell| cell.quantiles_ms[2])?,
        values(|cell| cell.resident as f64 / f64::from(1 << 20))?,
    ])
}

/// Prints the tables. The first of `proxies` is the one that the others are compared with.
///
/// # Errors
/// If `out` cannot be written to.
pub fn print(
    out: &mut impl Write,
    cells: &[Cell],
    workloads: &[Workload],
    proxies: &[BenchProxy],
) -> io::Result<()> {
    writeln!(
        out,
        "\nMedians over the rounds that count (proxy's core at least 90 % busy)\n"
    )?;
    writeln!(
        out,
        "{:<11} {:<9} {:>11} {:>10} {:>9} {:>9} {:>9} {:>8} {:>7} {:>7}",
        "workload",
        "proxy",
        "CPU us/req",
        "req/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "RSS MiB",
        "rounds",
        "failed"
    )?;
    for workload in workloads {
        for &proxy in proxies {
            let all = cells_of(cells, proxy, workload.name).count();
            let valid = cells_of(cells, proxy, workload.name)
                .filter(|cell| cell.counts())
                .count();
            let failed: u64 = cells_of(cells, proxy, workload.name)
                .map(|cell| cell.failed)
                .sum();
            write!(out, "{:<11} {:<9} ", workload.name, proxy.name())?;
            match medians(cells, proxy, workload.name) {
                Some([cpu, rate, p50, p99, p999, resident]) => write!(
                    out,
                    "{cpu:>11.2} {rate:>10.0} {p50:>9.3} {p99:>9.3} {p999:>9.3} {resident:>8.1}"
                )?,
                None => write!(out, "{:>61}", "void")?,
            }
            writeln!(out, " {valid:>4}/{all:<2} {failed:>7}")?;
        }
    }
    let Some((&first, others)) = proxies.split_first() else {
        return Ok(());
    };
    if others.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nCPU per request of {}, compared: median of the rounds' ratios (rounds)\n",
        first.name()
    )?;
    write!(out, "{:<11}", "workload")?;
    for other in others {
        write!(out, " {:>14}", format!("/{}", other.name()))?;
    }
    writeln!(out, "   /haproxy must be, goal")?;
    for workload in workloads {
        write!(out, "{:<11}", workload.name)?;
        for &other in others {
            let text = ratio(cells, workload.name, first, other).map_or_else(
                || "void".to_owned(),
                |(ratio, rounds)| format!("{ratio:.3} ({rounds})"),
            );
            write!(out, " {text:>14}")?;
        }
        writeln!(out, "   {:.2}, {:.2}", workload.bound, workload.goal)?;
    }
    Ok(())
}

/// All of it for machines: every cell, the medians and the ratios.
#[must_use]
pub fn json(cells: &[Cell], workloads: &[Workload], proxies: &[BenchProxy]) -> Value {
    let mut summary = Vec::new();
    for workload in workloads {
        for &proxy in proxies {
            if let Some([cpu, rate, p50, p99, p999, resident]) =
                medians(cells, proxy, workload.name)
            {
                summary.push(json!({
                    "workload": workload.name, "proxy": proxy.name(), "cpu_us_per_request": cpu,
                    "requests_per_second": rate, "p50_ms": p50, "p99_ms": p99, "p99_9_ms": p999, "resident_mib": resident,
                }));
            }
        }
    }
    let mut ratios = Vec::new();
    if let Some((&first, others)) = proxies.split_first() {
        for workload in workloads {
            for &other in others {
                if let Some((ratio, rounds)) = ratio(cells, workload.name, first, other) {
                    ratios.push(json!({
                        "workload": workload.name, "proxy": first.name(), "to": other.name(),
                        "median_ratio_of_cpu": ratio, "rounds": rounds,
                    }));
                }
            }
        }
    }
    json!({
        "workloads": workloads.iter().map(|w| json!({ "name": w.name, "text": w.text })).collect::<Vec<_>>(),
        "medians": summary, "ratios": ratios, "cells": cells.iter().map(Cell::json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(round: usize, proxy: BenchProxy, cpu_us: f64, core_busy: f64) -> Cell {
        Cell {
            round,
            proxy,
            workload: "small-64",
            requests: 1000,
            failed: 0,
            cpu_us,
            core_busy,
            proxy_busy: core_busy,
            per_second: 1e3,
            quantiles_ms: [1.0, 2.0, 3.0],
            resident: 1 << 20,
        }
    }

    #[test]
    fn ratios_are_paired_and_void_rounds_say_nothing() {
        let cells = [
            cell(0, BenchProxy::Evenkeel, 8.0, 0.99),
            cell(0, BenchProxy::Haproxy, 10.0, 0.99),
            cell(1, BenchProxy::Evenkeel, 16.0, 0.95),
            cell(1, BenchProxy::Haproxy, 20.0, 0.91),
            cell(2, BenchProxy::Evenkeel, 30.0, 0.99),
            cell(2, BenchProxy::Haproxy, 10.0, 0.5),
        ];
        let (ratio, rounds) = ratio(
            &cells,
            "small-64",
            BenchProxy::Evenkeel,
            BenchProxy::Haproxy,
        )
        .unwrap();
        assert!((ratio - 0.8).abs() < 1e-9, "{ratio}");
        assert_eq!(rounds, 2);
        let mut text = Vec::new();
        print(
            &mut text,
            &cells,
            &super::super::workload::WORKLOADS[..2],
            &[BenchProxy::Evenkeel, BenchProxy::Haproxy],
        )
        .unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.contains("0.800 (2)") && text.contains("void"),
            "{text}"
        );
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
