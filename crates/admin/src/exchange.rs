//! Requests and responses of the admin API as values, independent of sockets.

use std::fmt;

use serde::Serialize;

/// A request, as far as the admin API uses it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct AdminRequest {
    /// The method's text.
    pub method: String,
    /// The path, still percent-encoded.
    pub path: String,
    /// The query, still percent-encoded; may be empty.
    pub query: String,
    /// The `Host` that was asked.
    pub host: Option<String>,
    /// `Origin`: the page that a browser asks for.
    pub origin: Option<String>,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// The body; empty if there is none.
    pub body: Vec<u8>,
}

impl fmt::Debug for AdminRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its fields may include the token, which must not be logged.
        f.debug_struct("AdminRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("query", &self.query)
            .field("host", &self.host)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// The result of a step: the response if there is nothing more to do.
pub(crate) type StepResult<T> = Result<T, AdminResponse>;

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminResponse {
    /// The status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
    /// `Allow`, with status 405.
    pub allow: Option<&'static str>,
}

impl AdminResponse {
    pub(crate) const fn new(status: u16, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            content_type,
            body,
            allow: None,
        }
    }

    pub(crate) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(body) => Self::new(200, "application/json", body),
            Err(error) => Self::error(
                500,
                &format!("the response cannot be written as JSON: {error}"),
            ),
        }
    }

    pub(crate) fn message(status: u16, message: &str) -> Self {
        Self::new(
            status,
            "application/json",
            serde_json::json!({ "message": message }).to_string(),
        )
    }

    pub(crate) fn error(status: u16, why: &str) -> Self {
        Self::new(
            status,
            "application/json",
            serde_json::json!({ "error": why }).to_string(),
        )
    }

    pub(crate) fn no_service(name: &str) -> Self {
        Self::error(404, &format!("there is no service {name:?}"))
    }

    pub(crate) fn no_incident(id: &str) -> Self {
        Self::error(404, &format!("there is no incident {id:?}"))
    }
}
