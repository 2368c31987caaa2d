//! Traffic distribution beyond the policy, as typed: sticky sessions, subsets and tiers.

use toml::de::DeValue;

use super::choice::{SameSiteWord, Tier};
use super::quantity::DurationValue;
use super::shape::ValueShape;
use super::value::{Boolean, Integer, NonEmptyText};
use super::{FileLiteral, FileValue, Value, table, wrong_type};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};

table! {
    /// Sticky sessions: a client stays with the server that it was sent to first. evenkeel sends the client an opaque
    /// value, made with a secret key, which the client sends back in a cookie or a header field.
    pub struct StickyConfig {
        /// The cookie's name.
        cookie: NonEmptyText;
        /// The name of the header field, in requests and responses, instead of a cookie.
        header: NonEmptyText;
        /// `Secure`: the client sends the cookie over TLS only. Set it if clients use https.
        secure: Boolean = defaults::STICKY_SECURE;
        /// `SameSite`: whether the client sends it with cross-site requests.
        same_site: SameSiteWord = defaults::STICKY_SAME_SITE;
        /// `Path`: the paths that the cookie applies to.
        path: NonEmptyText = defaults::STICKY_PATH;
        /// `Domain`: extends the cookie to subdomains of this domain. Default: only the request's host.
        domain: NonEmptyText;
        /// `Max-Age`: how long the client keeps the cookie. Default: until the browser is closed.
        max_age: DurationValue<1_000>;
        /// The file with the key.
        key: StickyKeyConfig;
    }
    later {}
}

table! {
    /// The file with the key for sticky sessions. Several evenkeels in front of the same servers need the same key.
    pub struct StickyKeyConfig {
        /// The file, relative to the state directory; created with mode 0600 if it does not exist.
        file: NonEmptyText = defaults::STICKY_KEY_FILE;
    }
    later {}
}

table! {
    /// Subsetting: each evenkeel uses a different part of a large number of servers, so that not every one keeps
    /// connections to every server. A server that leaves is replaced by another one.
    pub struct SubsetConfig {
        /// The number of servers per tier (near and far ones separately).
        size: Integer<1, 10_000> [required];
        /// A text that selects the servers; use a different one for each evenkeel.
        key: NonEmptyText [required];
    }
    later {}
}

/// A server's tier: a word, or its number.
#[derive(Debug, Clone, Copy)]
pub struct TierKind;

const TIERS: std::ops::RangeInclusive<u8> = 0..=9;

impl FileValue for TierKind {
    type Out = Tier;

    fn shape() -> ValueShape {
        ValueShape::Any(vec![
            ValueShape::Choice(vec!["primary", "backup"]),
            Integer::<0, 9>::shape(),
        ])
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Tier> {
        match value.get_ref() {
            DeValue::String(word) if word == "primary" => Some(Tier::PRIMARY),
            DeValue::String(word) if word == "backup" => Some(Tier::BACKUP),
            DeValue::String(word) => {
                out.push(super::choice::unknown_word(
                    word,
                    value.span(),
                    &["primary", "backup"],
                ));
                None
            }
            DeValue::Integer(_) => {
                let number = Integer::<0, 9>::read(value, out)?;
                u8::try_from(number)
                    .ok()
                    .filter(|number| TIERS.contains(number))
                    .map(Tier)
            }
            _ => {
                let help = "\"primary\", \"backup\", or a number: 0 is used first";
                out.push(wrong_type(value, "a tier").help(help));
                None
            }
        }
    }
}

impl FileLiteral for Tier {
    fn typed(&self) -> serde_json::Value {
        match self.0 {
            0 => "primary".into(),
            1 => "backup".into(),
            number => number.into(),
        }
    }
}

/// The diagnostic for a text that cannot be the name of a cookie or of a header field (both are tokens, RFC 9110).
pub(crate) fn check_token(text: &str, span: crate::diagnostic::TextRange, out: &mut Diagnostics) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text.len() > 128 || !text.bytes().all(is_token) {
        let message = format!("`{}` cannot be such a name", text.escape_debug());
        let diagnostic = Diagnostic::new(Code::BadName, span, message, "not a name");
        out.push(diagnostic.help("letters, digits and dashes, at most 128"));
    }
}
