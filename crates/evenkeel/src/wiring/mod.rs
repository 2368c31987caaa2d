//! Builds everything from a plan, in order, and takes it apart again.
//!
//! Listeners first, because a taken port must be known before a child is started; then the store, the workers of the
//! request's way, and one thread with its own runtime for everything of the fault's way.

mod control;
mod discover;
mod live;
mod traffic;

pub(crate) use live::report_view;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_control::{Events, Views};
use evenkeel_proxy::{Proxy, ProxyState};
use evenkeel_runtime::Clock;
use tokio::sync::{oneshot, watch};

use crate::holder;
use crate::output::{Failure, Result};

/// Connections to the admin address that may wait to be accepted.
const ADMIN_BACKLOG: i32 = 128;

/// An evenkeel that runs in this process.
#[derive(Debug)]
pub(crate) struct Running {
    /// The one clock.
    pub(crate) clock: Clock,
    /// The listeners: name and address.
    pub(crate) addresses: Vec<(String, SocketAddr)>,
    /// Where status, API and metrics are.
    pub(crate) admin: SocketAddr,
    /// The request's way.
    pub(crate) state: Arc<ProxyState>,
    /// What is known of the servers.
    pub(crate) views: Views,
    /// What happens.
    pub(crate) events: Events,
    proxy: Proxy,
    control: JoinHandle<()>,
    drain: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

/// Starts everything; ready when it returns. The servers that evenkeel runs may still be starting.
pub(crate) fn start(plan: &Plan) -> Result<Running> {
    let clock = Clock::start();
    let seed = clock.epoch().0.0 ^ (u64::from(std::process::id()) << 40);
    let admin_listener = listen_admin(plan.admin.address)?;
    let admin = admin_listener
        .local_addr()
        .map_err(|error| Failure::world("admin address", error))?;
    let mut proxy = Proxy::start(plan, clock, seed).map_err(|error| {
        let held = error
            .address
            .filter(|_| error.source.kind() == ErrorKind::AddrInUse);
        Failure::World(format!(
            "{error}{}",
            held.map_or_else(String::new, holder_of)
        ))
    })?;
    let state = proxy.state();
    let signals = proxy.take_signals().expect("nobody asked before");
    let (stop, stopped) = watch::channel(false);
    let (drain, draining) = watch::channel(false);
    let (report, started) = oneshot::channel();
    let parts = control::Parts {
        plan: plan.clone(),
        clock,
        seed,
        traffic: traffic::DataPlane::new(Arc::clone(&state), signals),
        admin: admin_listener,
        stopped,
        draining,
        report,
    };
    let control = evenkeel_runtime::spawn::thread("control", move || control::run(parts))
        .map_err(|error| Failure::world("cannot start the control thread", error))?;
    let told = started.blocking_recv();
    let told = told
        .unwrap_or_else(|_| Err("the control thread ended early".to_owned()))
        .map_err(Failure::World)?;
    let control::Started { views, events } = told;
    let addresses = proxy.addresses().to_vec();
    Ok(Running {
        clock,
        addresses,
        admin,
        state,
        views,
        events,
        proxy,
        control,
        drain,
        stop,
    })
}

impl Running {
    /// Stops accepting, lets requests in flight finish for at most `limit`, stops the children, writes what is not yet
    /// written. Blocks.
    pub(crate) fn stop(self, limit: Duration) {
        let Self {
            clock,
            proxy,
            control,
            drain,
            stop,
            ..
        } = self;
        drain.send_replace(true);
        if !proxy.drain(limit, clock) {
            tracing::warn!("requests in flight did not finish within {limit:?} and are cut off");
        }
        stop.send_replace(true);
        if control.join().is_err() {
            tracing::error!("the control thread ended with a panic");
        }
    }
}

fn listen_admin(address: SocketAddr) -> Result<TcpListener> {
    evenkeel_runtime::listen(address, false, ADMIN_BACKLOG).map_err(|error| {
        let held = if error.kind() == ErrorKind::AddrInUse {
            holder_of(address)
        } else {
            String::new()
        };
        Failure::World(format!("admin cannot listen on {address}: {error}{held}"))
    })
}

fn holder_of(address: SocketAddr) -> String {
    holder::of_port(address.port())
        .map_or_else(String::new, |holder| format!("; {holder} listens there"))
}
