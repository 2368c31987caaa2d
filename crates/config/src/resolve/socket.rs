//! Resolves who may connect to a Unix domain socket that evenkeel listens on.
//!
//! What the file system says of the socket's file is a warning and not an error: a folder may be made before evenkeel is started.

use evenkeel_core::Endpoint;

use super::environment::Environment;
use super::typed::pick;
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::Located;
use crate::file::listen::SocketConfig;
use crate::plan::SocketPlan;

/// The permissions of the file of `address`, as typed or by default.
pub(super) fn resolve_socket(
    address: Option<&Located<Endpoint>>,
    typed: Option<&Located<SocketConfig>>,
    around: &Environment<'_>,
    out: &mut Diagnostics,
) -> SocketPlan {
    let mode = typed.and_then(|typed| typed.mode.as_ref());
    let group = typed.and_then(|typed| typed.group.as_ref());
    let plan = SocketPlan {
        mode: pick(mode, defaults::SOCKET_MODE).0,
        group: group.map(|group| group.value.clone()),
    };
    let path = address.and_then(|address| Some((address.value.socket()?, address)));
    match (path, typed) {
        (Some((path, address)), _) => {
            if let Err(why) = (around.socket)(path, plan.group.as_deref()) {
                let diagnostic = Diagnostic::new(
                    Code::SocketUnusable,
                    address.span.clone(),
                    format!("evenkeel could not listen on {}: {why}", address.value),
                    "as it is now",
                );
                out.push(diagnostic);
            }
        }
        (None, Some(typed)) => {
            let diagnostic = Diagnostic::new(
                Code::Contradiction,
                typed.key.clone(),
                "`socket` is for the address of a Unix domain socket",
                "not for an IP address",
            );
            out.push(diagnostic.help("such an address is \"unix:/PATH\""));
        }
        (None, None) => {}
    }
    plan
}
