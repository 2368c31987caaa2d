//! `evenkeel server`: changes of a service's servers while evenkeel runs.

use std::time::Duration;

use clap::{Args, Subcommand};
use evenkeel_admin::escaped;
use evenkeel_core::Endpoint;
use serde_json::{Map, Value as Json, json};

use super::find::AdminAddress;
use super::order::{ServerTarget, caller};
use crate::output::{CommandEnding, CommandFailure, Result, print};

/// A change ends with the answer, which waits for those that go on at the same time.
const LONGEST: Duration = Duration::from_secs(60);

/// Add and remove servers of a service, and set their weights and bounds, while evenkeel runs.
#[derive(Debug, Args)]
#[command(
    after_help = "A change holds at once and lives through reloads, unless the file says otherwise then. After a\n\
                  restart it is gone, unless it was made with --persist. `evenkeel diff` and `evenkeel status`\n\
                  show what was changed and is not in the file.\n\
                  Exit status: 0 it holds, 1 nothing was changed, with the reason.\n\n\
                  Example:\n  evenkeel server add shop/shop-3 127.0.0.1:9003 --weight 2\n  \
                  evenkeel server weight shop/shop-3 5 --persist\n  evenkeel server max-requests shop/shop-3 100\n  \
                  evenkeel server remove shop/shop-3"
)]
pub(crate) struct ServerCommand {
    #[command(subcommand)]
    change: ServerChangeCommand,
}

#[derive(Debug, Subcommand)]
enum ServerChangeCommand {
    /// Add a server to a service. One of the file that was removed is used again, if its address is given.
    Add(AddServerArgs),
    /// Remove a server from a service. It gets no new requests; those in flight may finish.
    Remove(RemoveServerArgs),
    /// Set the weight of a server.
    Weight(SetWeightArgs),
    /// Set how many requests a server has at once.
    MaxRequests(SetMaxRequestsArgs),
}

/// `server add`
#[derive(Debug, Args)]
struct AddServerArgs {
    /// The service and the server's name, which is made of its address if it is left out.
    #[arg(value_name = "SERVICE[/SERVER]")]
    target: String,
    /// Its address: IP:PORT or unix:/PATH.
    #[arg(value_name = "ADDR")]
    address: Endpoint,
    /// Its weight [default: 1].
    #[arg(long, value_name = "NUMBER")]
    weight: Option<u32>,
    /// Its tier: 0 is primary, 1 is backup [default: 0].
    #[arg(long, value_name = "NUMBER")]
    tier: Option<u8>,
    /// How many requests it has at once; 0: no bound [default: as its service says].
    #[arg(long, value_name = "NUMBER")]
    max_requests: Option<u32>,
    #[command(flatten)]
    keep: KeepArgs,
}

/// `server remove`
#[derive(Debug, Args)]
struct RemoveServerArgs {
    #[command(flatten)]
    server: ServerTarget,
    #[command(flatten)]
    keep: PersistArgs,
}

/// `server weight`
#[derive(Debug, Args)]
struct SetWeightArgs {
    #[command(flatten)]
    server: ServerTarget,
    /// From 1 to 1000.
    #[arg(value_name = "WEIGHT")]
    weight: u32,
    #[command(flatten)]
    keep: PersistArgs,
}

/// `server max-requests`
#[derive(Debug, Args)]
struct SetMaxRequestsArgs {
    #[command(flatten)]
    server: ServerTarget,
    /// Up to 1000000; 0: no bound.
    #[arg(value_name = "NUMBER")]
    max_requests: u32,
    #[command(flatten)]
    keep: PersistArgs,
}

/// Whether a change is to hold after a restart.
#[derive(Debug, Args)]
struct PersistArgs {
    /// Keep the change in the incident store, so that it also holds after a restart.
    #[arg(long)]
    persist: bool,
}

/// The same, and the evenkeel that is asked.
#[derive(Debug, Args)]
struct KeepArgs {
    #[command(flatten)]
    keep: PersistArgs,
    #[command(flatten)]
    find: AdminAddress,
}

impl ServerCommand {
    pub(crate) fn carry_out(self) -> Result {
        match self.change {
            ServerChangeCommand::Add(command) => command.carry_out(),
            ServerChangeCommand::Remove(command) => command.carry_out(),
            ServerChangeCommand::Weight(command) => command.carry_out(),
            ServerChangeCommand::MaxRequests(command) => command.carry_out(),
        }
    }
}

impl AddServerArgs {
    fn carry_out(self) -> Result {
        let (service, name) = match self.target.split_once('/') {
            None => (self.target.as_str(), None),
            Some((service, name)) => (service, Some(name)),
        };
        if service.is_empty() || name.is_some_and(str::is_empty) {
            let target = &self.target;
            return Err(CommandFailure::Call(format!(
                "{target}: expected SERVICE or SERVICE/SERVER, for example shop/shop-3"
            )));
        }
        let KeepArgs { keep, find } = &self.keep;
        let mut body = Map::new();
        body.insert("address".to_owned(), json!(self.address.to_string()));
        body.insert("persist".to_owned(), json!(keep.persist));
        let mut say = |key: &str, value: Option<Json>| {
            body.extend(value.map(|value| (key.to_owned(), value)));
        };
        say("name", name.map(Json::from));
        say("weight", self.weight.map(Json::from));
        say("tier", self.tier.map(Json::from));
        say("max_requests", self.max_requests.map(Json::from));
        let path = format!("/api/services/{}/servers", escaped(service));
        change(find, ("POST", &path, &[]), &Json::Object(body).to_string())
    }
}

impl RemoveServerArgs {
    fn carry_out(self) -> Result {
        let path = self.server.path()?;
        let persist = self.keep.persist.then_some("persist=true");
        change(&self.server.find, ("DELETE", &path, persist.as_slice()), "")
    }
}

impl SetWeightArgs {
    fn carry_out(self) -> Result {
        let path = format!("{}/weight", self.server.path()?);
        let body = json!({ "weight": self.weight, "persist": self.keep.persist });
        change(&self.server.find, ("PUT", &path, &[]), &body.to_string())
    }
}

impl SetMaxRequestsArgs {
    fn carry_out(self) -> Result {
        let path = format!("{}/max-requests", self.server.path()?);
        let body = json!({ "max_requests": self.max_requests, "persist": self.keep.persist });
        change(&self.server.find, ("PUT", &path, &[]), &body.to_string())
    }
}

fn change(
    find: &AdminAddress,
    (method, path, query): (&'static str, &str, &[&str]),
    body: &str,
) -> Result {
    let mut query: Vec<String> = query.iter().map(|&part| part.to_owned()).collect();
    query.extend(caller().map(|by| format!("by={}", escaped(&by))));
    let separator = if query.is_empty() { "" } else { "?" };
    let path = format!("{path}{separator}{}", query.join("&"));
    print(find.commander()?.change(method, &path, body, LONGEST)?)?;
    Ok(CommandEnding::Good)
}
