//! Changes of a header, as typed.

use super::table;
use super::value::{AnyText, Filled, Map, Text};

table! {
    /// Changes of a header. Fields that evenkeel or the connection depends on cannot be changed. Values are texts with
    /// `{client.address}`, `{request.id}` and `{service}`; on requests also with `{host}`, `{path}`, `{rest}` and `{query}` as
    /// in `rewrite`, on responses with `{server}`. A brace itself is written twice.
    pub struct Headers {
        /// Fields with the value that they get, whatever was there: `{ x-env = "canary" }`.
        set: Map<AnyText>;
        /// Fields that are added beside those of the same name.
        add: Map<AnyText>;
        /// Fields that are taken out.
        remove: Filled<Text>;
    }
    later {}
}
