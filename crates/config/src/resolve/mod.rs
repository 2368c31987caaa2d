//! From the file as typed to a plan: fills in defaults, and turns names into addresses and ids, words into rules.
//!
//! Errors within one value are found here or earlier; contradictions between values are found by `validate`.

mod environment;
mod typed;
pub mod server;
mod discover;
pub mod listen;
mod target;
mod dns;
mod spread;
mod limit;
mod breaker;
mod ask;
mod headers;
mod mirror;
mod fallback;
mod policies;
mod inject;
pub mod service;
pub mod fault;

pub(crate) use dns::is_dns;
pub use environment::Environment;

use std::path::PathBuf;

use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::file::{ConfigFile, not_yet};
use crate::nearest::nearest;
use crate::plan::{AdminPlan, LogPlan, Plan, StorePlan};
use typed::{pick, section};

/// A plan that may still be wrong, with the places of what it was made of.
#[derive(Debug)]
pub(crate) struct Draft {
    /// The plan.
    pub plan: Plan,
    /// The place of each server of each service.
    pub server_spans: Vec<Vec<TextRange>>,
}

/// The plan of `file`.
pub(crate) fn resolve(file: &ConfigFile, around: &Environment<'_>, out: &mut Diagnostics) -> Draft {
    let (mut services, server_spans) = service::resolve_services(file, around, out);
    let mut listeners = listen::resolve_listeners(file, out);
    fault::fill_probe_hosts(&mut services, &listeners);
    policies::number(services.len(), &mut listeners);
    let dns = dns::resolve_dns(file, out);
    let admin = section(file.admin.as_ref());
    let token = section(admin.token.as_ref());
    let token_file = token.file.map_or_else(
        || defaults::ADMIN_TOKEN_FILE.value.to_owned(),
        |file| file.value,
    );
    let log = section(file.log.as_ref());
    let workers = file
        .workers
        .as_ref()
        .and_then(|workers| usize::try_from(workers.value).ok());
    let plan = Plan {
        reload: pick(file.reload.as_ref(), defaults::RELOAD),
        workers: workers.unwrap_or(around.cores).max(1),
        admin: AdminPlan {
            address: pick(admin.address.as_ref(), defaults::ADMIN_ADDRESS),
            token_file: around.state_dir.join(token_file),
        },
        store: resolve_store(file, around, out),
        log: LogPlan {
            format: pick(log.format.as_ref(), defaults::LOG_FORMAT),
            level: pick(log.level.as_ref(), defaults::LOG_LEVEL),
            access: pick(log.access.as_ref(), defaults::LOG_ACCESS),
        },
        listeners,
        dns,
        services,
    };
    Draft { plan, server_spans }
}

fn resolve_store(file: &ConfigFile, around: &Environment<'_>, out: &mut Diagnostics) -> StorePlan {
    let url = section(file.store.as_ref()).url;
    let span = url.as_ref().map_or(0..0, |url| url.span.clone());
    let text = url.map_or_else(|| defaults::STORE_URL.value.to_owned(), |url| url.value);
    if text == "memory:" {
        return StorePlan { file: None };
    }
    match text.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() && !path.starts_with(':') => {
            return StorePlan {
                file: Some(around.state_dir.join(PathBuf::from(path))),
            };
        }
        Some(("postgres" | "postgresql", _)) => out.push(not_yet(
            "a PostgreSQL store",
            span,
            "\"sqlite:FILE\", or \"memory:\" to keep nothing",
        )),
        scheme => {
            let near = scheme.and_then(|(scheme, _)| nearest(scheme, ["sqlite", "memory"]));
            let help = if near == Some("memory") {
                "\"memory:\""
            } else {
                "\"sqlite:FILE\", or \"memory:\" to keep nothing"
            };
            let message = format!("\"{}\" is not a store", text.escape_debug());
            out.push(
                Diagnostic::new(Code::UnknownWord, span, message, "unknown kind of store")
                    .help(help),
            );
        }
    }
    StorePlan { file: None }
}
