//! What an attempt knows about itself and those before it: its number, its timeout, which servers to avoid.
//!
//! A small value that is copied into the attempt's future, so that it borrows nothing and closures stay simple.

use std::time::Duration;

use evenkeel_core::Instant;

use crate::Deadline;

/// Tried servers that are remembered.
const REMEMBERED: usize = 8;

/// Servers that were tried or are being tried; the latest eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TriedServers {
    servers: [u32; REMEMBERED],
    count: u32,
}

impl TriedServers {
    pub(crate) fn add(&mut self, server: u32) {
        if !self.as_slice().contains(&server) {
            self.servers[self.count as usize % REMEMBERED] = server;
            self.count = self.count.saturating_add(1);
        }
    }

    pub(crate) fn as_slice(&self) -> &[u32] {
        &self.servers[..(self.count as usize).min(REMEMBERED)]
    }
}

/// The context of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    pub(crate) number: u32,
    pub(crate) hedge: bool,
    pub(crate) began: Instant,
    pub(crate) ends: Instant,
    pub(crate) deadline: Deadline,
    pub(crate) server: Option<u32>,
    pub(crate) avoid: TriedServers,
}

impl Attempt {
    /// Its number within the call, from 1.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Whether it is a hedge.
    #[must_use]
    pub const fn is_hedge(&self) -> bool {
        self.hedge
    }

    /// When it began.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// Its timeout, or what is left until the deadline. Pass it on, as `grpc-timeout` or as the timeout of a client, so that
    /// nobody works on what nobody waits for.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.ends.since(self.began)
    }

    /// What the whole call had left when the attempt began.
    #[must_use]
    pub const fn remaining(&self) -> Duration {
        self.deadline.remaining(self.began)
    }

    /// The deadline of the whole call.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The server that was picked for it, if a picker was given.
    #[must_use]
    pub const fn server(&self) -> Option<u32> {
        self.server
    }

    /// Servers that were tried before it, or are being tried at the same time.
    #[must_use]
    pub fn avoid(&self) -> &[u32] {
        self.avoid.as_slice()
    }
}
