//! Orders of people: to a server or a service, or about what an incident proposes.

use std::time::Duration;

use clap::{Args, ValueEnum};
use evenkeel_admin::{WAIT_MAX, escaped};

use super::find::Find;
use crate::output::{Ending, Failure, Result, print};

/// Waiting for what comes of an order.
#[derive(Debug, Args)]
struct Wait {
    /// Wait for what comes of it, and say so: exit status 0 if it was done, else 1. At most for so long (up to 10m).
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s",
        value_parser = time
    )]
    wait: Option<Time>,
}

/// What may be said of a maintenance.
#[derive(Debug, Args)]
struct Terms {
    /// End by itself after this time, such as 30m, with a verification.
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    lasts: Option<Time>,
    /// Why; shown in the status.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// A time as it was given, and what it means.
#[derive(Debug, Clone)]
struct Time {
    text: String,
    length: Duration,
}

/// An order that takes a server out of service.
#[derive(Debug, Args)]
pub(crate) struct TakeOut {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    terms: Terms,
    /// Do it although no server would be left in service.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: Wait,
}

/// `restart`
#[derive(Debug, Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    server: Server,
    /// Do it although no server would be left in service meanwhile.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: Wait,
}

/// `restore`
#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    wait: Wait,
}

/// The server that an order is for.
#[derive(Debug, Args)]
struct Server {
    /// The server, as `evenkeel status` shows it.
    #[arg(value_name = "SERVICE/SERVER")]
    target: String,
    #[command(flatten)]
    find: Find,
}

/// `maintenance`
#[derive(Debug, Args)]
pub(crate) struct Maintenance {
    /// The service, as `evenkeel status` shows it.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Whether it begins or ends.
    #[arg(value_enum)]
    state: Switch,
    #[command(flatten)]
    terms: Terms,
    /// With `off`: send requests to the servers at once, without a verification.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    find: Find,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// `lift`
#[derive(Debug, Args)]
pub(crate) struct Lift {
    /// The service, as `evenkeel status` shows it.
    #[arg(value_name = "SERVICE")]
    service: String,
    #[command(flatten)]
    find: Find,
}

/// `approve`
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The incident's id.
    id: String,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    find: Find,
}

/// An order about what one incident proposes.
#[derive(Debug, Args)]
pub(crate) struct IncidentOrder {
    /// The incident's id.
    id: String,
    #[command(flatten)]
    find: Find,
}

impl TakeOut {
    pub(crate) fn carry_out(self, verb: &str) -> Result {
        let Self {
            server,
            terms,
            force,
            wait,
        } = self;
        let query = Query::default().terms(&terms).force(force).wait(&wait);
        order(&server.find, &server.path(verb)?, query, &wait)
    }
}

impl Restart {
    pub(crate) fn carry_out(self) -> Result {
        let query = Query::default().force(self.force).wait(&self.wait);
        order(
            &self.server.find,
            &self.server.path("restart")?,
            query,
            &self.wait,
        )
    }
}

impl Restore {
    pub(crate) fn carry_out(self) -> Result {
        let query = Query::default().wait(&self.wait);
        order(
            &self.server.find,
            &self.server.path("restore")?,
            query,
            &self.wait,
        )
    }
}

impl Maintenance {
    pub(crate) fn carry_out(self) -> Result {
        let state = match self.state {
            Switch::On => "on",
            Switch::Off => "off",
        };
        let query = Query::default()
            .with("state", state)
            .terms(&self.terms)
            .force(self.force)
            .wait(&self.wait);
        let path = format!("/api/services/{}/maintenance", escaped(&self.service));
        order(&self.find, &path, query, &self.wait)
    }
}

impl Lift {
    pub(crate) fn carry_out(self) -> Result {
        let service = escaped(&self.service);
        let path = format!("/api/services/{service}/quarantine/lift");
        let wait = Wait { wait: None };
        order(&self.find, &path, Query::default(), &wait)
    }
}

impl Approve {
    pub(crate) fn carry_out(self) -> Result {
        let path = format!("/api/incidents/{}/approve", escaped(&self.id));
        order(
            &self.find,
            &path,
            Query::default().wait(&self.wait),
            &self.wait,
        )
    }
}

impl IncidentOrder {
    pub(crate) fn carry_out(self, verb: &str) -> Result {
        let path = format!("/api/incidents/{}/{verb}", escaped(&self.id));
        let wait = Wait { wait: None };
        order(&self.find, &path, Query::default(), &wait)
    }
}

impl Server {
    fn path(&self, verb: &str) -> Result<String> {
        let parts = self.target.split_once('/');
        let (service, server) = parts
            .filter(|(service, server)| !service.is_empty() && !server.is_empty())
            .ok_or_else(|| {
                Failure::Call(format!(
                    "{}: expected SERVICE/SERVER, for example shop/shop-1",
                    self.target
                ))
            })?;
        let (service, server) = (escaped(service), escaped(server));
        Ok(format!("/api/services/{service}/servers/{server}/{verb}"))
    }
}

/// What is said with an order.
#[derive(Debug, Default)]
struct Query(Vec<String>);

impl Query {
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

    fn terms(self, terms: &Terms) -> Self {
        let lasts = terms.lasts.as_ref().map(|time| time.text.as_str());
        self.maybe("for", lasts)
            .maybe("reason", terms.reason.as_deref())
    }

    fn force(self, force: bool) -> Self {
        self.maybe("force", force.then_some("true"))
    }

    fn wait(self, wait: &Wait) -> Self {
        let wait = wait.wait.as_ref().map(|time| time.text.as_str());
        self.maybe("wait", wait)
    }
}

fn order(find: &Find, path: &str, query: Query, wait: &Wait) -> Result {
    let wait = wait
        .wait
        .as_ref()
        .map_or(Duration::ZERO, |time| time.length);
    if wait > WAIT_MAX {
        let most = WAIT_MAX.as_secs() / 60;
        return Err(Failure::Call(format!("--wait: at most {most}m")));
    }
    let query = query.maybe("by", caller().as_deref());
    let separator = if query.0.is_empty() { "" } else { "?" };
    let path = format!("{path}{separator}{}", query.0.join("&"));
    print(find.commander()?.order(&path, wait)?)?;
    Ok(Ending::Good)
}

/// Who gives the order: the user behind `sudo`, or the user.
fn caller() -> Option<String> {
    ["SUDO_USER", "USER"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty() && name.chars().count() <= 64)
}

fn time(text: &str) -> std::result::Result<Time, String> {
    evenkeel_admin::age(text)
        .filter(|length| !length.is_zero())
        .map(|length| Time {
            text: text.to_owned(),
            length,
        })
        .ok_or_else(|| "expected a time like 90s, 30m, 12h or 7d".to_owned())
}
