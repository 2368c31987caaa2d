//! Header changes, as typed.

use super::table;
use super::value::{AnyText, Map, NonEmptyList, NonEmptyText};

table! {
    /// Header changes. Fields that evenkeel or the connection depends on cannot be changed. Values are templates with
    /// `{client.address}`, `{request.id}` and `{service}`; on requests also with `{host}`, `{path}`, `{rest}` and
    /// `{query}` as in `rewrite`, on responses with `{server}`. A literal brace is doubled.
    pub struct HeadersConfig {
        /// Fields to set, replacing existing values: `{ x-env = "canary" }`.
        set: Map<AnyText>;
        /// Fields to add, keeping existing values.
        add: Map<AnyText>;
        /// Fields to remove.
        remove: NonEmptyList<NonEmptyText>;
    }
    later {}
}
