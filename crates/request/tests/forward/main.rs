//! The header policy without a protocol: heads as HTTP/2 has them, lists of fields, in and out.

mod list;
mod cases;

use cases::{REQUESTS, RESPONSES};
use list::{ListRequest, ListResponse, ListWriter};

#[test]
fn requests_as_servers_get_them() {
    for case in &REQUESTS {
        let request = ListRequest::of(case);
        let mut writer = ListWriter::default();
        let changes = (case.changes)();
        changes.request().write(&request, &mut writer);
        assert_eq!(writer.text(), case.expected, "{}", case.name);
    }
}

#[test]
fn responses_as_clients_get_them() {
    for case in &RESPONSES {
        let response = ListResponse::of(case);
        let mut writer = ListWriter::default();
        let changes = (case.changes)();
        case.write(&changes, &response, &mut writer);
        assert_eq!(writer.text(), case.expected, "{}", case.name);
    }
}
