//! The loop that drives the fault's way.
//!
//! It gathers signals, steps the keeper, passes directives to the balancer, has orders carried out, keeps the incidents
//! and shows what is known. It decides nothing: that is the keeper's. It touches neither sockets nor processes: those
//! are behind [`Traffic`], [`Hands`] and [`Books`], which the program (or a test) hands in.

pub mod world;
pub mod view;
pub mod counters;
pub mod act;
mod asked;
mod books;
mod heartbeat;
mod lateness;
mod again;
mod specs;
mod drive;
mod timeline;

pub use act::Crew;
pub use asked::OrderRequest;
pub use books::memory;
pub use counters::Counters;
pub use drive::{Control, Parts};
pub use heartbeat::Heartbeat;
pub use view::{Event, Events, Outlooks, View, Views};
pub use world::{Books, Hands, Traffic};
