//! Whether the process that answers on a server's port is the server's own: checked when it first answers, not with
//! each probe.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_core::{Endpoint, Instant, ServerId};
use evenkeel_runtime::Clock;

use crate::children::Children;
use crate::listener::{self, ListeningSockets, SocketOwner};

/// While a stranger is there, between two looks.
const AGAIN: Duration = Duration::from_secs(1);

/// The known socket owners of each child.
#[derive(Debug)]
pub(crate) struct Owners {
    clock: Clock,
    children: Arc<Children>,
    known: Mutex<BTreeMap<ServerId, CachedOwner>>,
}

/// The last look.
#[derive(Debug)]
struct CachedOwner {
    /// At the port of this process.
    pid: u32,
    at: Instant,
    listener: SocketOwner,
}

impl Owners {
    pub(crate) fn new(clock: Clock, children: Arc<Children>) -> Self {
        Self {
            clock,
            children,
            known: Mutex::default(),
        }
    }

    /// The kernel's information on the sockets of a child.
    pub(crate) async fn survey(
        &self,
        server: ServerId,
        address: &Endpoint,
    ) -> Option<ListeningSockets> {
        let subject = self.children.subject(server)?;
        let address = address.clone();
        let looked =
            tokio::task::spawn_blocking(move || listener::survey(&address, Some(&subject)));
        looked.await.ok().flatten()
    }

    /// The process that answers at a server's address. Determined only for running children.
    pub(crate) async fn listener(&self, server: ServerId, address: &Endpoint) -> SocketOwner {
        let Some(subject) = self.children.subject(server) else {
            return SocketOwner::Accepted;
        };
        let (pid, now) = (subject.pid, self.clock.now());
        if let Some(known) = self.known().get(&server).filter(|known| known.pid == pid) {
            let is_fresh = now.since(known.at) < AGAIN;
            if known.listener == SocketOwner::Accepted || is_fresh {
                return known.listener.clone();
            }
        }
        let at = address.clone();
        let looked = tokio::task::spawn_blocking(move || listener::look(&at, &subject));
        // A look that failed says nothing against the server.
        let listener = looked.await.unwrap_or(SocketOwner::Accepted);
        let known = CachedOwner {
            pid,
            at: now,
            listener: listener.clone(),
        };
        let before = self.known().insert(server, known);
        let is_news = before.is_none_or(|before| before.pid != pid || before.listener != listener);
        if let SocketOwner::Stranger(who) = listener.clone()
            && is_news
        {
            self.children.with_names(server, |service, name| {
                let place = match address {
                    Endpoint::Tcp(address) => format!("port {}", address.port()),
                    Endpoint::Unix(path) => format!("socket {}", path.display()),
                };
                tracing::warn!(
                    service,
                    server = name,
                    "{who} listens on its {place}: the server gets no traffic"
                );
            });
        }
        listener
    }

    /// Its port was closed: another process may open it next.
    pub(crate) fn forget(&self, server: ServerId) {
        self.known().remove(&server);
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<ServerId, CachedOwner>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
