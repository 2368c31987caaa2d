//! Admits an attempt for a task: waits for a token and for a slot where `admission` says so.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use evenkeel_core::Instant;

use super::admission::PendingAttempt;
use super::execution::{ActiveAttempt, Execution};
use crate::clock::AsyncClock;
use crate::policy::mechanisms::{LimitPermit, QueuedAttempt, RateTicket, RateToken};
use crate::policy::{PickServer, Stopped};

/// Begins an attempt as soon as it is admitted. `now` becomes the time of that, or of the rejection.
pub(super) async fn admit<'p, C: AsyncClock>(
    execution: &mut Execution<'p, C>,
    pick: &mut impl PickServer,
    now: &mut Instant,
) -> Result<ActiveAttempt<'p>, Stopped> {
    let mut pending = execution.select_server(pick, false, *now)?;
    if let Some(ticket) = execution.enter_rate(&mut pending, *now)? {
        let since = *now;
        pending.release_server_permits();
        let token = wait_for_token(execution.clock(), ticket).await;
        *now = execution.clock().now();
        execution.waited_for_token(&mut pending, token, since, *now)?;
    }
    if let Some(waiting) = execution.enter_limit(&mut pending, *now)? {
        wait_in_queue(execution, &mut pending, waiting, now).await?;
    }
    execution.start(pending, false, *now)
}

/// An attempt before it may give up, so the token may be due sooner than at first.
async fn wait_for_token<C: AsyncClock>(clock: &C, mut ticket: RateTicket) -> RateToken {
    let mut timer = pin!(None);
    let mut until = Instant::NEVER;
    poll_fn(|context| {
        loop {
            let at = match ticket.poll(clock.now(), context.waker()) {
                Ok(token) => return Poll::Ready(token),
                Err(at) => at,
            };
            if at != until {
                until = at;
                timer.set(None);
            }
            if poll_timer(clock, timer.as_mut(), at, context).is_pending() {
                return Poll::Pending;
            }
            timer.set(None);
        }
    })
    .await
}

async fn wait_in_queue<'p, C: AsyncClock>(
    execution: &mut Execution<'p, C>,
    pending: &mut PendingAttempt<'p>,
    waiting: QueuedAttempt<'p>,
    now: &mut Instant,
) -> Result<(), Stopped> {
    let since = *now;
    pending.release_server_permits();
    let left = leave_queue(execution.clock(), waiting).await;
    *now = execution.clock().now();
    execution.left_queue(pending, left, since, *now)
}

/// A slot, or why there is none.
async fn leave_queue<'p, C: AsyncClock>(
    clock: &C,
    mut waiting: QueuedAttempt<'p>,
) -> Result<LimitPermit<'p>, Stopped> {
    let until = waiting.until();
    let mut timer = pin!(None);
    let left = poll_fn(|context| {
        if let Poll::Ready(left) = waiting.poll(context) {
            return Poll::Ready(Some(left));
        }
        poll_timer(clock, timer.as_mut(), until, context).map(|()| None)
    })
    .await;
    match left {
        Some(left) => left,
        None => waiting.give_up(clock.now()),
    }
}

/// Polls a timer, which is made when it is first needed; one for [`Instant::NEVER`] is not made at all.
pub(super) fn poll_timer<C: AsyncClock>(
    clock: &C,
    mut timer: Pin<&mut Option<C::Sleeping>>,
    at: Instant,
    context: &mut Context<'_>,
) -> Poll<()> {
    if at == Instant::NEVER {
        return Poll::Pending;
    }
    if timer.is_none() {
        timer.set(Some(clock.sleep_until(at)));
    }
    match timer.as_mut().as_pin_mut() {
        Some(timer) => timer.poll(context),
        None => Poll::Pending,
    }
}
