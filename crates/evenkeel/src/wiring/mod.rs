//! Builds everything from a plan, in order, and shuts it down again.
//!
//! Listeners first, because a port in use must be known before a child is started; then the store, the workers of the
//! request path, and one thread with its own runtime for everything on the fault path.

mod control;
mod keys;
mod dns;
mod discover;
mod health;
mod live;
mod now;
mod views;
mod quarantine;
mod kept_changes;
mod runtime_changes;
mod file_watch;
mod reload;
mod watched;
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
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_admin::AdminListener;
use evenkeel_config::plan::AdminPlan;
use evenkeel_control::{EventSource, StatusReader};
use evenkeel_core::Endpoint;
use evenkeel_proxy::{Proxy, ProxyState};
use evenkeel_runtime::Clock;
use evenkeel_runtime::socket_file::{SocketAccess, SocketFile, listen_unix};
use tokio::sync::{mpsc, oneshot, watch};

use self::dns::{Dns, DnsService};
use self::kept_changes::with_kept_changes;
use crate::configuration::{ConfigurationFile, ReadFile};
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
    pub(crate) addresses: Vec<(String, Endpoint)>,
    /// The listeners for DNS: name and address.
    pub(crate) dns: Vec<(String, SocketAddr)>,
    /// The address of the admin API.
    pub(crate) admin: Endpoint,
    admin_file: Option<SocketFile>,
    /// The request path.
    pub(crate) state: Arc<ProxyState>,
    /// The published state.
    pub(crate) views: StatusReader,
    /// The events.
    pub(crate) events: EventSource,
    proxy: Arc<Proxy>,
    control: JoinHandle<()>,
    dns_service: Arc<DnsService>,
    reload: mpsc::Sender<()>,
    drain: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

/// Starts everything; ready when it returns. The servers that evenkeel runs may still be starting. `file`: where the configuration comes
/// from, if it is a file: reloads read it again.
pub(crate) fn start(read: ReadFile, file: Option<ConfigurationFile>) -> Result<RunningEvenkeel> {
    let configuration = with_kept_changes(read, file)?;
    let plan = Arc::clone(&configuration.plan);
    let clock = Clock::start();
    let seed = clock.epoch().0.0 ^ (u64::from(std::process::id()) << 40);
    let (admin_listener, admin, admin_file) = listen_admin(&plan.admin)?;
    let dns = Dns::bind(&plan)?;
    let take_out = |state: &ProxyState| resume::take_out(&plan, state, clock);
    let proxy = Proxy::start_with(&plan, clock, seed, take_out).map_err(|error| {
        let held = error
            .address
            .as_ref()
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
    let proxy = Arc::new(proxy);
    let dns = dns.serve(&plan, &state, (clock, seed), draining.clone())?;
    let dns_service = Arc::new(dns);
    let (reload, asked) = mpsc::channel(1);
    let parts = control::ControlThreadParts {
        plan: Arc::clone(&plan),
        clock,
        seed,
        traffic: traffic::DataPlane::new(Arc::clone(&state), signals),
        admin: (admin_listener, admin.clone()),
        proxy: Arc::clone(&proxy),
        dns: Arc::clone(&dns_service),
        configuration,
        reload: asked,
        stopped,
        draining,
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
    Ok(RunningEvenkeel {
        clock,
        addresses,
        dns: dns_addresses,
        admin,
        admin_file,
        state,
        views,
        events,
        proxy,
        control,
        dns_service,
        reload,
        drain,
        stop,
    })
}

impl RunningEvenkeel {
    /// Has the file read again, as `evenkeel reload` does; the log says what became of it. While one is under way, a second one follows, and
    /// more are the same as that.
    pub(crate) fn reload(&self) {
        self.reload.try_send(()).ok();
    }

    /// Stops accepting, lets requests in flight finish for at most `limit`, stops the children, writes what is not yet
    /// written. Blocks.
    pub(crate) fn stop(self, limit: Duration) {
        let Self {
            clock,
            proxy,
            control,
            dns_service,
            drain,
            stop,
            admin_file,
            ..
        } = self;
        drain.send_replace(true);
        if !proxy.drain(limit, clock) {
            tracing::warn!("requests in flight did not finish within {limit:?} and are aborted");
        }
        drop(admin_file);
        stop.send_replace(true);
        dns_service.join();
        if control.join().is_err() {
            tracing::error!("the control thread ended with a panic");
        }
    }
}

/// The socket of the admin API, its address with the port that was taken for port 0, and its file.
fn listen_admin(plan: &AdminPlan) -> Result<(AdminListener, Endpoint, Option<SocketFile>)> {
    let bound = match &plan.address {
        Endpoint::Tcp(address) => evenkeel_runtime::listen(*address, false, ADMIN_BACKLOG)
            .and_then(|listener| {
                let address = listener.local_addr()?.into();
                Ok((AdminListener::Tcp(listener), address, None))
            }),
        Endpoint::Unix(path) => {
            let access = SocketAccess {
                mode: plan.socket.mode,
                group: plan.socket.group.as_deref(),
            };
            listen_unix(path, access, ADMIN_BACKLOG).map(|(listener, file)| {
                let address = plan.address.clone();
                (AdminListener::Unix(listener), address, Some(file))
            })
        }
    };
    bound.map_err(|error| {
        let address = &plan.address;
        let held = match error.kind() {
            ErrorKind::AddrInUse => holder_of(address),
            _ => String::new(),
        };
        CommandFailure::World(format!("admin cannot listen on {address}: {error}{held}"))
    })
}
