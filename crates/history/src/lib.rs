//! Incidents kept: a SQLite file that survives a crash at any point, and a thread that writes it.
//!
//! Apart from everything that decides, so that a slow, full or broken disk can hold up nothing else: whoever has
//! something to keep hands it to the [`WriterHandle`] and goes on.

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
pub use filter::Filter;
pub use open::Opened;
pub use report::ServiceReport;
pub use store::Store;
pub use writer::{StoreHealth, Writer, WriterHandle};
