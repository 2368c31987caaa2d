//! Requests that evenkeel makes of one that it forwards: a mirrored copy for another service, and one that fetches a stored response
//! again.

use super::edits::HeaderEdits;

/// The field that marks mirrored copies for the servers that get them: its name and value.
pub const MIRROR_MARK: (&str, &str) = ("x-evenkeel-mirror", "1");

/// Fields about the client, or about what it has already.
const ABOUT_CLIENT: [&str; 7] = [
    "authorization",
    "cookie",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
];

/// Whether a field of a forwarded request stays out of the request that fetches its stored response again, which asks for nobody in
/// particular. Credentials that edits set are evenkeel's own, and pass; `deadline` is the field of the client's deadline.
#[must_use]
pub fn is_left_out_of_revalidation(
    name: &[u8],
    edits: Option<HeaderEdits<'_>>,
    deadline: Option<&str>,
) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    let is_set =
        |name: &str| edits.is_some_and(|edits| edits.drops(name.as_bytes()) && edits.adds(name));
    deadline.is_some_and(is)
        || ABOUT_CLIENT
            .into_iter()
            .any(|name| is(name) && !is_set(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HeaderChanges;
    use crate::headers::{HeaderValue, Side};

    #[test]
    fn a_revalidation_is_not_about_the_client() {
        let value = HeaderValue::parse("Basic b3du", Side::Request).unwrap();
        let mut changes = HeaderChanges::default();
        changes.set("Authorization", value.clone());
        changes.add("cookie", value);
        let edits = HeaderEdits::of_request(&changes, None, None);
        for (name, edits, expected) in [
            ("Authorization", None, true),
            ("If-None-Match", None, true),
            ("gRPC-Timeout", None, true),
            ("x-cookie", None, false),
            ("authorization", edits, false),
            // The client's own are beside the one that is added.
            ("Cookie", edits, true),
        ] {
            let name = name.as_bytes();
            let is_out = is_left_out_of_revalidation(name, edits, Some("grpc-timeout"));
            assert_eq!(is_out, expected, "{}", name.escape_ascii());
        }
    }
}
