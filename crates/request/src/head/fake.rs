//! A request's head for tests.

use super::field::{FieldClass, HeaderField, HeaderFields};
use super::view::{Authority, HttpVersion, RequestView};

#[derive(Debug, Default)]
pub(crate) struct FakeHead {
    pub(crate) host: Option<&'static str>,
    pub(crate) path: &'static str,
    pub(crate) query: Option<&'static str>,
    pub(crate) fields: Vec<(&'static str, String)>,
}

pub(crate) struct FakeField<'a>(&'a str, &'a str);

impl HeaderField for FakeField<'_> {
    fn name(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn value(&self) -> &[u8] {
        self.1.as_bytes()
    }

    fn class(&self) -> FieldClass {
        FieldClass::Other
    }
}

impl HeaderFields for FakeHead {
    type Field<'a> = FakeField<'a>;

    fn fields(&self) -> impl Iterator<Item = FakeField<'_>> {
        self.fields
            .iter()
            .map(|(name, value)| FakeField(name, value))
    }
}

impl RequestView for FakeHead {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn authority(&self) -> Authority<'_> {
        self.host.map_or(Authority::Missing, |host| {
            Authority::Target(host.as_bytes())
        })
    }

    fn path_and_query(&self) -> &[u8] {
        self.path.as_bytes()
    }

    fn version(&self) -> HttpVersion {
        HttpVersion::Http11
    }

    fn query(&self) -> Option<&[u8]> {
        self.query.map(str::as_bytes)
    }
}
