//! Every default of the configuration, each with its reason. There is no other place with defaults.
//!
//! The reasons are printed in the reference, so a user can judge whether they hold for them too.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use evenkeel_balance::Policy;
use evenkeel_fault::policy::Mode;
use evenkeel_request::HashOn;
use evenkeel_tolerate::{Class, HedgeAfter};

use crate::file::DefaultValue;
use crate::file::choice::{Protocol, SameSite, StopSignal, Tier};
use crate::file::quantity::ByteCount;
use crate::plan::{
    AddressFamily, AlgorithmChoice, BackoffGrowth, BackoffJitter, LogFormat, LogLevel, ReloadMode,
};

macro_rules! defaults {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $value:expr, $why:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: DefaultValue<$type> = DefaultValue { value: $value, why: $why };)+
    };
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

defaults! {
    /// `reload`
    RELOAD: ReloadMode = ReloadMode::Manual, "A file that is half written or only saved is not yet meant to be used.";
    /// `admin.address`
    ADMIN_ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7070)),
        "Loopback: whoever can reach it can stop servers, so exposing it should be a conscious decision.";
    /// `admin.token.file`
    ADMIN_TOKEN_FILE: &str = "admin.token", "Next to the store, in a directory that only the service's user can read.";
    /// `store.url`
    STORE_URL: &str = "sqlite:evenkeel.db", "A single file, no server to run, crash-safe.";
    /// `log.format`
    LOG_FORMAT: LogFormat = LogFormat::Human, "Logs are first read by people, on a terminal.";
    /// `log.level`
    LOG_LEVEL: LogLevel = LogLevel::Info, "Logs changes, and nothing per request.";
    /// `log.access`
    LOG_ACCESS: bool = false, "Logging a request costs more than forwarding it; metrics and incidents are more useful.";

    /// `listen.NAME.protocol`
    LISTEN_PROTOCOL: Protocol = Protocol::Http, "The protocol of most services.";
    /// `listen.NAME.routes.redirect.status`
    REDIRECT_STATUS: u32 = 308, "Permanent, and keeps the method.";
    /// `listen.NAME.names.ttl`
    DNS_TTL: Duration = seconds(5), "Short, since clients use a dead server until the answer has expired; a resolver queries at most once in 5 s.";
    /// `listen.NAME.names.answers`
    DNS_ANSWERS: u32 = 8, "Fits into 512 bytes even with IPv6, and gives clients alternatives.";
    /// `listen.NAME.rate`
    DNS_RATE: u32 = 100, "Far more than a resolver needs for answers that are valid for 5 s, and too little to flood a victim.";
    /// `listen.NAME.limits.head_bytes`
    HEAD_BYTES: ByteCount = ByteCount(32 * 1024), "Room for large cookies and tokens; the limits of common servers lie between 8 and 64 KiB.";
    /// `listen.NAME.limits.headers`
    HEADERS: u32 = 100, "Browsers send about 20; 100 is a common limit.";
    /// `listen.NAME.limits.head_time`
    HEAD_TIME: Duration = seconds(10), "A head fits in a few packets; a client that needs longer is very far away or holds connections open on purpose.";
    /// `listen.NAME.limits.idle_time`
    IDLE_TIME: Duration = seconds(60), "Longer than users' reading pauses, shorter than most firewalls' idle timeouts.";
    /// `listen.NAME.limits.connections`
    CONNECTIONS: u32 = 10_000, "An idle connection costs a few KiB, so this many cost tens of MiB.";

    /// `weight` of a server
    SERVER_WEIGHT: u32 = 1, "All servers are equal.";
    /// `tier` of a server
    SERVER_TIER: Tier = Tier::PRIMARY, "Servers exist to be used.";
    /// `service.NAME.discover.slots`
    DISCOVER_SLOTS: u32 = 16, "More than most services have; an empty slot costs a few KiB.";
    /// `service.NAME.discover.family`
    DISCOVER_FAMILY: AddressFamily = AddressFamily::Any, "Published addresses of either family are meant to be used.";
    /// `service.NAME.discover.every.least`
    DISCOVER_LEAST: Duration = seconds(1), "A TTL of 0 must not cause a flood of queries.";
    /// `service.NAME.discover.every.most`
    DISCOVER_MOST: Duration = seconds(60), "Moving a server should not take an hour because of a long TTL.";
    /// `service.NAME.discover.hold`
    DISCOVER_HOLD: Duration = seconds(300), "Long enough to notice a broken zone, short enough for an intended move.";
    /// `service.NAME.run.stop.signal`
    STOP_SIGNAL: StopSignal = StopSignal::Term, "Sent by every supervisor, and handled by programs.";
    /// `service.NAME.run.stop.wait`
    STOP_WAIT: Duration = seconds(10), "Longer than nearly all requests, and short enough for a restart.";
    /// `service.NAME.run.keep_previous`
    KEEP_PREVIOUS: bool = false, "The user decides which version runs, unless configured otherwise.";

    /// `service.NAME.balance.policy`
    POLICY: Policy = Policy::LeastResponseTime, "Moves load away from a slow server before a detector fires, and distributes evenly while all are equal.";
    /// `service.NAME.balance.hash_on`
    HASH_ON: HashOn = HashOn::SourceIp { v4: 32, v6: 64 }, "Works for every request. A customer's IPv6 addresses commonly share their first 64 bits.";
    /// `service.NAME.balance.maglev_table`
    MAGLEV_TABLE: u32 = 65_537, "As in the paper and in Envoy; even shares for up to a few hundred servers, 256 KiB per service.";
    /// `service.NAME.balance.slow_start`
    SLOW_START: Duration = seconds(10), "Caches and JIT compilers warm up within seconds; a cold server under full load may fail again.";
    /// `service.NAME.balance.panic_below`
    PANIC_BELOW: f64 = 0.5, "When most servers look bad, the observer is more likely wrong than the servers, and the rest would be overloaded.";
    /// `service.NAME.balance.overprovisioning`
    OVERPROVISIONING: f64 = 1.4, "As in Envoy: servers usually have this much spare capacity, and a tier keeps all of its traffic while at least 71.4 % of it is healthy.";
    /// `service.NAME.balance.prequal.timeout`
    PREQUAL_TIMEOUT: Duration = millis(50), "Much more than a nearby server needs; one that cannot answer in that time is busy.";
    /// `service.NAME.balance.sticky.secure`
    STICKY_SECURE: bool = false, "evenkeel cannot know whether clients use https: a proxy in front of it may terminate TLS.";
    /// `service.NAME.balance.sticky.same_site`
    STICKY_SAME_SITE: SameSite = SameSite::Lax, "The default of browsers; links from other sites keep their server.";
    /// `service.NAME.balance.sticky.path`
    STICKY_PATH: &str = "/", "The whole host.";
    /// `service.NAME.balance.sticky.key.file`
    STICKY_KEY_FILE: &str = "sticky.key", "In the state directory, so that clients keep their servers when evenkeel is restarted.";
    /// `service.NAME.limit.queue.length`
    QUEUE_LENGTH: u32 = 128, "Absorbs a burst; requests that wait longer than `wait` are rejected in any case.";
    /// `service.NAME.limit.queue.wait`
    QUEUE_WAIT: Duration = seconds(1), "Users leave after a few seconds, and the attempt itself takes time too.";
    /// `service.NAME.hold_requests.up_to`
    HOLD_UP_TO: Duration = seconds(3), "A restarted program has usually returned by then, and users still wait.";
    /// `service.NAME.hold_requests.requests`
    HOLD_REQUESTS: u32 = 1_000, "All of them are released at once to the first server that returns.";
    /// `service.NAME.hold_requests.bytes`
    HOLD_BYTES: ByteCount = ByteCount(16 * 1024 * 1024), "Room for 1,000 requests with heads of 16 KiB.";
    /// `service.NAME.limit.adaptive.algorithm`
    ADAPTIVE_ALGORITHM: AlgorithmChoice = AlgorithmChoice::Gradient2, "Finds the limit before anything fails, and adapts to changes.";
    /// `service.NAME.limit.adaptive.initial`
    ADAPTIVE_INITIAL: u32 = 20, "As at Netflix; adapted within seconds.";
    /// `service.NAME.limit.adaptive.min`
    ADAPTIVE_MIN: u32 = 4, "With fewer, chance dominates; servers that cannot handle four concurrent requests are rare.";
    /// `service.NAME.limit.adaptive.max`
    ADAPTIVE_MAX: u32 = 1_000, "A server that handles more should be configured explicitly.";
    /// `service.NAME.limit.class.default`
    CLASS: Class = Class::Critical, "Requests without a class are usually those that users wait for.";
    /// `service.NAME.limit.shares.critical_plus`
    SHARE_CRITICAL_PLUS: f64 = 1.0, "All of it.";
    /// `service.NAME.limit.shares.critical`
    SHARE_CRITICAL: f64 = 1.0, "All of it; in the queue it comes after `critical-plus`.";
    /// `service.NAME.limit.shares.sheddable_plus`
    SHARE_SHEDDABLE_PLUS: f64 = 0.9, "Leaves a tenth to more important requests.";
    /// `service.NAME.limit.shares.sheddable`
    SHARE_SHEDDABLE: f64 = 0.75, "Leaves a quarter to more important requests.";
    /// `service.NAME.limit.throttle.k`
    THROTTLE_K: f64 = 2.0, "As in the SRE book: half of the requests may be rejected before anything is throttled, so that recovery is noticed soon.";
    /// `service.NAME.limit.throttle.window`
    THROTTLE_WINDOW: Duration = seconds(120), "As in the SRE book.";
    /// `service.NAME.limit.throttle.minimum_attempts`
    THROTTLE_MINIMUM: u32 = 20, "Without it, the formula would throttle nearly everything after five failures at the start.";
    /// `service.NAME.limit.throttle.max`
    THROTTLE_MAX: f64 = 0.95, "One in twenty is enough to find out that the servers have recovered.";

    /// `service.NAME.timeout.connect`
    TIMEOUT_CONNECT: Duration = seconds(1), "Nearby servers accept within milliseconds; a lost packet is retransmitted after 1 s, and another server is faster.";
    /// `service.NAME.timeout.attempt`
    TIMEOUT_ATTEMPT: Duration = seconds(30), "Longer than slow responses: a hung server is found by detection, which also moves the requests that wait for it. Half of `total` where that is less, which leaves time for another attempt.";
    /// `service.NAME.timeout.total`
    TIMEOUT_TOTAL: Duration = seconds(60), "Two attempts of 30 s; proxies and load balancers in front commonly time out after 60 s.";
    /// `service.NAME.timeout.idle`
    TIMEOUT_IDLE: Duration = seconds(60), "Keeps long downloads and quiet tunnels alive, and detects a vanished peer within a minute.";

    /// `service.NAME.retry.limit`
    RETRY_LIMIT: u32 = 2, "Skips two bad servers; a third one suggests a fault of all servers, which retries make worse.";
    /// `service.NAME.retry.on`
    RETRY_ON: &[&str] = &["connect", "reset", "timeout", "502", "503", "504"],
        "Failures for which another server may succeed. Not 500: the request itself may be the cause.";
    /// `service.NAME.retry.methods`
    RETRY_METHODS: &[&str] = &["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "QUERY"],
        "The methods that RFC 9110 defines as idempotent, and QUERY (RFC 10008).";
    /// `service.NAME.retry.backoff.base`
    RETRY_BACKOFF_BASE: Duration = millis(25), "The retry goes to another server, so a short delay is enough to spread retries.";
    /// `service.NAME.retry.backoff.cap`
    RETRY_BACKOFF_CAP: Duration = millis(250), "Users do not notice it.";
    /// `service.NAME.retry.backoff.growth`
    RETRY_GROWTH: BackoffGrowth = BackoffGrowth::Exponential, "Backs off quickly from a persistent fault.";
    /// `service.NAME.retry.backoff.jitter`
    RETRY_JITTER: BackoffJitter = BackoffJitter::Full, "Distributes retries best: requests that failed together are not retried together.";
    /// `service.NAME.retry.budget.ratio`
    BUDGET_RATIO: f64 = 0.2, "Retries add at most a fifth to the load, even if every request fails.";
    /// `service.NAME.retry.budget.floor_per_second`
    BUDGET_FLOOR: f64 = 1.0, "Allows services with little traffic to retry too.";
    /// `service.NAME.retry.budget.burst`
    BUDGET_BURST: f64 = 35.0, "About the number of requests in flight on one server when it dies, at a few thousand requests per second.";
    /// `service.NAME.retry.body_buffer`
    BODY_BUFFER: ByteCount = ByteCount(64 * 1024), "Enough for forms and most API calls; 1,000 concurrent ones take 64 MiB.";
    /// `service.NAME.retry.response_buffer`
    RESPONSE_BUFFER: ByteCount = ByteCount(0), "Off: clients would wait for the last byte before they get the first.";
    /// `service.NAME.hedge.after`
    HEDGE_AFTER: HedgeAfter = HedgeAfter::Quantile(0.95), "Adds about 5 % of load and cuts off the tail (Dean and Barroso, The Tail at Scale).";
    /// `service.NAME.hedge.limit`
    HEDGE_LIMIT: u32 = 1, "The second attempt is rarely late as well.";
    /// `service.NAME.hedge.floor`
    HEDGE_FLOOR: Duration = millis(1), "Faster requests are not worth a second attempt.";
    /// `service.NAME.hedge.minimum_attempts`
    HEDGE_MINIMUM: u32 = 100, "The 0.95 quantile is then based on five response times.";
    /// `service.NAME.breaker.consecutive_failures`
    BREAKER_CONSECUTIVE: u32 = 5, "As in Envoy and Finagle; a dead server is detected within a few requests.";
    /// `service.NAME.breaker.failure_ratio`
    BREAKER_RATIO: f64 = 0.5, "As in resilience4j and Hystrix: with 20 attempts, if one in five fails, it opens by chance in one of 400 windows.";
    /// `service.NAME.breaker.window`
    BREAKER_WINDOW: Duration = seconds(10), "As in Hystrix.";
    /// `service.NAME.breaker.minimum_attempts`
    BREAKER_MINIMUM: u32 = 20, "As in Hystrix; fewer are not significant.";
    /// `service.NAME.breaker.slow.ratio`
    BREAKER_SLOW_RATIO: f64 = 0.5, "Same as for failures.";
    /// `service.NAME.breaker.open_for`
    BREAKER_OPEN_FOR: Duration = seconds(5), "As in Hystrix and Polly.";
    /// `service.NAME.breaker.open_most`
    BREAKER_OPEN_MOST: Duration = seconds(300), "As in Envoy and Finagle.";
    /// `service.NAME.breaker.trials`
    BREAKER_TRIALS: u32 = 1, "Only one client at a time pays for the trial.";
    /// `service.NAME.breaker.good_trials`
    BREAKER_GOOD_TRIALS: u32 = 1, "The first success is the most informative.";
    /// `service.NAME.fallback.stale.size`
    STALE_SIZE: ByteCount = ByteCount(16 << 20), "A few hundred pages or API responses; the most requested ones stay.";
    /// `service.NAME.fallback.stale.object`
    STALE_OBJECT: ByteCount = ByteCount(64 * 1024), "This much is read at once, so buffering costs hardly any time.";
    /// `service.NAME.fallback.stale.if_error`
    STALE_IF_ERROR: Duration = seconds(3_600), "Longer than an outage until somebody repairs it.";
    /// `service.NAME.fallback.stale.answer_first`
    STALE_ANSWER_FIRST: bool = false, "A proxy that answers by itself is surprising; this is for users who want a cache.";
    /// `service.NAME.mirror.methods`
    MIRROR_METHODS: &[&str] = &["GET", "HEAD", "OPTIONS", "QUERY"], "Methods that change nothing: a copy of any other performs its work twice.";
    /// `service.NAME.mirror.in_flight`
    MIRROR_IN_FLIGHT: u32 = 64, "A few thousand copies per second while the other service is fast, and bounded memory when it is not.";
    /// `service.NAME.fallback.status`
    FALLBACK_STATUS: u32 = 503, "Accurate, and understood by caches and clients: there is no response now, and there may be one later.";
    /// `service.NAME.fallback.content_type`
    FALLBACK_CONTENT_TYPE: &str = "text/plain; charset=utf-8", "Enough for a sentence.";
    /// `service.NAME.inject.seed`
    INJECT_SEED: u32 = 0, "Selects the same requests after each start; another seed selects others.";
    /// `service.NAME.objective.window`
    OBJECTIVE_WINDOW: Duration = seconds(30 * 86_400), "Error budgets are commonly monthly.";

    /// `service.NAME.detect.probe.tcp`
    PROBE_TCP: bool = true, "Requires nothing of the server.";
    /// `service.NAME.detect.probe.expect`
    PROBE_EXPECT: &str = "200-399", "Success, and redirects, which a health check behind a login may return.";
    /// `service.NAME.detect.probe.every`
    PROBE_EVERY: Duration = seconds(2), "Costs a server nothing; real traffic and `fast` find most faults sooner.";
    /// `service.NAME.detect.probe.timeout`
    PROBE_TIMEOUT: Duration = seconds(1), "A server that needs longer for its health check is in trouble.";
    /// `service.NAME.detect.probe.fall`
    PROBE_FALL: u32 = 3, "One or two lost packets are not a fault.";
    /// `service.NAME.detect.probe.rise`
    PROBE_RISE: u32 = 2, "A single pass may be luck.";
    /// `service.NAME.detect.probe.fast`
    PROBE_FAST: Duration = millis(250), "Resolves doubt within a second.";
    /// `service.NAME.detect.consecutive_failures`
    CONSECUTIVE_FAILURES: u32 = 5, "At 1 % of chance failures five in a row come once in ten billion.";
    /// `service.NAME.detect.failure_ratio.above`
    RATIO_ABOVE: f64 = 0.1, "Every user notices one in ten, and it is far above noise.";
    /// `service.NAME.detect.failure_ratio.window`
    RATIO_WINDOW: Duration = seconds(10), "Long enough for a significant sample, short enough to act on.";
    /// `service.NAME.detect.failure_ratio.minimum_attempts`
    RATIO_MINIMUM: u32 = 20, "With fewer attempts, the confidence interval of the ratio is too wide.";
    /// `service.NAME.detect.slow.times_peers`
    SLOW_TIMES_PEERS: f64 = 3.0, "Machines of one pool usually differ by a factor of less than two.";
    /// `service.NAME.detect.slow.window`
    SLOW_WINDOW: Duration = seconds(10), "Longer than a garbage collection pause.";
    /// `service.NAME.detect.slow.minimum_attempts`
    SLOW_MINIMUM: u32 = 20, "The median of fewer values is unstable.";
    /// `service.NAME.diagnose.timeout`
    DIAGNOSE_TIMEOUT: Duration = seconds(2), "Twice the timeout of a probe.";

    /// `service.NAME.recover.mode`
    MODE: Mode = Mode::Automatic, "Repairing is the purpose of evenkeel; guards and verification limit it.";
    /// `service.NAME.recover.keep_serving`
    KEEP_SERVING: f64 = 0.5, "Half of a service usually carries its load at quiet times; below that, an action costs more than it gains.";
    /// `service.NAME.recover.at_once`
    AT_ONCE: u32 = 1, "One restart shows whether restarts help, at the cost of one server.";
    /// `service.NAME.recover.hang_wait`
    HANG_WAIT: Duration = seconds(10), "Longer than most garbage collection pauses; restarting a large process takes longer than that.";
    /// `service.NAME.recover.limit.actions`
    LIMIT_ACTIONS: u32 = 5, "If five restarts have not helped, a sixth will not.";
    /// `service.NAME.recover.limit.within`
    LIMIT_WITHIN: Duration = seconds(600), "With the back-off, five restarts take seconds; ten minutes distinguish a bad day from a loop.";
    /// `service.NAME.recover.backoff.base`
    RESTART_BACKOFF_BASE: Duration = millis(100), "Gives the system time to release ports and locks, and hardly prolongs an outage.";
    /// `service.NAME.recover.backoff.cap`
    RESTART_BACKOFF_CAP: Duration = seconds(60), "A cause that goes away is noticed within a minute.";
    /// `service.NAME.recover.backoff.reset_after`
    RESTART_RESET_AFTER: Duration = seconds(600), "Same as the window of the limit.";
    /// `service.NAME.recover.verify.probes`
    VERIFY_PROBES: u32 = 3, "Same as the number of failures that it took to distrust it.";
    /// `service.NAME.recover.verify.every`
    VERIFY_EVERY: Duration = millis(100), "A repaired server is back within half a second.";
    /// `service.NAME.recover.verify.within`
    VERIFY_WITHIN: Duration = seconds(10), "Most programs start within seconds; set it to your slowest start.";
}
