//! An attempt's way in for a task: waits where `admit.rs` says so.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use evenkeel_core::Instant;

use super::admit::Entry;
use super::course::{Begun, Course};
use super::pace::{Token, Turn};
use super::room::{Place, Waiting};
use super::{Pick, Stopped};
use crate::clock::Sleep;

/// Begins an attempt as soon as it may. `now` is when that was, or when it was refused.
pub(super) async fn enter<'p, C: Sleep>(
    course: &mut Course<'p, C>,
    pick: &mut impl Pick,
    now: &mut Instant,
) -> Result<Begun<'p>, Stopped> {
    let mut entry = course.choose(pick, false, *now)?;
    if let Some(turn) = course.pace(&mut entry, *now)? {
        let since = *now;
        entry.waits();
        let token = wait_for_token(course.clock(), turn).await;
        *now = course.clock().now();
        course.paced(&mut entry, token, since, *now)?;
    }
    if let Some(waiting) = course.find_place(&mut entry, *now)? {
        wait_in_queue(course, &mut entry, waiting, now).await?;
    }
    course.open(entry, false, *now)
}

/// Whoever waits before it may give up, so its time may come sooner than it was told.
async fn wait_for_token<C: Sleep>(clock: &C, mut turn: Turn) -> Token {
    let mut timer = pin!(None);
    let mut until = Instant::NEVER;
    poll_fn(|context| {
        loop {
            let at = match turn.poll(clock.now(), context.waker()) {
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

async fn wait_in_queue<'p, C: Sleep>(
    course: &mut Course<'p, C>,
    entry: &mut Entry<'p>,
    waiting: Waiting<'p>,
    now: &mut Instant,
) -> Result<(), Stopped> {
    let since = *now;
    entry.waits();
    let left = leave_queue(course.clock(), waiting).await;
    *now = course.clock().now();
    course.queued(entry, left, since, *now)
}

/// A place, or why there is none.
async fn leave_queue<'p, C: Sleep>(
    clock: &C,
    mut waiting: Waiting<'p>,
) -> Result<Place<'p>, Stopped> {
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

/// Polls a timer that is made when it is first needed; one for never is not made at all.
pub(super) fn poll_timer<C: Sleep>(
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
