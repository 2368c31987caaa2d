//! A service whose orders run out while they are renewed.

use std::time::Duration;

use evenkeel_core::{LimitHint, ServiceId};
use evenkeel_tolerate::{BackoffOptions, BudgetOptions, RetryOn, RetryOptions, TimeoutOptions};

use super::*;

/// The server with this index, with nothing else configured.
pub(crate) fn server(index: u16) -> ServerOptions {
    ServerOptions::plain(index.into(), "a", ([127, 0, 0, 1], index + 1).into())
}

/// A service of so many servers, with nothing else configured.
pub(crate) fn options(servers: u16) -> ServiceOptions {
    let policies = Policies {
        place: 0,
        timeout: TimeoutOptions {
            connect: Duration::from_secs(1),
            attempt: Duration::from_secs(10),
            total: Duration::from_secs(30),
            idle: Duration::from_secs(30),
        },
        deadline: None,
        retry: RetryOptions {
            limit: 2,
            timeout_limit: 1,
            on: RetryOn::default(),
            methods: vec!["GET".to_owned()],
            backoff: BackoffOptions::default(),
            budget: BudgetOptions {
                ratio: 0.2,
                floor_per_second: 3.0,
                burst: 10.0,
            },
            body_buffer: 65_536,
            response_buffer: 0,
        },
        hedge: None,
        fallback: None,
        inject: None,
    };
    let mut options = ServiceOptions::plain("shop", (0..servers).map(server).collect(), policies);
    options.balance.slow_start = Duration::from_secs(10);
    options
}

fn service() -> Service {
    Service::new(options(1), Instant::ZERO, &mut Random::seeded(1))
}

fn order(service: &Service, until: Instant) {
    let initial = 7;
    let orders = ServiceOrders {
        limits: vec![LimitHint {
            initial,
            ..LimitHint::default()
        }],
        until,
        ..ServiceOrders::none(ServiceId(0))
    };
    service.set_orders(&orders, Instant::ZERO);
}

fn limit(service: &Service) -> Option<u32> {
    service.servers().pool().members()[0].bound()
}

/// A worker sees that the orders have run out, they are renewed, and only then does it come to take the limits off.
#[test]
fn limits_that_are_renewed_while_a_worker_takes_them_off_stay() {
    let service = service();
    order(&service, Instant::from_millis(1));
    let late = Instant::from_millis(2);
    assert!(service.orders.has_run_out(late));
    order(&service, Instant::NEVER);
    service.orders_have_run_out(late);
    assert_eq!(limit(&service), Some(7));
    assert!(!service.orders.has_run_out(late));
}

#[test]
fn limits_that_are_renewed_after_a_worker_took_them_off_are_found_anew() {
    let service = service();
    order(&service, Instant::from_millis(1));
    let late = Instant::from_millis(2);
    assert!(service.orders.has_run_out(late));
    assert!(!service.orders.has_run_out(late), "once");
    service.orders_have_run_out(late);
    assert_eq!(limit(&service), None);
    order(&service, Instant::NEVER);
    assert_eq!(limit(&service), Some(7));
}

/// The next configuration of a service, made of its first one.
fn next(service: &Service, change: impl FnOnce(&mut ServiceOptions)) -> Service {
    let mut options = options(3);
    change(&mut options);
    let now = Instant::from_millis(5);
    service.reconfigured(options, now, &mut Random::seeded(2))
}

fn state(service: &Service, index: usize) -> Arc<evenkeel_balance::ServerState> {
    Arc::clone(&service.servers().pool().members()[index].state)
}

#[test]
fn servers_keep_their_slots_and_their_states() {
    let service = Service::new(options(3), Instant::ZERO, &mut Random::seeded(1));
    let states = [0, 1, 2].map(|index| state(&service, index));
    let second = next(&service, |options| {
        options.servers.remove(1);
        options.servers[1].weight = 7;
    });
    assert!(service.is_same(&second));
    let servers = second.servers();
    let names: Vec<_> = servers.names().collect();
    assert_eq!(names, [(0, "a-0"), (2, "a-2")]);
    assert_eq!((servers.address(1), servers.name(1)), (None, ""));
    assert_eq!(servers.pool().members()[2].weight, 7);
    assert!(Arc::ptr_eq(&states[0], &state(&second, 0)));
    assert!(Arc::ptr_eq(&states[2], &state(&second, 2)));
    let third = next(&second, |options| {
        options.servers[1].name = "b".to_owned();
        options.servers[2].address = Some(([127, 0, 0, 1], 99).into());
        options.servers.push(server(5));
    });
    let servers = third.servers();
    assert_eq!(
        [1, 2, 5].map(|index| servers.name(index)),
        ["b", "a-2", "a-5"]
    );
    assert!(Arc::ptr_eq(&states[0], &state(&third, 0)));
    assert!(!Arc::ptr_eq(&states[1], &state(&third, 1)));
    assert!(!Arc::ptr_eq(&states[2], &state(&third, 2)), "elsewhere");
    assert_eq!([0, 1, 2].map(|index| servers.generation(index)), [0, 2, 2]);
}

#[test]
fn a_server_from_dns_stays_where_it_is() {
    let absent = |options: &mut ServiceOptions| options.servers[1].address = None;
    let mut first = options(3);
    absent(&mut first);
    let service = Service::new(first, Instant::ZERO, &mut Random::seeded(1));
    let joined = Joined {
        address: ([127, 0, 0, 1], 99).into(),
        weight: 9,
        tier: 1,
    };
    service.change(&[(1, Some(joined))], Instant::ZERO);
    let before = state(&service, 1);
    let second = next(&service, |options| {
        absent(options);
        options.servers[1].near = true;
    });
    let servers = second.servers();
    let member = &servers.pool().members()[1];
    assert_eq!(servers.address(1), Some(&joined.address.into()));
    assert_eq!((member.weight, member.tier, member.near), (9, 1, true));
    assert!(Arc::ptr_eq(&before, &member.state));
    // What DNS says from here on reaches both.
    second.change(&[(1, None)], Instant::ZERO);
    assert_eq!(service.servers().address(1), None);
}

/// Limits that are found for the time of an overload go on, a breaker keeps what it has counted, and what is no more says nothing.
#[test]
fn what_watches_a_server_takes_new_options() {
    let service = service();
    order(&service, Instant::NEVER);
    let breaker = |consecutive| {
        move |options: &mut ServiceOptions| {
            options.servers.truncate(1);
            options.watch.breaker = Some(evenkeel_tolerate::BreakerOptions {
                consecutive: Some(consecutive),
                ..evenkeel_tolerate::BreakerOptions::default()
            });
        }
    };
    let second = next(&service, breaker(5));
    assert_eq!(limit(&second), Some(7));
    let now = Instant::from_millis(6);
    let servers = second.servers();
    let fail = || {
        let zero = Duration::ZERO;
        let mut attempt = InFlightGuard::begin(&second, &servers, 0, zero, now).expect("room");
        attempt.came_to(now, evenkeel_core::Outcome::Answered(500), zero);
    };
    (0..2).for_each(|_| fail());
    let third = next(&second, breaker(3));
    fail();
    assert!(
        !state(&third, 0).standing(now).is_usable(),
        "the third failure opens it"
    );
    let last = next(&third, |options| options.servers.truncate(1));
    assert!(state(&last, 0).standing(now).is_usable());
    assert_eq!(limit(&last), Some(7));
    last.set_orders(&ServiceOrders::none(ServiceId(0)), now);
    assert_eq!(limit(&last), None);
    assert!(last.servers().breaker(0, now).is_none());
}

#[test]
fn a_queue_and_a_budget_take_new_options_at_once() {
    let service = Service::new(options(3), Instant::ZERO, &mut Random::seeded(1));
    let now = Instant::from_millis(5);
    let enter = |service: &Service| {
        let end = now + Duration::from_secs(60);
        let waiting = service
            .queue
            .enter(now, Class::Critical, end, Duration::ZERO);
        waiting.is_some()
    };
    while service.budget().try_spend(now) {}
    let waiting = service
        .queue
        .enter(now, Class::Critical, Instant::NEVER, Duration::ZERO);
    let second = next(&service, |options| {
        options.queue.length = 1;
        options.policies.retry.budget.burst = 3.0;
    });
    assert!(
        !enter(&second) && !enter(&service),
        "both have the same queue"
    );
    assert_eq!(second.waiting(), 1);
    assert!(
        second.budget().balance(now) < 1.0,
        "what was spent is spent"
    );
    drop(waiting);
    assert!(enter(&second));
}
