//! Why a message head is rejected.

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeadError {
    /// The first line is not one.
    StartLine,
    /// Not HTTP/1.0 or HTTP/1.1.
    Version,
    /// The target has a form or a byte that it may not have.
    Target,
    /// The target is longer than the limit.
    TargetTooLong,
    /// The head is longer than the limit, or has too many fields.
    TooLarge,
    /// A line ends in LF alone, or CR stands alone.
    LineEnd,
    /// A field's name is empty, is not a token, or is followed by white space.
    FieldName,
    /// A field's value has a byte that it may not have.
    FieldValue,
    /// A line begins with white space (obsolete folding).
    Folding,
    /// HTTP/1.1 without `Host`.
    MissingHost,
    /// More than one `Host`.
    ManyHosts,
    /// `Host` is not an authority.
    Host,
    /// `Content-Length` is not one plain number, or is there twice.
    ContentLength,
    /// `Transfer-Encoding` is not exactly `chunked`, once, in HTTP/1.1.
    TransferEncoding,
    /// Both `Content-Length` and `Transfer-Encoding`.
    BothLengths,
    /// `Connection` names a field that is not between two neighbours (framing, `Host`, forwarding).
    ConnectionNames,
    /// `Expect` is something else than `100-continue`.
    Expectation,
    /// The status is not three digits, or out of range.
    Status,
}

impl HeadError {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::StartLine => "bad-start-line",
            Self::Version => "bad-version",
            Self::Target => "bad-target",
            Self::TargetTooLong => "target-too-long",
            Self::TooLarge => "head-too-large",
            Self::LineEnd => "bad-line-end",
            Self::FieldName => "bad-field-name",
            Self::FieldValue => "bad-field-value",
            Self::Folding => "folded-line",
            Self::MissingHost => "missing-host",
            Self::ManyHosts => "many-hosts",
            Self::Host => "bad-host",
            Self::ContentLength => "bad-content-length",
            Self::TransferEncoding => "bad-transfer-encoding",
            Self::BothLengths => "both-lengths",
            Self::ConnectionNames => "bad-connection",
            Self::Expectation => "bad-expectation",
            Self::Status => "bad-status",
        }
    }

    /// The rule that was broken, in words, without quotes or backslashes.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::StartLine => "the first line is not one of HTTP",
            Self::Version => "the version is not 1.0 or 1.1",
            Self::Target => "the target has a form or a byte that it may not have",
            Self::TargetTooLong => "the target is too long",
            Self::TooLarge => "the head is too long or has too many fields",
            Self::LineEnd => "lines end in CR LF, and CR and LF stand nowhere else",
            Self::FieldName => "a name is a token, and its colon follows at once",
            Self::FieldValue => "a value has no control characters",
            Self::Folding => "no line begins with a blank",
            Self::MissingHost => "HTTP/1.1 has it once",
            Self::ManyHosts => "it is there once",
            Self::Host => "it is a host with or without a port",
            Self::ContentLength => "it is one decimal number",
            Self::TransferEncoding => "it is chunked, once, in HTTP/1.1",
            Self::BothLengths => "only one of them is there",
            Self::ConnectionNames => "it does not name what is not between two neighbours",
            Self::Expectation => "it is 100-continue",
            Self::Status => "the status is a number from 100 to 599",
        }
    }

    /// The status for a client whose request it was.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::TooLarge => 431,
            Self::Version => 505,
            Self::Expectation => 417,
            _ => 400,
        }
    }
}

impl std::fmt::Display for HeadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl std::error::Error for HeadError {}
