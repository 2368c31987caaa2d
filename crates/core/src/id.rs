//! Ids: small `Copy` numbers for the services and servers of the configuration.

/// A service, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ServiceId(pub u32);

/// A server of a service, by its place in the service's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ServerId {
    /// The service it belongs to.
    pub service: ServiceId,
    /// Its place in the service's list, from 0.
    pub index: u32,
}

impl ServerId {
    /// The server at `index` of service `service`.
    #[must_use]
    pub const fn new(service: u32, index: u32) -> Self {
        Self {
            service: ServiceId(service),
            index,
        }
    }
}
