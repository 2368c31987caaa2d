//! Recovery, as typed: mode, limits and playbooks.

use std::time::Duration;

use evenkeel_fault::policy::Action;
use toml::de::DeValue;

use super::choice::{FaultWord, ModeWord, unknown_word};
use super::quantity::DurationValue;
use super::shape::{Key, Table, ValueShape};
use super::value::{Integer, List, NonEmptyList, NonEmptyText, Share};
use super::{FileValue, Value, entries, not_yet, table, unknown_key, wrong_type};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};

table! {
    /// How faults are repaired.
    pub struct RecoverConfig {
        /// Who decides about costly actions: restart, stop, commands. `automatic`: evenkeel acts; `ask`: an operator
        /// approves; `dry-run`: evenkeel records what it would do. In these three, failing servers leave the rotation
        /// and return. `off`: evenkeel only detects, diagnoses and records.
        mode: ModeWord = defaults::MODE;
        /// The share of servers that must stay in service when evenkeel acts. Acting on servers that serve nothing is
        /// always allowed.
        keep_serving: Share = defaults::KEEP_SERVING;
        /// How many running servers of the service may be under a costly action (restart, stop, exec) at a time.
        /// Starting a process that has exited does not count.
        at_once: Integer<1, 1_000> = defaults::AT_ONCE;
        /// How long a server that accepts connections but does not answer stays out of rotation before it is restarted.
        /// Once it has recovered by itself, twice its longest pause, from 10 to 60 s. A stopped process (state T) is
        /// restarted without waiting.
        hang_wait: DurationValue<0> = defaults::HANG_WAIT;
        /// How many actions that change a server (restart, stop, roll-back, exec) are allowed per server. Starts of an
        /// exited process do not count once they are verified, and are not delayed while fewer servers serve than
        /// `keep_serving` demands.
        limit: ActionLimitConfig;
        /// The back-off between restarts of one server; the first restart is immediate.
        backoff: RestartBackoffConfig;
        /// How a repair is verified: probes, then a trickle of real requests, then slow start.
        verify: VerifyConfig;
        /// Your playbooks; they take precedence over the built-in ones, which cover every kind of fault.
        playbook: List<PlaybookConfig>;
    }
    later {}
}

table! {
    /// How many actions that change a server are allowed per server.
    pub struct ActionLimitConfig {
        /// The maximum number of actions.
        actions: Integer<1, 1_000> = defaults::LIMIT_ACTIONS;
        /// The length of the window.
        within: DurationValue<1_000> = defaults::LIMIT_WITHIN;
    }
    later {}
}

table! {
    /// The back-off between restarts of one server.
    pub struct RestartBackoffConfig {
        /// The back-off before the second restart; doubled for each further one.
        base: DurationValue<0> = defaults::RESTART_BACKOFF_BASE;
        /// The longest back-off.
        cap: DurationValue<0> = defaults::RESTART_BACKOFF_CAP;
        /// The back-off starts over after this long without a restart.
        reset_after: DurationValue<1_000> = defaults::RESTART_RESET_AFTER;
    }
    later {}
}

table! {
    /// How a repair is verified.
    pub struct VerifyConfig {
        /// How many consecutive probes must pass.
        probes: Integer<1, 1_000> = defaults::VERIFY_PROBES;
        /// The interval between two of them.
        every: DurationValue<10> = defaults::VERIFY_EVERY;
        /// The timeout of the whole verification.
        within: DurationValue<100> = defaults::VERIFY_WITHIN;
    }
    later {}
}

table! {
    /// A playbook: the actions for one or more kinds of fault.
    pub struct PlaybookConfig {
        /// The kinds of fault it applies to.
        when: NonEmptyList<FaultWord> [required];
        /// The actions, in order.
        actions("do"): NonEmptyList<ActionEntry> [required];
    }
    later {}
}

/// An action: a word, or a table with one key.
#[derive(Debug, Clone, Copy)]
pub struct ActionEntry;

const WORDS: [&str; 11] = [
    "eject",
    "drain",
    "restore",
    "restart",
    "stop",
    "roll-back",
    "fail-over",
    "shed",
    "fall-back",
    "wait",
    "escalate",
];
const LATER_KEYS: [&str; 2] = ["webhook", "notify"];

const ACTIONS_NOW: &str =
    "a command can do it for now: { exec = [\"./mine.sh\", \"{service}\", \"{server}\"] }";

impl FileValue for ActionEntry {
    type Out = Action;

    fn shape() -> ValueShape {
        let key = |name, about, shape| Key {
            name,
            about,
            shape,
            required: true,
            off: false,
            default: None,
        };
        let table = |key: Key, later: &[&'static str]| {
            let about = "An action with what it needs.";
            ValueShape::Table(Table {
                about,
                keys: vec![key],
                later: later.to_vec(),
            })
        };
        let exec = "A command is run: program and arguments, without a shell. `{service}`, `{server}`, `{address}`, `{fault}` and `{incident}` are replaced.";
        ValueShape::Any(vec![
            ValueShape::Choice(WORDS.to_vec()),
            table(
                key("exec", exec, NonEmptyList::<NonEmptyText>::shape()),
                &LATER_KEYS,
            ),
            table(
                key(
                    "wait",
                    "Waits for this long. The bare word waits for one second.",
                    DurationValue::<1>::shape(),
                ),
                &[],
            ),
        ])
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Action> {
        match value.get_ref() {
            DeValue::String(word) => read_word(word, value, out),
            DeValue::Table(_) => read_table(value, out),
            _ => {
                out.push(
                    wrong_type(value, "an action")
                        .help("a word like \"restart\", or { exec = [\"./page.sh\"] }"),
                );
                None
            }
        }
    }
}

fn read_word(word: &str, value: &Value<'_>, out: &mut Diagnostics) -> Option<Action> {
    Some(match word {
        "eject" => Action::Eject,
        "drain" => Action::Drain,
        "restore" => Action::Restore,
        "restart" => Action::Restart,
        "stop" => Action::Stop,
        "roll-back" => Action::RollBack,
        "fail-over" => Action::FailOver,
        "shed" => Action::Shed,
        "fall-back" => Action::FallBack,
        "wait" => Action::Wait(Duration::from_secs(1)),
        "escalate" => Action::Escalate,
        word if LATER_KEYS.contains(&word) => {
            out.push(not_yet(
                &format!("the action \"{word}\""),
                value.span(),
                ACTIONS_NOW,
            ));
            return None;
        }
        "exec" => {
            let diagnostic = Diagnostic::new(
                Code::Missing,
                value.span(),
                "the action \"exec\" needs a command",
                "which command?",
            );
            out.push(diagnostic.help("{ exec = [\"./page.sh\", \"{server}\"] }"));
            return None;
        }
        word => {
            let mut diagnostic = unknown_word(word, value.span(), &WORDS);
            diagnostic.message = format!("\"{}\" is not an action", word.escape_debug());
            out.push(diagnostic);
            return None;
        }
    })
}

fn read_table(value: &Value<'_>, out: &mut Diagnostics) -> Option<Action> {
    let table = super::want_table(value, out)?;
    if table.len() != 1 {
        let diagnostic = Diagnostic::new(
            Code::WrongType,
            value.span(),
            "an action has one key",
            format!("has {}", table.len()),
        );
        out.push(diagnostic.help("one table for each action: { exec = [...] }, { wait = \"5s\" }"));
    }
    let mut action = None;
    for (key, value) in entries(table) {
        match key.get_ref().as_ref() {
            "exec" => {
                let command = NonEmptyList::<NonEmptyText>::read(value, out)?;
                let words = ["service", "server", "address", "fault", "incident"];
                command
                    .iter()
                    .for_each(|argument| placeholders(argument, &argument.span, &words, out));
                action = Some(Action::Exec(
                    command.into_iter().map(|argument| argument.value).collect(),
                ));
            }
            "wait" => action = Some(Action::Wait(DurationValue::<1>::read(value, out)?)),
            key_text if LATER_KEYS.contains(&key_text) => out.push(not_yet(
                &format!("the action `{key_text}`"),
                key.span(),
                ACTIONS_NOW,
            )),
            key_text => out.push(unknown_key(key_text, key.span(), &["exec", "wait"])),
        }
    }
    action.filter(|_| table.len() == 1)
}

/// Rejects unknown placeholders. Braces around anything but lower-case letters are left alone.
pub fn placeholders(
    text: &str,
    span: &crate::diagnostic::TextRange,
    known: &[&str],
    out: &mut Diagnostics,
) {
    for part in text.split('{').skip(1) {
        let Some((word, _)) = part.split_once('}') else {
            continue;
        };
        let is_word = !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_word && !known.contains(&word) {
            let all = known
                .iter()
                .map(|word| format!("{{{word}}}"))
                .collect::<Vec<_>>()
                .join(", ");
            let help = crate::nearest::nearest(word, known.iter().copied()).map_or_else(
                || format!("replaced here: {all}"),
                |near| format!("did you mean {{{near}}}? (replaced here: {all})"),
            );
            let message = format!("{{{word}}} is not replaced here");
            out.push(
                Diagnostic::new(
                    Code::BadCommand,
                    span.clone(),
                    message,
                    "unknown placeholder",
                )
                .help(help),
            );
        }
    }
}
