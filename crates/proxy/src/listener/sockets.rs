//! The listening sockets of the data plane, for each listener and worker.
//!
//! They belong to no worker: a socket that is closed resets the clients in its queue, so they stay open while a worker that has panicked is
//! started again. Workers accept on duplicates of their descriptors.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::listener::acceptor::WorkerSocket;
use crate::listener::limits::Slots;
use evenkeel_config::plan::ListenerPlan;
use evenkeel_core::Endpoint;
use evenkeel_runtime::listen::{listen, listen_beside};
use evenkeel_runtime::socket_file::{SocketAccess, SocketFile, listen_unix};

/// Connections that may wait to be accepted, per worker and listener, or per Unix domain socket; the kernel's `somaxconn` bounds it
/// as well.
const BACKLOG: i32 = 4096;

/// The sockets of one listener.
#[derive(Debug)]
pub(crate) struct ListenerSockets {
    /// With the port that was taken for port 0.
    address: Endpoint,
    /// By worker.
    sockets: Vec<Option<WorkerSocket>>,
    /// The file of a Unix domain socket: removed with the last listener that has it.
    file: Option<Arc<SocketFile>>,
}

/// The sockets of all listeners, each with its name and what tells it from others in its slot. The lock is held for moments, and not on the
/// path of requests.
#[derive(Debug, Default)]
pub(crate) struct OpenSockets(Mutex<Vec<NamedSockets>>);

#[derive(Debug)]
struct NamedSockets {
    name: String,
    clients: Arc<Slots>,
    sockets: ListenerSockets,
}

impl ListenerSockets {
    /// Listens as `plan` says, for so many workers.
    ///
    /// # Errors
    /// If the address is taken or not allowed; nothing listens then.
    pub(crate) fn open(plan: &ListenerPlan, workers: usize) -> io::Result<Self> {
        match &plan.address {
            Endpoint::Tcp(address) => {
                let first = without_delay(listen(*address, workers > 1, BACKLOG)?)?;
                let address = first.local_addr()?;
                let mut sockets = vec![Some(WorkerSocket::Tcp(first))];
                for _ in 1..workers {
                    let next = without_delay(listen_beside(address, BACKLOG)?)?;
                    sockets.push(Some(WorkerSocket::Tcp(next)));
                }
                Ok(Self {
                    address: address.into(),
                    sockets,
                    file: None,
                })
            }
            Endpoint::Unix(path) => {
                let access = SocketAccess {
                    mode: plan.socket.mode,
                    group: plan.socket.group.as_deref(),
                };
                let (first, file) = listen_unix(path, access, BACKLOG)?;
                let others = (1..workers).map(|_| first.try_clone().map(WorkerSocket::Unix));
                let mut sockets = others
                    .map(|socket| socket.map(Some))
                    .collect::<io::Result<Vec<_>>>()?;
                sockets.push(Some(WorkerSocket::Unix(first)));
                Ok(Self {
                    address: plan.address.clone(),
                    sockets,
                    file: Some(Arc::new(file)),
                })
            }
        }
    }

    /// The same sockets once more, for another listener with this address.
    ///
    /// # Errors
    /// If there is no descriptor left.
    fn duplicate(&self) -> io::Result<Self> {
        let copy = |socket: &Option<WorkerSocket>| match socket {
            Some(socket) => socket.try_clone().map(Some),
            None => Ok(None),
        };
        Ok(Self {
            address: self.address.clone(),
            sockets: self.sockets.iter().map(copy).collect::<io::Result<_>>()?,
            file: self.file.clone(),
        })
    }
}

impl OpenSockets {
    /// The sockets of a listener, which is told from others by its slots for clients.
    pub(crate) fn add(&self, name: &str, clients: &Arc<Slots>, sockets: ListenerSockets) {
        let (name, clients) = (name.to_owned(), Arc::clone(clients));
        self.all().push(NamedSockets {
            name,
            clients,
            sockets,
        });
    }

    /// The sockets of the listener with these slots, once more.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub(crate) fn duplicate(&self, clients: &Arc<Slots>) -> io::Result<Option<ListenerSockets>> {
        let all = self.all();
        let mut found = all.iter().filter(|one| Arc::ptr_eq(&one.clients, clients));
        let found = found.next().map(|one| one.sockets.duplicate());
        found.transpose()
    }

    /// Only the listeners with these slots stay, in this order; the sockets of the others are closed.
    pub(crate) fn keep(&self, listeners: &[&Arc<Slots>]) {
        let mut all = self.all();
        let order = |one: &NamedSockets| {
            let mut listeners = listeners.iter();
            listeners.position(|clients| Arc::ptr_eq(&one.clients, clients))
        };
        all.retain(|one| order(one).is_some());
        all.sort_by_key(order);
    }

    /// A duplicate of a worker's socket of this listener; nothing if it is closed already.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub(crate) fn of_worker(
        &self,
        clients: &Arc<Slots>,
        worker: usize,
    ) -> io::Result<Option<WorkerSocket>> {
        let all = self.all();
        let mut found = all.iter().filter(|one| Arc::ptr_eq(&one.clients, clients));
        let socket = found
            .next()
            .and_then(|one| one.sockets.sockets.get(worker)?.as_ref());
        socket.map(WorkerSocket::try_clone).transpose()
    }

    /// Removes the files of Unix domain sockets: from now on nobody connects.
    pub(crate) fn remove_files(&self) {
        let all = self.all();
        let files = all.iter().filter_map(|one| one.sockets.file.as_deref());
        files.for_each(SocketFile::remove);
    }

    /// A worker accepts no more.
    pub(crate) fn close_of_worker(&self, worker: usize) {
        for one in &mut *self.all() {
            if let Some(socket) = one.sockets.sockets.get_mut(worker) {
                *socket = None;
            }
        }
    }

    /// Each listener's name and address.
    pub(crate) fn addresses(&self) -> Vec<(String, Endpoint)> {
        let all = self.all();
        let address = |one: &NamedSockets| (one.name.clone(), one.sockets.address.clone());
        all.iter().map(address).collect()
    }

    fn all(&self) -> MutexGuard<'_, Vec<NamedSockets>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepted sockets inherit it.
fn without_delay(listener: StdTcpListener) -> io::Result<StdTcpListener> {
    socket2::SockRef::from(&listener).set_tcp_nodelay(true)?;
    Ok(listener)
}
