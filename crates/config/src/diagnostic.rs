//! A diagnostic: what is wrong, where, and what would be correct. Diagnostics are collected rather than returned one by
//! one, so that a user sees all errors of a file at once.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A range of the text, in bytes.
pub type TextRange = Range<usize>;

/// The severity of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, and probably does not do what its writer wants.
    Warning,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal $severity:ident,)+) => {
        /// The kind of a diagnostic; codes never change, so that they can be looked up.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code, like `EK-002`.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// Its value.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// How bad it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)+ }
            }
        }
    };
}

codes! {
    /// The text is not TOML.
    Syntax = "EK-001" Error,
    /// A key that does not exist.
    UnknownKey = "EK-002" Error,
    /// A value of another type than the key takes.
    WrongType = "EK-003" Error,
    /// Not a duration.
    BadDuration = "EK-004" Error,
    /// Not a size.
    BadSize = "EK-005" Error,
    /// A value outside its limits.
    OutOfRange = "EK-006" Error,
    /// Not an address.
    BadAddress = "EK-007" Error,
    /// Something that must be there is not.
    Missing = "EK-008" Error,
    /// The same thing twice.
    Duplicate = "EK-009" Error,
    /// A service that is not in the file.
    UnknownService = "EK-010" Error,
    /// A word that is not among those the key takes.
    UnknownWord = "EK-011" Error,
    /// A key or value whose name is reserved for a later version.
    NotYet = "EK-012" Error,
    /// A name with letters that names may not have.
    BadName = "EK-013" Error,
    /// A host, path or header rule that cannot be understood.
    BadRule = "EK-015" Error,
    /// A command that cannot be run as written.
    BadCommand = "EK-016" Error,
    /// Two settings that cannot both hold.
    Contradiction = "EK-017" Error,
    /// The whole request gets less time than one attempt.
    TotalShorterThanAttempt = "EK-101" Warning,
    /// A service with a single server.
    SingleServer = "EK-102" Warning,
    /// Probes take longer to notice a fault than retries can hide it.
    ProbeSlowerThanRetries = "EK-103" Warning,
    /// The whole request has no time for a retry after one timed-out attempt.
    NoTimeForRetry = "EK-104" Warning,
    /// Status 500 is retried for methods that may change something twice.
    RetryOf500 = "EK-105" Warning,
    /// A method that changes something may be sent twice.
    UnsafeMethodRetried = "EK-106" Warning,
    /// The panic rule is off.
    NoPanic = "EK-107" Warning,
    /// No action is ever possible on a serving server.
    NothingMayBeActedOn = "EK-108" Warning,
    /// A probe may take longer than the time between two.
    ProbeTimeoutTooLong = "EK-109" Warning,
    /// Verification ends before its probes can pass.
    VerifyTooShort = "EK-110" Warning,
    /// The retry budget earns nothing.
    BudgetEarnsNothing = "EK-111" Warning,
    /// The admin address can be reached from other machines.
    AdminReachable = "EK-112" Warning,
    /// Much memory for request bodies.
    BodyBufferHuge = "EK-113" Warning,
    /// All processes are started with the same command.
    SameCommand = "EK-114" Warning,
    /// A playbook restarts servers that cannot be restarted.
    CannotRestart = "EK-115" Warning,
    /// A service that no listener uses.
    UnusedService = "EK-116" Warning,
    /// A host name with several addresses, of which one is used.
    SeveralAddresses = "EK-117" Warning,
    /// A weight that the policy ignores.
    WeightIgnored = "EK-118" Warning,
    /// A route that can never be reached.
    UnreachableRoute = "EK-119" Warning,
    /// Connecting may take longer than the whole request.
    ConnectLongerThanTotal = "EK-120" Warning,
    /// A key of another policy than the one that is used.
    OtherPolicy = "EK-121" Warning,
    /// A method that changes something is mirrored.
    UnsafeMethodMirrored = "EK-122" Warning,
    /// Servers have zones, and evenkeel does not know its own.
    ZoneUnknown = "EK-123" Warning,
    /// A queue before servers that have no bound.
    QueueWithoutBound = "EK-124" Warning,
    /// A host name that does not resolve now.
    Unresolved = "EK-125" Warning,
    /// Something about bounds where there is none.
    LimitWithoutEffect = "EK-126" Warning,
    /// Faults are injected on purpose.
    FaultsInjected = "EK-127" Warning,
    /// More clients than there are descriptors for.
    FewDescriptors = "EK-128" Warning,
    /// Requests are held and have nothing to wait for, or longer than they may take.
    HoldWithoutEffect = "EK-129" Warning,
    /// A playbook moves or answers requests, and nothing is there to take them.
    ActionWithoutEffect = "EK-130" Warning,
    /// A Unix domain socket that evenkeel could not listen on now.
    SocketUnusable = "EK-131" Warning,
    /// A rule by the client's address, for requests that come over a Unix domain socket.
    NoClientAddress = "EK-132" Warning,
    /// A server at a Unix domain socket of a service that is answered in DNS.
    SocketInDns = "EK-133" Warning,
}

/// One error or warning in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its kind.
    pub code: Code,
    /// Its location.
    pub span: TextRange,
    /// The error, one sentence without a full stop.
    pub message: String,
    /// The text under the caret.
    pub label: String,
    /// The suggestion.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic of kind `code` at `span`.
    pub fn new(
        code: Code,
        span: TextRange,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        Self {
            code,
            span,
            message: message.into(),
            label: label.into(),
            help: None,
        }
    }

    /// The same, with what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same, with what would be right if there is something to say.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// How bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.code.severity()
    }
}

/// The diagnostics of one file, in the order of their locations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    name: String,
    text: Arc<str>,
    /// Where its lines end, but for the last one: a large file may have a diagnostic for each of its services.
    line_ends: Vec<usize>,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// No diagnostics yet, for the file `name` with this text.
    #[must_use]
    pub fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: Arc::from(text),
            line_ends: text.match_indices('\n').map(|(end, _)| end).collect(),
            list: Vec::new(),
        }
    }

    /// The file's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The diagnostics.
    #[must_use]
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.list
            .iter()
            .filter(|diagnostic| diagnostic.severity() == Severity::Error)
            .count()
    }

    /// How many are warnings.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    /// Line and column of a place, both from 1; the column counts letters.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = self.floor(offset);
        let ended = self.line_ends.partition_point(|end| *end < offset);
        let last_end = ended.checked_sub(1).map(|last| self.line_ends[last]);
        let line_start = last_end.map_or(0, |end| end + 1);
        let before = self.text.get(line_start..offset).unwrap_or_default();
        (ended + 1, before.chars().count() + 1)
    }

    /// Adds one. Its span is brought inside the text.
    pub fn push(&mut self, mut diagnostic: Diagnostic) {
        let start = self.floor(diagnostic.span.start);
        diagnostic.span = start..self.floor(diagnostic.span.end).max(start);
        self.list.push(diagnostic);
    }

    /// Keeps those for which `keep` holds.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Diagnostic) -> bool) {
        self.list.retain(keep);
    }

    /// Puts them in the order of their places, without those said twice.
    pub(crate) fn sort(&mut self) {
        self.list.sort_by_key(|diagnostic| {
            (
                diagnostic.severity(),
                diagnostic.span.start,
                diagnostic.code,
            )
        });
        self.list.dedup();
    }

    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            let (line, column) = self.position(diagnostic.span.start);
            let separator = if index == 0 { "" } else { "\n" };
            write!(
                f,
                "{separator}{}:{line}:{column}: {}: {}",
                self.name,
                diagnostic.code.text(),
                diagnostic.message
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
