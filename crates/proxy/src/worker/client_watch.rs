//! Notices that a client is gone while its request waits for something else.
//!
//! A worker has one epoll instance of its own for this. Each client socket is in it once, from accept to close, for hang-up and
//! error only, which the kernel always reports. So a reset is an event that costs a request nothing: no system call, no
//! registration per wait, and it is seen behind pipelined bytes and after a half-close, where readable readiness says nothing
//! new. A FIN alone is neither a hang-up nor an error: the client may still read its answer.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Waker};

use evenkeel_core::ServerId;
use evenkeel_runtime::contain;
use rustix::event::{Timespec, epoll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Events that are taken from the kernel at a time.
const BATCH: usize = 64;

/// All client connections of a worker that are watched.
#[derive(Debug)]
pub(crate) struct ClientWatcher {
    epoll: AsyncFd<OwnedFd>,
    entries: RefCell<Vec<WatchEntry>>,
    free: RefCell<Vec<u32>>,
}

#[derive(Debug, Default)]
struct WatchEntry {
    /// Tells an event of this connection from a late one of the connection before it.
    generation: u32,
    watch: Option<Rc<ClientWatch>>,
}

/// One client's connection, as whoever waits on its behalf sees it; or only the server that a hedged attempt waits on.
#[derive(Debug, Default)]
pub(crate) struct ClientWatch {
    gone: Cell<bool>,
    /// It is gone because the connection was reset, and not because both directions were closed.
    reset: Cell<bool>,
    /// The server that an attempt waits on, and whether it was taken out as dead or hung since.
    server: Cell<Option<ServerId>>,
    server_out: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Keeps a connection watched until it is dropped.
#[derive(Debug)]
pub(crate) struct WatchedClient {
    watcher: Rc<ClientWatcher>,
    index: u32,
    watch: Rc<ClientWatch>,
}

/// An attempt that waits on a server.
#[derive(Debug)]
pub(crate) struct WaitsOn<'a>(&'a ClientWatch);

impl Drop for WaitsOn<'_> {
    fn drop(&mut self) {
        self.0.server.set(None);
    }
}

impl ClientWatcher {
    /// Called within the worker's runtime.
    ///
    /// # Errors
    /// If there is no descriptor left.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe for types whose descriptor can change, which an OwnedFd's cannot"
    )]
    pub(crate) fn new() -> io::Result<Rc<Self>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Rc::new(Self {
            epoll: AsyncFd::with_interest(epoll, Interest::READABLE)?,
            entries: RefCell::default(),
            free: RefCell::default(),
        }))
    }

    /// Watches a connection: a client's, or for a tunnel a server's. If the kernel has no room for it, its client is only missed when something is written to it.
    pub(crate) fn watch(self: &Rc<Self>, socket: impl AsFd) -> WatchedClient {
        let watch = Rc::<ClientWatch>::default();
        let (index, generation) = self.enter(&watch);
        let data = epoll::EventData::new_u64(u64::from(generation) << 32 | u64::from(index));
        if let Err(error) = epoll::add(&self.epoll, socket, data, epoll::EventFlags::ONESHOT) {
            tracing::debug!(%error, "a client connection is not watched");
        }
        WatchedClient {
            watcher: Rc::clone(self),
            index,
            watch,
        }
    }

    /// Tells those whose clients are gone, for ever.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut events = Vec::with_capacity(BATCH);
        loop {
            if let Err(error) = self.turn(&mut events).await {
                // Clients that are gone are only missed when something is written to them.
                tracing::error!(%error, "client connections are no longer watched");
                return;
            }
        }
    }

    /// Waits for events, and tells of all that there are.
    async fn turn(&self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        let mut ready = self.epoll.readable().await?;
        loop {
            events.clear();
            let room = rustix::buffer::spare_capacity(events);
            let at_once = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            match epoll::wait(&self.epoll, room, Some(&at_once)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            // The kernel reports each of them once: a panic in one waker may not lose the others.
            contain::wake_all(events.iter().filter_map(|event| {
                let flags = event.flags;
                let is_reset = flags.contains(epoll::EventFlags::ERR);
                self.gone(event.data.u64(), is_reset)
            }));
            if events.len() < BATCH {
                break;
            }
        }
        ready.clear_ready();
        Ok(())
    }

    /// Watches a server on behalf of an attempt beside the first one: whether it was taken out as dead or hung.
    pub(crate) fn watch_server(self: &Rc<Self>, server: ServerId) -> WatchedClient {
        let watch = Rc::<ClientWatch>::default();
        watch.server.set(Some(server));
        let (index, _) = self.enter(&watch);
        WatchedClient {
            watcher: Rc::clone(self),
            index,
            watch,
        }
    }

    fn enter(&self, watch: &Rc<ClientWatch>) -> (u32, u32) {
        let mut entries = self.entries.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            entries.push(WatchEntry::default());
            u32::try_from(entries.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut entries[index as usize];
        entry.watch = Some(Rc::clone(watch));
        (index, entry.generation)
    }

    /// These servers were taken out as dead or hung: wakes whoever waits on them.
    pub(crate) fn servers_out(&self, servers: &[ServerId]) {
        let entries = self.entries.borrow();
        let watches = entries.iter().filter_map(|entry| entry.watch.as_ref());
        let waiting = watches.filter(|watch| {
            let server = watch.server.get();
            server.is_some_and(|server| servers.contains(&server))
        });
        let wakers: Vec<Option<Waker>> = waiting
            .map(|watch| {
                watch.server_out.set(true);
                watch.waker.take()
            })
            .collect();
        drop(entries);
        contain::wake_all(wakers.into_iter().flatten());
    }

    /// The client of this event is gone. Returns what is to be woken.
    fn gone(&self, data: u64, is_reset: bool) -> Option<Waker> {
        let (generation, index) = ((data >> 32) as u32, data as u32);
        let entries = self.entries.borrow();
        let entry = entries.get(index as usize);
        let watch = entry
            .filter(|entry| entry.generation == generation)?
            .watch
            .as_ref()?;
        watch.gone.set(true);
        watch.reset.set(is_reset);
        watch.waker.take()
    }
}

impl WatchedClient {
    /// Whether it is known by now that the client is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.watch.is_gone()
    }

    /// Whether the client is gone; if not, the task is woken when it is.
    pub(crate) fn poll_gone(&self, cx: &Context<'_>) -> bool {
        self.watch.poll_gone(cx)
    }

    /// Whether the connection was reset; if not, the task is woken when it is. That both directions were closed, each by a FIN of
    /// its own, is no reset.
    pub(crate) fn poll_reset(&self, cx: &Context<'_>) -> bool {
        self.watch.poll_gone(cx) && self.watch.reset.get()
    }

    /// The connection, for whoever waits while the client is borrowed.
    pub(crate) fn get(&self) -> Rc<ClientWatch> {
        Rc::clone(&self.watch)
    }
}

impl Drop for WatchedClient {
    fn drop(&mut self) {
        let mut entries = self.watcher.entries.borrow_mut();
        let entry = &mut entries[self.index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.watch = None;
        self.watcher.free.borrow_mut().push(self.index);
    }
}

impl ClientWatch {
    /// An attempt on this server begins, and lasts until the result is dropped.
    pub(crate) fn waits_on(&self, server: ServerId) -> WaitsOn<'_> {
        self.server.set(Some(server));
        self.server_out.set(false);
        WaitsOn(self)
    }

    /// Whether the server that is waited on was taken out; says so once. Whoever polls [`Self::poll_gone`] is woken for it too.
    pub(crate) fn take_server_out(&self) -> bool {
        self.server_out.replace(false)
    }

    /// Whether one of both is to be looked at; if not, the task is woken when it is.
    pub(crate) fn poll_event(&self, cx: &Context<'_>) -> bool {
        self.poll_gone(cx) || self.server_out.get()
    }

    /// Whether the client is gone; if not, the task is woken when it is.
    pub(crate) fn poll_gone(&self, cx: &Context<'_>) -> bool {
        if self.gone.get() {
            return true;
        }
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        false
    }

    /// Whether it is known by now that the client is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get()
    }
}
