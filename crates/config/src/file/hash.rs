//! Hash keys, as typed: `"source-ip"`, `"source-ip/24"`, `"header:NAME"` and the like.

use evenkeel_request::HashOn;

use super::shape::ValueShape;
use super::{FileLiteral, FileValue, Value, want_text};
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::nearest::nearest;

/// The part of a request that is hashed.
#[derive(Debug, Clone, Copy)]
pub struct HashOnText;

/// The whole IPv4 address, and the prefix of an IPv6 address that one customer has (RFC 6177).
pub const WHOLE: (u8, u8) = (32, 64);

const WORDS: [&str; 6] = ["source-ip", "host", "path", "query:", "header:", "cookie:"];

impl FileValue for HashOnText {
    type Out = HashOn;

    fn shape() -> ValueShape {
        ValueShape::Text {
            what: "hash key",
            pattern: Some("^(source-ip(/[0-9]+(/[0-9]+)?)?|host|path|(query|header|cookie):.+)$"),
        }
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<HashOn> {
        let text = want_text(value, "a text like \"source-ip\" or \"header:NAME\"", out)?;
        let parsed = parse(text);
        if parsed.is_none() {
            let message = format!("`{}` cannot be hashed on", text.escape_debug());
            let near = nearest(text, WORDS).filter(|near| !near.ends_with(':'));
            let help = near.map_or_else(
                || {
                    "one of \"source-ip\", \"source-ip/24\" (IPv4 by /24), \"source-ip/24/56\" (and IPv6 by /56), \
                     \"host\", \"path\", \"query:NAME\", \"header:NAME\", \"cookie:NAME\""
                        .to_owned()
                },
                |near| format!("did you mean \"{near}\"?"),
            );
            out.push(
                Diagnostic::new(Code::UnknownWord, value.span(), message, "unknown").help(help),
            );
        }
        parsed
    }
}

fn parse(text: &str) -> Option<HashOn> {
    if let Some((kind, name)) = text.split_once(':') {
        let is_name = |byte: u8| byte.is_ascii_graphic() && !b"=;&?,\"".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) {
            return None;
        }
        let name = name.to_owned();
        return match kind {
            "query" => Some(HashOn::Query(name)),
            "header" => Some(HashOn::Header(name.to_lowercase())),
            "cookie" => Some(HashOn::Cookie(name)),
            _ => None,
        };
    }
    let mut parts = text.split('/');
    match parts.next()? {
        "host" if parts.next().is_none() => Some(HashOn::Host),
        "path" if parts.next().is_none() => Some(HashOn::Path),
        "source-ip" => {
            let mut bits = |whole: u8, most: u8| match parts.next() {
                None => Some(whole),
                Some(bits) => bits.parse().ok().filter(|bits| *bits <= most),
            };
            let (v4, v6) = (bits(WHOLE.0, 32)?, bits(WHOLE.1, 128)?);
            parts
                .next()
                .is_none()
                .then_some(HashOn::SourceIp { v4, v6 })
        }
        _ => None,
    }
}

impl FileLiteral for HashOn {
    fn typed(&self) -> serde_json::Value {
        match self {
            Self::SourceIp { v4, v6 } if (*v4, *v6) == WHOLE => "source-ip".into(),
            Self::SourceIp { v4, v6 } => format!("source-ip/{v4}/{v6}").into(),
            Self::Host => "host".into(),
            Self::Path => "path".into(),
            Self::Query(name) => format!("query:{name}").into(),
            Self::Header(name) => format!("header:{name}").into(),
            Self::Cookie(name) => format!("cookie:{name}").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_hashed_on() {
        for text in [
            "source-ip",
            "source-ip/24/56",
            "host",
            "path",
            "query:user",
            "header:x-user",
            "cookie:session",
        ] {
            assert_eq!(
                parse(text).map(|on| on.typed()),
                Some(text.into()),
                "{text}"
            );
        }
        assert_eq!(
            parse("source-ip/24"),
            Some(HashOn::SourceIp { v4: 24, v6: 64 })
        );
        assert_eq!(
            parse("header:X-User"),
            Some(HashOn::Header("x-user".into()))
        );
        for text in [
            "",
            "ip",
            "source-ip/33",
            "source-ip/24/129",
            "source-ip/24/56/1",
            "source-ip/",
            "header:",
            "header",
            "cookie:a b",
            "cookie:a=b",
            "path:/x",
            "host/1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
