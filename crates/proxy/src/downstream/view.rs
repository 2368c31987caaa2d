//! A request's head as routing sees it.

use evenkeel_http1::{Field, RequestHead};
use evenkeel_request::Head;
use evenkeel_request::head::{host_name, path_of_target, query_of_target};

/// A parsed head and the bytes that it was parsed from.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) bytes: &'a [u8],
}

impl Head for View<'_> {
    fn host(&self) -> Option<&[u8]> {
        self.head.host.map(|host| host_name(host.of(self.bytes)))
    }

    fn method(&self) -> &[u8] {
        self.head.method_text.of(self.bytes)
    }

    fn path(&self) -> &[u8] {
        path_of_target(self.head.target.of(self.bytes))
    }

    fn query(&self) -> Option<&[u8]> {
        query_of_target(self.head.target.of(self.bytes))
    }

    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let matches = |field: &Field| {
            field
                .name
                .of(self.bytes)
                .eq_ignore_ascii_case(name.as_bytes())
                && test(field.value.of(self.bytes))
        };
        self.head.fields.iter().any(matches)
    }
}
