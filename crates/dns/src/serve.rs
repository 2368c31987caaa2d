//! The sockets: UDP and TCP at the same address, with a bound on everything that a client can do.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evenkeel_core::Random;
use evenkeel_runtime::{Clock, Tasks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::timeout;

use crate::answer::{Responder, Transport, cut_off};
use crate::count::{DnsCounters, DropReason};
use crate::limit::{LimitDecision, RateLimit};
use crate::zone::{DnsOptions, Servers};

/// Longer queries are not read: one with all options of today has some hundred bytes.
const MOST_QUERY: usize = 4_096;
/// TCP connections at the same time.
const CONNECTIONS: usize = 256;
/// How long a connection may be without a whole query, and how long an answer may take to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// A pause when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An address that is held for a listener.
#[derive(Debug)]
pub struct BoundAddress {
    udp: StdSocket,
    tcp: StdListener,
    /// Its address.
    pub address: SocketAddr,
}

/// A listener that is ready to serve.
#[derive(Debug)]
pub struct DnsListener {
    bound: BoundAddress,
    /// Replaced as a whole by a reload; an answer is made by one of them.
    options: Mutex<Arc<DnsOptions>>,
    /// Its numbers.
    pub counters: Arc<DnsCounters>,
}

impl DnsListener {
    /// A listener at `bound`.
    #[must_use]
    pub fn new(name: String, bound: BoundAddress, options: DnsOptions) -> Self {
        Self {
            bound,
            options: Mutex::new(Arc::new(options)),
            counters: Arc::new(DnsCounters::new(name)),
        }
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.bound.address
    }

    /// From now on these names are answered, at this rate. The sockets stay as they are.
    pub fn set_options(&self, options: DnsOptions) {
        *self.options.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }

    fn options(&self) -> Arc<DnsOptions> {
        let options = self.options.lock();
        Arc::clone(&options.unwrap_or_else(PoisonError::into_inner))
    }
}

/// Holds `address` for UDP and TCP. For port 0 both get the same one.
///
/// # Errors
/// If one of them is taken, or not allowed.
pub fn bind(address: SocketAddr) -> io::Result<BoundAddress> {
    let tries = if address.port() == 0 { 16 } else { 1 };
    let mut last = None;
    for _ in 0..tries {
        let tcp = StdListener::bind(address)?;
        let address = tcp.local_addr()?;
        match StdSocket::bind(address) {
            Ok(udp) => {
                udp.set_nonblocking(true)?;
                tcp.set_nonblocking(true)?;
                return Ok(BoundAddress { udp, tcp, address });
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("no address")))
}

/// State shared by the tasks of one listener, which run on one thread.
struct ListenerState {
    listener: Arc<DnsListener>,
    servers: Arc<dyn Servers>,
    random: RefCell<Random>,
    limit: RefCell<RateLimit>,
    clock: Clock,
    connections: Arc<Semaphore>,
}

impl ListenerState {
    fn counters(&self) -> &DnsCounters {
        &self.listener.counters
    }

    fn answer(&self, query: &[u8], source: SocketAddr, transport: Transport) -> Option<Vec<u8>> {
        let mut random = self.random.borrow_mut();
        let options = self.listener.options();
        let mut responder = Responder {
            options: &options,
            servers: &*self.servers,
            random: &mut random,
        };
        let answer = responder.answer(query, source.ip(), transport);
        match &answer {
            Some(bytes) => self.counters().answered(bytes),
            None => self.counters().dropped(DropReason::Malformed),
        }
        answer
    }

    /// The same, if the limit of answers allows it.
    fn answer_udp(&self, query: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
        let verdict = {
            let mut limit = self.limit.borrow_mut();
            let rate = self.listener.options().rate;
            if limit.per_second() != rate {
                *limit = RateLimit::new(rate);
            }
            limit.take(source.ip(), self.clock.now())
        };
        match verdict {
            LimitDecision::Answer => self.answer(query, source, Transport::Udp),
            LimitDecision::Slip => cut_off(query).inspect(|bytes| self.counters().answered(bytes)),
            LimitDecision::Drop => {
                self.counters().dropped(DropReason::Rate);
                None
            }
        }
    }
}

/// The listeners that are to be served. A reload replaces the list: what stays in it keeps its sockets, and goes on.
pub type DnsListeners = Vec<Arc<DnsListener>>;

/// Serves the listeners until `stop` says so. Chances are drawn from `seed`. It can be called again, with a state that is new, if
/// it has failed.
///
/// # Errors
/// If the sockets cannot be registered with the runtime.
pub async fn serve(
    mut listeners: watch::Receiver<DnsListeners>,
    servers: Arc<dyn Servers>,
    (clock, seed): (Clock, u64),
    tasks: Tasks,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let set = LocalSet::new();
    let mut running: Vec<ServedListener> = Vec::new();
    let mut begun = 0_u64;
    loop {
        let wanted = listeners.borrow_and_update().clone();
        // Conversations over TCP end by themselves, the last one after its idle timeout.
        running.retain(|one| wanted.iter().any(|wanted| one.is(wanted)));
        for listener in wanted {
            if running.iter().any(|one| one.is(&listener)) {
                continue;
            }
            let shared = Rc::new(ListenerState {
                limit: RefCell::new(RateLimit::new(listener.options().rate)),
                listener,
                servers: Arc::clone(&servers),
                random: RefCell::new(Random::seeded(seed.wrapping_add(begun))),
                clock,
                connections: Arc::new(Semaphore::new(CONNECTIONS)),
            });
            begun += 1;
            let _entered = set.enter();
            running.push(ServedListener::start(&shared, &tasks)?);
        }
        let is_over = set.run_until(async {
            tokio::select! {
                // An error means that the sender is gone, which is an order to end as well.
                _ = stop.wait_for(|stop| *stop) => true,
                Ok(()) = listeners.changed() => false,
            }
        });
        if is_over.await {
            return Ok(());
        }
    }
}

/// The tasks of one listener, which end when it is dropped, and its sockets with them.
struct ServedListener {
    listener: Arc<DnsListener>,
    tasks: [JoinHandle<()>; 2],
}

impl ServedListener {
    fn start(shared: &Rc<ListenerState>, tasks: &Tasks) -> io::Result<Self> {
        let bound = &shared.listener.bound;
        let udp = Rc::new(UdpSocket::from_std(bound.udp.try_clone()?)?);
        let tcp = Rc::new(TcpListener::from_std(bound.tcp.try_clone()?)?);
        let (for_udp, for_tcp) = (Rc::clone(shared), Rc::clone(shared));
        let udp = tasks.spawn_local("dns-udp", shared.clock, move || {
            // A panic may have left its counts half changed.
            let rate = for_udp.listener.options().rate;
            for_udp.limit.replace(RateLimit::new(rate));
            serve_udp(Rc::clone(&for_udp), Rc::clone(&udp))
        });
        let tcp = tasks.spawn_local("dns-tcp", shared.clock, move || {
            serve_tcp(Rc::clone(&for_tcp), Rc::clone(&tcp))
        });
        Ok(Self {
            listener: Arc::clone(&shared.listener),
            tasks: [udp, tcp],
        })
    }

    fn is(&self, listener: &Arc<DnsListener>) -> bool {
        Arc::ptr_eq(&self.listener, listener)
    }
}

impl Drop for ServedListener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve_udp(shared: Rc<ListenerState>, socket: Rc<UdpSocket>) {
    let mut query = vec![0; MOST_QUERY];
    loop {
        // ICMP errors about earlier answers are not errors of this socket.
        let Ok((length, source)) = socket.recv_from(&mut query).await else {
            tokio::task::yield_now().await;
            continue;
        };
        if let Some(answer) = shared.answer_udp(&query[..length], source) {
            // A full buffer loses an answer, as the network may; the client asks again.
            drop(socket.try_send_to(&answer, source));
        }
    }
}

async fn serve_tcp(shared: Rc<ListenerState>, listener: Rc<TcpListener>) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&shared.connections).try_acquire_owned() else {
            shared.counters().dropped(DropReason::Connections);
            continue;
        };
        let shared = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            converse(&shared, stream, peer).await;
            drop(place);
        });
    }
}

/// Queries one after the other (RFC 7766), until the client ends it or says nothing for a while.
async fn converse(shared: &ListenerState, mut stream: TcpStream, peer: SocketAddr) {
    // Without it answers only come later.
    drop(stream.set_nodelay(true));
    let mut query = Vec::new();
    loop {
        let read = timeout(PATIENCE, read_query(&mut stream, &mut query)).await;
        if !matches!(read, Ok(Ok(()))) {
            return;
        }
        let Some(answer) = shared.answer(&query, peer, Transport::Tcp) else {
            return;
        };
        let Ok(length) = u16::try_from(answer.len()) else {
            return;
        };
        let mut framed = Vec::with_capacity(answer.len() + 2);
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&answer);
        let written = timeout(PATIENCE, stream.write_all(&framed)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

async fn read_query(stream: &mut TcpStream, query: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::from(stream.read_u16().await?);
    if length > MOST_QUERY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    query.resize(length, 0);
    stream.read_exact(query).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use evenkeel_core::ServiceId;

    use super::*;
    use crate::zone::ServerRecord;

    struct NoServers;

    impl Servers for NoServers {
        fn select(&self, _: ServiceId, _: IpAddr, _: usize) -> Vec<ServerRecord> {
            Vec::new()
        }

        fn find(&self, _: ServiceId, _: &str) -> Option<SocketAddr> {
            None
        }
    }

    /// Header of a query for `.`, type A.
    const QUERY: [u8; 17] = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];

    async fn by_udp(address: SocketAddr) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut answer = [0; 512];
        // A datagram may be lost, and one that arrived while the socket was not read is answered later.
        for _ in 0..60 {
            socket.send_to(&QUERY, address).await.unwrap();
            let read = timeout(Duration::from_millis(500), socket.recv(&mut answer)).await;
            if matches!(read, Ok(Ok(n)) if n >= 12) {
                return true;
            }
        }
        false
    }

    async fn by_tcp(address: SocketAddr) -> bool {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&[0, 17]).await.unwrap();
        stream.write_all(&QUERY).await.unwrap();
        timeout(Duration::from_secs(30), stream.read_u16())
            .await
            .is_ok_and(|read| read.is_ok())
    }

    #[tokio::test]
    async fn both_sockets_are_served_again_after_a_panic() {
        let bound = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = bound.address;
        let options = DnsOptions {
            names: Vec::new(),
            rate: 0,
        };
        let listener = DnsListener::new("names".to_owned(), bound, options);
        let (tasks, (stop, stopped)) = (Tasks::default(), watch::channel(false));
        let clock = Clock::start();
        let servers = Arc::new(NoServers);
        let (_kept, listeners) = watch::channel(vec![Arc::new(listener)]);
        let served = serve(listeners, servers, (clock, 1), tasks.clone(), stopped);
        let asked = async {
            assert!(by_udp(address).await && by_tcp(address).await);
            for task in ["dns-udp", "dns-tcp"] {
                tasks.inject_panic(task);
                while tasks.restarts(task).value() == 0 {
                    tokio::task::yield_now().await;
                }
                assert!(by_udp(address).await && by_tcp(address).await, "{task}");
            }
            stop.send_replace(true);
        };
        let (served, ()) = tokio::join!(served, asked);
        served.unwrap();
    }

    fn listener(name: &str) -> Arc<DnsListener> {
        let bound = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let options = DnsOptions {
            names: Vec::new(),
            rate: 0,
        };
        Arc::new(DnsListener::new(name.to_owned(), bound, options))
    }

    /// Whether the connection to a listener is taken and answered.
    async fn converses(stream: &mut TcpStream) -> bool {
        stream.write_all(&[0, 17]).await.unwrap();
        stream.write_all(&QUERY).await.unwrap();
        let read = timeout(Duration::from_secs(30), stream.read_u16()).await;
        let Ok(Ok(length)) = read else { return false };
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await.is_ok()
    }

    #[tokio::test]
    async fn listeners_come_and_go_while_others_go_on() {
        let (one, two) = (listener("one"), listener("two"));
        let (gone, stays) = (one.address(), two.address());
        let (stop, stopped) = watch::channel(false);
        let (wanted, listeners) = watch::channel(vec![one, Arc::clone(&two)]);
        let (clock, tasks) = (Clock::start(), Tasks::default());
        let served = serve(listeners, Arc::new(NoServers), (clock, 1), tasks, stopped);
        let asked = async {
            let mut kept = TcpStream::connect(stays).await.unwrap();
            assert!(converses(&mut kept).await && by_tcp(gone).await);
            let three = listener("three");
            let came = three.address();
            // The list holds the last handle of the first one's sockets.
            wanted.send_replace(vec![three, Arc::clone(&two)]);
            assert!(by_udp(came).await && by_tcp(came).await);
            while TcpStream::connect(gone).await.is_ok() {
                tokio::task::yield_now().await;
            }
            assert!(converses(&mut kept).await, "its connections go on");
            // A name that is new is answered by the same sockets.
            let before = two.counters.answers();
            two.set_options(DnsOptions {
                names: Vec::new(),
                rate: 1_000,
            });
            assert!(by_udp(stays).await);
            assert!(two.counters.answers() > before);
            stop.send_replace(true);
        };
        let (served, ()) = tokio::join!(served, asked);
        served.unwrap();
    }
}
