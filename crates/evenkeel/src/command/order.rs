//! Orders of people: to a server, or about what an incident proposes.

use clap::Args;
use evenkeel_admin::client::escaped;

use super::find::Find;
use crate::output::{Ending, Failure, Result, print};

/// An order about one server.
#[derive(Debug, Args)]
pub(crate) struct ServerOrder {
    /// The server, as `evenkeel status` shows it.
    #[arg(value_name = "SERVICE/SERVER")]
    target: String,
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

impl ServerOrder {
    pub(crate) fn carry_out(self, verb: &str) -> Result {
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
        order(
            &self.find,
            &format!("/api/services/{service}/servers/{server}/{verb}"),
        )
    }
}

impl IncidentOrder {
    pub(crate) fn carry_out(self, verb: &str) -> Result {
        let id = escaped(&self.id);
        order(&self.find, &format!("/api/incidents/{id}/{verb}"))
    }
}

fn order(find: &Find, path: &str) -> Result {
    print(find.commander()?.order(path)?)?;
    Ok(Ending::Good)
}
