//! Texts made of a request: where a redirect leads, and the path that a server gets.

use crate::RequestView;

/// A text with places for parts of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<TemplatePiece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplatePiece {
    Text(String),
    Host,
    Path,
    Rest,
    Query,
}

impl Template {
    /// Takes a text with `{host}` (without port), `{path}`, `{rest}` (what of the path is below the route's `/*`, without
    /// a slash before it) and `{query}` (with its question mark; nothing without one).
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'<' | b'>');
        if text.bytes().any(wrong) {
            return Err("only visible ASCII without quotes and angle brackets".to_owned());
        }
        let mut pieces = Vec::new();
        let mut left = text;
        while let Some((before, rest)) = left.split_once('{') {
            let Some((name, after)) = rest.split_once('}') else {
                return Err("an opening brace without its closing one".to_owned());
            };
            if !before.is_empty() {
                pieces.push(TemplatePiece::Text(before.to_owned()));
            }
            pieces.push(match name {
                "host" => TemplatePiece::Host,
                "path" => TemplatePiece::Path,
                "rest" => TemplatePiece::Rest,
                "query" => TemplatePiece::Query,
                other => {
                    return Err(format!(
                        "there is no {{{other}}}; there are {{host}}, {{path}}, {{rest}} and {{query}}"
                    ));
                }
            });
            left = after;
        }
        if !left.is_empty() {
            pieces.push(TemplatePiece::Text(left.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// Writes it for a request. A slash after a slash at the beginning is left out: `//name` would lead to another host.
    pub fn write(&self, out: &mut Vec<u8>, head: &impl RequestView, rest: &[u8]) {
        let start = out.len();
        for piece in &self.0 {
            let part = match piece {
                TemplatePiece::Text(text) => text.as_bytes(),
                TemplatePiece::Host => head.host().unwrap_or_default(),
                TemplatePiece::Path => head.path(),
                TemplatePiece::Rest => rest,
                TemplatePiece::Query => match head.query() {
                    Some(query) => {
                        out.push(b'?');
                        query
                    }
                    None => b"",
                },
            };
            let at_start = out.len() == start || out[start..] == *b"/";
            let part = if at_start && out.len() > start {
                trim_slashes(part)
            } else if at_start {
                one_slash(part)
            } else {
                part
            };
            out.extend_from_slice(part);
        }
    }
}

fn trim_slashes(part: &[u8]) -> &[u8] {
    let slashes = part.iter().take_while(|&&byte| is_slash(byte)).count();
    &part[slashes..]
}

/// `part` with at most one of the slashes that it begins with.
fn one_slash(part: &[u8]) -> &[u8] {
    let slashes = part.iter().take_while(|&&byte| is_slash(byte)).count();
    &part[slashes.saturating_sub(1)..]
}

/// Browsers take a backslash for a slash.
const fn is_slash(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::FakeHead;

    fn head(path: &'static str, query: Option<&'static str>) -> FakeHead {
        FakeHead {
            host: Some("shop.example"),
            path,
            query,
            ..FakeHead::default()
        }
    }

    fn written(template: &str, path: &'static str, rest: &str) -> String {
        let mut out = Vec::new();
        Template::parse(template).unwrap().write(
            &mut out,
            &head(path, Some("a=b")),
            rest.as_bytes(),
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parts_are_put_in_their_places() {
        assert_eq!(
            written("https://new.example{path}{query}", "/a", ""),
            "https://new.example/a?a=b"
        );
        assert_eq!(
            written("https://{host}/x", "/a", ""),
            "https://shop.example/x"
        );
        assert_eq!(written("/{rest}", "/v1/a/b", "a/b"), "/a/b");
        assert_eq!(written("/", "/v1", ""), "/");
        let mut out = Vec::new();
        let plain = head("/a", None);
        Template::parse("{path}{query}")
            .unwrap()
            .write(&mut out, &plain, b"");
        assert_eq!(out, b"/a");
    }

    #[test]
    fn no_request_makes_it_lead_to_another_host() {
        for path in ["//evil.example", "/\\evil.example", "///evil.example"] {
            let rest = path.strip_prefix('/').unwrap();
            for template in ["{path}", "/{rest}", "{rest}", "/{path}"] {
                let location = written(template, path, rest);
                let second = location.as_bytes().get(1).copied().unwrap_or_default();
                assert!(!is_slash(second), "{template} {path}: {location}");
            }
        }
    }

    #[test]
    fn what_is_no_template() {
        for text in ["{", "{pth}", "/a b", "/a\r\nb", "/\"", "/ä"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
