//! Polls an evenkeel once per interval, on a thread of its own.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

use evenkeel_admin::ServiceView;
use evenkeel_fault::Incident;
use evenkeel_fault::incident::IncidentStatus;

use crate::output::{CommandFailure, Result};

/// The responses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) services: Vec<ServiceView>,
    /// Those that are not closed, the newest first.
    pub(crate) incidents: Vec<Incident>,
}

impl Snapshot {
    pub(crate) fn new(services: Vec<ServiceView>, incidents: Vec<Incident>) -> Self {
        Self {
            services,
            incidents: incidents
                .into_iter()
                .filter(|incident| incident.status != IncidentStatus::Closed)
                .collect(),
        }
    }
}

/// Asks once; why nothing was answered, if so.
pub(crate) type Fetch = Box<dyn Fn() -> std::result::Result<Snapshot, String> + Send>;

/// The thread that asks; it ends when this is dropped, after its last question.
#[derive(Debug)]
pub(crate) struct Fetcher {
    answers: Receiver<std::result::Result<Snapshot, String>>,
    /// Dropping it tells the thread.
    _stop: Sender<()>,
}

impl Fetcher {
    /// Asks at once, and then `every` so often.
    pub(crate) fn start(ask: Fetch, every: Duration) -> Result<Self> {
        let (stop, stopped) = channel::<()>();
        // Nobody needs an old answer: the thread waits until one is taken.
        let (sender, answers) = sync_channel(0);
        std::thread::Builder::new()
            .name("top-asks".to_owned())
            .spawn(move || {
                while sender.send(ask()).is_ok() {
                    match stopped.recv_timeout(every) {
                        Err(RecvTimeoutError::Timeout) => {}
                        Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            })
            .map_err(|error| CommandFailure::world("cannot start a thread", error))?;
        Ok(Self {
            answers,
            _stop: stop,
        })
    }

    /// The next answer, once it is there.
    pub(crate) fn next(&self) -> std::result::Result<Snapshot, String> {
        self.answers
            .recv()
            .unwrap_or_else(|_| Err("the polling thread has ended".to_owned()))
    }

    /// The next answer, if it is there.
    pub(crate) fn ready(&self) -> Option<std::result::Result<Snapshot, String>> {
        self.answers.try_recv().ok()
    }
}
