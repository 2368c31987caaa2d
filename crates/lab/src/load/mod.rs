//! An open-loop load: requests are sent at their due times, whether or not earlier ones have been answered.
//!
//! Each request's time is counted from its due time, so that a stall of the service shows in all requests that it
//! delays. It never retries: what fails is what a client would have seen fail.

mod stats;

pub use stats::{LoadFailure, LoadStats};

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_core::{Instant, Random};
use evenkeel_runtime::Clock;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::http::{Wire, WireFraming};
use stats::{LoadEnding, LoadNumbers};

/// Requests that may wait for a connection; the next ones fail as `crowded`.
const WAITING_LIMIT: usize = 100_000;

/// One kind of request in a mix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestMix {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The length of the body; `None` sends none.
    pub body: Option<usize>,
    /// How often it is taken, compared with the others.
    pub weight: usize,
}

impl RequestMix {
    /// `GET path`.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            body: None,
            weight: 1,
        }
    }

    /// `POST path` with a body of `length` bytes.
    #[must_use]
    pub fn post(path: &str, length: usize) -> Self {
        Self {
            method: "POST".to_owned(),
            path: path.to_owned(),
            body: Some(length),
            weight: 1,
        }
    }

    /// The same, taken `weight` times as often as one of weight 1.
    #[must_use]
    pub fn weight(self, weight: usize) -> Self {
        Self { weight, ..self }
    }
}

/// The requests of a load, their target and their rate.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadPlan {
    /// The target.
    pub target: SocketAddr,
    /// The Host field.
    pub host: String,
    /// The kinds of request; drawn by weight.
    pub mix: Vec<RequestMix>,
    /// How many per second.
    pub rate_per_second: f64,
    /// Most connections at the same time; more requests wait for one.
    pub connections: usize,
    /// Longest time for one request, from the moment when it was due.
    pub timeout: Duration,
    /// Sends `X-Request-Id: PREFIX-NUMBER`.
    pub id_prefix: Option<String>,
    /// Decides the draws from the mix.
    pub seed: u64,
    /// Remembers of each request whether it succeeded ([`LoadWatch::outcomes`]): a byte a request, for as long as the load lasts.
    pub keeps_outcomes: bool,
}

impl LoadPlan {
    /// `GET /` at this rate over at most 100 connections, each request within 10 s.
    #[must_use]
    pub fn new(target: SocketAddr, rate_per_second: f64) -> Self {
        Self {
            target,
            host: target.to_string(),
            mix: vec![RequestMix::get("/")],
            rate_per_second,
            connections: 100,
            timeout: Duration::from_secs(10),
            id_prefix: None,
            seed: 1,
            keeps_outcomes: false,
        }
    }
}

/// A load that runs on a thread of its own. Dropping it stops it.
#[derive(Debug)]
pub struct OpenLoad {
    shared: Arc<LoadShared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Reads a running load's numbers; cheap to clone and to send to another thread.
#[derive(Debug, Clone)]
pub struct LoadWatch(Arc<LoadShared>);

#[derive(Debug)]
struct LoadShared {
    clock: Clock,
    numbers: Mutex<LoadNumbers>,
}

impl LoadShared {
    fn with<R>(&self, f: impl FnOnce(&mut LoadNumbers) -> R) -> R {
        f(&mut self.numbers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LoadWatch {
    /// The numbers now.
    #[must_use]
    pub fn snapshot(&self) -> LoadStats {
        let now = self.0.clock.now();
        self.0.with(|numbers| numbers.snapshot(now))
    }

    /// Of each request so far, in the order in which they were due, whether it was answered with 2xx in time; `None` of those that have
    /// not ended. Empty unless the plan keeps them.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Option<bool>> {
        self.0.with(|numbers| numbers.outcomes.clone())
    }
}

impl OpenLoad {
    /// Starts sending.
    ///
    /// # Errors
    /// If the plan has no rate, no request or no connection, or the thread cannot be started.
    pub fn start(plan: LoadPlan) -> io::Result<Self> {
        let weights: usize = plan.mix.iter().map(|shape| shape.weight).sum();
        if !(plan.rate_per_second > 0.0 && plan.rate_per_second <= 1e6)
            || weights == 0
            || plan.connections == 0
        {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "a load needs a rate, a request and a connection",
            ));
        }
        let shared = Arc::new(LoadShared {
            clock: Clock::start(),
            numbers: Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let for_thread = Arc::clone(&shared);
        let thread = evenkeel_runtime::spawn::thread("load", move || async move {
            LocalSet::new()
                .run_until(send_all(plan, for_thread, stopped))
                .await;
        })?;
        Ok(Self {
            shared,
            stop,
            thread: Some(thread),
        })
    }

    /// The numbers now.
    #[must_use]
    pub fn snapshot(&self) -> LoadStats {
        self.watch().snapshot()
    }

    /// A handle that can read the numbers, also after the end.
    #[must_use]
    pub fn watch(&self) -> LoadWatch {
        LoadWatch(Arc::clone(&self.shared))
    }

    /// Sends no more, waits for what is in flight (each request within its timeout), and gives the final numbers.
    #[must_use]
    pub fn stop(mut self) -> LoadStats {
        self.stop_thread();
        self.snapshot()
    }

    fn stop_thread(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the load's thread does not panic");
        }
    }
}

impl Drop for OpenLoad {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// State shared by the requests of one load on its thread.
#[derive(Debug)]
struct Sender {
    plan: LoadPlan,
    shared: Arc<LoadShared>,
    free: Semaphore,
    idle: RefCell<Vec<Wire>>,
}

async fn send_all(plan: LoadPlan, shared: Arc<LoadShared>, mut stopped: watch::Receiver<bool>) {
    let clock = shared.clock;
    let mut random = Random::seeded(plan.seed);
    let weights: Vec<usize> = plan.mix.iter().map(|shape| shape.weight).collect();
    let sender = Rc::new(Sender {
        free: Semaphore::new(plan.connections),
        idle: RefCell::default(),
        shared,
        plan,
    });
    let mut requests = JoinSet::new();
    let start = clock.now();
    for number in 0_u64.. {
        let due = start + Duration::from_secs_f64(number as f64 / sender.plan.rate_per_second);
        if due > clock.now() {
            tokio::select! {
                () = clock.sleep_until(due) => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        } else if *stopped.borrow() {
            break;
        } else if number % 64 == 0 {
            // Behind: let the answers in nevertheless.
            tokio::task::yield_now().await;
        }
        let shape = draw(&weights, &mut random);
        sender.shared.with(LoadNumbers::due);
        if requests.len() >= WAITING_LIMIT {
            sender.end(due, number, shape, LoadEnding::Failed("crowded"));
            continue;
        }
        let sender = Rc::clone(&sender);
        requests.spawn_local(async move {
            let ending = sender.request(due, number, shape).await;
            sender.end(due, number, shape, ending);
        });
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

fn draw(weights: &[usize], random: &mut Random) -> usize {
    let mut left = random.below(weights.iter().sum());
    for (index, &weight) in weights.iter().enumerate() {
        if left < weight {
            return index;
        }
        left -= weight;
    }
    0
}

impl Sender {
    fn end(&self, due: Instant, number: u64, shape: usize, ending: LoadEnding) {
        let now = self.shared.clock.now();
        let shape = &self.plan.mix[shape];
        self.shared.with(|numbers| {
            if self.plan.keeps_outcomes {
                numbers.note_outcome(number, ending);
            }
            numbers.ended(now, due, ending, || match &self.plan.id_prefix {
                Some(prefix) => format!("{} {} {prefix}-{number}", shape.method, shape.path),
                None => format!("{} {}", shape.method, shape.path),
            });
        });
    }

    async fn request(&self, due: Instant, number: u64, shape: usize) -> LoadEnding {
        let limit = self.shared.clock.to_tokio(due + self.plan.timeout);
        match tokio::time::timeout_at(limit, self.exchange(number, &self.plan.mix[shape])).await {
            Ok(ending) => ending,
            Err(_) => LoadEnding::Failed("timeout"),
        }
    }

    async fn exchange(&self, number: u64, shape: &RequestMix) -> LoadEnding {
        let _permit = self
            .free
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let mut wire = match self.idle_wire() {
            Some(wire) => wire,
            None => match TcpStream::connect(self.plan.target).await {
                Ok(stream) => {
                    stream.set_nodelay(true).ok();
                    Wire::new(stream)
                }
                Err(_) => return LoadEnding::Failed("connect"),
            },
        };
        match self.ask(&mut wire, number, shape).await {
            Ok((status, again)) => {
                if again {
                    self.idle.borrow_mut().push(wire);
                }
                LoadEnding::Answered(status)
            }
            Err(word) => LoadEnding::Failed(word),
        }
    }

    /// A connection that is open and unused; those that the peer has closed are dropped.
    fn idle_wire(&self) -> Option<Wire> {
        let mut idle = self.idle.borrow_mut();
        while let Some(wire) = idle.pop() {
            if !wire.is_spent() {
                return Some(wire);
            }
        }
        None
    }

    async fn ask(
        &self,
        wire: &mut Wire,
        number: u64,
        shape: &RequestMix,
    ) -> Result<(u16, bool), &'static str> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n",
            shape.method, shape.path, self.plan.host
        );
        if let Some(prefix) = &self.plan.id_prefix {
            text.push_str(&format!("X-Request-Id: {prefix}-{number}\r\n"));
        }
        if let Some(length) = shape.body {
            text.push_str(&format!("Content-Length: {length}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.resize(bytes.len() + shape.body.unwrap_or(0), b'x');
        wire.write(&bytes).await.map_err(|_| "reset")?;
        let head = wire
            .read_response()
            .await
            .map_err(|error| word(&error, "reset"))?;
        let framing = head.framing(&shape.method).map_err(|_| "bad-response")?;
        wire.read_body(framing, |_| ())
            .await
            .map_err(|error| word(&error, "truncated"))?;
        Ok((
            head.status,
            head.keeps_alive() && framing != WireFraming::UntilClose,
        ))
    }
}

fn word(error: &io::Error, broken: &'static str) -> &'static str {
    if error.kind() == ErrorKind::InvalidData {
        "bad-response"
    } else {
        broken
    }
}
