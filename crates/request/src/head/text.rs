//! What is read out of the texts of a head: hosts, parameters of a query, cookies.

/// Whether `test` holds for the value of a parameter `name` of `query`. Names and values are compared as they were sent:
/// nothing is decoded, so that evenkeel and a server behind it cannot read them differently.
pub fn any_parameter(query: &[u8], name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
    query
        .split(|&byte| byte == b'&')
        .map(|pair| split_at(pair, b'='))
        .any(|(found, value)| found == name.as_bytes() && test(value))
}

/// Whether `test` holds for the value of a cookie `name` in a `Cookie` field's value (RFC 6265, section 4.2.1).
pub fn any_cookie(field: &[u8], name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
    field
        .split(|&byte| byte == b';')
        .map(|pair| split_at(pair.trim_ascii(), b'='))
        .any(|(found, value)| found == name.as_bytes() && test(value))
}

/// What is before and after the first `mark`; all of it, and nothing, without one.
fn split_at(bytes: &[u8], mark: u8) -> (&[u8], &[u8]) {
    match bytes.iter().position(|&byte| byte == mark) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, b""),
    }
}

/// The host of a `Host` header's value: without port, brackets of an IPv6 address kept. A name's final dot goes as well: it
/// says that the name is complete, so `shop.example.com.` is `shop.example.com` (RFC 1034 section 3.1).
#[must_use]
pub fn host_name(value: &[u8]) -> &[u8] {
    let host = without_port(value);
    match host {
        [name @ .., b'.'] if !name.is_empty() => name,
        _ => host,
    }
}

fn without_port(value: &[u8]) -> &[u8] {
    if value.first() == Some(&b'[') {
        return value
            .iter()
            .position(|&byte| byte == b']')
            .map_or(value, |end| &value[..=end]);
    }
    value
        .iter()
        .position(|&byte| byte == b':')
        .map_or(value, |end| &value[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let has = |name: &str, wanted: &[u8]| {
            any_parameter(b"a=1&b&c=%20&a=2", name, |value| value == wanted)
        };
        assert!(has("a", b"1") && has("a", b"2") && has("b", b"") && has("c", b"%20"));
        assert!(!has("c", b" ") && !has("d", b"") && !has("A", b"1"));
    }

    #[test]
    fn cookies() {
        let has = |name: &str, wanted: &[u8]| {
            any_cookie(b"a=1; shop=x=y;b=\"q\" ; flag", name, |value| {
                value == wanted
            })
        };
        assert!(has("a", b"1") && has("shop", b"x=y") && has("b", b"\"q\"") && has("flag", b""));
        assert!(!has("hop", b"x=y") && !has("A", b"1"));
    }

    #[test]
    fn hosts_lose_their_port_and_their_final_dot() {
        assert_eq!(host_name(b"example.com:80"), b"example.com");
        assert_eq!(host_name(b"example.com"), b"example.com");
        assert_eq!(host_name(b"example.com."), b"example.com");
        assert_eq!(host_name(b"example.com.:80"), b"example.com");
        assert_eq!(host_name(b"127.0.0.1.:80"), b"127.0.0.1");
        assert_eq!(host_name(b"[::1]:80"), b"[::1]");
        assert_eq!(host_name(b"[::1]"), b"[::1]");
        // An empty label is none to leave out; more than one is not a name.
        assert_eq!(host_name(b"."), b".");
        assert_eq!(host_name(b"example.com.."), b"example.com.");
        assert_eq!(host_name(b""), b"");
    }
}
