//! The shape of a request, as far as a fault may depend on it: its method and its route.
//!
//! A signal is produced for every attempt, so it carries only hashes; the texts behind a hash are produced on demand.

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher};

/// Segments of a path that tell one route from another; what follows is alike.
const SEGMENTS: usize = 4;
/// A segment that is longer is taken for an identifier.
const LONGEST_WORD: usize = 32;
/// So much of a path is shown.
const LONGEST_PATH: usize = 224;

/// Method and route of a request, hashed to 32 bits each. Zero where nothing is known.
///
/// A route is a path in which identifiers (segments with a digit, or of more than 32 bytes) are all alike, so that `/orders/17` and
/// `/orders/18` are one; of more than four segments the rest does not count, nor does the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RequestShape {
    /// The method.
    pub method: u32,
    /// Method and route.
    pub route: u32,
}

impl RequestShape {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        method: 0,
        route: 0,
    };

    /// The shape of a request for `target`, in whatever form it came.
    #[must_use]
    pub fn of(method: &[u8], target: &[u8]) -> Self {
        let method = Hash::START.add(method).add(b" ");
        let mut route = method;
        for segment in segments(target) {
            route = route.add(b"/").add(segment);
        }
        Self {
            method: method.value(),
            route: route.value(),
        }
    }

    /// Whether something is known of it.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.method != 0
    }
}

/// The words behind a shape, safe to be shown: what is not printable ASCII is escaped, and neither identifiers nor the query, which
/// may hold secrets, are in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeText {
    /// `POST`.
    pub method: String,
    /// `POST /orders/*`.
    pub route: String,
}

impl ShapeText {
    /// Of a request for `target`.
    #[must_use]
    pub fn of(method: &[u8], target: &[u8]) -> Self {
        let method = method.escape_ascii().to_string();
        let mut route = format!("{method} ");
        for segment in segments(target) {
            write!(route, "/{}", segment.escape_ascii()).expect("a text takes all");
        }
        Self { method, route }
    }
}

/// Exactly what a request asks for, as far as the server sees it: hashed to 64 bits each. Computed only where a request
/// may have crashed a server, or where such requests are watched.
///
/// The hasher must have a secret key: otherwise a request that crashes servers could be chosen to collide with another
/// one, which would then be quarantined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExactShape {
    /// Method and path.
    pub path: u64,
    /// Method, path and query. The same as `path` where there is no query.
    pub target: u64,
}

impl ExactShape {
    /// Of a request for `target`, in whatever form it came.
    #[must_use]
    pub fn of(keys: &impl BuildHasher, method: &[u8], target: &[u8]) -> Self {
        let (path, query) = path_and_query(target);
        let hash = |query: &[u8]| {
            let mut hasher = keys.build_hasher();
            // No method has a space in it, and no path a question mark.
            for part in [method, b" ", path, query] {
                hasher.write(part);
            }
            hasher.finish()
        };
        let path = hash(b"");
        Self {
            path,
            target: if query.is_empty() { path } else { hash(query) },
        }
    }

    /// Of the request with this head, as it is written for servers.
    #[must_use]
    pub fn of_head(keys: &impl BuildHasher, head: &[u8]) -> Self {
        let (method, target) = first_words(head);
        Self::of(keys, method, target)
    }
}

/// The words for an exact shape. The path is whole, so that a person can find the request: an incident names it. The query, which
/// may hold secrets, is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactText {
    /// `GET /orders/17`, at most 256 bytes of it.
    pub path: String,
    /// The path is its route, too: all requests for that route are for this path.
    pub is_route: bool,
}

impl ExactText {
    /// Of the request with this head, as it is written for servers.
    #[must_use]
    pub fn of_head(head: &[u8]) -> Self {
        let (method, target) = first_words(head);
        let (path, _) = path_and_query(target);
        let shown = path.get(..LONGEST_PATH).unwrap_or(path);
        let method = method.get(..LONGEST_WORD).unwrap_or(method);
        let rest = path.strip_prefix(b"/").unwrap_or(path);
        let count = rest.split(|&byte| byte == b'/').count();
        Self {
            path: format!("{} {}", method.escape_ascii(), shown.escape_ascii()),
            is_route: count <= SEGMENTS
                && rest
                    .split(|&byte| byte == b'/')
                    .all(|one| !is_identifier(one)),
        }
    }
}

/// Method and target of a head.
fn first_words(head: &[u8]) -> (&[u8], &[u8]) {
    let mut words = head.split(|&byte| byte == b' ');
    let method = words.next().unwrap_or_default();
    (method, words.next().unwrap_or_default())
}

/// The path of a target and its query, if it has one, from the question mark on.
fn path_and_query(target: &[u8]) -> (&[u8], &[u8]) {
    let at = target.iter().position(|&byte| byte == b'?');
    let (path, query) = target.split_at(at.unwrap_or(target.len()));
    if path.starts_with(b"/") {
        return (path, query);
    }
    let authority = path.len() - behind_authority(path).len();
    // The slash belongs to the path.
    (&path[authority.saturating_sub(1)..], query)
}

/// The segments of a target's path that tell its route, with `*` for identifiers.
fn segments(target: &[u8]) -> impl Iterator<Item = &[u8]> {
    let path = target.split(|&byte| byte == b'?').next().unwrap_or(target);
    let path = match path.strip_prefix(b"/") {
        Some(path) => path,
        None => behind_authority(path),
    };
    path.split(|&byte| byte == b'/')
        .take(SEGMENTS)
        .map(|segment| {
            if is_identifier(segment) {
                b"*"
            } else {
                segment
            }
        })
}

fn is_identifier(segment: &[u8]) -> bool {
    segment.len() > LONGEST_WORD || segment.iter().any(u8::is_ascii_digit)
}

/// The path of a target in absolute form, without its first slash; other forms as they are.
fn behind_authority(target: &[u8]) -> &[u8] {
    let scheme = target.windows(3).position(|three| three == b"://");
    scheme.map_or(target, |scheme| {
        let rest = &target[scheme + 3..];
        let slash = rest.iter().position(|&byte| byte == b'/');
        slash.map_or(&[][..], |slash| &rest[slash + 1..])
    })
}

/// Eight bytes at a time, as rustc's own hash: quick, and made by no adversary's choice to more than a wrong name in an incident.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    const START: Self = Self(0x51_7c_c1_b7_27_22_0a_95);
    const FACTOR: u64 = 0x51_7c_c1_b7_27_22_0a_95;

    fn add(self, bytes: &[u8]) -> Self {
        let (chunks, rest) = bytes.as_chunks::<8>();
        let whole = chunks.iter().map(|chunk| u64::from_le_bytes(*chunk));
        let last = rest.iter().fold(bytes.len() as u64, |word, byte| {
            word << 8 | u64::from(*byte)
        });
        let hash = whole.chain([last]).fold(self.0, |hash, word| {
            (hash.rotate_left(5) ^ word).wrapping_mul(Self::FACTOR)
        });
        Self(hash)
    }

    /// The upper half, which depends on all bytes; never zero.
    const fn value(self) -> u32 {
        let upper = (self.0 >> 32) as u32;
        if upper == 0 { 1 } else { upper }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;

    #[test]
    fn identifiers_queries_and_deep_paths_are_one_route() {
        let of = |target: &str| RequestShape::of(b"GET", target.as_bytes());
        let alike = [
            ("/orders/17", "/orders/18?x=1"),
            ("/a/b/c/d/e", "/a/b/c/d/f"),
            ("http://shop.example/orders/9", "/orders/10"),
            ("/", "http://shop.example"),
        ];
        for (one, other) in alike {
            assert_eq!(of(one).route, of(other).route, "{one} {other}");
        }
        for (one, other) in [
            ("/orders", "/order"),
            ("/a/b", "/ab"),
            ("/orders/x", "/orders/y"),
        ] {
            assert_ne!(of(one).route, of(other).route, "{one} {other}");
        }
        let post = RequestShape::of(b"POST", b"/orders/17");
        assert_ne!(post.method, of("/orders/17").method);
        assert_ne!(post.route, of("/orders/17").route);
        assert!(post.is_known() && !RequestShape::UNKNOWN.is_known());
    }

    #[test]
    fn exact_shapes_differ_by_each_byte_of_path_and_query() {
        let keys = RandomState::new();
        let of = |target: &str| ExactShape::of(&keys, b"GET", target.as_bytes());
        assert_eq!(of("/orders/17"), of("http://shop.example/orders/17"));
        assert_eq!(of("/orders/17").path, of("/orders/17?x=1").path);
        assert_ne!(of("/orders/17").target, of("/orders/17?x=1").target);
        assert_ne!(of("/orders/17?x=2").target, of("/orders/17?x=1").target);
        assert_ne!(of("/orders/17").path, of("/orders/18").path);
        assert_ne!(of("/a").path, ExactShape::of(&keys, b"POST", b"/a").path);
        assert_eq!(of("/a").path, of("/a").target);
        let head = b"GET /orders/17?x=1 HTTP/1.1\r\nhost: a\r\n\r\n";
        assert_eq!(ExactShape::of_head(&keys, head), of("/orders/17?x=1"));
    }

    #[test]
    fn what_an_exact_shape_is_cannot_be_known_without_the_key() {
        let [one, other] = [RandomState::new(), RandomState::new()]
            .map(|keys| ExactShape::of(&keys, b"GET", b"/orders?x=1"));
        assert_ne!(one.path, other.path);
        assert_ne!(one.target, other.target);
    }

    #[test]
    fn exact_words_show_the_path_and_not_the_query() {
        let text = |target: &str| ExactText::of_head(format!("GET {target} HTTP/1.1").as_bytes());
        assert_eq!(text("/orders/17?token=s").path, "GET /orders/17");
        assert!(!text("/orders/17").is_route && !text("/a/b/c/d/e").is_route);
        assert!(text("/carts/all?x").is_route);
        assert_eq!(text("/\x1b[2J").path, "GET /\\x1b[2J");
        assert!(text(&"/x".repeat(1000)).path.len() < 256);
    }

    #[test]
    fn words_are_safe_to_be_shown() {
        let text = ShapeText::of(b"GET", b"/a\x1b[2J/17?q=\xff");
        assert_eq!(text.route, "GET /*/*");
        let text = ShapeText::of(b"GET", b"/a\xff/b?token=secret");
        assert_eq!(text.route, "GET /a\\xff/b");
        let long = ShapeText::of(b"GET", &[b'a'; 10_000]);
        assert_eq!(long.route, "GET /*");
    }
}
