//! The header lines of a stored response, which pass to a client whole.

use evenkeel_request::forward::{ForwardedResponse, HeadWriter};
use evenkeel_request::head::{FieldClass, HeaderField, HeaderFields};

use super::lines::add_line;

/// Writes the header lines of a stored response to `out` as the client gets them, with those that are added.
pub(crate) fn write_stored(out: &mut Vec<u8>, lines: &[u8], response: &ForwardedResponse<'_>) {
    response.write_stored(&StoredLines(lines), &mut StoredWriter(out));
}

/// Lines with their line ends.
struct StoredLines<'a>(&'a [u8]);

/// One of them.
struct StoredLine<'a>(&'a [u8]);

struct StoredWriter<'a>(&'a mut Vec<u8>);

impl HeaderFields for StoredLines<'_> {
    type Field<'a>
        = StoredLine<'a>
    where
        Self: 'a;

    fn fields(&self) -> impl Iterator<Item = StoredLine<'_>> {
        self.0
            .split_inclusive(|byte| *byte == b'\n')
            .map(StoredLine)
    }
}

impl StoredLine<'_> {
    fn colon(&self) -> usize {
        let colon = self.0.iter().position(|byte| *byte == b':');
        colon.unwrap_or(self.0.len())
    }
}

impl HeaderField for StoredLine<'_> {
    fn name(&self) -> &[u8] {
        &self.0[..self.colon()]
    }

    fn value(&self) -> &[u8] {
        let after = self.0.get(self.colon() + 1..);
        after.unwrap_or_default().trim_ascii()
    }

    fn class(&self) -> FieldClass {
        FieldClass::Other
    }
}

impl<'l> HeadWriter<StoredLine<'l>> for StoredWriter<'_> {
    fn fields(&mut self, passed: impl Iterator<Item = StoredLine<'l>>) {
        passed.for_each(|line| self.0.extend_from_slice(line.0));
    }

    fn add(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        add_line(self.0, name, value);
    }
}
