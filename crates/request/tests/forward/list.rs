//! Heads as HTTP/2 has them (RFC 9113 section 8.2 and 8.3): lists of fields with names in lower case, after pseudo-fields. The second
//! protocol of the header policy, in and out, which its tests share with those of HTTP/1.1.

use std::fmt::Write as _;

use evenkeel_request::forward::{HeadWriter, RequestWriter, ResponseWriter};
use evenkeel_request::head::{
    Authority, BodyExtent, FieldClass, HeaderField, HeaderFields, HttpVersion,
};
use evenkeel_request::{RequestView, ResponseView};

use super::cases::{RequestCase, ResponseCase, TrailerCase};

/// A request's head.
pub(crate) struct ListRequest {
    case: &'static RequestCase,
    fields: Vec<ListField>,
}

/// A response's head.
pub(crate) struct ListResponse {
    status: u16,
    fields: Vec<ListField>,
}

/// A header, or trailers.
pub(crate) struct ListFields(Vec<ListField>);

pub(crate) struct ListField {
    name: &'static str,
    value: &'static str,
    class: FieldClass,
}

impl ListRequest {
    pub(crate) fn of(case: &'static RequestCase) -> Self {
        let fields = fields(case.fields);
        Self { case, fields }
    }
}

impl ListResponse {
    pub(crate) fn of(case: &'static ResponseCase) -> Self {
        let (status, fields) = (case.status, fields(case.fields));
        Self { status, fields }
    }
}

impl ListFields {
    /// The header of the message, and its trailers.
    pub(crate) fn of(case: &'static TrailerCase) -> [Self; 2] {
        [case.header, case.trailers].map(|of| Self(fields(of)))
    }
}

/// With what each is to a proxy.
fn fields(fields: &[(&'static str, &'static str)]) -> Vec<ListField> {
    let named: Vec<&str> = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
        .flat_map(|(_, value)| value.split(',').map(str::trim))
        .collect();
    let is_named = |name: &str| named.iter().any(|other| other.eq_ignore_ascii_case(name));
    let field = |&(name, value): &(&'static str, &'static str)| ListField {
        name,
        value,
        class: match name.to_ascii_lowercase().as_str() {
            name if is_named(name) => FieldClass::HopByHop,
            "connection" | "keep-alive" | "proxy-connection" | "te" | "upgrade" => {
                FieldClass::HopByHop
            }
            "host" => FieldClass::Host,
            "transfer-encoding" => FieldClass::TransferEncoding,
            "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "forwarded" => {
                FieldClass::Forwarding
            }
            "x-evenkeel-mirror" => FieldClass::MirrorMark,
            "x-request-id" => FieldClass::RequestId,
            "date" => FieldClass::Date,
            _ => FieldClass::Other,
        },
    };
    fields.iter().map(field).collect()
}

impl HeaderField for &ListField {
    fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    fn value(&self) -> &[u8] {
        self.value.as_bytes()
    }

    fn class(&self) -> FieldClass {
        self.class
    }
}

impl HeaderFields for ListRequest {
    type Field<'a> = &'a ListField;

    fn fields(&self) -> impl Iterator<Item = &ListField> {
        self.fields.iter()
    }
}

impl HeaderFields for ListFields {
    type Field<'a> = &'a ListField;

    fn fields(&self) -> impl Iterator<Item = &ListField> {
        self.0.iter()
    }
}

impl HeaderFields for ListResponse {
    type Field<'a> = &'a ListField;

    fn fields(&self) -> impl Iterator<Item = &ListField> {
        self.fields.iter()
    }
}

impl RequestView for ListRequest {
    fn method(&self) -> &[u8] {
        self.case.method.as_bytes()
    }

    fn authority(&self) -> Authority<'_> {
        let mut fields = self.fields.iter();
        let host = fields.find(|field| field.class == FieldClass::Host);
        match (self.case.absolute, host) {
            (Some(authority), _) => Authority::Target(authority.as_bytes()),
            (None, Some(host)) => Authority::HostField(host.value.as_bytes()),
            (None, None) => Authority::Missing,
        }
    }

    fn path_and_query(&self) -> &[u8] {
        self.case.path.as_bytes()
    }

    fn version(&self) -> HttpVersion {
        match self.case.version {
            "1.0" => HttpVersion::Http10,
            "1.1" => HttpVersion::Http11,
            "2" => HttpVersion::Http2,
            version => panic!("no version: {version}"),
        }
    }
}

impl ResponseView for ListResponse {
    fn status(&self) -> u16 {
        self.status
    }

    fn version(&self) -> HttpVersion {
        HttpVersion::Http11
    }

    fn body_extent(&self) -> BodyExtent {
        BodyExtent::Marked
    }
}

/// Writes a head as a list.
#[derive(Debug, Default)]
pub(crate) struct ListWriter {
    /// `:method`, `:scheme` and `:path`, or `:status`.
    pseudo: Vec<(&'static str, String)>,
    authority: Option<String>,
    fields: Vec<(String, String)>,
}

impl ListWriter {
    /// The list: a field in each line.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let authority = self.authority.iter().map(|host| (":authority", host));
        let pseudo = self.pseudo.iter().map(|(name, value)| (*name, value));
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value));
        for (name, value) in pseudo.chain(authority).chain(fields) {
            writeln!(text, "{name}: {value}").expect("a text takes everything");
        }
        text
    }

    /// Without spaces around the value, which HTTP/2 does not allow.
    fn push(&mut self, name: &[u8], value: &[u8]) {
        let name = name.to_ascii_lowercase();
        self.fields.push((text(&name), text(value.trim_ascii())));
    }
}

impl<F: HeaderField> HeadWriter<F> for ListWriter {
    fn fields(&mut self, passed: impl Iterator<Item = F>) {
        for field in passed {
            match field.class() {
                FieldClass::Host => self.authority = Some(text(field.value())),
                FieldClass::TransferEncoding => {}
                _ => self.push(field.name(), field.value()),
            }
        }
    }

    fn add(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        self.push(name.as_bytes(), &written(value));
    }
}

impl<F: HeaderField> RequestWriter<F> for ListWriter {
    fn request_line(&mut self, method: &[u8], target: impl FnOnce(&mut Vec<u8>)) {
        self.pseudo = vec![
            (":method", text(method)),
            (":scheme", "http".to_owned()),
            (":path", text(&written(target))),
        ];
    }

    fn authority(&mut self, _name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        assert_eq!(self.authority, None, "a request has one host");
        self.authority = Some(text(&written(value)));
    }

    fn end(&mut self, accepts_trailers: bool, deadline: Option<&str>) {
        if accepts_trailers {
            self.push(b"te", b"trailers");
        }
        if let Some(name) = deadline {
            self.push(name.as_bytes(), b"");
        }
    }
}

impl<F: HeaderField> ResponseWriter<F> for ListWriter {
    fn status(&mut self, status: u16) {
        self.pseudo = vec![(":status", status.to_string())];
    }

    fn end(&mut self) {}
}

fn written(value: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    value(&mut out);
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
