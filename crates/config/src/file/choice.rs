//! Keys that take one of several words.

use evenkeel_balance::Policy;
use evenkeel_fault::FaultKind;
use evenkeel_fault::policy::Mode;
use evenkeel_tolerate::Class;

use super::shape::ValueShape;
use super::{FileLiteral, FileValue, Value, not_yet, want_text};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::nearest::nearest;
use crate::plan::{
    AddressFamily, AlgorithmChoice, BackoffGrowth, BackoffJitter, LogFormat, LogLevel, ReloadMode,
};

/// The diagnostic for a word that is not among `known`.
#[must_use]
pub fn unknown_word(word: &str, span: TextRange, known: &[&str]) -> Diagnostic {
    let all = quoted(known);
    let help = nearest(word, known.iter().copied()).map_or_else(
        || format!("one of {all}"),
        |near| format!("did you mean \"{near}\"? (one of {all})"),
    );
    let message = format!(
        "\"{}\" is not a word that this key takes",
        word.escape_debug()
    );
    Diagnostic::new(Code::UnknownWord, span, message, "unknown word").help(help)
}

fn quoted(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("\"{word}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

macro_rules! choice {
    ($(#[$about:meta])+ $name:ident: $target:ty { $($word:literal => $value:path,)+ } later { $($later:literal),* }) => {
        $(#[$about])+
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl FileValue for $name {
            type Out = $target;

            fn shape() -> ValueShape {
                ValueShape::Choice(vec![$($word),+])
            }

            fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<$target> {
                const KNOWN: &[&str] = &[$($word),+];
                const LATER: &[&str] = &[$($later),*];
                let word = want_text(value, "a word in quotes", out)?;
                match word {
                    $($word => return Some($value),)+
                    word if LATER.contains(&word) => {
                        let instead = format!("available now: {}", quoted(KNOWN));
                        out.push(not_yet(&format!("\"{word}\""), value.span(), &instead));
                    }
                    word => out.push(unknown_word(word, value.span(), KNOWN)),
                }
                None
            }
        }

        impl FileLiteral for $target {
            fn typed(&self) -> serde_json::Value {
                match self {
                    $($value => $word.into(),)+
                }
            }
        }
    };
}

choice! {
    /// Which server takes the next attempt.
    BalancePolicy: Policy {
        "random" => Policy::Random,
        "round-robin" => Policy::RoundRobin,
        "weighted-round-robin" => Policy::WeightedRoundRobin,
        "weighted-random" => Policy::WeightedRandom,
        "least-response-time" => Policy::LeastResponseTime,
        "least-requests" => Policy::LeastRequests,
        "power-of-two" => Policy::PowerOfTwo,
        "ring-hash" => Policy::RingHash,
        "maglev" => Policy::Maglev,
        "prequal" => Policy::Prequal,
    } later {}
}

choice! {
    /// Which address records are queried.
    FamilyWord: AddressFamily {
        "any" => AddressFamily::Any,
        "ipv4" => AddressFamily::Ipv4,
        "ipv6" => AddressFamily::Ipv6,
    } later {}
}

choice! {
    /// How an adaptive limit is found.
    AlgorithmWord: AlgorithmChoice {
        "gradient2" => AlgorithmChoice::Gradient2,
        "vegas" => AlgorithmChoice::Vegas,
        "aimd" => AlgorithmChoice::Aimd,
    } later {}
}

choice! {
    /// How much a request matters.
    ClassWord: Class {
        "critical-plus" => Class::CriticalPlus,
        "critical" => Class::Critical,
        "sheddable-plus" => Class::SheddablePlus,
        "sheddable" => Class::Sheddable,
    } later {}
}

choice! {
    /// How randomness is mixed into a back-off.
    JitterWord: BackoffJitter {
        "none" => BackoffJitter::None,
        "full" => BackoffJitter::Full,
        "equal" => BackoffJitter::Equal,
        "decorrelated" => BackoffJitter::Decorrelated,
    } later {}
}

choice! {
    /// How a back-off grows from one retry to the next.
    GrowthWord: BackoffGrowth {
        "exponential" => BackoffGrowth::Exponential,
        "linear" => BackoffGrowth::Linear,
        "fixed" => BackoffGrowth::Fixed,
    } later {}
}

choice! {
    /// Who decides about costly actions.
    ModeWord: Mode {
        "automatic" => Mode::Automatic,
        "ask" => Mode::Ask,
        "dry-run" => Mode::DryRun,
        "off" => Mode::Off,
    } later {}
}

/// The protocol of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 and 1.0.
    Http,
    /// DNS over UDP and TCP: service names resolve to their servers.
    Dns,
}

choice! {
    /// The protocol of a listener.
    ProtocolWord: Protocol {
        "http" => Protocol::Http,
        "dns" => Protocol::Dns,
    } later { "tcp" }
}

/// A server's tier, by its number: 0 is used first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier(pub u8);

impl Tier {
    /// Used first.
    pub const PRIMARY: Self = Self(0);
    /// Used for traffic that the primary servers cannot carry.
    pub const BACKUP: Self = Self(1);
}

/// Whether a browser sends a cookie with cross-site requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// On top-level navigation only.
    Lax,
    /// Always.
    None,
}

choice! {
    /// Whether a browser sends a cookie with cross-site requests.
    SameSiteWord: SameSite {
        "strict" => SameSite::Strict,
        "lax" => SameSite::Lax,
        "none" => SameSite::None,
    } later {}
}

choice! {
    /// When the file is read again.
    ReloadWord: ReloadMode {
        "manual" => ReloadMode::Manual,
        "watch" => ReloadMode::Watch,
    } later {}
}

choice! {
    /// The format of log lines.
    LogFormatWord: LogFormat {
        "human" => LogFormat::Human,
        "json" => LogFormat::Json,
    } later {}
}

choice! {
    /// The log level.
    LogLevelWord: LogLevel {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
    } later {}
}

/// A signal that asks a process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM.
    Term,
    /// SIGINT.
    Int,
    /// SIGQUIT.
    Quit,
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGKILL.
    Kill,
}

impl StopSignal {
    /// Its number on Linux.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Hup => 1,
            Self::Int => 2,
            Self::Quit => 3,
            Self::Kill => 9,
            Self::Usr1 => 10,
            Self::Usr2 => 12,
            Self::Term => 15,
        }
    }
}

choice! {
    /// A signal that asks a process to stop.
    StopSignalWord: StopSignal {
        "TERM" => StopSignal::Term,
        "INT" => StopSignal::Int,
        "QUIT" => StopSignal::Quit,
        "HUP" => StopSignal::Hup,
        "USR1" => StopSignal::Usr1,
        "USR2" => StopSignal::Usr2,
        "KILL" => StopSignal::Kill,
    } later {}
}

/// A kind of fault.
#[derive(Debug, Clone, Copy)]
pub struct FaultWord;

impl FileValue for FaultWord {
    type Out = FaultKind;

    fn shape() -> ValueShape {
        ValueShape::Choice(FaultKind::ALL.map(FaultKind::word).to_vec())
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<FaultKind> {
        let word = want_text(value, "a kind of fault in quotes", out)?;
        let kind = FaultKind::from_word(word);
        if kind.is_none() {
            let mut diagnostic =
                unknown_word(word, value.span(), &FaultKind::ALL.map(FaultKind::word));
            diagnostic.message = format!("\"{}\" is not a kind of fault", word.escape_debug());
            out.push(diagnostic);
        }
        kind
    }
}
