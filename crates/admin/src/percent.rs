//! Percent-encoding of paths and queries: encoded by the client, decoded with a length limit. Characters that could
//! mislead a reader are rejected.

use crate::exchange::{AdminResponse, StepResult};

/// Bytes of a path or a query.
const BYTES: usize = 2048;
/// Parts of a path, or of a query.
const PARTS: usize = 16;

/// `text` as one segment of a path or one value of a query.
#[must_use]
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let escape = |byte: u8| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(escape).collect()
}

/// The parts of a path between slashes, decoded. `None` if it is none that is served.
pub(crate) fn path(text: &str) -> Option<Vec<String>> {
    let rest = text.strip_prefix('/').filter(|rest| rest.len() <= BYTES)?;
    if rest.split('/').count() > PARTS {
        return None;
    }
    rest.split('/').map(part).collect()
}

/// The names and values of a query, decoded, in order. A plus sign is a plus sign.
pub(crate) fn query(text: &str) -> Option<Vec<(String, String)>> {
    let given = || text.split('&').filter(|pair| !pair.is_empty());
    if text.len() > BYTES || given().count() > PARTS {
        return None;
    }
    given()
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((part(name)?, part(value)?))
        })
        .collect()
}

/// The values of these parameters; an empty one counts as absent. What is unknown is refused, so that a slip of the pen
/// does not widen an answer.
pub(crate) fn parameters<const N: usize>(
    query: &str,
    names: [&str; N],
) -> StepResult<[Option<String>; N]> {
    let pairs =
        self::query(query).ok_or_else(|| AdminResponse::error(400, "the query cannot be read"))?;
    let mut values = [const { None }; N];
    for (name, value) in pairs {
        let Some(place) = names.iter().position(|known| *known == name) else {
            let why = format!("unknown parameter {name:?}; known are {}", names.join(", "));
            return Err(AdminResponse::error(400, &why));
        };
        if !value.is_empty() && values[place].replace(value).is_some() {
            return Err(AdminResponse::error(400, &format!("{name} is given twice")));
        }
    }
    Ok(values)
}

fn part(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            _ => byte,
        });
    }
    String::from_utf8(out)
        .ok()
        .filter(|text| !text.chars().any(char::is_control))
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_and_percent_decoded() {
        let parts = |text| path(text).map(|parts| parts.join("|"));
        assert_eq!(parts("/"), Some(String::new()));
        assert_eq!(parts("/api/services"), Some("api|services".to_owned()));
        assert_eq!(parts("/a%2Fb/%c3%A9"), Some("a/b|é".to_owned()));
        for wrong in [
            "", "api", "*", "/%", "/%2", "/%zz", "/%ff", "/%00", "/%0a", "/%1b[2J",
        ] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
        for name in ["a long name", "a/b?c#d", "é%", ""] {
            let path = path(&format!("/{}", escaped(name)));
            assert_eq!(path, Some(vec![name.to_owned()]));
        }
        assert_eq!(path(&"/a".repeat(17)), None);
        assert_eq!(path(&format!("/{}", "a".repeat(2049))), None);
    }

    #[test]
    fn queries() {
        let pairs = query("a=1&b=x%20y&&c&d=1+1=2").unwrap();
        let expected = [("a", "1"), ("b", "x y"), ("c", ""), ("d", "1+1=2")];
        assert_eq!(
            pairs,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(query(""), Some(Vec::new()));
        assert_eq!(query("a=%"), None);
        assert_eq!(query(&"a&".repeat(17)), None);
    }
}
