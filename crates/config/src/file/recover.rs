//! Recovery, as typed: who decides, within which limits, and playbooks.

use std::time::Duration;

use evenkeel_fault::policy::Action;
use toml::de::DeValue;

use super::choice::{FaultWord, ModeWord, unknown_word};
use super::quantity::Time;
use super::shape::{Key, Shape, Table};
use super::value::{Filled, List, Share, Text, Whole};
use super::{Kind, Value, entries, not_yet, table, unknown_key, wrong_type};
use crate::defaults;
use crate::mistake::{Code, Mistake, Mistakes};

table! {
    /// What is done about a fault.
    pub struct Recover {
        /// Who decides about actions that cost something: restart, stop, commands. `automatic`: evenkeel acts; `ask`: a person approves;
        /// `dry-run`: evenkeel writes down what it would do. In these three, servers that fail leave the rotation and come back. `off`:
        /// it only detects, diagnoses and records.
        mode: ModeWord = defaults::MODE;
        /// Never act on more servers than leave this share in service. Servers that already serve nothing cost nothing.
        keep_serving: Share = defaults::KEEP_SERVING;
        /// So many running servers of the service may be under a costly action (restart, stop, exec) at a time. Starting a process
        /// that has ended is not one.
        at_once: Whole<1, 1_000> = defaults::AT_ONCE;
        /// How long a server that takes connections and answers nothing is out of rotation before it is restarted. Once it has come
        /// back by itself, twice its longest pause, from 10 to 60 s. A process that is stopped (state T) is not waited for.
        hang_wait: Time<0> = defaults::HANG_WAIT;
        /// How many actions that change a server (restart, stop, roll-back, exec) one server may get. Starts of a process that had ended do
        /// not count once they are verified, and are not held up while fewer servers serve than `keep_serving`.
        limit: ActionLimit;
        /// Between restarts of one server; the first is immediate.
        backoff: RestartBackoff;
        /// How a repair is verified: probes, then a trickle of real requests, then slow start.
        verify: Verify;
        /// Your playbooks; they come before the built-in ones, which cover every kind of fault.
        playbook: List<PlaybookEntry>;
    }
    later {}
}

table! {
    /// How many actions that change a server one server may get.
    pub struct ActionLimit {
        /// So many.
        actions: Whole<1, 1_000> = defaults::LIMIT_ACTIONS;
        /// Within this time.
        within: Time<1_000> = defaults::LIMIT_WITHIN;
    }
    later {}
}

table! {
    /// The wait between restarts of one server.
    pub struct RestartBackoff {
        /// Before the second restart; doubled for each further one.
        base: Time<0> = defaults::RESTART_BACKOFF_BASE;
        /// At most.
        cap: Time<0> = defaults::RESTART_BACKOFF_CAP;
        /// After this long without a restart it begins anew.
        reset_after: Time<1_000> = defaults::RESTART_RESET_AFTER;
    }
    later {}
}

table! {
    /// How a repair is verified.
    pub struct Verify {
        /// Probes in a row that must pass.
        probes: Whole<1, 1_000> = defaults::VERIFY_PROBES;
        /// Between two of them.
        every: Time<10> = defaults::VERIFY_EVERY;
        /// All of it must be done within this time.
        within: Time<100> = defaults::VERIFY_WITHIN;
    }
    later {}
}

table! {
    /// Which actions for which faults.
    pub struct PlaybookEntry {
        /// The faults it is for.
        when: Filled<FaultWord> [required];
        /// The actions, in order.
        actions("do"): Filled<ActionEntry> [required];
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

impl Kind for ActionEntry {
    type Out = Action;

    fn shape() -> Shape {
        let key = |name, about, shape| Key {
            name,
            about,
            shape,
            required: true,
            default: None,
        };
        let table = |key: Key, later: &[&'static str]| {
            let about = "An action with what it needs.";
            Shape::Table(Table {
                about,
                keys: vec![key],
                later: later.to_vec(),
            })
        };
        let exec = "A command is run: program and arguments, without a shell. `{service}`, `{server}`, `{address}`, `{fault}` and `{incident}` are replaced.";
        Shape::Any(vec![
            Shape::Choice(WORDS.to_vec()),
            table(key("exec", exec, Filled::<Text>::shape()), &LATER_KEYS),
            table(
                key(
                    "wait",
                    "Nothing is done for this long. The bare word waits one second.",
                    Time::<1>::shape(),
                ),
                &[],
            ),
        ])
    }

    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<Action> {
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

fn read_word(word: &str, value: &Value<'_>, out: &mut Mistakes) -> Option<Action> {
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
            let mistake = Mistake::new(
                Code::Missing,
                value.span(),
                "the action \"exec\" needs a command",
                "which command?",
            );
            out.push(mistake.help("{ exec = [\"./page.sh\", \"{server}\"] }"));
            return None;
        }
        word => {
            let mut mistake = unknown_word(word, value.span(), &WORDS);
            mistake.message = format!("\"{}\" is not an action", word.escape_debug());
            out.push(mistake);
            return None;
        }
    })
}

fn read_table(value: &Value<'_>, out: &mut Mistakes) -> Option<Action> {
    let table = super::want_table(value, out)?;
    if table.len() != 1 {
        let mistake = Mistake::new(
            Code::WrongType,
            value.span(),
            "an action has one key",
            format!("has {}", table.len()),
        );
        out.push(mistake.help("one table for each action: { exec = [...] }, { wait = \"5s\" }"));
    }
    let mut action = None;
    for (key, value) in entries(table) {
        match key.get_ref().as_ref() {
            "exec" => {
                let command = Filled::<Text>::read(value, out)?;
                let words = ["service", "server", "address", "fault", "incident"];
                command
                    .iter()
                    .for_each(|argument| placeholders(argument, &argument.span, &words, out));
                action = Some(Action::Exec(
                    command.into_iter().map(|argument| argument.value).collect(),
                ));
            }
            "wait" => action = Some(Action::Wait(Time::<1>::read(value, out)?)),
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

/// Refuses placeholders that would not be replaced. Braces around anything but small letters are left alone.
pub fn placeholders(text: &str, span: &crate::mistake::Span, known: &[&str], out: &mut Mistakes) {
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
            let message = format!("nothing replaces {{{word}}} here");
            out.push(
                Mistake::new(
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
