//! The service that answers when the one that was asked does not, and what took the place of a response.

use std::net::IpAddr;

use evenkeel_core::{Instant, ServiceId};

use super::host::Services;
use crate::service::Service;
use crate::{FallbackTo, Policies, RequestView};

/// The service that answers instead, and what was read off the request's head for it.
#[derive(Debug)]
pub(super) struct FallbackService<'a> {
    pub(super) id: ServiceId,
    pub(super) service: &'a Service,
    pub(super) key: Option<u64>,
    pub(super) sticky: Option<u32>,
    pub(super) may_repeat: bool,
}

/// What took the place of a missing response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FallbackState {
    /// The service that the request came for, and when, if it was sent to the fallback service.
    pub from: Option<(ServiceId, Instant)>,
    /// It got the configured response.
    pub is_configured: bool,
    /// It got an older response.
    pub is_stale: bool,
}

impl<'a> FallbackService<'a> {
    pub(super) fn of(
        policies: &Policies,
        head: &impl RequestView,
        peer: Option<IpAddr>,
        services: &impl Services<'a>,
    ) -> Option<Box<Self>> {
        let FallbackTo::Service(id) = policies.fallback.as_ref()?.to else {
            return None;
        };
        let service = services.service(id);
        let servers = services.servers(id);
        Some(Box::new(Self {
            id,
            service,
            key: service.hash_on().and_then(|on| on.key(head, peer)),
            sticky: servers.sticky().and_then(|sticky| sticky.server(head)),
            may_repeat: service.policies().may_repeat(head.method()),
        }))
    }
}
