//! Operator commands: for a server or a service, or for what an incident proposes.

use std::time::Duration;

use clap::{Args, ValueEnum};
use evenkeel_admin::{WAIT_MAX, escaped};

use super::find::AdminAddress;
use crate::output::{CommandEnding, CommandFailure, Result, print};

/// Options for waiting for the outcome of an order.
#[derive(Debug, Args)]
struct WaitArgs {
    /// Wait for the outcome, at most for this long (up to 10m): exit status 0 if the order succeeded, else 1.
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s",
        value_parser = time
    )]
    wait: Option<TimeArg>,
}

/// The terms of a maintenance.
#[derive(Debug, Args)]
struct MaintenanceTermsArgs {
    /// End automatically, with a verification, after this time, such as 30m.
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    lasts: Option<TimeArg>,
    /// The reason, shown in the status.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// A duration as typed, and its value.
#[derive(Debug, Clone)]
struct TimeArg {
    text: String,
    length: Duration,
}

/// The arguments of orders that take a server out of service.
#[derive(Debug, Args)]
pub(crate) struct TakeOutArgs {
    #[command(flatten)]
    server: ServerTarget,
    #[command(flatten)]
    terms: MaintenanceTermsArgs,
    /// Do it even if no server is left in service.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `restart`
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    server: ServerTarget,
    /// Do it even if no server is left in service meanwhile.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    server: ServerTarget,
    #[command(flatten)]
    wait: WaitArgs,
}

/// The server to act on.
#[derive(Debug, Args)]
pub(super) struct ServerTarget {
    /// The server, as shown by `evenkeel status`.
    #[arg(value_name = "SERVICE/SERVER")]
    target: String,
    #[command(flatten)]
    pub(super) find: AdminAddress,
}

/// `maintenance`
#[derive(Debug, Args)]
pub(crate) struct MaintenanceArgs {
    /// The service, as shown by `evenkeel status`.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Begin (on) or end (off) the maintenance.
    #[arg(value_enum)]
    state: OnOff,
    #[command(flatten)]
    terms: MaintenanceTermsArgs,
    /// With `off`: send requests to the servers at once, without verification.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    find: AdminAddress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    Off,
}

/// `lift`
#[derive(Debug, Args)]
pub(crate) struct LiftArgs {
    /// The service, as shown by `evenkeel status`.
    #[arg(value_name = "SERVICE")]
    service: String,
    #[command(flatten)]
    find: AdminAddress,
}

/// `approve`
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The incident's id.
    id: String,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    find: AdminAddress,
}

/// The arguments of orders about one incident's proposal.
#[derive(Debug, Args)]
pub(crate) struct IncidentOrderArgs {
    /// The incident's id.
    id: String,
    #[command(flatten)]
    find: AdminAddress,
}

impl TakeOutArgs {
    pub(crate) fn carry_out(self, verb: &str) -> Result {
        let Self {
            server,
            terms,
            force,
            wait,
        } = self;
        let query = OrderQuery::default().terms(&terms).force(force).wait(&wait);
        order(&server.find, &server.path_to(verb)?, query, &wait)
    }
}

impl RestartArgs {
    pub(crate) fn carry_out(self) -> Result {
        let query = OrderQuery::default().force(self.force).wait(&self.wait);
        order(
            &self.server.find,
            &self.server.path_to("restart")?,
            query,
            &self.wait,
        )
    }
}

impl RestoreArgs {
    pub(crate) fn carry_out(self) -> Result {
        let query = OrderQuery::default().wait(&self.wait);
        order(
            &self.server.find,
            &self.server.path_to("restore")?,
            query,
            &self.wait,
        )
    }
}

impl MaintenanceArgs {
    pub(crate) fn carry_out(self) -> Result {
        let state = match self.state {
            OnOff::On => "on",
            OnOff::Off => "off",
        };
        let query = OrderQuery::default()
            .with("state", state)
            .terms(&self.terms)
            .force(self.force)
            .wait(&self.wait);
        let path = format!("/api/services/{}/maintenance", escaped(&self.service));
        order(&self.find, &path, query, &self.wait)
    }
}

impl LiftArgs {
    pub(crate) fn carry_out(self) -> Result {
        let service = escaped(&self.service);
        let path = format!("/api/services/{service}/quarantine/lift");
        let wait = WaitArgs { wait: None };
        order(&self.find, &path, OrderQuery::default(), &wait)
    }
}

impl ApproveArgs {
    pub(crate) fn carry_out(self) -> Result {
        let path = format!("/api/incidents/{}/approve", escaped(&self.id));
        order(
            &self.find,
            &path,
            OrderQuery::default().wait(&self.wait),
            &self.wait,
        )
    }
}

impl IncidentOrderArgs {
    pub(crate) fn carry_out(self, verb: &str) -> Result {
        let path = format!("/api/incidents/{}/{verb}", escaped(&self.id));
        let wait = WaitArgs { wait: None };
        order(&self.find, &path, OrderQuery::default(), &wait)
    }
}

impl ServerTarget {
    fn path_to(&self, verb: &str) -> Result<String> {
        Ok(format!("{}/{verb}", self.path()?))
    }

    /// Its path in the API.
    pub(super) fn path(&self) -> Result<String> {
        let parts = self.target.split_once('/');
        let (service, server) = parts
            .filter(|(service, server)| !service.is_empty() && !server.is_empty())
            .ok_or_else(|| {
                CommandFailure::Call(format!(
                    "{}: expected SERVICE/SERVER, for example shop/shop-1",
                    self.target
                ))
            })?;
        let (service, server) = (escaped(service), escaped(server));
        Ok(format!("/api/services/{service}/servers/{server}"))
    }
}

/// The query parameters of an order.
#[derive(Debug, Default)]
struct OrderQuery(Vec<String>);

impl OrderQuery {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push(format!("{name}={}", escaped(value)));
        self
    }

    fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn terms(self, terms: &MaintenanceTermsArgs) -> Self {
        let lasts = terms.lasts.as_ref().map(|time| time.text.as_str());
        self.maybe("for", lasts)
            .maybe("reason", terms.reason.as_deref())
    }

    fn force(self, force: bool) -> Self {
        self.maybe("force", force.then_some("true"))
    }

    fn wait(self, wait: &WaitArgs) -> Self {
        let wait = wait.wait.as_ref().map(|time| time.text.as_str());
        self.maybe("wait", wait)
    }
}

fn order(find: &AdminAddress, path: &str, query: OrderQuery, wait: &WaitArgs) -> Result {
    let wait = wait
        .wait
        .as_ref()
        .map_or(Duration::ZERO, |time| time.length);
    if wait > WAIT_MAX {
        let most = WAIT_MAX.as_secs() / 60;
        return Err(CommandFailure::Call(format!("--wait: at most {most}m")));
    }
    let query = query.maybe("by", caller().as_deref());
    let separator = if query.0.is_empty() { "" } else { "?" };
    let path = format!("{path}{separator}{}", query.0.join("&"));
    print(find.commander()?.order(&path, wait)?)?;
    Ok(CommandEnding::Good)
}

/// The operator: the user who called `sudo`, or else the user.
pub(super) fn caller() -> Option<String> {
    ["SUDO_USER", "USER"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty() && name.chars().count() <= 64)
}

fn time(text: &str) -> std::result::Result<TimeArg, String> {
    evenkeel_admin::age(text)
        .filter(|length| !length.is_zero())
        .map(|length| TimeArg {
            text: text.to_owned(),
            length,
        })
        .ok_or_else(|| "expected a time like 90s, 30m, 12h or 7d".to_owned())
}
