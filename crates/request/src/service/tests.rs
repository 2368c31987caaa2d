//! A service whose orders run out while they are renewed.

use std::time::Duration;

use evenkeel_core::{LimitHint, ServiceId};
use evenkeel_tolerate::{BackoffOptions, BudgetOptions, RetryOn, RetryOptions, TimeoutOptions};

use super::*;

/// The server with this index, with nothing else configured.
pub(crate) fn server(index: u16) -> ServerOptions {
    ServerOptions::plain(format!("a-{index}"), ([127, 0, 0, 1], index + 1).into())
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
