//! Changes of a message's header that a route or a service asks for: what may be changed, and the texts that are put in.
//!
//! Names and texts are judged when the configuration is read, so that writing them is copying: no request can make a line
//! of its own out of a value. [`crate::forward`] applies them.

/// Whose header is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The request, as servers get it.
    Request,
    /// The response, as the client gets it.
    Response,
}

/// What is changed in a header: first lines go, then lines come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    dropped: Vec<String>,
    lines: Vec<HeaderLine>,
}

/// A line that is put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderLine {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: HeaderValue,
}

/// A value with places for facts about the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderValue(Vec<ValuePiece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum ValuePiece {
    Text(String),
    Fact(Fact),
}

/// A fact about a request that a value may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The host, without port.
    Host,
    /// The path.
    Path,
    /// What of the path is below the route's prefix, without a slash before it.
    Rest,
    /// The query with its question mark; nothing without one.
    Query,
    /// The client's address, without port.
    ClientAddress,
    /// The request's id.
    RequestId,
    /// The service's name.
    Service,
    /// The name of the server that answered.
    Server,
}

const ON_REQUESTS: &[(&str, Fact)] = &[
    ("host", Fact::Host),
    ("path", Fact::Path),
    ("rest", Fact::Rest),
    ("query", Fact::Query),
    ("client.address", Fact::ClientAddress),
    ("request.id", Fact::RequestId),
    ("service", Fact::Service),
];
const ON_RESPONSES: &[(&str, Fact)] = &[
    ("client.address", Fact::ClientAddress),
    ("request.id", Fact::RequestId),
    ("service", Fact::Service),
    ("server", Fact::Server),
];

/// The longest name, and the longest value as it is written in the file.
const NAME_MOST: usize = 128;
const VALUE_MOST: usize = 4096;

impl HeaderChanges {
    /// Every line of this name goes.
    pub fn remove(&mut self, name: &str) {
        self.dropped.push(name.to_owned());
    }

    /// A line comes, beside those of its name that are there.
    pub fn add(&mut self, name: &str, value: HeaderValue) {
        let name = name.to_owned();
        self.lines.push(HeaderLine { name, value });
    }

    /// A line comes instead of those of its name that are there.
    pub fn set(&mut self, name: &str, value: HeaderValue) {
        self.remove(name);
        self.add(name, value);
    }

    /// Whether nothing changes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.lines.is_empty()
    }

    /// Whether lines of this name, in any letter case, go.
    #[must_use]
    pub fn drops(&self, name: &[u8]) -> bool {
        self.dropped
            .iter()
            .any(|dropped| name.eq_ignore_ascii_case(dropped.as_bytes()))
    }

    /// The lines that come.
    #[must_use]
    pub fn lines(&self) -> &[HeaderLine] {
        &self.lines
    }

    /// Whether a line of this name comes.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.lines
            .iter()
            .any(|line| line.name.eq_ignore_ascii_case(name))
    }
}

impl HeaderValue {
    /// Takes a text with the facts that there are on this side in braces; a brace itself is written twice.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str, side: Side) -> Result<Self, String> {
        check_value(text)?;
        let known = match side {
            Side::Request => ON_REQUESTS,
            Side::Response => ON_RESPONSES,
        };
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut left = text;
        while let Some(at) = left.find(['{', '}']) {
            let (before, rest) = left.split_at(at);
            literal.push_str(before);
            if let Some(rest) = rest.strip_prefix("{{") {
                literal.push('{');
                left = rest;
            } else if let Some(rest) = rest.strip_prefix("}}") {
                literal.push('}');
                left = rest;
            } else if let Some((name, after)) = named(rest) {
                let fact = known.iter().find(|(word, _)| *word == name);
                let (_, fact) = fact.ok_or_else(|| unknown_fact(name, side, known))?;
                if !literal.is_empty() {
                    pieces.push(ValuePiece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(ValuePiece::Fact(*fact));
                left = after;
            } else {
                return Err(
                    "a brace without its other one; a brace itself is written twice".to_owned(),
                );
            }
        }
        literal.push_str(left);
        if !literal.is_empty() {
            pieces.push(ValuePiece::Text(literal));
        }
        Ok(Self(pieces))
    }

    /// Writes it; `fill` writes the facts.
    pub fn write(&self, out: &mut Vec<u8>, mut fill: impl FnMut(Fact, &mut Vec<u8>)) {
        for piece in &self.0 {
            match piece {
                ValuePiece::Text(text) => out.extend_from_slice(text.as_bytes()),
                ValuePiece::Fact(fact) => fill(*fact, out),
            }
        }
    }

    /// What keeps it from being a `Host`, in words: anything that could be read as more than a host.
    ///
    /// # Errors
    /// If it is none.
    pub fn check_host(&self) -> Result<(), String> {
        let is_host = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'[' | b']')
        };
        if self.0.is_empty() {
            return Err("a request has a host".to_owned());
        }
        for piece in &self.0 {
            match piece {
                ValuePiece::Text(text) if !text.bytes().all(is_host) => {
                    return Err(format!("`{text}` is not a host"));
                }
                ValuePiece::Text(_) | ValuePiece::Fact(Fact::Host | Fact::Service) => {}
                ValuePiece::Fact(_) => {
                    return Err("a host is made of text, {host} and {service}".to_owned());
                }
            }
        }
        Ok(())
    }
}

/// The name in the braces that `text` begins with, and what comes after them.
fn named(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('{')?.split_once('}')?;
    (!name.contains('{')).then_some((name, after))
}

fn unknown_fact(name: &str, side: Side, known: &[(&str, Fact)]) -> String {
    let words: Vec<String> = known
        .iter()
        .map(|(word, _)| format!("{{{word}}}"))
        .collect();
    let whose = match side {
        Side::Request => "requests",
        Side::Response => "responses",
    };
    format!(
        "there is no {{{name}}}; on {whose} there are {}",
        words.join(", ")
    )
}

fn check_value(text: &str) -> Result<(), String> {
    if text.len() > VALUE_MOST {
        return Err(format!("a value has at most {VALUE_MOST} bytes"));
    }
    if text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err("a line break or a null byte would end the line, and begin another".to_owned());
    }
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err("a value is visible ASCII and spaces".to_owned());
    }
    if text.trim_ascii() != text {
        return Err("spaces at the ends of a value are not part of it".to_owned());
    }
    Ok(())
}

/// Why a field of this name may not be changed on this side, in words.
///
/// # Errors
/// If it may not, or is not a name.
pub fn check_name(name: &str, side: Side) -> Result<(), String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > NAME_MOST || !name.bytes().all(is_token) {
        return Err(format!(
            "`{}` cannot be the name of a header field",
            name.escape_debug()
        ));
    }
    let lower = name.to_ascii_lowercase();
    let reason = match lower.as_str() {
        "connection" | "keep-alive" | "upgrade" | "te" | "http2-settings" => {
            "it is about one connection, and evenkeel has two"
        }
        "content-length" | "transfer-encoding" | "trailer" => {
            "it says where the message ends, which evenkeel sees to"
        }
        "via" => "evenkeel writes it, so that loops are noticed",
        "expect" => "it is a question to which the answer passes through evenkeel",
        "forwarded" => "evenkeel takes it out, and says who asks in X-Forwarded-For",
        "x-evenkeel-mirror" => "evenkeel marks copies of requests with it",
        "host" if side == Side::Response => "only a request has it",
        _ if lower.starts_with("proxy-") => "it is about one connection, and evenkeel has two",
        _ if lower.starts_with("x-forwarded-") => "servers trust evenkeel to say who asks",
        _ => return Ok(()),
    };
    Err(format!("`{name}` cannot be changed: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, side: Side) -> Result<String, String> {
        let mut out = Vec::new();
        HeaderValue::parse(text, side)?.write(&mut out, |fact, out| {
            out.extend_from_slice(format!("<{fact:?}>").as_bytes());
        });
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn facts_are_put_in_their_places_and_a_brace_is_written_twice() {
        let request = |text| written(text, Side::Request).unwrap();
        assert_eq!(request("canary"), "canary");
        assert_eq!(request(""), "");
        assert_eq!(request("{host}{path}{query}"), "<Host><Path><Query>");
        assert_eq!(
            request("a {client.address}, {request.id}"),
            "a <ClientAddress>, <RequestId>"
        );
        assert_eq!(request("{{\"a\": {{}}}}"), "{\"a\": {}}");
        assert_eq!(
            written("{service}/{server}", Side::Response).unwrap(),
            "<Service>/<Server>"
        );
    }

    #[test]
    fn what_is_no_value() {
        for text in [
            "a\r\nX: y",
            "a\nb",
            "a\0b",
            "a\tb",
            "ä",
            " a",
            "a ",
            "{",
            "}",
            "{host",
            "host}",
            "{hots}",
            "{server}",
            "{a{host}",
            "\u{7f}",
        ] {
            assert!(written(text, Side::Request).is_err(), "{text:?}");
        }
        for text in ["{path}", "{host}", "{rest}", "{query}"] {
            assert!(written(text, Side::Response).is_err(), "{text}");
        }
        assert!(written(&"a".repeat(VALUE_MOST), Side::Request).is_ok());
        assert!(written(&"a".repeat(VALUE_MOST + 1), Side::Request).is_err());
    }

    #[test]
    fn names_that_belong_to_the_proxy() {
        for name in [
            "Connection",
            "content-length",
            "Transfer-Encoding",
            "VIA",
            "Upgrade",
            "TE",
            "Trailer",
            "Keep-Alive",
            "Proxy-Authorization",
            "proxy-status",
            "X-Forwarded-For",
            "x-forwarded-anything",
            "Forwarded",
            "Expect",
            "",
            "a b",
            "a:b",
            "ä",
            "a\r\n",
        ] {
            assert!(check_name(name, Side::Request).is_err(), "{name}");
            assert!(check_name(name, Side::Response).is_err(), "{name}");
        }
        assert!(check_name("Host", Side::Request).is_ok());
        assert!(check_name("Host", Side::Response).is_err());
        for name in [
            "x-env",
            "Server",
            "Set-Cookie",
            "X-Request-Id",
            "strict-transport-security",
        ] {
            assert!(check_name(name, Side::Response).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_host_is_a_host() {
        let check = |text| {
            HeaderValue::parse(text, Side::Request)
                .unwrap()
                .check_host()
        };
        for host in [
            "shop.internal:8080",
            "[::1]:80",
            "{service}.internal",
            "{host}",
        ] {
            assert_eq!(check(host), Ok(()), "{host}");
        }
        for host in [
            "",
            "a/b",
            "a b",
            "user@host",
            "{path}",
            "{client.address}",
            "a,b",
        ] {
            assert!(check(host).is_err(), "{host}");
        }
    }

    #[test]
    fn changes_drop_and_add_fields_by_name() {
        let value = HeaderValue::parse("1", Side::Request).unwrap();
        let mut changes = HeaderChanges::default();
        assert!(changes.is_empty());
        changes.set("X-A", value.clone());
        changes.add("x-b", value);
        changes.remove("x-c");
        assert!(changes.drops(b"x-a") && changes.drops(b"X-C") && !changes.drops(b"x-b"));
        assert!(changes.has("x-a") && changes.has("X-B") && !changes.has("x-c"));
        assert_eq!(changes.lines().len(), 2);
    }
}
