//! The benchmark: evenkeel, HAProxy, nginx and the floor before the same origin, in alternating rounds.
//!
//! The load runs in a thread of this process, so that the number of requests and the proxy's CPU time are read at the
//! same moment. `bench/README.md` says what is measured and how to read it.

pub mod usage;
pub mod workload;
pub mod proxy;
pub mod report;
pub mod memory;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_runtime::Clock;
use serde_json::json;

use crate::closed::{self, ClosedCounts};
use crate::pause;
use proxy::{BenchLayout, BenchProxy, RunningProxy, start_origin};
use report::Cell;
use usage::Core;
use workload::Workload;

/// How to run the benchmark.
#[derive(Debug, Clone)]
pub struct BenchPlan {
    /// Addresses and cores.
    pub place: BenchLayout,
    /// How many rounds.
    pub rounds: usize,
    /// How long each cell is measured.
    pub measure: Duration,
    /// How long each cell runs before it is measured.
    pub warm_up: Duration,
    /// The workloads.
    pub workloads: Vec<Workload>,
    /// The proxies; the first is compared with the others.
    pub proxies: Vec<BenchProxy>,
    /// The file for the JSON results.
    pub results: Option<PathBuf>,
    /// The commit that is measured.
    pub commit: String,
}

/// Runs the benchmark and prints its progress and its tables.
///
/// # Errors
/// If a program cannot be started, ends early, or the results cannot be written.
pub fn run(plan: &BenchPlan, out: &mut impl Write) -> io::Result<()> {
    let _origin = start_origin(&plan.place)?;
    let mut order = plan.proxies.clone();
    for proxy in &order {
        writeln!(out, "{:<9} {}", proxy.name(), proxy.version(&plan.place))?;
    }
    let mut cells = Vec::new();
    for round in 0..plan.rounds {
        writeln!(out, "round {} of {}", round + 1, plan.rounds)?;
        // A process keeps a bias of some per cent for its life (where its memory came to lie), so each round has new ones.
        let mut running = Vec::new();
        for &proxy in &order {
            running.push((proxy, proxy.start(&plan.place)?.0));
        }
        for workload in &plan.workloads {
            for (proxy, process) in &running {
                let cell = measure(plan, round, *proxy, process, workload)?;
                writeln!(
                    out,
                    "  {:<11} {:<9} {:>8.2} us/req {:>8.0} req/s, core {:.0} % busy, itself {:.0} %{}{}",
                    cell.workload,
                    proxy.name(),
                    cell.cpu_us,
                    cell.per_second,
                    cell.core_busy * 100.0,
                    cell.proxy_busy * 100.0,
                    if cell.failed > 0 {
                        format!(", {} failed", cell.failed)
                    } else {
                        String::new()
                    },
                    if cell.counts() { "" } else { ", void" }
                )?;
                cells.push(cell);
            }
        }
        order.reverse();
    }
    report::print(out, &cells, &plan.workloads, &plan.proxies)?;
    if let Some(path) = &plan.results {
        let mut all = report::json(&cells, &plan.workloads, &plan.proxies);
        all["commit"] = json!(plan.commit);
        all["machine"] = machine();
        all["settings"] = json!({
            "rounds": plan.rounds, "seconds_per_cell": plan.measure.as_secs_f64(),
            "proxy_core": plan.place.proxy_core, "load_core": plan.place.load_core,
            "versions": plan.proxies.iter().map(|p| json!([p.name(), p.version(&plan.place)])).collect::<Vec<_>>(),
        });
        write_json(path, &all)?;
        writeln!(out, "\nwritten to {}", path.display())?;
    }
    Ok(())
}

fn measure(
    plan: &BenchPlan,
    round: usize,
    proxy: BenchProxy,
    process: &RunningProxy,
    workload: &Workload,
) -> io::Result<Cell> {
    let counts = Arc::new(ClosedCounts::default());
    let (for_thread, load) = (Arc::clone(&counts), workload.plan(process.address));
    let thread = std::thread::spawn(move || closed::run(load, for_thread));
    pause(plan.warm_up)?;
    let clock = Clock::start();
    let look = || -> io::Result<(u64, Duration, Core, Instant)> {
        let core = Core::now(plan.place.proxy_core)?;
        Ok((
            counts.done.load(Relaxed),
            process.tree()?.cpu()?,
            core,
            clock.now(),
        ))
    };
    drop(counts.take_times());
    let (done, cpu, core, at) = look()?;
    pause(plan.measure)?;
    let (done_after, cpu_after, core_after, at_after) = look()?;
    let times = counts.take_times();
    let resident = process.tree()?.resident()?;
    counts.stop.store(true, Relaxed);
    thread
        .join()
        .map_err(|_| io::Error::other("the load panicked"))??;
    let requests = done_after - done;
    let seconds = (at_after - at).as_secs_f64();
    let used = cpu_after.saturating_sub(cpu).as_secs_f64();
    Ok(Cell {
        round,
        proxy,
        workload: workload.name,
        requests,
        failed: counts.failed.load(Relaxed),
        cpu_us: used * 1e6 / requests.max(1) as f64,
        core_busy: core_after.busy_since(core),
        proxy_busy: used / seconds,
        per_second: requests as f64 / seconds,
        quantiles_ms: [0.5, 0.99, 0.999].map(|q| times.quantile(q).as_secs_f64() * 1e3),
        resident,
    })
}

fn machine() -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let model = processor
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split(": ").nth(1));
    json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(), "processor": model.unwrap_or("unknown"),
        "cores": processor.matches("processor\t").count(),
    })
}

fn write_json(path: &std::path::Path, value: &serde_json::Value) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, format!("{value:#}\n"))
}
