//! What the header policy does to heads, whatever protocol carries them: a table that each protocol's tests run.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use evenkeel_core::{Endpoint, ServiceId};
use evenkeel_request::forward::{
    ForwardedRequest, ForwardedResponse, ForwardedTrailers, HeaderEdits, ResponseWriter,
};
use evenkeel_request::head::HeaderFields;
use evenkeel_request::headers::{HeaderValue, Side};
use evenkeel_request::route::{PathRule, Route, Target, Template};
use evenkeel_request::{HeaderChanges, RequestId, ResponseView};

/// A request, and what its server gets of it.
pub(crate) struct RequestCase {
    pub(crate) name: &'static str,
    /// The version of HTTP that it comes by.
    pub(crate) version: &'static str,
    pub(crate) method: &'static str,
    /// The authority of an absolute target.
    pub(crate) absolute: Option<&'static str>,
    /// The path and query.
    pub(crate) path: &'static str,
    pub(crate) fields: &'static [(&'static str, &'static str)],
    pub(crate) changes: fn() -> Changes,
    pub(crate) expected: &'static str,
}

/// A response, and what its client gets of it.
pub(crate) struct ResponseCase {
    pub(crate) name: &'static str,
    pub(crate) status: u16,
    pub(crate) fields: &'static [(&'static str, &'static str)],
    pub(crate) changes: fn() -> Changes,
    pub(crate) sticky: Option<(&'static str, &'static str)>,
    pub(crate) expected: &'static str,
}

/// Trailers of a message, and what the other side gets of them.
pub(crate) struct TrailerCase {
    pub(crate) name: &'static str,
    pub(crate) header: &'static [(&'static str, &'static str)],
    pub(crate) trailers: &'static [(&'static str, &'static str)],
    /// Whether it is a response.
    pub(crate) is_response: bool,
    pub(crate) changes: fn() -> Changes,
    pub(crate) expected: &'static str,
}

/// What services and routes change.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) service: HeaderChanges,
    pub(crate) route: Option<Route>,
    pub(crate) deadline: Option<&'static str>,
    pub(crate) load: Option<&'static str>,
}

pub(crate) const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const CLIENT: &[u8] = b"192.0.2.7";
static SERVER: Endpoint =
    Endpoint::Tcp(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9001)));

impl Changes {
    pub(crate) fn request(&self) -> ForwardedRequest<'_> {
        ForwardedRequest {
            client_address: Some(CLIENT),
            scheme: "http",
            id: RequestId::new(1, 2),
            server: Some(&SERVER),
            service: "shop",
            route: self.route.as_ref(),
            edits: HeaderEdits::of_request(&self.service, self.route.as_ref(), self.deadline),
            deadline: self.deadline,
        }
    }

    pub(crate) fn response(&self) -> ForwardedResponse<'_> {
        ForwardedResponse {
            client_address: Some(CLIENT),
            id: RequestId::new(1, 2),
            service: "shop",
            server: "one",
            edits: HeaderEdits::of_response(&self.service, self.route.as_ref(), self.load),
        }
    }
}

impl TrailerCase {
    pub(crate) fn forwarded<'c>(
        &self,
        header: &impl HeaderFields,
        changes: &'c Changes,
    ) -> ForwardedTrailers<'c> {
        let edits = match self.is_response {
            true => changes.response().edits,
            false => changes.request().edits,
        };
        ForwardedTrailers::of(header, edits)
    }
}

impl ResponseCase {
    pub(crate) fn write<'r, R: ResponseView>(
        &self,
        changes: &Changes,
        response: &'r R,
        writer: &mut impl ResponseWriter<R::Field<'r>>,
    ) {
        let response_of = changes.response();
        response_of.write(response, DATE.as_bytes(), self.sticky, writer);
    }
}

/// A route for paths below `/v1`.
pub(crate) fn route() -> Route {
    Route {
        path: Some(PathRule::Prefix("/v1".to_owned())),
        ..Route::to(Target::Service(ServiceId(0)))
    }
}

pub(crate) fn value(text: &str, side: Side) -> HeaderValue {
    HeaderValue::parse(text, side).expect("a value")
}

/// A service that sets the host and more.
pub(crate) fn edited_request() -> Changes {
    let value = |text| value(text, Side::Request);
    let mut changes = Changes::default();
    changes.service.set("Host", value("{service}.internal:81"));
    changes
        .service
        .set("X-Request-Id", value("id {request.id}"));
    changes.service.add("Accept", value("text/plain"));
    changes.service.add("X-Deadline", value("forged"));
    changes.service.remove("cookie");
    changes.deadline = Some("x-deadline");
    changes
}

/// A route that rewrites the path, and changes what its service sets.
pub(crate) fn edited_by_route() -> Changes {
    let value = |text| value(text, Side::Request);
    let mut changes = Changes::default();
    changes.service.set("x-env", value("live"));
    changes.service.set("x-client", value("{client.address}"));
    let mut route = route();
    route.rewrite = Template::parse("new/{rest}{query}").ok();
    route
        .request_headers
        .set("X-Env", value("{host}{path}{query} {rest}"));
    route.request_headers.remove("X-Request-Id");
    route.request_headers.remove("x-client");
    changes.route = Some(route);
    changes
}

pub(crate) fn edited_response() -> Changes {
    let value = |text| value(text, Side::Response);
    let mut changes = Changes::default();
    changes
        .service
        .set("Server", value("{server} of {service}"));
    changes.service.add("x-client", value("{client.address}"));
    changes.service.remove("date");
    changes.load = Some("endpoint-load-metrics");
    let mut route = route();
    route.response_headers.remove("X-Debug");
    route.response_headers.add("x-id", value("{request.id}"));
    changes.route = Some(route);
    changes
}

pub(crate) static REQUESTS: [RequestCase; 10] = [
    RequestCase {
        name: "of TE only the word trailers passes",
        version: "1.1",
        method: "GET",
        absolute: None,
        path: "/",
        fields: &[
            ("Host", "a"),
            ("TE", "gzip;q=0.5 , Trailers"),
            ("Connection", "TE"),
        ],
        changes: Changes::default,
        expected: "\
            :method: GET\n\
            :scheme: http\n\
            :path: /\n\
            :authority: a\n\
            x-forwarded-for: 192.0.2.7\n\
            x-forwarded-proto: http\n\
            x-forwarded-host: a\n\
            x-request-id: 000000000000000100000002\n\
            via: 1.1 evenkeel\n\
            te: trailers\n",
    },
    RequestCase {
        name: "transfer codings and what HTTP/1.0 accepts do not pass",
        version: "1.0",
        method: "GET",
        absolute: None,
        path: "/",
        fields: &[("Host", "a"), ("TE", "gzip"), ("TE", "trailers")],
        changes: Changes::default,
        expected: "\
            :method: GET\n\
            :scheme: http\n\
            :path: /\n\
            :authority: a\n\
            x-forwarded-for: 192.0.2.7\n\
            x-forwarded-proto: http\n\
            x-forwarded-host: a\n\
            x-request-id: 000000000000000100000002\n\
            via: 1.0 evenkeel\n",
    },
    RequestCase {
        name: "hop-by-hop and forged forwarding fields",
        version: "1.1",
        method: "GET",
        absolute: None,
        path: "/a?b",
        fields: &[
            ("Accept", "*/*"),
            ("Host", "Shop.example:80"),
            ("Connection", "X-Secret, keep-alive"),
            ("X-Secret", "1"),
            ("X-Forwarded-For", "10.0.0.1"),
            ("Forwarded", "for=10.0.0.1"),
            ("Keep-Alive", "timeout=5"),
            ("TE", "trailers"),
            ("X-Evenkeel-Mirror", "1"),
            ("X-Request-Id", "theirs"),
            ("Cookie", "c"),
            ("X-Empty", ""),
        ],
        changes: Changes::default,
        expected: "\
            :method: GET\n\
            :scheme: http\n\
            :path: /a?b\n\
            :authority: Shop.example:80\n\
            accept: */*\n\
            x-request-id: theirs\n\
            cookie: c\n\
            x-empty: \n\
            x-forwarded-for: 192.0.2.7\n\
            x-forwarded-proto: http\n\
            x-forwarded-host: Shop.example:80\n\
            via: 1.1 evenkeel\n\
            te: trailers\n",
    },
    RequestCase {
        name: "the authority of an absolute target counts for more than a host field",
        version: "1.1",
        method: "GET",
        absolute: Some("real.example"),
        path: "?q=1",
        fields: &[("Host", "other.example"), ("Accept", "*/*")],
        changes: Changes::default,
        expected: "\
            :method: GET\n\
            :scheme: http\n\
            :path: /?q=1\n\
            :authority: real.example\n\
            accept: */*\n\
            x-forwarded-for: 192.0.2.7\n\
            x-forwarded-proto: http\n\
            x-forwarded-host: real.example\n\
            x-request-id: 000000000000000100000002\n\
            via: 1.1 evenkeel\n",
    },
    RequestCase {
        name: "options of a whole server by an absolute target",
        version: "1.1",
        method: "OPTIONS",
        absolute: Some("real.example"),
        path: "",
        fields: &[("Host", "real.example")],
        changes: Changes::default,
        expected: "\
            :method: OPTIONS\n\
            :scheme: http\n\
            :path: *\n\
            :authority: real.example\n\
            x-forwarded-for: 192.0.2.7\n\
            x-forwarded-proto: http\n\
            x-forwarded-host: real.example\n\
            x-request-id: 000000000000000100000002\n\
            via: 1.1 evenkeel\n",
    },
    RequestCase {
        name: "no host",
        version: "1.0",
        method: "GET",
        absolute: None,
        path: "/",
        fields: &[("Accept", "*/*")],
        changes: Changes::default,
        expected: "\
            :method: GET\n\
            :scheme: http\n\
            :path: /\n\
            :authority: 127.0.0.1:9001\n\
            accept: */*\n\
            x-forwarded-for: 192.0.2.7\n\
            x-forwarded-proto: http\n\
            x-request-id: 000000000000000100000002\n\
            via: 1.0 evenkeel\n",
    },
    RequestCase {
        name: "framing stays with the protocol",
        version: "1.1",
        method: "POST",
        absolute: None,
        path: "/",
        fields: &[
            ("Host", "a"),
            ("Transfer-Encoding", "chunked"),
            ("Trailer", "x-sum"),
            ("Date", "today"),
            ("Via", "1.1 other"),
        ],
        changes: Changes::default,
        expected: "\
            :method: POST\n\
            :scheme: http\n\
            :path: /\n\
            :authority: a\n\
            trailer: x-sum\n\
            date: today\n\
            via: 1.1 other\n\
            x-forwarded-for: 192.0.2.7\n\
            x-forwarded-proto: http\n\
            x-forwarded-host: a\n\
            x-request-id: 000000000000000100000002\n\
            via: 1.1 evenkeel\n",
    },
    RequestCase {
        name: "a service sets the host, its own id, and cannot forge the deadline",
        version: "1.1",
        method: "GET",
        absolute: None,
        path: "/",
        fields: &[
            ("Host", "shop.example"),
            ("X-Deadline", "5"),
            ("Cookie", "a"),
            ("Accept", "text/html"),
            ("X-Request-Id", "theirs"),
        ],
        changes: edited_request,
        expected: "\
            :method: GET\n\
            :scheme: http\n\
            :path: /\n\
            :authority: shop.internal:81\n\
            accept: text/html\n\
            x-request-id: id 000000000000000100000002\n\
            accept: text/plain\n\
            x-forwarded-for: 192.0.2.7\n\
            x-forwarded-proto: http\n\
            x-forwarded-host: shop.example\n\
            via: 1.1 evenkeel\n\
            x-deadline: \n",
    },
    RequestCase {
        name: "a service sets the host for an absolute target",
        version: "1.1",
        method: "GET",
        absolute: Some("real.example"),
        path: "/",
        fields: &[("Host", "other.example")],
        changes: edited_request,
        expected: "\
            :method: GET\n\
            :scheme: http\n\
            :path: /\n\
            :authority: shop.internal:81\n\
            x-request-id: id 000000000000000100000002\n\
            accept: text/plain\n\
            x-forwarded-for: 192.0.2.7\n\
            x-forwarded-proto: http\n\
            x-forwarded-host: real.example\n\
            via: 1.1 evenkeel\n\
            x-deadline: \n",
    },
    RequestCase {
        name: "the route has the last word",
        version: "1.1",
        method: "GET",
        absolute: None,
        path: "/v1/a/b?c=d",
        fields: &[
            ("X-Env", "forged"),
            ("Host", "Shop.example.:80"),
            ("X-Client", "forged"),
            ("X-Request-Id", "theirs"),
        ],
        changes: edited_by_route,
        expected: "\
            :method: GET\n\
            :scheme: http\n\
            :path: /new/a/b?c=d\n\
            :authority: Shop.example.:80\n\
            x-env: Shop.example/v1/a/b?c=d a/b\n\
            x-forwarded-for: 192.0.2.7\n\
            x-forwarded-proto: http\n\
            x-forwarded-host: Shop.example.:80\n\
            x-request-id: 000000000000000100000002\n\
            via: 1.1 evenkeel\n",
    },
];

pub(crate) static RESPONSES: [ResponseCase; 3] = [
    ResponseCase {
        name: "what was meant for evenkeel stays, and the date comes",
        status: 200,
        fields: &[
            ("Connection", "close, X-Secret"),
            ("X-Secret", "1"),
            ("Server", "x"),
            ("Content-Length", "0"),
            ("X-Request-Id", "theirs"),
        ],
        changes: Changes::default,
        sticky: Some(("set-cookie", "server=1; Path=/")),
        expected: "\
            :status: 200\n\
            server: x\n\
            content-length: 0\n\
            x-request-id: theirs\n\
            date: Sun, 06 Nov 1994 08:49:37 GMT\n\
            set-cookie: server=1; Path=/\n\
            via: 1.1 evenkeel\n",
    },
    ResponseCase {
        name: "a date of its own stays",
        status: 404,
        fields: &[
            ("Date", "Mon, 07 Nov 1994 08:49:37 GMT"),
            ("Transfer-Encoding", "chunked"),
            ("Keep-Alive", "timeout=5"),
        ],
        changes: Changes::default,
        sticky: None,
        expected: "\
            :status: 404\n\
            date: Mon, 07 Nov 1994 08:49:37 GMT\n\
            via: 1.1 evenkeel\n",
    },
    ResponseCase {
        name: "services and routes change it, and load reports stay with evenkeel",
        status: 200,
        fields: &[
            ("Server", "secret"),
            ("X-Debug", "1"),
            ("Endpoint-Load-Metrics", "TEXT cpu_utilization=1"),
            ("Content-Length", "0"),
        ],
        changes: edited_response,
        sticky: None,
        expected: "\
            :status: 200\n\
            content-length: 0\n\
            server: one of shop\n\
            x-client: 192.0.2.7\n\
            x-id: 000000000000000100000002\n\
            via: 1.1 evenkeel\n",
    },
];

pub(crate) static TRAILERS: [TrailerCase; 6] = [
    TrailerCase {
        name: "what is neither forbidden nor changed passes as it is",
        header: &[("Host", "a"), ("Trailer", "x-sum")],
        trailers: &[
            ("X-Sum", "1"),
            ("Content-Digest", "sha-256=:x:"),
            ("grpc-status", "0"),
            ("X-Sum", ""),
        ],
        is_response: false,
        changes: Changes::default,
        expected: "x-sum: 1\ncontent-digest: sha-256=:x:\ngrpc-status: 0\nx-sum: \n",
    },
    TrailerCase {
        name: "what frames, routes or identifies a message may not come after it",
        header: &[("Host", "a")],
        trailers: &[
            ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Host", "b"),
            ("Authorization", "Basic b3du"),
            ("Cookie", "a"),
            ("If-Match", "x"),
            ("X-Sum", "1"),
            ("Set-Cookie", "a=b"),
            ("Date", "today"),
            ("Via", "1.1 other"),
            ("Content-Type", "text/html"),
            ("Trailer", "x"),
        ],
        is_response: false,
        changes: Changes::default,
        expected: "x-sum: 1\n",
    },
    TrailerCase {
        name: "hop-by-hop and forwarding fields do not pass",
        header: &[("Host", "a")],
        trailers: &[
            ("Connection", "close"),
            ("Keep-Alive", "timeout=5"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
            ("Proxy-Authorization", "a"),
            ("X-Forwarded-For", "10.0.0.1"),
            ("X-Forwarded-Port", "1"),
            ("Forwarded", "for=10.0.0.1"),
            ("X-Evenkeel-Mirror", "1"),
            ("X-Request-Id", "theirs"),
            ("X-Sum", "1"),
        ],
        is_response: false,
        changes: Changes::default,
        expected: "x-sum: 1\n",
    },
    TrailerCase {
        name: "what Connection names in the header is dropped from the trailers",
        header: &[
            ("Host", "a"),
            ("Connection", "keep-alive, X-Sum"),
            ("connection", "x-other ,x-third"),
        ],
        trailers: &[
            ("x-sum", "1"),
            ("X-Other", "2"),
            ("x-fourth", "4"),
            ("X-THIRD", "3"),
        ],
        is_response: true,
        changes: Changes::default,
        expected: "x-fourth: 4\n",
    },
    TrailerCase {
        name: "what a service sets or removes in a request does not come in by a trailer",
        header: &[("Host", "a")],
        trailers: &[
            ("X-Deadline", "5"),
            ("Cookie", "a"),
            ("Accept", "text/html"),
            ("X-Env", "test"),
        ],
        is_response: false,
        changes: edited_request,
        expected: "accept: text/html\nx-env: test\n",
    },
    TrailerCase {
        name: "what is removed from a response is removed from its trailers, load reports as well",
        header: &[],
        trailers: &[
            ("X-Debug", "1"),
            ("Endpoint-Load-Metrics", "TEXT cpu_utilization=1"),
            ("X-Sum", "1"),
        ],
        is_response: true,
        changes: edited_response,
        expected: "x-sum: 1\n",
    },
];
