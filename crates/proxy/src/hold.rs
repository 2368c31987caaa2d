//! Requests that wait for the first server that comes back, while none is left and at least one is being repaired.
//!
//! Who may wait, and for how long, is decided by [`evenkeel_request::hold`]; here it is waited. News come from the directives
//! of the control loop, so a request that waits costs nothing until there are some. Off, it costs a service's requests
//! one comparison per attempt.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use evenkeel_balance::{Member, Pool, Standing};
use evenkeel_core::metric::{Counter, DurationHistogram, Sink};
use evenkeel_core::{Directive, Instant, ServerId, Verdict};
use evenkeel_request::hold::{Candidate, GaveUp, Outlook, ServersNow, Wait};
use evenkeel_request::{Cause, HeldNow, Hold, HoldOptions};
use tokio::sync::Notify;

use crate::body::RequestBody;
use crate::client::Client;
use crate::client_watch::until_gone;
use crate::drive::Journey;
use crate::flight::Flight;
use crate::place::Unplaced;
use crate::roster::Roster;
use crate::state::ServiceEntry;
use crate::talk::Desk;
use crate::worker::Workspace;

/// The requests of a service that wait, and what they wait for.
#[derive(Debug)]
pub(crate) struct Holding {
    options: HoldOptions,
    now: HeldNow,
    /// Grows whenever a server of the service comes back.
    returns: AtomicU64,
    /// Servers have died, and nobody came to repair them: nobody waits again until something is said about one of them.
    in_vain: AtomicBool,
    /// evenkeel is about to end.
    draining: AtomicBool,
    news: Notify,
    entered: Counter,
    waited: DurationHistogram,
    /// By the place of the reason.
    gave_up: [Counter; GaveUp::ALL.len()],
}

/// What a request that finds no server brings along.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lacking<'w> {
    pub(crate) client: &'w Client,
    pub(crate) work: &'w Workspace,
    pub(crate) body: &'w RequestBody,
    pub(crate) cause: Cause,
    /// Another attempt was granted, or it is the first.
    pub(crate) granted: bool,
}

/// A request that waits; dropping it gives its place back.
#[derive(Debug)]
struct Held<'h> {
    holding: &'h Holding,
    bytes: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.holding.now.leave(self.bytes);
    }
}

impl Holding {
    pub(crate) fn new(options: HoldOptions) -> Self {
        Self {
            options,
            now: HeldNow::default(),
            returns: AtomicU64::new(0),
            in_vain: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            news: Notify::new(),
            entered: Counter::default(),
            waited: DurationHistogram::default(),
            gave_up: Default::default(),
        }
    }

    /// A directive about a server of the service was applied, and has changed whether that server is being repaired or not.
    pub(crate) fn told(&self, directive: &Directive, has_changed: bool) {
        let is_news = match directive {
            Directive::Trial { .. } | Directive::Restore { .. } => {
                self.returns.fetch_add(1, Ordering::Release);
                true
            }
            Directive::Repair { .. } => has_changed,
            Directive::Eject { .. } | Directive::Rescue { .. } | Directive::Drain { .. } => false,
        };
        if is_news {
            self.in_vain.store(false, Ordering::Release);
            self.tell();
        }
    }

    /// A server has joined, or the service's maintenance has begun.
    pub(crate) fn tell(&self) {
        self.news.notify_waiters();
    }

    /// Nobody waits any longer: evenkeel is about to end.
    pub(crate) fn end(&self) {
        self.draining.store(true, Ordering::Release);
        self.tell();
    }

    /// How many wait.
    pub(crate) fn requests(&self) -> u32 {
        self.now.requests()
    }

    fn enter(&self, bytes: u64) -> Result<Held<'_>, GaveUp> {
        self.now.enter(&self.options, bytes)?;
        self.entered.add(1);
        Ok(Held {
            holding: self,
            bytes,
        })
    }

    fn gave_up(&self, reason: GaveUp) {
        self.gave_up[reason.place()].add(1);
    }

    /// Its numbers.
    pub(crate) fn collect(&self, sink: &mut dyn Sink, service: &str) {
        let labels = [("service", service)];
        let about = "Requests that wait for the first server that comes back.";
        sink.gauge(
            "evenkeel_held_requests",
            about,
            &labels,
            f64::from(self.requests()),
        );
        let about = "Bytes of the requests that wait for the first server that comes back.";
        let bytes = self.now.bytes() as f64;
        sink.gauge("evenkeel_held_bytes", about, &labels, bytes);
        let about = "Requests that had to wait for a server to come back; one that waits again counts again.";
        let entered = self.entered.value();
        sink.counter("evenkeel_held_requests_total", about, &labels, entered);
        let about = "How long requests waited for which a server came back.";
        let waited = self.waited.snapshot();
        sink.durations("evenkeel_hold_seconds", about, &labels, &waited);
        let about = "Requests that found no server and were not held, or not any longer.";
        for reason in GaveUp::ALL {
            let labels = [("service", service), ("reason", reason.word())];
            let value = self.gave_up[reason.place()].value();
            sink.counter(
                "evenkeel_held_requests_given_up_total",
                about,
                &labels,
                value,
            );
        }
    }
}

impl ServiceEntry {
    /// The numbers of those who wait: for room on a server, and for a server.
    pub(crate) fn collect_waiting(&self, sink: &mut dyn Sink) {
        self.queue.collect(sink, self.name());
        if let Some(holding) = &self.holding {
            holding.collect(sink, self.name());
        }
    }
}

impl<'a> Journey<'a> {
    /// The server for the next attempt, as [`Self::place`] finds it; waits for one if the service holds requests.
    pub(crate) async fn place_or_hold<'r>(
        &mut self,
        roster: &'r Roster,
        (client, work, body): (&Client, &Workspace, &RequestBody),
    ) -> Result<(ServerId, Flight<'r>), Unplaced>
    where
        'a: 'r,
    {
        if self.exchange.attempts() > 0 {
            self.latest = self.worker.clock.now();
        }
        let mut hurried = false;
        loop {
            self.quarantined(&work.to_server, self.latest)?;
            self.kept_out(self.latest)?;
            let holding = self.service.holding.as_ref();
            self.returns_seen =
                holding.map_or(0, |holding| holding.returns.load(Ordering::Acquire));
            let cause = match self.place(roster, client, self.latest).await {
                Err(Unplaced::Cause(cause)) if holding.is_some() => cause,
                placed => return placed,
            };
            let lacking = Lacking {
                client,
                work,
                body,
                cause,
                granted: true,
            };
            let has_waited = self.hold(roster, lacking).await?;
            // Never in circles without a pause.
            if !has_waited && std::mem::replace(&mut hurried, true) {
                return Err(cause.into());
            }
        }
    }

    /// After an attempt for which there is no other: waits if the servers have died.
    ///
    /// # Errors
    /// As for [`Self::hold`].
    pub(crate) async fn hold_after(
        &mut self,
        desk: &Desk<'_>,
        roster: &Roster,
        cause: Cause,
    ) -> Result<(), Unplaced> {
        let lacking = Lacking {
            client: desk.client,
            work: desk.work,
            body: desk.body,
            cause,
            granted: false,
        };
        self.hold(roster, lacking).await.map(drop)
    }

    /// Waits for a server to come back. If this ends well, another attempt is to be made; says whether it had to wait for it.
    ///
    /// # Errors
    /// If it may not wait, or has done so in vain.
    async fn hold(&mut self, roster: &Roster, lacking: Lacking<'_>) -> Result<bool, Unplaced> {
        let (cause, service) = (lacking.cause, self.service);
        let Some(holding) = &service.holding else {
            return Err(cause.into());
        };
        let candidate = Candidate {
            past: self.exchange.past(),
            granted: lacking.granted,
            cause,
            may_repeat: self.may_repeat,
            replayable: lacking.body.is_replayable(),
            limit: self.policies.retry.limit,
        };
        if !candidate.may_wait() {
            return Err(cause.into());
        }
        let now = self.worker.clock.now();
        let since = *self.held_since.get_or_insert(now);
        let wait = Wait {
            since,
            began: now,
            deadline: self.exchange.deadline().end(),
        };
        // Boxed: few requests wait, and all would be larger by it.
        let ended = Box::pin(self.wait_for_return(holding, roster, &lacking, wait)).await;
        self.latest = self.worker.clock.now();
        let reason = match ended {
            Ok(has_waited) => return Ok(has_waited),
            Err(reason) => reason,
        };
        holding.gave_up(reason);
        Err(match reason {
            GaveUp::ClientGone => Unplaced::ClientGone,
            reason => reason.tells(cause).into(),
        })
    }

    async fn wait_for_return(
        &self,
        holding: &Holding,
        roster: &Roster,
        lacking: &Lacking<'_>,
        wait: Wait,
    ) -> Result<bool, GaveUp> {
        let client = lacking.client;
        let mut held = None;
        let mut is_cleared = !self.exchange.past().is_suspect();
        loop {
            // Whatever is said from here on is heard.
            let mut news = pin!(holding.news.notified());
            news.as_mut().enable();
            if self.service.in_maintenance() {
                return Err(GaveUp::Maintenance);
            }
            if holding.draining.load(Ordering::Acquire) {
                return Err(GaveUp::Drain);
            }
            let now = self.worker.clock.now();
            is_cleared |= self.is_cleared(roster.pool(), now);
            let outlook = if is_cleared {
                self.exchange
                    .past()
                    .outlook(self.servers_now(holding, roster.pool(), now))
            } else {
                self.outlook_of_suspect(roster.pool())
            };
            let until = match holding.options.decide(wait, outlook, now) {
                Hold::Go => {
                    if held.is_some() {
                        holding.waited.add(now.since(wait.began));
                    }
                    return Ok(held.is_some());
                }
                Hold::Until(until) => until,
                Hold::GiveUp(reason) => {
                    let is_in_vain = is_cleared && outlook == Outlook::Unknown;
                    let is_in_vain = is_in_vain && reason != GaveUp::Deadline;
                    holding.in_vain.fetch_or(is_in_vain, Ordering::AcqRel);
                    return Err(reason);
                }
            };
            if held.is_none() {
                let bytes = lacking.work.to_server.len()
                    + lacking.work.replay.len()
                    + client.buffer.unread().len();
                held = Some(holding.enter(bytes as u64)?);
            }
            // A standing that expires is said by nobody.
            client
                .timer
                .set(until.min(roster.pool().next_change_of_any(now)));
            let work = async {
                tokio::select! {
                    biased;
                    () = news => {}
                    () = client.timer.expired() => {}
                }
            };
            let ended = until_gone(&client.watched.get(), pin!(work)).await;
            ended.map_err(|_| GaveUp::ClientGone)?;
        }
    }

    /// What is known of the servers.
    fn servers_now(&self, holding: &Holding, pool: &Pool, now: Instant) -> ServersNow {
        let last = self.exchange.records().last().map(|record| record.server);
        ServersNow {
            any_in_service: pool.in_service(now) > 0,
            any_returned: holding.returns.load(Ordering::Acquire) != self.returns_seen,
            any_other: last.is_none_or(|last| self.exchange.has_other(pool, now, last)),
            any_in_repair: pool.is_being_repaired(now),
            in_vain: holding.in_vain.load(Ordering::Acquire),
        }
    }

    /// Whether a server has died without having seen the request, so that it is not what kills them. One that has come back by
    /// now counts as well.
    fn is_cleared(&self, pool: &Pool, now: Instant) -> bool {
        let mut unseen = self.unseen(pool);
        unseen.any(|member| {
            let was_down = match member.state.standing(now) {
                Standing::Ejected { verdict } => verdict == Verdict::Known,
                Standing::Trial | Standing::Warming => true,
                Standing::InService
                | Standing::Relieved
                | Standing::Broken
                | Standing::Draining => false,
            };
            was_down || member.state.is_being_repaired(now)
        })
    }

    /// It waits for a server to die without it, if there is one that could.
    fn outlook_of_suspect(&self, pool: &Pool) -> Outlook {
        match self.unseen(pool).next() {
            Some(_) => Outlook::Unknown,
            None => Outlook::NoRepair,
        }
    }

    /// The servers that have seen nothing of the request.
    fn unseen<'p>(&self, pool: &'p Pool) -> impl Iterator<Item = &'p Member> {
        let members = (0..).zip(pool.members());
        let unseen = members.filter(|(index, _)| !self.exchange.was_seen_by(*index));
        unseen.map(|(_, member)| member)
    }
}
