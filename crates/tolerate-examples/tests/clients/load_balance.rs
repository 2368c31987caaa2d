//! `load_balance(urls)`: the first good answer from a list of URLs, balanced, with retries elsewhere.

use std::sync::{Arc, Mutex, PoisonError};

use crate::server::{Answer, Server, nobody};
use evenkeel_balance::{BalanceOptions, Member, Picker, Policy, Pool, ServerState};
use evenkeel_core::{Directive, EjectionReason as ServerVerdict, Instant, Outcome, ServerId};
use evenkeel_tolerate::clock::Clock;
use evenkeel_tolerate::{Call, Failed, Recovered, Recovery, Verdict};
use reqwest::{Client, Response};
use std::time::Duration;

/// Servers that all have the same to say.
struct Balanced {
    urls: Vec<String>,
    pool: Pool,
    picker: Mutex<Picker>,
    policy: Recovery,
    client: Client,
}

fn load_balance(urls: Vec<String>) -> Balanced {
    let options = BalanceOptions {
        policy: Policy::RoundRobin,
        panic_below: 0.5,
        slow_start: Duration::ZERO,
        bounded_load: None,
        maglev_table: 65_537,
        overprovisioning: 1.4,
        subset: None,
    };
    let member = |url: &String| Member {
        identity: url.as_str().into(),
        state: Arc::new(ServerState::new()),
        weight: 1,
        tier: 0,
        near: false,
        max_requests: 0,
    };
    let pool = Pool::new(options, urls.iter().map(member).collect());
    Balanced {
        picker: Mutex::new(Picker::new(&pool, 7)),
        policy: Recovery::default(),
        client: Client::new(),
        urls,
        pool,
    }
}

impl Balanced {
    async fn get(&self, path: &str) -> Recovered<Response, reqwest::Error> {
        let pick = |avoid: &[u32], now: Instant| {
            let mut picker = self.picker.lock().unwrap_or_else(PoisonError::into_inner);
            picker.pick(&self.pool, now, avoid).map(|pick| pick.index)
        };
        let call = self.policy.call(Call::idempotent("get"));
        call.pick(pick)
            .classify_by(|result: &reqwest::Result<Response>| match result {
                Ok(response) => Verdict::of_status(response.status().as_u16(), None),
                Err(error) if error.is_connect() => Verdict::Unsent,
                Err(_) => Verdict::Lost,
            })
            .run(|attempt| async move {
                let server = attempt.server().expect("one was picked") as usize;
                let result = self
                    .client
                    .get(format!("{}{path}", self.urls[server]))
                    .send()
                    .await;
                self.tell(server, attempt.began(), &result);
                result
            })
            .await
    }

    /// The balancer learns how long it took (begun and ended at once, since an attempt that is dropped tells nothing); who cannot be reached is left out for a while.
    fn tell(&self, server: usize, began: Instant, result: &reqwest::Result<Response>) {
        let now = self.policy.clock().now();
        let state = &self.pool.members()[server].state;
        let outcome = match result {
            Ok(response) => Outcome::Answered(response.status().as_u16()),
            Err(_) => Outcome::ConnectRefused,
        };
        state.begin();
        let typical = self
            .picker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .typical_latency();
        state.end(now, outcome, now.since(began), typical);
        if result.is_err() {
            let server = ServerId::new(0, server as u32);
            let until = now + Duration::from_secs(5);
            state.apply(
                &Directive::Eject {
                    server,
                    verdict: ServerVerdict::Known,
                    until,
                },
                now,
            );
        }
    }
}

#[tokio::test]
async fn one_of_three_is_down_and_one_fails_at_first() -> Result<(), Failed<reqwest::Error>> {
    let good = Server::start(&[Answer::Status(200)]);
    let flaky = Server::start(&[
        Answer::Status(502),
        Answer::Status(502),
        Answer::Status(200),
    ]);
    let urls = [good.address, flaky.address, nobody()].map(|it| format!("http://{it}"));
    let service = load_balance(urls.to_vec());
    for _ in 0..30 {
        let recovered = service.get("/").await;
        assert!(recovered.is_good(), "{:?}", recovered.report());
        let servers: Vec<_> = recovered.report().log().map(|it| it.server).collect();
        let mut once = servers.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(
            once.len(),
            servers.len(),
            "none is tried twice: {servers:?}"
        );
        assert_eq!(recovered.into_result()?.status(), 200);
    }
    assert_eq!(service.policy.counters().calls, 30);
    assert!(good.asked() > 0 && flaky.asked() > 2, "both were used");
    Ok(())
}
