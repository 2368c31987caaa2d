//! `evenkeel run`, and serving in general: from a plan until a signal ends the program.

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use evenkeel_core::Endpoint;
use evenkeel_runtime::{LineQueue, descriptors};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::find::DEFAULT_FILE;
use crate::configuration::{ConfigurationFile, ReadFile};
use crate::output::{CommandEnding, CommandFailure, Result};
use crate::wiring::{self, RunningEvenkeel};
use crate::{configuration, logging};

/// How long requests in flight may take after the signal to stop.
const FAREWELL: Duration = Duration::from_secs(30);

/// Serve the configuration.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  evenkeel run evenkeel.toml\n\n\
                        SIGTERM or Ctrl-C: stop accepting, finish requests in flight (30 s at most), stop the servers\n\
                        that evenkeel runs, exit 0. A second one ends it at once. SIGHUP: reload, as `evenkeel reload` does. SIGUSR1 and\n\
                        SIGUSR2 are ignored, with a line in the log. EVENKEEL_LOG sets the log level: a level, or TARGET=LEVEL, with commas.")]
pub(crate) struct RunArgs {
    /// The configuration file.
    #[arg(value_name = "CONFIG", default_value = DEFAULT_FILE)]
    config: PathBuf,
}

impl RunArgs {
    pub(crate) fn carry_out(self) -> Result {
        let file = ConfigurationFile::of(&self.config);
        serve(|| configuration::read_to_serve(&self.config), Some(file))
    }
}

/// Serves the configuration from `configure` until a signal arrives. `file`: where it comes from, if it is a file.
pub(super) fn serve(
    configure: impl FnOnce() -> Result<ReadFile>,
    file: Option<ConfigurationFile>,
) -> Result {
    let runtime = evenkeel_runtime::spawn::runtime()
        .map_err(|error| CommandFailure::world("cannot start", error))?;
    // Before anything else, so that no signal is missed, and none that has no meaning ends the program.
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let read = configure()?;
    raise_descriptor_limit();
    let results = logging::queue("results", io::stdout().as_fd(), |_| ())
        .map_err(|error| CommandFailure::world("cannot write to standard output", error))?;
    let running = wiring::start(read, file)?;
    announce(&running, &results);
    runtime.block_on(signals.until_end(|| running.reload()));
    tracing::info!(
        "stopping: no new connections, requests in flight may finish within {FAREWELL:?}"
    );
    let stopping = std::thread::spawn(move || running.stop(FAREWELL));
    runtime.block_on(async {
        tokio::select! {
            () = signals.until_end(|| tracing::warn!("SIGHUP is ignored: evenkeel is stopping")) => tracing::warn!("stopped immediately, on a second signal"),
            () = finished(&stopping) => tracing::info!("stopped"),
        }
    });
    // The children of a process that ends are ended by their guardian.
    runtime.shutdown_background();
    Ok(CommandEnding::Good)
}

/// Raises the descriptor limit, so that as many clients can be connected as the hard limit allows.
fn raise_descriptor_limit() {
    match descriptors::raise_limit() {
        Ok((from, to)) if from < to => {
            tracing::info!(from, to, "the file descriptor limit was raised");
        }
        Ok(_) => {}
        Err(error) => {
            let limit = descriptors::limit();
            tracing::warn!(%error, limit, "the file descriptor limit could not be raised");
        }
    }
}

/// Prints the addresses it serves on. A reader that is gone or does not read stops nothing.
fn announce(running: &RunningEvenkeel, results: &LineQueue) {
    let listeners = running
        .addresses
        .iter()
        .map(|(name, address)| format!("{name} {}\n", url(address)));
    let dns = running
        .dns
        .iter()
        .map(|(name, address)| format!("{name} dns://{address}\n"));
    let admin = format!("admin {}\nready\n", url(&running.admin));
    for line in listeners.chain(dns).chain([admin]) {
        results.push(line.as_bytes());
    }
}

/// How clients call an address.
fn url(address: &Endpoint) -> String {
    match address {
        Endpoint::Tcp(address) => format!("http://{address}"),
        Endpoint::Unix(_) => address.to_string(),
    }
}

async fn finished(thread: &std::thread::JoinHandle<()>) {
    while !thread.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The signals that concern a server. Signals without a meaning are handled too, since by default they would end the program.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| CommandFailure::world("cannot wait for signals", error))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
            user_1: listen(SignalKind::user_defined1())?,
            user_2: listen(SignalKind::user_defined2())?,
        })
    }

    /// Waits for a signal to end; `reload` at SIGHUP.
    async fn until_end(&mut self, reload: impl Fn()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => reload(),
                _ = self.user_1.recv() => tracing::warn!("SIGUSR1 is ignored: it has no meaning"),
                _ = self.user_2.recv() => tracing::warn!("SIGUSR2 is ignored: it has no meaning"),
            }
        }
    }
}
