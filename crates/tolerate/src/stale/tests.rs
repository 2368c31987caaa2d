//! What is kept, for how long, and what is not; apart for their length.

use super::*;

fn fields(text: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.lines().map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.as_bytes(), value.trim().as_bytes())
    })
}

/// Seconds until which it is fresh, usable while it is asked for anew, usable when that fails.
fn judge(options: &StaleOptions, request: &str, response: &str) -> Result<[u64; 3], NotKept> {
    let now = Instant::from_millis(1_000_000);
    let lifetimes = options.judge(b"GET", fields(request), 200, fields(response), now)?;
    let Lifetimes {
        fresh_until,
        revalidate_until,
        error_until,
    } = lifetimes;
    Ok([fresh_until, revalidate_until, error_until].map(|until| (until - now).as_secs()))
}

fn own() -> StaleOptions {
    StaleOptions {
        stale_if_error: Duration::from_secs(300),
        stale_while_revalidate: Duration::from_secs(30),
        ..StaleOptions::default()
    }
}

#[test]
fn how_long() {
    let says = "cache-control: max-age=600, stale-while-revalidate=30, stale-if-error=1200";
    assert_eq!(
        judge(&StaleOptions::default(), "", says),
        Ok([600, 630, 1_800])
    );
    for (response, wanted) in [
        ("cache-control: max-age=60", [60, 90, 360]),
        ("cache-control: max-age=60\nage: 50", [10, 40, 310]),
        ("cache-control: max-age=60\nAge: 70", [0, 20, 290]),
        ("cache-control: max-age=60, must-revalidate", [60, 60, 60]),
        ("cache-control: max-age=60, s-maxage=10", [10, 10, 10]),
        ("cache-control: s-maxage=10, stale-if-error=5", [10, 10, 15]),
        ("cache-control: max-age=99999999", [86_400, 86_430, 86_700]),
        (
            "date: Sun, 06 Nov 1994 08:49:37 GMT\nexpires: Sun, 06 Nov 1994 08:50:37 GMT",
            [60, 90, 360],
        ),
        (
            "date: Sun, 06 Nov 1994 08:49:37 GMT\nexpires: 0",
            [0, 30, 300],
        ),
        ("x: y", [0, 30, 300]),
    ] {
        assert_eq!(judge(&own(), "", response), Ok(wanted), "{response}");
    }
}

#[test]
fn what_is_not_kept() {
    use NotKept::{Cookie, Forbidden, Method, Private, Useless, Varies};
    for (request, response, why) in [
        (
            "cache-control: no-store",
            "cache-control: max-age=60",
            Forbidden,
        ),
        (
            "",
            "cache-control: max-age=60\ncache-control: no-store",
            Forbidden,
        ),
        ("", "cache-control: no-cache", Forbidden),
        ("", "cache-control: private, max-age=60", Private),
        ("authorization: x", "cache-control: max-age=60", Private),
        ("", "cache-control: max-age=60\nSet-Cookie: a=b", Cookie),
        ("", "cache-control: max-age=60\nvary: *", Varies),
        (
            "",
            "cache-control: max-age=60\nvary: accept-encoding, cookie",
            Varies,
        ),
        ("range: bytes=0-1", "cache-control: max-age=60", Method),
    ] {
        assert_eq!(
            judge(&own(), request, response),
            Err(why),
            "{request} {response}"
        );
    }
    assert_eq!(judge(&StaleOptions::default(), "", "x: y"), Err(Useless));
    let now = Instant::ZERO;
    let judge = |method: &str, status| {
        own().judge(
            method.as_bytes(),
            fields(""),
            status,
            fields("cache-control: max-age=9"),
            now,
        )
    };
    for method in ["POST", "HEAD", "get", "PUT"] {
        assert_eq!(judge(method, 200), Err(Method));
    }
    for status in [101, 206, 302, 304, 401, 429, 500, 503] {
        assert_eq!(judge("GET", status), Err(NotKept::Status));
    }
    assert!(judge("GET", 404).is_ok());
}

#[test]
fn what_is_for_all_is_kept_even_with_authorization() {
    for response in [
        "cache-control: public, max-age=5",
        "cache-control: s-maxage=5",
        "cache-control: must-revalidate, max-age=5",
    ] {
        assert!(
            judge(&own(), "Authorization: x", response).is_ok(),
            "{response}"
        );
    }
    assert!(
        judge(
            &own(),
            "",
            "cache-control: max-age=5\nvary: Accept-Encoding"
        )
        .is_ok()
    );
}

#[test]
fn keys_differ_where_answers_may() {
    let options = own();
    let key = |host: &str, target: &str, encoding: Option<&'static [u8]>| {
        options.key(host.as_bytes(), target.as_bytes(), |name| {
            assert_eq!(name, "accept-encoding");
            encoding
        })
    };
    let one = key("a", "/x", Some(b"gzip"));
    assert_eq!(one, key("A", "/x", Some(b" gzip")));
    for other in [
        key("a", "/X", Some(b"gzip")),
        key("b", "/x", Some(b"gzip")),
        key("a/", "x", Some(b"gzip")),
        key("a", "/x", None),
        key("a", "/x", Some(b"")),
    ] {
        assert_ne!(one, other);
    }
    assert_ne!(key("a", "/x", None), key("a", "/x", Some(b"")));
}
