//! The fields of a head, and what each of them is to a proxy.

/// The fields of a head, in the order in which they came.
pub trait HeaderFields {
    /// One of them.
    type Field<'a>: HeaderField
    where
        Self: 'a;

    /// All of them.
    fn fields(&self) -> impl Iterator<Item = Self::Field<'_>>;

    /// Whether `test` holds for the value of a field `name` (any letter case). Values are tested in order until one passes.
    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.fields()
            .any(|field| field.name().eq_ignore_ascii_case(name.as_bytes()) && test(field.value()))
    }
}

/// One field of a head.
pub trait HeaderField {
    /// Its name, as it came.
    fn name(&self) -> &[u8];
    /// Its value, without spaces around it.
    fn value(&self) -> &[u8];
    /// Its kind.
    fn class(&self) -> FieldClass;
}

/// The kind of a field, as far as a proxy distinguishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldClass {
    /// Meant for one connection only, or named by `Connection` (RFC 9110 section 7.6.1).
    HopByHop,
    /// `Host`.
    Host,
    /// `Transfer-Encoding`, which only HTTP/1 has: it passes, and a writer of another protocol leaves it out.
    TransferEncoding,
    /// Says where a request comes from: `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`, `Forwarded` (RFC 7239).
    Forwarding,
    /// `X-Evenkeel-Mirror`, which marks mirrored copies of requests.
    MirrorMark,
    /// `X-Request-Id`.
    RequestId,
    /// `Date`.
    Date,
    /// Any other.
    Other,
}
