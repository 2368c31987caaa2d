//! Incident storage: a SQLite file that survives a crash at any point, and the thread that writes it.
//!
//! Separate from everything that decides, so that a slow, full or broken disk delays nothing else: producers hand their
//! data to the [`WriterHandle`] and continue.

mod schema;
mod error;
mod file;
mod open;
mod filter;
mod store;
mod report;
mod pending;
mod writer;
mod answer;

pub use error::StoreError;
pub use filter::IncidentFilter;
pub use open::OpenedStore;
pub use report::PeriodReport;
pub use store::Store;
pub use writer::{StoreHealth, Writer, WriterHandle};
