//! The workloads of the benchmark, and evenkeel's targets.

use std::net::SocketAddr;

use crate::closed::ClosedPlan;

/// One workload: a row of the benchmark's tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Its name on the command line and in the tables.
    pub name: &'static str,
    /// The request.
    pub text: &'static str,
    /// CPU per request compared with HAProxy's must not exceed this.
    pub bound: f64,
    /// CPU per request compared with HAProxy's that is aimed at.
    pub goal: f64,
    connections: usize,
    path: &'static str,
    expect: usize,
    post: Option<usize>,
    reconnect: bool,
}

const SMALL: Workload = Workload {
    name: "small-64",
    text: "GET of 13 B, 64 connections kept alive",
    bound: 0.9,
    goal: 0.8,
    connections: 64,
    path: "/small",
    expect: 13,
    post: None,
    reconnect: false,
};

/// All of them, in the order of the tables.
pub const WORKLOADS: [Workload; 6] = [
    SMALL,
    Workload {
        name: "small-1024",
        text: "GET of 13 B, 1,024 connections kept alive",
        bound: 0.75,
        goal: 0.65,
        connections: 1024,
        ..SMALL
    },
    Workload {
        name: "connect",
        text: "GET of 13 B, a new connection for each, 64 at a time",
        bound: 1.0,
        goal: 0.9,
        reconnect: true,
        ..SMALL
    },
    Workload {
        name: "64k",
        text: "GET of 64 KiB, 64 connections kept alive",
        bound: 0.8,
        goal: 0.6,
        path: "/64k",
        expect: 64 << 10,
        ..SMALL
    },
    Workload {
        name: "1m",
        text: "GET of 1 MiB, 16 connections kept alive",
        bound: 0.8,
        goal: 0.5,
        connections: 16,
        path: "/1m",
        expect: 1 << 20,
        ..SMALL
    },
    Workload {
        name: "post-16k",
        text: "POST of 16 KiB, 64 connections kept alive",
        bound: 0.6,
        goal: 0.45,
        post: Some(16 << 10),
        ..SMALL
    },
];

impl Workload {
    /// The workload as a load on `target`.
    #[must_use]
    pub fn plan(&self, target: SocketAddr) -> ClosedPlan {
        ClosedPlan {
            target,
            connections: self.connections,
            path: self.path.to_owned(),
            post: self.post,
            reconnect: self.reconnect,
            expect: self.expect,
        }
    }
}
