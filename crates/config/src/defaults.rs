//! Every default of the configuration, each with its reason. There is no other place with defaults.
//!
//! The reasons are printed in the reference, so a user can judge whether they hold for them too.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use evenkeel_balance::Policy;
use evenkeel_fault::policy::Mode;
use evenkeel_request::HashOn;
use evenkeel_tolerate::{Class, HedgeAfter};

use crate::file::Given;
use crate::file::choice::{Protocol, SameSite, StopSignal, Tier};
use crate::file::quantity::Bytes;
use crate::plan::{Algorithm, Family, Grows, LogFormat, LogLevel, Spreads};

macro_rules! defaults {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $value:expr, $why:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: Given<$type> = Given { value: $value, why: $why };)+
    };
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

defaults! {
    /// `admin.address`
    ADMIN_ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7070)),
        "Loopback: who can reach it can stop servers, so reaching it from elsewhere is a decision.";
    /// `admin.token.file`
    ADMIN_TOKEN_FILE: &str = "admin.token", "Beside the store, in a folder that only the service's user reads.";
    /// `store.url`
    STORE_URL: &str = "sqlite:evenkeel.db", "One file, no server to run, survives a crash.";
    /// `log.format`
    LOG_FORMAT: LogFormat = LogFormat::Human, "The first reader is a person at a terminal.";
    /// `log.level`
    LOG_LEVEL: LogLevel = LogLevel::Info, "Says what changed, and nothing per request.";
    /// `log.access`
    LOG_ACCESS: bool = false, "A line per request costs more than the request; metrics and incidents say more.";

    /// `listen.NAME.protocol`
    LISTEN_PROTOCOL: Protocol = Protocol::Http, "The one there is.";
    /// `listen.NAME.routes.redirect.status`
    REDIRECT_STATUS: u32 = 308, "Permanent, and the method stays what it is.";
    /// `listen.NAME.names.ttl`
    DNS_TTL: Duration = seconds(5), "Short, since a dead server is asked until its answer has expired; resolvers ask once in 5 s.";
    /// `listen.NAME.names.answers`
    DNS_ANSWERS: u32 = 8, "Fits into 512 bytes, also with IPv6, and leaves clients others to try.";
    /// `listen.NAME.rate`
    DNS_RATE: u32 = 100, "Far more than a resolver needs with answers that last 5 s, and too little to flood anybody with.";
    /// `listen.NAME.limits.head_bytes`
    HEAD_BYTES: Bytes = Bytes(32 * 1024), "Room for large cookies and tokens; the limits of common servers lie between 8 and 64 KiB.";
    /// `listen.NAME.limits.headers`
    HEADERS: u32 = 100, "Browsers send about 20; 100 is a common limit.";
    /// `listen.NAME.limits.head_time`
    HEAD_TIME: Duration = seconds(10), "A head fits in a few packets; who needs longer is very far away or holds connections open on purpose.";
    /// `listen.NAME.limits.idle_time`
    IDLE_TIME: Duration = seconds(60), "Longer than the pauses of a reading person, shorter than most firewalls' patience.";
    /// `listen.NAME.limits.connections`
    CONNECTIONS: u32 = 10_000, "An idle connection costs a few KiB, so all together tens of MiB.";

    /// `weight` of a server
    SERVER_WEIGHT: u32 = 1, "All servers alike.";
    /// `tier` of a server
    SERVER_TIER: Tier = Tier::PRIMARY, "A server is there to be used.";
    /// `service.NAME.discover.slots`
    DISCOVER_SLOTS: u32 = 16, "More than most services have; a slot that nobody has costs a few KiB.";
    /// `service.NAME.discover.family`
    DISCOVER_FAMILY: Family = Family::Any, "Who publishes an address of either kind means it to be used.";
    /// `service.NAME.discover.every.least`
    DISCOVER_LEAST: Duration = seconds(1), "A time to live of 0 must not become a flood of questions.";
    /// `service.NAME.discover.every.most`
    DISCOVER_MOST: Duration = seconds(60), "Who moves a server does not wait for an hour because of an old time to live.";
    /// `service.NAME.discover.hold`
    DISCOVER_HOLD: Duration = seconds(300), "Long enough for a person to see that a zone went wrong, short enough for a move that was meant.";
    /// `service.NAME.run.stop.signal`
    STOP_SIGNAL: StopSignal = StopSignal::Term, "What every supervisor sends, and what programs handle.";
    /// `service.NAME.run.stop.wait`
    STOP_WAIT: Duration = seconds(10), "Longer than nearly all requests take, short enough for a restart.";
    /// `service.NAME.run.keep_previous`
    KEEP_PREVIOUS: bool = false, "Which version runs is the user's decision, unless they say otherwise.";

    /// `service.NAME.balance.policy`
    POLICY: Policy = Policy::LeastResponseTime, "Moves load away from a slow server before any detector has fired, and spreads evenly while all are alike.";
    /// `service.NAME.balance.hash_on`
    HASH_ON: HashOn = HashOn::SourceIp { v4: 32, v6: 64 }, "Needs nothing of the request. A customer's IPv6 addresses commonly share their first 64 bits.";
    /// `service.NAME.balance.maglev_table`
    MAGLEV_TABLE: u32 = 65_537, "The paper's and Envoy's; even shares up to some hundred servers, 256 KiB for each service.";
    /// `service.NAME.balance.slow_start`
    SLOW_START: Duration = seconds(10), "Caches and compilers warm up in seconds; a cold server under full load may fall again.";
    /// `service.NAME.balance.panic_below`
    PANIC_BELOW: f64 = 0.5, "When most servers look bad, the view is more likely wrong than the servers, and the rest would be overrun.";
    /// `service.NAME.balance.overprovisioning`
    OVERPROVISIONING: f64 = 1.4, "Envoy's: servers commonly have so much to spare, and a tier keeps all of its traffic until 71.4 % of it are healthy.";
    /// `service.NAME.balance.prequal.timeout`
    PREQUAL_TIMEOUT: Duration = millis(50), "Much more than a server nearby needs; who cannot say in that time how busy it is, is busy.";
    /// `service.NAME.balance.sticky.secure`
    STICKY_SECURE: bool = false, "evenkeel cannot know whether clients come by https: something before it may speak TLS.";
    /// `service.NAME.balance.sticky.same_site`
    STICKY_SAME_SITE: SameSite = SameSite::Lax, "What browsers take where nothing is said; links from elsewhere keep their server.";
    /// `service.NAME.balance.sticky.path`
    STICKY_PATH: &str = "/", "For the whole of the host.";
    /// `service.NAME.balance.sticky.key.file`
    STICKY_KEY_FILE: &str = "sticky.key", "In the state directory, so that clients keep their servers when evenkeel is started anew.";
    /// `service.NAME.limit.queue.length`
    QUEUE_LENGTH: u32 = 128, "Takes up a burst; what waits longer than `wait` is refused in any case.";
    /// `service.NAME.limit.queue.wait`
    QUEUE_WAIT: Duration = seconds(1), "People leave after a few seconds, and the attempt itself takes time too.";
    /// `service.NAME.hold_requests.up_to`
    HOLD_UP_TO: Duration = seconds(3), "A program that is restarted is commonly back by then, and people still wait.";
    /// `service.NAME.hold_requests.requests`
    HOLD_REQUESTS: u32 = 1_000, "All of them come at once to the first server that is back.";
    /// `service.NAME.hold_requests.bytes`
    HOLD_BYTES: Bytes = Bytes(16 * 1024 * 1024), "Room for 1,000 requests with heads of 16 KiB.";
    /// `service.NAME.limit.adaptive.algorithm`
    ADAPTIVE_ALGORITHM: Algorithm = Algorithm::Gradient2, "Finds the bound before anything fails, and follows when the usual changes.";
    /// `service.NAME.limit.adaptive.initial`
    ADAPTIVE_INITIAL: u32 = 20, "Where Netflix begins; it is corrected within seconds.";
    /// `service.NAME.limit.adaptive.min`
    ADAPTIVE_MIN: u32 = 4, "With fewer, chance decides; a server that cannot do four at once is rare.";
    /// `service.NAME.limit.adaptive.max`
    ADAPTIVE_MAX: u32 = 1_000, "More at once on one server is possible and should be said.";
    /// `service.NAME.limit.class.default`
    CLASS: Class = Class::Critical, "What says nothing is what a person waits for.";
    /// `service.NAME.limit.shares.critical_plus`
    SHARE_CRITICAL_PLUS: f64 = 1.0, "All of it.";
    /// `service.NAME.limit.shares.critical`
    SHARE_CRITICAL: f64 = 1.0, "All of it; in the queue it stands behind `critical-plus`.";
    /// `service.NAME.limit.shares.sheddable_plus`
    SHARE_SHEDDABLE_PLUS: f64 = 0.9, "Leaves a tenth to what matters more.";
    /// `service.NAME.limit.shares.sheddable`
    SHARE_SHEDDABLE: f64 = 0.75, "Leaves a quarter to what matters more.";
    /// `service.NAME.limit.throttle.k`
    THROTTLE_K: f64 = 2.0, "The SRE book's: half of what is sent may be refused before anything is held back, so that recovery is seen soon.";
    /// `service.NAME.limit.throttle.window`
    THROTTLE_WINDOW: Duration = seconds(120), "The SRE book's.";
    /// `service.NAME.limit.throttle.minimum_attempts`
    THROTTLE_MINIMUM: u32 = 20, "Fewer say little: the formula alone would hold back nearly everything after five failures at the start.";
    /// `service.NAME.limit.throttle.max`
    THROTTLE_MAX: f64 = 0.95, "One in twenty still finds out that the servers are well again.";

    /// `service.NAME.timeout.connect`
    TIMEOUT_CONNECT: Duration = seconds(1), "Servers nearby accept within milliseconds; a lost packet is sent again after 1 s, and another server is faster.";
    /// `service.NAME.timeout.attempt`
    TIMEOUT_ATTEMPT: Duration = seconds(30), "Longer than a slow answer takes: a hung server is found by detection, which also moves the requests that wait on it. Half of `total` where that is less, which leaves time for another attempt.";
    /// `service.NAME.timeout.total`
    TIMEOUT_TOTAL: Duration = seconds(60), "Two attempts at 30 s; proxies and load balancers in front commonly give up after 60 s.";
    /// `service.NAME.timeout.idle`
    TIMEOUT_IDLE: Duration = seconds(60), "Long downloads and quiet tunnels go on; a peer that vanished is noticed within a minute.";

    /// `service.NAME.retry.limit`
    RETRY_LIMIT: u32 = 2, "Two bad servers in a row are passed over; a third is a fault of all, which retries make worse.";
    /// `service.NAME.retry.on`
    RETRY_ON: &[&str] = &["connect", "reset", "timeout", "502", "503", "504"],
        "What says that another server may do better. Not 500: the request itself may be the cause.";
    /// `service.NAME.retry.methods`
    RETRY_METHODS: &[&str] = &["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "QUERY"],
        "The methods that RFC 9110 defines as idempotent, and QUERY (RFC 10008).";
    /// `service.NAME.retry.backoff.base`
    RETRY_BACKOFF_BASE: Duration = millis(25), "The retry goes to another server, so a short wait is enough to spread retries.";
    /// `service.NAME.retry.backoff.cap`
    RETRY_BACKOFF_CAP: Duration = millis(250), "A person does not notice it.";
    /// `service.NAME.retry.backoff.growth`
    RETRY_GROWTH: Grows = Grows::Exponential, "Backs away quickly from what does not pass at once.";
    /// `service.NAME.retry.backoff.jitter`
    RETRY_JITTER: Spreads = Spreads::Full, "Spreads retries best: requests that failed together do not come back together.";
    /// `service.NAME.retry.budget.ratio`
    BUDGET_RATIO: f64 = 0.2, "Retries add at most a fifth to the load, also when every request fails.";
    /// `service.NAME.retry.budget.floor_per_second`
    BUDGET_FLOOR: f64 = 1.0, "A service with little traffic can retry too.";
    /// `service.NAME.retry.budget.burst`
    BUDGET_BURST: f64 = 35.0, "About what is in flight on one server when it dies, at some thousand requests a second.";
    /// `service.NAME.retry.body_buffer`
    BODY_BUFFER: Bytes = Bytes(64 * 1024), "Holds forms and most API calls; 1,000 of them at once take 64 MiB.";
    /// `service.NAME.retry.response_buffer`
    RESPONSE_BUFFER: Bytes = Bytes(0), "Off: clients would wait for the last byte before they get the first.";
    /// `service.NAME.hedge.after`
    HEDGE_AFTER: HedgeAfter = HedgeAfter::Quantile(0.95), "Adds about 5 % of load, and cuts off what is later than that (Dean and Barroso, The Tail at Scale).";
    /// `service.NAME.hedge.limit`
    HEDGE_LIMIT: u32 = 1, "The second one is rarely late as well.";
    /// `service.NAME.hedge.floor`
    HEDGE_FLOOR: Duration = millis(1), "What takes less is not worth a second attempt.";
    /// `service.NAME.hedge.minimum_attempts`
    HEDGE_MINIMUM: u32 = 100, "The 0.95 quantile then stands on five response times.";
    /// `service.NAME.breaker.consecutive_failures`
    BREAKER_CONSECUTIVE: u32 = 5, "Envoy's and Finagle's; a dead server is noticed within a few requests.";
    /// `service.NAME.breaker.failure_ratio`
    BREAKER_RATIO: f64 = 0.5, "Half is what resilience4j and Hystrix take: with 20 attempts it opens by chance at one in 400 windows if one in five fails.";
    /// `service.NAME.breaker.window`
    BREAKER_WINDOW: Duration = seconds(10), "Hystrix's.";
    /// `service.NAME.breaker.minimum_attempts`
    BREAKER_MINIMUM: u32 = 20, "Hystrix's; fewer say too little.";
    /// `service.NAME.breaker.slow.ratio`
    BREAKER_SLOW_RATIO: f64 = 0.5, "As for failures.";
    /// `service.NAME.breaker.open_for`
    BREAKER_OPEN_FOR: Duration = seconds(5), "Hystrix's and Polly's.";
    /// `service.NAME.breaker.open_most`
    BREAKER_OPEN_MOST: Duration = seconds(300), "Envoy's and Finagle's.";
    /// `service.NAME.breaker.trials`
    BREAKER_TRIALS: u32 = 1, "One client at a time pays for knowing.";
    /// `service.NAME.breaker.good_trials`
    BREAKER_GOOD_TRIALS: u32 = 1, "The first good answer says most.";
    /// `service.NAME.fallback.stale.size`
    STALE_SIZE: Bytes = Bytes(16 << 20), "Some hundred pages and answers of an API; what is wanted most stays.";
    /// `service.NAME.fallback.stale.object`
    STALE_OBJECT: Bytes = Bytes(64 * 1024), "As much is read at once, so holding it back costs hardly any time.";
    /// `service.NAME.fallback.stale.if_error`
    STALE_IF_ERROR: Duration = seconds(3_600), "An outage that is repaired by a person takes less.";
    /// `service.NAME.fallback.stale.answer_first`
    STALE_ANSWER_FIRST: bool = false, "A balancer that answers by itself surprises; it is for those who want a cache.";
    /// `service.NAME.mirror.methods`
    MIRROR_METHODS: &[&str] = &["GET", "HEAD", "OPTIONS", "QUERY"], "What changes nothing: a copy of anything else does its work twice.";
    /// `service.NAME.mirror.in_flight`
    MIRROR_IN_FLIGHT: u32 = 64, "Some thousand copies a second while the other service is quick, and bounded memory when it is not.";
    /// `service.NAME.fallback.status`
    FALLBACK_STATUS: u32 = 503, "The truth, which caches and clients understand: there is no answer now, and there may be one later.";
    /// `service.NAME.fallback.content_type`
    FALLBACK_CONTENT_TYPE: &str = "text/plain; charset=utf-8", "A sentence needs no more.";
    /// `service.NAME.inject.seed`
    INJECT_SEED: u32 = 0, "The same requests are met after each start; another number meets others.";
    /// `service.NAME.objective.window`
    OBJECTIVE_WINDOW: Duration = seconds(30 * 86_400), "Error budgets are commonly kept by the month.";

    /// `service.NAME.detect.probe.tcp`
    PROBE_TCP: bool = true, "Needs nothing of the server.";
    /// `service.NAME.detect.probe.expect`
    PROBE_EXPECT: &str = "200-399", "Success, and redirects, which a health page behind a login may give.";
    /// `service.NAME.detect.probe.every`
    PROBE_EVERY: Duration = seconds(2), "Costs a server nothing; real traffic and `fast` find most faults sooner.";
    /// `service.NAME.detect.probe.timeout`
    PROBE_TIMEOUT: Duration = seconds(1), "A server that needs longer for its health page is in trouble.";
    /// `service.NAME.detect.probe.fall`
    PROBE_FALL: u32 = 3, "One lost packet, or two, is no fault.";
    /// `service.NAME.detect.probe.rise`
    PROBE_RISE: u32 = 2, "One pass may be luck.";
    /// `service.NAME.detect.probe.fast`
    PROBE_FAST: Duration = millis(250), "Doubt is settled within a second.";
    /// `service.NAME.detect.consecutive_failures`
    CONSECUTIVE_FAILURES: u32 = 5, "At 1 % of chance failures five in a row come once in ten billion.";
    /// `service.NAME.detect.failure_ratio.above`
    RATIO_ABOVE: f64 = 0.1, "One in ten is felt by every visitor, and far above noise.";
    /// `service.NAME.detect.failure_ratio.window`
    RATIO_WINDOW: Duration = seconds(10), "Long enough for a sample, short enough to act on.";
    /// `service.NAME.detect.failure_ratio.minimum_attempts`
    RATIO_MINIMUM: u32 = 20, "Below this the interval of the ratio is too wide to say anything.";
    /// `service.NAME.detect.slow.times_peers`
    SLOW_TIMES_PEERS: f64 = 3.0, "Machines of one pool differ by less than two in ordinary times.";
    /// `service.NAME.detect.slow.window`
    SLOW_WINDOW: Duration = seconds(10), "Longer than a pause for garbage collection.";
    /// `service.NAME.detect.slow.minimum_attempts`
    SLOW_MINIMUM: u32 = 20, "A median of fewer jumps about.";
    /// `service.NAME.diagnose.timeout`
    DIAGNOSE_TIMEOUT: Duration = seconds(2), "Twice the time of one probe.";

    /// `service.NAME.recover.mode`
    MODE: Mode = Mode::Automatic, "Repair is what evenkeel is for; guards and verification bound it.";
    /// `service.NAME.recover.keep_serving`
    KEEP_SERVING: f64 = 0.5, "Half a service usually carries the load of a quiet hour; below that, acting costs more than it gives.";
    /// `service.NAME.recover.at_once`
    AT_ONCE: u32 = 1, "One restart tells whether a restart helps, at the price of one server.";
    /// `service.NAME.recover.hang_wait`
    HANG_WAIT: Duration = seconds(10), "Longer than most pauses for garbage collection; a restart of a large process takes longer than that.";
    /// `service.NAME.recover.limit.actions`
    LIMIT_ACTIONS: u32 = 5, "What five restarts did not cure, a sixth will not.";
    /// `service.NAME.recover.limit.within`
    LIMIT_WITHIN: Duration = seconds(600), "With the back-off, five restarts take seconds; ten minutes tell a bad day from a loop.";
    /// `service.NAME.recover.backoff.base`
    RESTART_BACKOFF_BASE: Duration = millis(100), "Lets a port and a lock be freed; hardly lengthens an outage.";
    /// `service.NAME.recover.backoff.cap`
    RESTART_BACKOFF_CAP: Duration = seconds(60), "A cause that goes away is noticed within a minute.";
    /// `service.NAME.recover.backoff.reset_after`
    RESTART_RESET_AFTER: Duration = seconds(600), "As long as the limit looks back.";
    /// `service.NAME.recover.verify.probes`
    VERIFY_PROBES: u32 = 3, "As many as it took to distrust it.";
    /// `service.NAME.recover.verify.every`
    VERIFY_EVERY: Duration = millis(100), "A repaired server is back within half a second.";
    /// `service.NAME.recover.verify.within`
    VERIFY_WITHIN: Duration = seconds(10), "Most programs start within seconds; set it to your slowest start.";
}
