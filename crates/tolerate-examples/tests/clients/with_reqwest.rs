//! Around reqwest: one line; and statuses, refused connections and `Retry-After` understood.

use std::time::Duration;

use crate::server::{Answer, Server, nobody};
use evenkeel_tolerate::{
    Call, Failed, HedgeAfter, HedgeOptions, Recovery, Stopped, Verdict, recover, retry,
};
use reqwest::{Client, Response};

/// What a response or an error of reqwest means.
fn meaning(result: &reqwest::Result<Response>) -> Verdict {
    match result {
        Ok(response) => {
            let wish = response.headers().get("retry-after");
            let seconds = wish.and_then(|wish| wish.to_str().ok()?.parse().ok());
            Verdict::of_status(response.status().as_u16(), seconds.map(Duration::from_secs))
        }
        Err(error) if error.is_builder() => Verdict::Fatal,
        Err(error) if error.is_connect() => Verdict::Unsent,
        Err(error) if error.is_timeout() => Verdict::Timeout,
        Err(_) => Verdict::Lost,
    }
}

/// The README's function.
async fn page(client: &Client, url: &str) -> Result<String, Failed<reqwest::Error>> {
    retry(|| async {
        let response = client.get(url).send().await?;
        response.error_for_status()?.text().await
    })
    .await
}

#[tokio::test]
async fn one_line() -> Result<(), Failed<reqwest::Error>> {
    let server = Server::start(&[Answer::Close, Answer::Status(503), Answer::Status(200)]);
    let url = format!("http://{}/", server.address);

    page(&Client::new(), &url).await?;

    assert_eq!(server.asked(), 3);
    Ok(())
}

#[tokio::test]
async fn a_policy_that_knows_what_answers_mean() {
    let server = Server::start(&[
        Answer::Status(503),
        Answer::After(429, 1),
        Answer::Status(200),
    ]);
    let policy = Recovery::named("reads").build().expect("no errors");
    let (client, url) = (Client::new(), format!("http://{}/", server.address));
    let recovered = policy
        .call(Call::idempotent("get"))
        .classify_by(meaning)
        .run(|attempt| client.get(&url).timeout(attempt.timeout()).send())
        .await;
    assert!(recovered.is_good());
    assert!(
        recovered.report().waited() >= Duration::from_secs(1),
        "it was asked to"
    );
    let body = recovered.into_result().expect("a response").text().await;
    assert_eq!(body.expect("a body"), "3");
}

#[tokio::test]
async fn a_post_is_repeated_only_if_nobody_saw_it() {
    let server = Server::start(&[Answer::Close]);
    let policy = Recovery::named("writes").build().expect("no errors");
    let client = Client::new();
    let addresses = [nobody(), server.address];
    let recovered = policy
        .call(Call::once("charge"))
        .classify_by(meaning)
        .run(|attempt| {
            let address = addresses[usize::from(attempt.number() > 1)];
            client.post(format!("http://{address}/")).body("5").send()
        })
        .await;
    // Nobody was at the first address, so the second was tried; that one may have seen it.
    assert_eq!(
        (recovered.stopped(), recovered.report().attempts()),
        (Stopped::Once, 2)
    );
    assert_eq!(server.asked(), 1);
}

#[recover(call = idempotent)]
async fn fetch(client: &Client, url: &str) -> reqwest::Result<String> {
    client
        .get(url)
        .send()
        .await?
        .error_for_status()?
        .text()
        .await
}

#[tokio::test]
async fn a_function_with_the_attribute() {
    let server = Server::start(&[Answer::Status(500), Answer::Status(200)]);
    let url = format!("http://{}/", server.address);
    assert_eq!(fetch(&Client::new(), &url).await.expect("the second"), "2");
}

/// With tokio's timer: no time is measured, the order of events is.
#[tokio::test]
async fn what_hangs_is_cut_or_overtaken() {
    let call = Call::idempotent("get");
    let server = Server::start(&[Answer::Hang, Answer::Status(200)]);
    let (client, url) = (Client::new(), format!("http://{}/", server.address));
    let cut = Recovery::named("cut").attempt_timeout(Duration::from_millis(200));
    let cut = cut.build().expect("no errors");
    let recovered = cut
        .call(call)
        .classify_by(meaning)
        .run(|_| client.get(&url).send())
        .await;
    assert!(recovered.is_good());
    let counted = cut.counters();
    assert_eq!((counted.timeouts, counted.retries_after_timeout), (1, 1));

    let server = Server::start(&[Answer::Hang, Answer::Status(200)]);
    let url = format!("http://{}/", server.address);
    let hedge = HedgeOptions {
        after: HedgeAfter::Delay(Duration::from_millis(50)),
        ..HedgeOptions::default()
    };
    let hedged = Recovery::named("hedged")
        .hedge(hedge)
        .build()
        .expect("no errors");
    let recovered = hedged
        .call(call)
        .classify_by(meaning)
        .run(|_| client.get(&url).send())
        .await;
    assert!(recovered.is_good());
    let counted = hedged.counters();
    assert_eq!(
        (counted.hedges_won, counted.cancelled, counted.timeouts),
        (1, 1, 0)
    );
}
