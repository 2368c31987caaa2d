//! Around hyper: each attempt connects, so that nothing of a broken connection is left.

use crate::server::{Answer, Server};
use evenkeel_tolerate::{Call, Recovery, Verdict};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::net::TcpStream;

#[derive(Debug)]
enum Error {
    Connect(std::io::Error),
    Http(hyper::Error),
}

async fn get(address: SocketAddr) -> Result<(u16, Bytes), Error> {
    let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(Error::Http)?;
    let request = Request::get("/")
        .header("host", "local")
        .body(Empty::<Bytes>::new());
    let exchange = async {
        let response = sender.send_request(request.expect("a request")).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    // The connection is driven here and not in a task of its own, so it goes with the attempt.
    let (answer, _closed) = tokio::join!(exchange, connection);
    answer.map_err(Error::Http)
}

fn meaning(result: &Result<(u16, Bytes), Error>) -> Verdict {
    match result {
        Ok((status, _)) => Verdict::of_status(*status, None),
        Err(Error::Connect(error)) => Verdict::of_io(error),
        Err(Error::Http(error)) if error.is_incomplete_message() => Verdict::Lost,
        Err(Error::Http(_)) => Verdict::Fatal,
    }
}

#[tokio::test]
async fn a_closed_connection_and_a_502_are_hidden() {
    let server = Server::start(&[Answer::Close, Answer::Status(502), Answer::Status(200)]);
    let policy = Recovery::default();
    let run = policy.call(Call::idempotent("get")).classify_by(meaning);
    let recovered = run.run(|_| get(server.address)).await;
    let ended: Vec<_> = recovered.report().log().map(|it| it.verdict).collect();
    assert_eq!(
        ended,
        [
            Some(Verdict::Lost),
            Some(Verdict::TRANSIENT),
            Some(Verdict::Good)
        ]
    );
    assert_eq!(recovered.into_result().expect("the third").1, "3");
}
