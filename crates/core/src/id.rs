//! Ids: small `Copy` numbers for the services and servers of the configuration.

/// A service, by its slot: a small number that stays the same for as long as a service of its name is configured, whatever a
/// reload changes around it. Slots are not dense, and say nothing about the order in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ServiceId(pub u32);

/// A server of a service, by its slot within the service; stable like [`ServiceId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ServerId {
    /// The service it belongs to.
    pub service: ServiceId,
    /// Its slot within the service.
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
