//! Builds everything from a plan, in order, and shuts it down again.
//!
//! Listeners first, because a port in use must be known before a child is started; then the store, the workers of the
//! request path, and one thread with its own runtime for everything on the fault path.

mod control;
mod dns;
mod discover;
mod health;
mod live;
mod now;
mod views;
mod quarantine;
mod reasons;
mod resume;
mod secrets;
mod measure;
mod notes;
mod orders;
mod traffic;
mod why;
#[cfg(test)]
mod tests;

pub(crate) use live::report_view;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_config::plan::StickyKey;
use evenkeel_control::{EventSource, StatusReader};
use evenkeel_proxy::{Proxy, ProxyState};
use evenkeel_runtime::Clock;
use tokio::sync::{oneshot, watch};

use self::dns::Dns;
use crate::holder::holder_of;
use crate::output::{CommandFailure, Result};

/// Connections to the admin address that may wait to be accepted.
const ADMIN_BACKLOG: i32 = 128;

/// An evenkeel that runs in this process.
#[derive(Debug)]
pub(crate) struct RunningEvenkeel {
    /// The one clock.
    pub(crate) clock: Clock,
    /// The listeners: name and address.
    pub(crate) addresses: Vec<(String, SocketAddr)>,
    /// The listeners for DNS: name and address.
    pub(crate) dns: Vec<(String, SocketAddr)>,
    /// The address of the admin API.
    pub(crate) admin: SocketAddr,
    /// The request path.
    pub(crate) state: Arc<ProxyState>,
    /// The published state.
    pub(crate) views: StatusReader,
    /// The events.
    pub(crate) events: EventSource,
    proxy: Proxy,
    control: JoinHandle<()>,
    dns_thread: Option<JoinHandle<()>>,
    drain: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

/// Starts everything; ready when it returns. The servers that evenkeel runs may still be starting.
pub(crate) fn start(plan: Plan) -> Result<RunningEvenkeel> {
    let plan = Arc::new(with_keys(plan)?);
    let clock = Clock::start();
    let seed = clock.epoch().0.0 ^ (u64::from(std::process::id()) << 40);
    let admin_listener = listen_admin(plan.admin.address)?;
    let admin = admin_listener
        .local_addr()
        .map_err(|error| CommandFailure::world("admin address", error))?;
    let dns = Dns::bind(&plan)?;
    let take_out = |state: &ProxyState| resume::take_out(&plan, state, clock);
    let mut proxy = Proxy::start_with(&plan, clock, seed, take_out).map_err(|error| {
        let held = error
            .address
            .filter(|_| error.source.kind() == ErrorKind::AddrInUse);
        CommandFailure::World(format!(
            "{error}{}",
            held.map_or_else(String::new, holder_of)
        ))
    })?;
    let state = proxy.state();
    let signals = proxy.take_signals().expect("nobody asked before");
    let (stop, stopped) = watch::channel(false);
    let (drain, draining) = watch::channel(false);
    let (report, started) = oneshot::channel();
    let dns_addresses = dns.addresses.clone();
    let dns_counters = dns.counters.clone();
    let parts = control::ControlThreadParts {
        plan: Arc::clone(&plan),
        clock,
        seed,
        traffic: traffic::DataPlane::new(Arc::clone(&state), signals),
        admin: admin_listener,
        dns: dns_counters,
        stopped,
        draining: draining.clone(),
        report,
    };
    let control = evenkeel_runtime::spawn::thread("control", move || control::run(parts))
        .map_err(|error| CommandFailure::world("cannot start the control thread", error))?;
    let told = started.blocking_recv();
    let told = told
        .unwrap_or_else(|_| Err("the control thread ended early".to_owned()))
        .map_err(CommandFailure::World)?;
    let control::ControlHandles { views, events } = told;
    let addresses = proxy.addresses();
    let dns_thread = dns.serve(&state, clock, seed, draining)?;
    Ok(RunningEvenkeel {
        clock,
        addresses,
        dns: dns_addresses,
        admin,
        state,
        views,
        events,
        proxy,
        control,
        dns_thread,
        drain,
        stop,
    })
}

/// The plan with the keys of its sticky services, which are made where there are none.
fn with_keys(mut plan: Plan) -> Result<Plan> {
    for service in &mut plan.services {
        let Some(sticky) = &mut service.sticky else {
            continue;
        };
        let key = evenkeel_admin::load_or_create_token(&sticky.key_file).map_err(|error| {
            let (name, file) = (&service.name, sticky.key_file.display());
            CommandFailure::World(format!(
                "service {name}: the key for sticky sessions, {file}: {error}"
            ))
        })?;
        sticky.key = StickyKey(key.into_bytes());
    }
    Ok(plan)
}

impl RunningEvenkeel {
    /// Stops accepting, lets requests in flight finish for at most `limit`, stops the children, writes what is not yet
    /// written. Blocks.
    pub(crate) fn stop(self, limit: Duration) {
        let Self {
            clock,
            proxy,
            control,
            dns_thread,
            drain,
            stop,
            ..
        } = self;
        drain.send_replace(true);
        if !proxy.drain(limit, clock) {
            tracing::warn!("requests in flight did not finish within {limit:?} and are aborted");
        }
        stop.send_replace(true);
        if dns_thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the DNS thread ended with a panic");
        }
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
        CommandFailure::World(format!("admin cannot listen on {address}: {error}{held}"))
    })
}
