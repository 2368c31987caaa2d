//! The admin API: status, incidents and metrics for people, scrapers and the command line, and orders from people.
//!
//! [`answer()`] is a function from a request to a response over [`Live`], which the wiring implements; it opens nothing
//! and can be tested with a list in place of a balancer. [`serve()`] puts it on a socket, and [`text`] turns what came back
//! into what a terminal shows. Who asks from the other side is the program's command line.

mod answer;
mod percent;
mod exchange;
mod exposition;
mod guard;
mod live;
mod orders;
mod why;
mod route;
mod connections;
mod serve;
pub mod text;
mod token;

pub use answer::answer;
pub use connections::AdminCounters;
pub use exchange::{AdminRequest, AdminResponse};
pub use exposition::Exposition;
pub use guard::Guard;
pub use live::{
    Filter, Live, OpenIncident, Order, OrderError, Ordered, Recent, ServerView, ServiceReport,
    ServiceView, age,
};
pub use orders::WAIT_MAX;
pub use percent::escaped;
pub use serve::serve;
pub use token::{load_or_create_token, load_token, write_missing_token};
pub use why::{Recovery, ServerWhy, ServiceWhy, Success};
