//! Resolves sticky sessions and subsets: typed values, checked, and defaults for the rest.

use evenkeel_balance::Subset;

use super::environment::Environment;
use super::typed::{pick, section};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::file::Located;
use crate::file::choice::SameSite;
use crate::file::spread::{StickyConfig, check_token};
use crate::plan::{StickyBy, StickyKey, StickyPlan};

pub(crate) fn resolve_subset(
    typed: Option<&Located<crate::file::spread::SubsetConfig>>,
) -> Option<Subset> {
    let typed = &typed?.value;
    let size = typed.size.as_ref()?.value;
    Some(Subset {
        size: u32::try_from(size).unwrap_or(u32::MAX),
        key: evenkeel_balance::key(typed.key.as_ref()?.value.as_bytes()),
    })
}

pub(crate) fn resolve_sticky(
    typed: Option<&Located<StickyConfig>>,
    around: &Environment<'_>,
    out: &mut Diagnostics,
) -> Option<StickyPlan> {
    let typed = typed?;
    let by = match (&typed.cookie, &typed.header) {
        (Some(cookie), None) => {
            check_token(cookie, cookie.span.clone(), out);
            StickyBy::Cookie {
                name: cookie.value.clone(),
                attributes: attributes(typed, out),
            }
        }
        (None, Some(header)) => {
            check_token(header, header.span.clone(), out);
            refuse_attributes(typed, out);
            StickyBy::Header {
                name: header.value.to_lowercase(),
            }
        }
        (cookie, _) => {
            let (code, message) = match cookie {
                Some(_) => (Code::Contradiction, "`cookie` and `header` are both given"),
                None => (Code::Missing, "neither `cookie` nor `header` is given"),
            };
            let diagnostic = Diagnostic::new(code, typed.span.clone(), message, "one of the two");
            out.push(diagnostic.help("for example { cookie = \"server\" }"));
            return None;
        }
    };
    let file = section(typed.value.key.as_ref()).file;
    let file = file.map_or_else(
        || defaults::STICKY_KEY_FILE.value.to_owned(),
        |file| file.value,
    );
    Some(StickyPlan {
        by,
        key_file: around.state_dir.join(file),
        key: StickyKey::default(),
    })
}

/// The attributes of the cookie (RFC 6265), as they follow its value.
fn attributes(typed: &StickyConfig, out: &mut Diagnostics) -> String {
    let path = typed.path.as_ref().map_or_else(
        || defaults::STICKY_PATH.value.to_owned(),
        |path| {
            check_attribute(
                &path.value,
                path.span.clone(),
                |text| text.starts_with('/'),
                out,
            );
            path.value.clone()
        },
    );
    let mut text = format!("; Path={path}");
    if let Some(domain) = &typed.domain {
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        let is_domain = |text: &str| !text.is_empty() && text.bytes().all(is_host);
        check_attribute(&domain.value, domain.span.clone(), is_domain, out);
        text.push_str("; Domain=");
        text.push_str(&domain.value);
    }
    if let Some(age) = &typed.max_age {
        text.push_str(&format!("; Max-Age={}", age.value.as_secs()));
    }
    text.push_str("; HttpOnly");
    let secure = pick(typed.secure.as_ref(), defaults::STICKY_SECURE);
    if secure {
        text.push_str("; Secure");
    }
    let same_site = pick(typed.same_site.as_ref(), defaults::STICKY_SAME_SITE);
    if same_site == SameSite::None && !secure {
        let span = typed.same_site.as_ref().map_or(0..0, |at| at.span.clone());
        let message = "browsers reject a cookie with `same_site = \"none\"` that is not `secure`";
        let diagnostic =
            Diagnostic::new(Code::Contradiction, span, message, "needs `secure = true`");
        out.push(diagnostic.help("add `secure = true`, or leave `same_site` out"));
    }
    text.push_str(match same_site {
        SameSite::Strict => "; SameSite=Strict",
        SameSite::Lax => "; SameSite=Lax",
        SameSite::None => "; SameSite=None",
    });
    text
}

fn check_attribute(
    text: &str,
    span: TextRange,
    fits: impl Fn(&str) -> bool,
    out: &mut Diagnostics,
) {
    let is_plain = |byte: u8| (0x21..0x7f).contains(&byte) && byte != b';' && byte != b',';
    if !fits(text) || !text.bytes().all(is_plain) || text.len() > 255 {
        let message = format!("`{}` cannot stand in a cookie", text.escape_debug());
        out.push(Diagnostic::new(
            Code::BadRule,
            span,
            message,
            "not fitting here",
        ));
    }
}

/// Attributes are for cookies.
fn refuse_attributes(typed: &StickyConfig, out: &mut Diagnostics) {
    let keys = [
        ("secure", typed.secure.as_ref().map(|at| &at.key)),
        ("same_site", typed.same_site.as_ref().map(|at| &at.key)),
        ("path", typed.path.as_ref().map(|at| &at.key)),
        ("domain", typed.domain.as_ref().map(|at| &at.key)),
        ("max_age", typed.max_age.as_ref().map(|at| &at.key)),
    ];
    for (name, span) in keys {
        if let Some(span) = span {
            let message = format!("`{name}` is for cookies, and this is by header");
            let diagnostic = Diagnostic::new(
                Code::Contradiction,
                span.clone(),
                message,
                "not for a header",
            );
            out.push(diagnostic.help("leave it out, or use `cookie`"));
        }
    }
}
