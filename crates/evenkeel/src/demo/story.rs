//! The faults that the demo injects, in order, and the diagnosis that evenkeel should give for each.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_connect::{ClientDeadlines, ClientRequest, send_request};
use evenkeel_fault::FaultKind;
use evenkeel_runtime::Clock;
use rustix::process::{Pid, Signal, kill_process};

/// How long telling a server to misbehave may take.
const TELLING: Duration = Duration::from_secs(2);

/// One thing that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InjectedFault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Hang,
    /// Answers 500.
    Errors,
    /// Takes ten times its time.
    Slow,
}

/// One chapter of the story: what is done to which server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// The injected fault.
    pub(crate) injected_fault: InjectedFault,
    /// To which server, by its place.
    pub(crate) server: u32,
}

/// The whole story.
pub(crate) const STORY: [Scenario; 4] = [
    Scenario {
        injected_fault: InjectedFault::Kill,
        server: 0,
    },
    Scenario {
        injected_fault: InjectedFault::Hang,
        server: 1,
    },
    Scenario {
        injected_fault: InjectedFault::Errors,
        server: 2,
    },
    Scenario {
        injected_fault: InjectedFault::Slow,
        server: 0,
    },
];

impl InjectedFault {
    /// The fault injected into `server`, in words.
    pub(crate) fn told(self, server: &str) -> String {
        match self {
            Self::Kill => format!("{server} is killed (SIGKILL)"),
            Self::Hang => format!("{server} hangs: stopped in the middle of a request (SIGSTOP)"),
            Self::Errors => format!("{server} now answers every request with 500"),
            Self::Slow => format!("{server} now takes ten times as long"),
        }
    }

    /// A short name for tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Hang => "hung",
            Self::Errors => "500s",
            Self::Slow => "slow ×10",
        }
    }

    /// The diagnosis that is right.
    pub(crate) const fn fault(self) -> FaultKind {
        match self {
            Self::Kill => FaultKind::ProcessCrashed,
            Self::Hang => FaultKind::ProcessHung,
            Self::Errors => FaultKind::ErrorBurst,
            Self::Slow => FaultKind::SlowServer,
        }
    }

    /// Does it to the server with this process and address.
    pub(crate) async fn happen(self, pid: u32, address: SocketAddr) -> io::Result<()> {
        match self {
            Self::Kill => send(pid, Signal::KILL),
            Self::Hang => send(pid, Signal::STOP),
            Self::Errors => tell(address, "status 500").await,
            Self::Slow => tell(address, "slow 10").await,
        }
    }

    /// The same as a command to type.
    pub(crate) fn by_hand(self, pid: u32, address: SocketAddr) -> String {
        match self {
            Self::Kill => format!("kill -KILL {pid}"),
            Self::Hang => format!("kill -STOP {pid}"),
            Self::Errors => format!("curl -d 'status 500' http://{address}/mode"),
            Self::Slow => format!("curl -d 'slow 10' http://{address}/mode"),
        }
    }
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the server has no process"))?;
    Ok(kill_process(pid, signal)?)
}

/// `POST /mode` to a sample server.
async fn tell(address: SocketAddr, mode: &str) -> io::Result<()> {
    let request = ClientRequest {
        target: "/mode",
        host: &address.to_string(),
        fields: &[],
        body: Some(mode.as_bytes()),
    };
    let deadlines = ClientDeadlines {
        connect: TELLING,
        write: TELLING,
        head: TELLING,
        body: TELLING,
    };
    let response = send_request(&address.into(), &request, deadlines, Clock::start()).await;
    match response.map_err(io::Error::other)?.status() {
        200 => Ok(()),
        status => Err(io::Error::other(format!("the server answered {status}"))),
    }
}
