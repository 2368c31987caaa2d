//! A borrowed view of a request's head, the same whatever protocol carried it.

/// What routing needs to know of a request, without building it anew.
pub trait Head {
    /// The host that the client asked for, without port; `None` where HTTP/1.0 left it out.
    fn host(&self) -> Option<&[u8]>;
    /// The path, without query.
    fn path(&self) -> &[u8];
    /// Whether `test` holds for the value of some line of the header field `name` (any letter case).
    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// The host of a `Host` header's value: without port, brackets of an IPv6 address kept.
#[must_use]
pub fn host_without_port(value: &[u8]) -> &[u8] {
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

/// The path of a request target in origin-form or absolute-form: without query; `/` where there is none.
#[must_use]
pub fn path_of_target(target: &[u8]) -> &[u8] {
    let path = if target.first() == Some(&b'/') {
        target
    } else {
        match target.windows(3).position(|window| window == b"://") {
            Some(scheme) => {
                let rest = &target[scheme + 3..];
                let end = rest
                    .iter()
                    .position(|byte| matches!(byte, b'/' | b'?'))
                    .unwrap_or(rest.len());
                &rest[end..]
            }
            None => target,
        }
    };
    let end = path
        .iter()
        .position(|&byte| byte == b'?')
        .unwrap_or(path.len());
    if end == 0 { b"/" } else { &path[..end] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_port() {
        assert_eq!(host_without_port(b"example.com:80"), b"example.com");
        assert_eq!(host_without_port(b"example.com"), b"example.com");
        assert_eq!(host_without_port(b"[::1]:80"), b"[::1]");
    }

    #[test]
    fn paths_of_every_form_of_target() {
        assert_eq!(path_of_target(b"/a/b?c=/d"), b"/a/b");
        assert_eq!(path_of_target(b"http://example.com/a?b"), b"/a");
        assert_eq!(path_of_target(b"http://example.com"), b"/");
        assert_eq!(path_of_target(b"http://example.com?q"), b"/");
        assert_eq!(path_of_target(b"*"), b"*");
    }
}
