//! Services and servers as the keeper knows them, by slot.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use evenkeel_core::ServiceId;

use crate::policy::FaultOptions;

/// One service as the keeper knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSpec {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// Its options.
    pub options: FaultOptions,
    /// Some server of it has no configured limit: one may be found for the time of an overload.
    pub is_unlimited: bool,
    /// Its servers; the place in the list is the index of the [`ServerId`](evenkeel_core::ServerId).
    pub servers: Vec<ServerSpec>,
}

/// One server as the keeper knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Its name, unique in the service.
    pub name: String,
    /// Its address, for display; none for an empty slot.
    pub address: Option<String>,
    /// Its tier: 0 is primary, 1 is backup.
    pub tier: u8,
    /// How restart and stop reach it.
    pub managed: Managed,
    /// Whether its service can go back to the version that ran before.
    pub rolls_back: bool,
    /// The longest time that the execution of an order for it may take.
    pub order_limit: Duration,
}

/// How restart and stop reach a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Managed {
    /// It is a child process of evenkeel.
    Child,
    /// By commands of the user's; whether there is one for each.
    Commands {
        /// There is a restart command.
        restart: bool,
        /// There is a stop command.
        stop: bool,
    },
    /// Not at all: only traffic can be moved.
    Nothing,
}

impl ServiceSpec {
    /// How many peers one of its servers has, or may have.
    #[must_use]
    pub fn peers(&self) -> usize {
        let occupied = self.servers.iter().filter(|server| !server.is_vacant());
        occupied.count().saturating_sub(1)
    }

    /// A slot without a service.
    #[must_use]
    pub fn vacant(id: ServiceId, options: FaultOptions) -> Self {
        Self {
            id,
            name: String::new(),
            options,
            is_unlimited: false,
            servers: Vec::new(),
        }
    }
}

impl ServerSpec {
    /// A slot without a server.
    #[must_use]
    pub fn vacant() -> Self {
        Self {
            name: String::new(),
            address: None,
            tier: 0,
            managed: Managed::Nothing,
            rolls_back: false,
            order_limit: Duration::ZERO,
        }
    }

    /// Its machine, if its address is an IP address.
    #[must_use]
    pub fn host(&self) -> Option<IpAddr> {
        let address = self.address.as_deref()?;
        Some(address.parse::<SocketAddr>().ok()?.ip())
    }

    /// Whether the slot has no server, as opposed to one whose address is not known.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.name.is_empty()
    }
}
