//! `evenkeel run`, and serving in general: from a plan until a signal ends it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use evenkeel_config::Plan;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::find::DEFAULT_FILE;
use crate::output::{Ending, Failure, Result, print};
use crate::wiring::{self, Running};
use crate::{configuration, logging};

/// How long requests in flight may take once evenkeel is told to stop.
const FAREWELL: Duration = Duration::from_secs(30);

/// Serve.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  evenkeel run evenkeel.toml\n\n\
                        SIGTERM or Ctrl-C: stop accepting, finish requests in flight (30 s at most), stop the servers\n\
                        that evenkeel runs, exit 0. A second one ends it at once. EVENKEEL_LOG sets the log level.")]
pub(crate) struct Run {
    /// The configuration.
    #[arg(value_name = "CONFIG", default_value = DEFAULT_FILE)]
    config: PathBuf,
}

impl Run {
    pub(crate) fn carry_out(self) -> Result {
        serve(configuration::read(&self.config)?.plan)
    }
}

/// Serves until a signal ends it.
pub(super) fn serve(plan: Plan) -> Result {
    logging::start(&plan.log);
    let runtime = evenkeel_runtime::spawn::runtime()
        .map_err(|error| Failure::world("cannot start", error))?;
    // Before anything is started, so that no signal is missed.
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let running = wiring::start(plan)?;
    announce(&running)?;
    runtime.block_on(signals.until_end());
    tracing::info!(
        "stopping: no new connections, requests in flight may finish within {FAREWELL:?}"
    );
    let stopping = std::thread::spawn(move || running.stop(FAREWELL));
    runtime.block_on(async {
        tokio::select! {
            () = signals.until_end() => tracing::warn!("stopped at once, as told by a second signal"),
            () = finished(&stopping) => tracing::info!("stopped"),
        }
    });
    // The children of a process that ends are ended by their guardian.
    runtime.shutdown_background();
    Ok(Ending::Good)
}

fn announce(running: &Running) -> Result<()> {
    for (name, address) in &running.addresses {
        print(format_args!("{name} http://{address}"))?;
    }
    for (name, address) in &running.dns {
        print(format_args!("{name} dns://{address}"))?;
    }
    print(format_args!("admin http://{}\nready", running.admin))
}

async fn finished(thread: &std::thread::JoinHandle<()>) {
    while !thread.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The signals that concern a server.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::world("cannot wait for signals", error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn until_end(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {
                    tracing::warn!("SIGHUP: reload is not there yet; restart evenkeel to read the file again");
                }
            }
        }
    }
}
