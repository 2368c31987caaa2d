//! The inputs and outputs of the keeper: the whole contract between the fault path and its environment.

use std::time::Duration;

use evenkeel_core::{
    Directive, Epoch, Exposure, Instant, ProbeOutcome, RequestShape, ServerId, ServiceId,
    ServiceOrders, ShapeOrders, ShapeText, Signal,
};

use crate::incident::{ActionOutcome, Incident};
use crate::kind::FaultKind;
use crate::maintenance::{Maintenance, OrderTerms};
use crate::plan_change::PlanChange;
use crate::policy::Action;
use crate::self_check::{SelfReading, Usage};

pub use crate::spec::{Managed, ServerSpec, ServiceSpec};

/// A number that ties an order to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub u64);

/// An input of the keeper.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A signal.
    Signal(Signal),
    /// An action that was ordered has ended.
    ActionEnded {
        /// Which.
        id: OrderId,
        /// When.
        at: Instant,
        /// How.
        outcome: ActionOutcome,
        /// More about it, in words.
        detail: Option<String>,
    },
    /// An examination that was ordered has ended.
    Examined {
        /// Which.
        id: OrderId,
        /// When.
        at: Instant,
        /// The result.
        examination: Box<Examination>,
    },
    /// The service's totals since the start of the program; for the impact of incidents.
    Traffic {
        /// The service.
        service: ServiceId,
        /// The totals.
        totals: Totals,
    },
    /// How much its servers have to do; some times a second.
    Load {
        /// The service.
        service: ServiceId,
        /// By the places of its servers.
        servers: Vec<ServerLoad>,
    },
    /// An operator's order; answered with one or more [`Output::Answer`].
    Operator {
        /// To be given back with each answer.
        ticket: OrderTicket,
        /// When.
        at: Instant,
        /// What.
        order: Box<OperatorOrder>,
    },
    /// A reload has changed the configuration.
    Plan(Box<PlanChange>),
    /// The words for a request that failed.
    Named {
        /// Which.
        shape: RequestShape,
        /// In words.
        text: ShapeText,
    },
    /// Observations of a request that may crash servers.
    Exposed(Box<Exposure>),
    /// A reading of evenkeel's own resources.
    SelfReading(Box<SelfReading>),
    /// evenkeel itself was stalled; to be passed in before the signals received meanwhile.
    Stalled {
        /// When it went on.
        until: Instant,
        /// For how long.
        lasted: Duration,
    },
    /// The machine's calendar clock was set: stamps follow it from now on.
    ClockSet {
        /// The calendar time of the monotonic clock's zero.
        epoch: Epoch,
        /// By how much it was set forward (or back), in milliseconds.
        by_millis: i64,
    },
}

/// A number that links an operator's order to its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct OrderTicket(pub u64);

/// The outcome of an operator's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderAnswer {
    /// It is being carried out; another answer says how that ended.
    Accepted(String),
    /// It was carried out.
    Done(String),
    /// It was not carried out, and nothing was changed.
    Refused(String),
    /// It was tried and did not succeed.
    Failed(String),
}

impl Examination {
    /// Whether the process was stopped (state T, not by a debugger).
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| process.state == Some('T'))
    }
}

impl OrderAnswer {
    /// Whether another answer to the same order follows.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        !matches!(self, Self::Accepted(_))
    }

    /// The answer in words.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Accepted(text) | Self::Done(text) | Self::Refused(text) | Self::Failed(text) => {
                text
            }
        }
    }

    /// Its word in logs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Done(_) => "done",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

/// How much one server has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerLoad {
    /// Its attempts in flight.
    pub in_flight: u32,
    /// Attempts that were answered below 500 since the start of the program.
    pub answered: u64,
    /// How long these took together, each until the answer's head.
    pub busy: Duration,
}

/// A service's totals since the start of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Requests that came.
    pub requests: u64,
    /// Of these, those that the client saw fail.
    pub failed: u64,
    /// Of these, those that succeeded after a retry.
    pub saved_by_retry: u64,
    /// Requests for which the servers had no room: they were refused at once, or waited in vain.
    pub shed: u64,
    /// Requests that had to wait for room on a server, whatever became of them.
    pub queued: u64,
}

/// An operator's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorOrder {
    /// Do what the incident proposes.
    Approve(String),
    /// Do not.
    Reject(String),
    /// Close the incident as it is.
    Close(String),
    /// The server is in maintenance until restored: it takes no new attempts, those in flight may finish.
    Drain(ServerId, OrderTerms),
    /// The server is in maintenance until restored, like one that is known not to serve.
    Eject(ServerId, OrderTerms),
    /// The server's maintenance ends; it is verified and takes attempts again.
    Restore(ServerId),
    /// The server's process is replaced.
    Restart(ServerId, OrderTerms),
    /// The service is in maintenance: its requests are not sent to servers until that ends.
    MaintenanceOn(ServiceId, OrderTerms),
    /// Requests of the service that are in quarantine are sent to servers again.
    LiftQuarantine(ServiceId),
    /// The service's maintenance ends, once one of its servers is verified.
    MaintenanceOff(ServiceId, OrderTerms),
}

/// The result of an examination: the discriminating tests of a diagnosis, made at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examination {
    /// A bare TCP connect.
    pub tcp: Option<(ProbeOutcome, Duration)>,
    /// An HTTP request: the configured probe, or `GET /` where any answer passes.
    pub http: Option<(ProbeOutcome, Duration)>,
    /// The supervised process, if evenkeel runs it.
    pub process: Option<ProcessState>,
}

/// A supervised process at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessState {
    /// Its process id, if it lives.
    pub pid: Option<u32>,
    /// The letter of `/proc/PID/stat` (`S` sleeping, `T` stopped, `D` waiting for the disk, `Z` ended, `R` running).
    pub state: Option<char>,
    /// Whether some socket listens at the server's address.
    pub listening: Option<bool>,
    /// Connections that wait there to be accepted, if some socket listens.
    pub accept_queue: Option<u32>,
    /// Where its processes listen instead, if no socket listens at its address.
    pub listens_at: Vec<String>,
    /// Processor time used per second of time, over the examination (1.0: one core). In thousandths.
    pub cpu_permille: Option<u32>,
    /// For which part of the examination its threads could run and waited for a processor, in thousandths; more than all of it if several
    /// did.
    pub cpu_wait_permille: Option<u32>,
    /// Resident memory in bytes.
    pub resident_bytes: Option<u64>,
    /// The last lines that it printed, oldest first.
    pub last_lines: Vec<String>,
    /// The process that listens on its port instead, in words, if there is one.
    pub port_holder: Option<String>,
    /// Descriptors that it has open and may have open.
    pub descriptors: Option<Usage>,
}

/// An output of the keeper.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// To the balancer.
    Directive(Directive),
    /// To the balancer: requests that no server gets, and those whose attempts are to be told of.
    Shapes(Box<ShapeOrders>),
    /// To the balancer: what holds for a service as a whole.
    Service(Box<ServiceOrders>),
    /// Carry this out and answer with [`Input::ActionEnded`].
    Act(Box<ActionOrder>),
    /// Examine this server and answer with [`Input::Examined`] within `timeout`.
    Examine {
        /// To be given back.
        id: OrderId,
        /// The server.
        server: ServerId,
        /// How long all tests together may take.
        timeout: Duration,
    },
    /// Probe this server at this pace from now on.
    Pace {
        /// The server.
        server: ServerId,
        /// How often.
        pace: ProbePace,
    },
    /// The incident is new or has changed: store it, show it.
    Record(Box<Incident>),
    /// A maintenance began or changed (`Some`) or is over (`None`): store it, show it.
    Maintenance {
        /// The service.
        service: ServiceId,
        /// The server's index; `None` for the whole service.
        server: Option<u32>,
        /// The current maintenance.
        maintenance: Option<Box<Maintenance>>,
    },
    /// Whether the service's requests go to its servers.
    Gate {
        /// The service.
        service: ServiceId,
        /// They do.
        open: bool,
    },
    /// The outcome of an operator's order.
    Answer {
        /// Which.
        ticket: OrderTicket,
        /// What.
        answer: OrderAnswer,
    },
}

/// How often a server is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbePace {
    /// As configured in `every`, with jitter.
    Normal,
    /// As configured in `fast`: the state is in doubt.
    Fast,
    /// At this interval, the first at once: a repair is being verified.
    Every(Duration),
    /// Not at all: nothing runs there.
    Paused,
}

/// An action to be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionOrder {
    /// To be given back.
    pub id: OrderId,
    /// The server.
    pub server: ServerId,
    /// What.
    pub action: Action,
    /// For a restart or stop: kill at once instead of asking first (a hung process does not listen).
    pub at_once: bool,
    /// For a restart that a person has ordered, by an order or by a reload: the process is started by the latest configuration.
    /// Else by the one that it ran by.
    pub reconfigures: bool,
    /// The incident it belongs to.
    pub incident: String,
    /// The fault it is for.
    pub fault: FaultKind,
}

/// The current state of a server, for status pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerStatus {
    /// Not known yet: starting, not probed.
    Starting,
    /// In service.
    Up,
    /// In service, but its state is in doubt.
    Doubtful,
    /// Out of service by a verdict.
    Ejected,
    /// Being repaired.
    Recovering,
    /// A repair is being verified; it takes a trickle.
    Verifying,
    /// Out of service by an operator's order: nothing is detected or repaired.
    Maintenance,
    /// Not running.
    Down,
    /// A server from DNS whose name has never resolved.
    Unresolved,
    /// A place for a server from DNS where there is none.
    Absent,
}

impl ServerStatus {
    /// All states.
    pub const ALL: [Self; 10] = [
        Self::Starting,
        Self::Up,
        Self::Doubtful,
        Self::Ejected,
        Self::Recovering,
        Self::Verifying,
        Self::Maintenance,
        Self::Down,
        Self::Unresolved,
        Self::Absent,
    ];

    /// Its name in status and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Doubtful => "doubtful",
            Self::Ejected => "ejected",
            Self::Recovering => "recovering",
            Self::Verifying => "verifying",
            Self::Maintenance => "maintenance",
            Self::Down => "down",
            Self::Unresolved => "down: unresolved",
            Self::Absent => "absent",
        }
    }
}
