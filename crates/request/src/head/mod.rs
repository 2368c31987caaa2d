//! Borrowed models of the heads of requests and responses, the same whatever protocol carried them, and what is read out of them.
//!
//! A protocol fills a model by implementing [`RequestView`] or [`ResponseView`] over what it has parsed, without a copy.

mod text;
mod field;
mod view;
#[cfg(test)]
mod fake;

#[cfg(test)]
pub(crate) use fake::FakeHead;
pub use field::{FieldClass, HeaderField, HeaderFields};
pub use text::{any_cookie, any_parameter, host_name};
pub use view::{Authority, BodyExtent, HttpVersion, RequestView, ResponseView};
