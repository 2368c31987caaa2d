//! The admin API: status, incidents and metrics for operators, scrapers and the command line, and orders from
//! operators.
//!
//! [`answer()`] is a function from a request to a response over an [`AdminBackend`], which the wiring implements; it
//! opens nothing and can be tested with a fake backend. [`serve()`] binds it to a socket, and [`text`] formats
//! responses for a terminal. The client is the program's command line.

mod answer;
mod percent;
mod exchange;
mod exposition;
mod access;
mod instance;
mod backend;
mod orders;
mod changes;
mod why;
mod route;
mod connections;
mod listener;
mod serve;
pub mod text;
mod token;

pub use access::AccessPolicy;
pub use answer::answer;
pub use backend::{
    AdminBackend, IncidentQuery, OpenIncident, Order, OrderError, OrderProgress, RecentTraffic,
    ServerToAdd, ServerView, ServiceReport, ServiceView, age,
};
pub use connections::AdminCounters;
pub use exchange::{AdminRequest, AdminResponse};
pub use exposition::Exposition;
pub use instance::{ConfigurationView, InstanceView, RefusedReload, RuntimeChangeView};
pub use listener::AdminListener;
pub use orders::WAIT_MAX;
pub use percent::escaped;
pub use serve::serve;
pub use token::{load_or_create_token, load_token, write_missing_token};
pub use why::{ActionSuccess, OutlookView, ServerWhy, ServiceWhy};
