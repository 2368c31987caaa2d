//! The soak test: one evenkeel under a mix of ordinary and awkward clients and servers, disturbed on purpose, and
//! watched for leaks and for undeserved blame.
//!
//! Clients and servers agree on the bytes of every body (see `pattern`), so that a byte of one exchange in another is
//! detected. Three times something happens to evenkeel itself: the reader of its log goes away, its descriptors run
//! out, it is stopped for 12 s. Afterwards everything must be as before: connections, requests in flight, queue slots,
//! descriptors, memory.

mod clients;
mod configuration;
mod instance;
mod origin;
mod pattern;
mod verdict;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use evenkeel_runtime::Clock;

use crate::pause;

use clients::{ClientCounts, SoakClients};
use configuration::Layout;
use instance::Instance;
use origin::Origins;
use verdict::{Disturbance, Sample};

/// How to soak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoakPlan {
    /// The program, `evenkeel` itself.
    pub program: PathBuf,
    /// How long the load lasts.
    pub span: Duration,
    /// Decides what every client and server does.
    pub seed: u64,
    /// The tested commit, for the report.
    pub commit: String,
    /// A file for the report.
    pub report: Option<PathBuf>,
}

/// Between two samples; at most this many are printed for each tenth of the time.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// How long evenkeel is stopped.
const STOPPED: Duration = Duration::from_secs(12);
/// How long its descriptors are exhausted.
const EXHAUSTED: Duration = Duration::from_secs(20);
/// Failures so long after a disturbance still belong to it.
const AFTERMATH: Duration = Duration::from_secs(15);
/// Idle connections that are left open at the end: evenkeel has to close each of them.
const LEFT_IDLE: usize = 300;
/// How long after the load everything must have ended: evenkeel's idle time and some.
const QUIET: Duration = Duration::from_secs(30);

/// Runs the soak test, prints the observations, and returns whether it passed.
///
/// # Errors
/// If something cannot be started, or if evenkeel leaked, mixed up bytes, or blamed a server that did nothing wrong.
pub fn run(plan: &SoakPlan, out: &mut impl Write) -> io::Result<()> {
    let clock = Clock::start();
    let mut report = SoakReport::new(out);
    report.line(&format!(
        "soak of commit {}, {} minutes, seed {}",
        plan.commit,
        plan.span.as_secs() / 60,
        plan.seed
    ))?;
    let origins = Origins::start(plan.seed)?;
    let folder = std::env::temp_dir().join(format!("evenkeel-soak-{}", std::process::id()));
    let layout = Layout::write(&folder, origins.addresses())?;
    let mut instance = Instance::start(&plan.program, &layout, &folder)?;
    let started = Sample::take(&instance, Duration::ZERO)?;
    let clients = SoakClients::start(instance.address, plan.seed)?;
    let mut samples = Vec::new();
    report.line(Sample::TITLE)?;

    let mut disturbances = disturbances(plan.span);
    let end = clock.now() + plan.span;
    let begun = clock.now();
    while clock.now() < end {
        pause(SAMPLE_EVERY)?;
        let since = clock.now().since(begun);
        if disturbances.first().is_some_and(|(at, _)| since >= *at) {
            let (_, disturbance) = disturbances.remove(0);
            report.line(&format!(
                "{:>6.0} s  {}",
                since.as_secs_f64(),
                disturbance.text()
            ))?;
            clients.disturbed(true);
            disturb(disturbance, &mut instance)?;
            pause(AFTERMATH)?;
            clients.disturbed(false);
        }
        let sample = Sample::take(&instance, clock.now().since(begun))?;
        if samples.len() % 6 == 0 {
            report.line(&sample.row(&clients.counts()))?;
        }
        samples.push(sample);
    }
    let idle = idle_connections(instance.address)?;
    let counts = clients.stop();
    let last = verdict::settle(&instance, &clock, QUIET)?;
    drop(idle);
    report.line(&last.row(&counts))?;
    let incidents = instance.incidents()?;
    let mixed = origins.mixed_up();
    let findings = verdict::findings(&verdict::SoakEvidence {
        started: &started,
        samples: &samples,
        last: &last,
        counts: &counts,
        mixed_at_servers: mixed,
        incidents: &incidents,
    });
    let ended_well = instance.stop()?;
    report.counts(&counts, &incidents, &findings, ended_well)?;
    if let Some(path) = &plan.report {
        std::fs::write(path, report.text.as_bytes())?;
    }
    std::fs::remove_dir_all(&folder)?;
    if findings.is_empty() && ended_well {
        return Ok(());
    }
    Err(io::Error::other("the soak found something"))
}

/// Each before the second quarter and, but for the reader of the log, which cannot come back, again before the last one: what
/// a disturbance costs once, as a log queue that fills up to its bound, is no leak, and what it costs each time is.
fn disturbances(span: Duration) -> Vec<(Duration, Disturbance)> {
    vec![
        (span / 10, Disturbance::LogReaderGone),
        (span * 14 / 100, Disturbance::DescriptorsExhausted),
        (span * 18 / 100, Disturbance::Stopped),
        (span * 55 / 100, Disturbance::DescriptorsExhausted),
        (span * 60 / 100, Disturbance::Stopped),
    ]
}

fn disturb(disturbance: Disturbance, instance: &mut Instance) -> io::Result<()> {
    match disturbance {
        Disturbance::LogReaderGone => instance.drop_log_reader(),
        Disturbance::DescriptorsExhausted => {
            let taken = instance.exhaust_descriptors()?;
            pause(EXHAUSTED)?;
            drop(taken);
        }
        Disturbance::Stopped => {
            instance.signal_stop()?;
            pause(STOPPED)?;
            instance.signal_continue()?;
        }
    }
    Ok(())
}

/// Connections that have carried one request each and are idle now.
fn idle_connections(address: SocketAddr) -> io::Result<Vec<std::net::TcpStream>> {
    (0..LEFT_IDLE)
        .map(|_| {
            let stream = std::net::TcpStream::connect(address)?;
            instance::ask(&stream, "GET /plain/idle/16 HTTP/1.1\r\nHost: soak\r\n\r\n")?;
            Ok(stream)
        })
        .collect()
}

struct SoakReport<'a, W> {
    out: &'a mut W,
    text: String,
}

impl<'a, W: Write> SoakReport<'a, W> {
    const fn new(out: &'a mut W) -> Self {
        Self {
            out,
            text: String::new(),
        }
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
        writeln!(self.out, "{}", line.trim_end())
    }

    fn counts(
        &mut self,
        counts: &ClientCounts,
        incidents: &[instance::SoakIncident],
        findings: &[String],
        ended_well: bool,
    ) -> io::Result<()> {
        self.line("\nwhat clients saw")?;
        for row in counts.rows() {
            self.line(&row)?;
        }
        self.line(&format!("\n{} incidents", incidents.len()))?;
        for incident in incidents {
            self.line(&format!("  {}", incident.text()))?;
        }
        self.line("\nfindings")?;
        for finding in findings {
            self.line(&format!("  {finding}"))?;
        }
        if !ended_well {
            self.line("  it did not end with status 0 within its time after SIGTERM")?;
        }
        if findings.is_empty() && ended_well {
            self.line("  none: nothing leaked, no bytes were mixed up, no server was blamed without fault")?;
        }
        Ok(())
    }
}
