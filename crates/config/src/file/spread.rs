//! How traffic is spread beyond the policy, as typed: stickiness, subsets and tiers.

use toml::de::DeValue;

use super::choice::{SameSiteWord, Tier};
use super::quantity::Time;
use super::shape::Shape;
use super::value::{Flag, Text, Whole};
use super::{Kind, Typed, Value, table, wrong_type};
use crate::defaults;
use crate::mistake::{Code, Mistake, Mistakes};

table! {
    /// A client stays with the server that it was sent to first. evenkeel tells it a value, which the client sends back: in a
    /// cookie, or in a header field. The value is made with a secret key and says nothing else.
    pub struct Sticky {
        /// The cookie's name.
        cookie: Text;
        /// The name of the header field, in requests and responses, instead of a cookie.
        header: Text;
        /// `Secure`: the client sends the cookie over TLS only. Set it where clients come by https.
        secure: Flag = defaults::STICKY_SECURE;
        /// `SameSite`: whether the client sends it with requests that other sites cause.
        same_site: SameSiteWord = defaults::STICKY_SAME_SITE;
        /// `Path`: where the cookie is for.
        path: Text = defaults::STICKY_PATH;
        /// `Domain`: also for the hosts below this one. Default: for the host that was asked only.
        domain: Text;
        /// `Max-Age`: how long the client keeps it. Default: until the browser is closed.
        max_age: Time<1_000>;
        /// Where the key is kept.
        key: StickyKey;
    }
    later {}
}

table! {
    /// Where the key for stickiness is kept. Several evenkeels before the same servers need the same key.
    pub struct StickyKey {
        /// The file, relative to the state directory; made with mode 0600 if it is not there.
        file: Text = defaults::STICKY_KEY_FILE;
    }
    later {}
}

table! {
    /// Of very many servers only some are used, others by each evenkeel, so that not each keeps connections to each server.
    /// A server that goes is replaced by another one.
    pub struct Subset {
        /// How many of each tier (near and far ones apart).
        size: Whole<1, 10_000> [required];
        /// Any text, another one for each evenkeel: it says which ones.
        key: Text [required];
    }
    later {}
}

/// A server's tier: a word, or its number.
#[derive(Debug, Clone, Copy)]
pub struct TierKind;

const TIERS: std::ops::RangeInclusive<u8> = 0..=9;

impl Kind for TierKind {
    type Out = Tier;

    fn shape() -> Shape {
        Shape::Any(vec![
            Shape::Choice(vec!["primary", "backup"]),
            Whole::<0, 9>::shape(),
        ])
    }

    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<Tier> {
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
                let number = Whole::<0, 9>::read(value, out)?;
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

impl Typed for Tier {
    fn typed(&self) -> serde_json::Value {
        match self.0 {
            0 => "primary".into(),
            1 => "backup".into(),
            number => number.into(),
        }
    }
}

/// The mistake of a text that cannot be the name of a cookie or of a header field (both are tokens, RFC 9110).
pub(crate) fn check_token(text: &str, span: crate::mistake::Span, out: &mut Mistakes) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text.len() > 128 || !text.bytes().all(is_token) {
        let message = format!("`{}` cannot be such a name", text.escape_debug());
        let mistake = Mistake::new(Code::BadName, span, message, "not a name");
        out.push(mistake.help("letters, digits and dashes, at most 128"));
    }
}
