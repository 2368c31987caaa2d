//! Which service takes a request: the first route that matches.

use evenkeel_core::ServiceId;
use regex::bytes::Regex;

/// One rule of a listener. Every condition that is present must hold.
#[derive(Debug, Clone)]
pub struct Route {
    /// On the host, without port.
    pub host: Option<HostRule>,
    /// On the path, without query.
    pub path: Option<PathRule>,
    /// On header fields: all must hold.
    pub headers: Vec<(String, HeaderRule)>,
    /// Where the request goes.
    pub service: ServiceId,
}

/// A condition on the host; letter case does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRule {
    /// This name (lower case).
    Exact(String),
    /// Any name that ends in this, which begins with a dot (lower case): `*.example.com` is `.example.com`.
    Suffix(String),
}

/// A condition on the path.
#[derive(Debug, Clone)]
pub enum PathRule {
    /// This path.
    Exact(String),
    /// This path and all below it: `/v1/*` is `/v1`, and holds for `/v1` and `/v1/…`, not for `/v10`.
    Prefix(String),
    /// Any path in which the expression is found.
    Pattern(Regex),
}

/// A condition on a header field.
#[derive(Debug, Clone)]
pub enum HeaderRule {
    /// The field is there (`*`).
    Present,
    /// One of its lines has this value.
    Exact(String),
    /// The expression is found in one of its lines.
    Pattern(Regex),
}
