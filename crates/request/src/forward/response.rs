//! A response's head as its client gets it.

use super::edits::HeaderEdits;
use super::request::write_client;
use super::writer::{HeadWriter, ResponseWriter, text, via};
use crate::RequestId;
use crate::head::{FieldClass, HeaderField as _, HeaderFields, ResponseView};
use crate::headers::Fact;

/// What is known of a response beside its head, and what is to be changed in it.
#[derive(Debug, Clone, Copy)]
pub struct ForwardedResponse<'a> {
    /// The client's address, without port.
    pub client_address: Option<&'a [u8]>,
    /// The request's id.
    pub id: RequestId,
    /// The service's name.
    pub service: &'a str,
    /// The name of the server that answered; empty if none did.
    pub server: &'a str,
    /// What is changed in its header.
    pub edits: Option<HeaderEdits<'a>>,
}

impl ForwardedResponse<'_> {
    /// Writes the head of a final response. `date` is when it came, for one that does not say when it was made (RFC 9110 section 6.6.1);
    /// `sticky` is the field that tells the client which server it belongs to.
    pub fn write<'r, R: ResponseView>(
        &self,
        response: &'r R,
        date: &[u8],
        sticky: Option<(&str, &str)>,
        writer: &mut impl ResponseWriter<R::Field<'r>>,
    ) {
        writer.status(response.status());
        let has_date = self.pass(response, writer);
        if !has_date && !self.drops(b"date") {
            writer.add("date", text(date));
        }
        self.write_edits(writer);
        if let Some((name, value)) = sticky {
            writer.add(name, text(value.as_bytes()));
        }
        writer.add("via", text(via(response.version())));
        writer.end();
    }

    /// Writes the fields of a stored response that evenkeel answers with, which were end-to-end fields when it was stored.
    pub fn write_stored<'r, R: HeaderFields>(
        &self,
        stored: &'r R,
        writer: &mut impl HeadWriter<R::Field<'r>>,
    ) {
        self.pass(stored, writer);
        self.write_edits(writer);
    }

    /// Writes the fields that pass. Whether one of them is the date.
    fn pass<'r, R: HeaderFields>(
        &self,
        response: &'r R,
        writer: &mut impl HeadWriter<R::Field<'r>>,
    ) -> bool {
        let mut has_date = false;
        let passed = response.fields().filter(|field| {
            let class = field.class();
            let passes = is_end_to_end(class) && !self.drops(field.name());
            has_date |= passes && class == FieldClass::Date;
            passes
        });
        writer.fields(passed);
        has_date
    }

    fn write_edits<F>(&self, writer: &mut impl HeadWriter<F>) {
        let Some(edits) = self.edits else {
            return;
        };
        for line in edits.lines() {
            writer.add(&line.name, |out| {
                line.value
                    .write(out, |fact, out| self.write_fact(fact, out));
            });
        }
    }

    fn write_fact(&self, fact: Fact, out: &mut Vec<u8>) {
        match fact {
            Fact::Host | Fact::Path | Fact::Rest | Fact::Query => {}
            Fact::ClientAddress => write_client(self.client_address, out),
            Fact::RequestId => self.id.write(out),
            Fact::Service => out.extend_from_slice(self.service.as_bytes()),
            Fact::Server => out.extend_from_slice(self.server.as_bytes()),
        }
    }

    /// Whether edits keep fields of this name from passing.
    fn drops(&self, name: &[u8]) -> bool {
        self.edits.is_some_and(|edits| edits.drops(name))
    }
}

/// Writes the head of an interim response (1xx but 101), which passes without changes.
pub fn write_interim<'r, R: ResponseView>(
    response: &'r R,
    writer: &mut impl ResponseWriter<R::Field<'r>>,
) {
    writer.status(response.status());
    writer.fields(
        response
            .fields()
            .filter(|field| is_end_to_end(field.class())),
    );
    writer.end();
}

/// Whether a response's field of this class is meant for the client.
const fn is_end_to_end(class: FieldClass) -> bool {
    match class {
        FieldClass::HopByHop => false,
        FieldClass::Host
        | FieldClass::TransferEncoding
        | FieldClass::Forwarding
        | FieldClass::MirrorMark
        | FieldClass::RequestId
        | FieldClass::Date
        | FieldClass::Other => true,
    }
}
