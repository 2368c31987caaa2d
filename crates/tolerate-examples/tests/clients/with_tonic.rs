//! Around tonic: a status is understood, and each attempt sends what is left of the time as `grpc-timeout`. The messages are
//! plain bytes, so that no code has to be generated.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use evenkeel_tolerate::{Call, Recovery, Verdict};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::{Channel, Endpoint, Server, server::TcpIncoming};
use tonic::{Request, Response, Status};

#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// Fails the first two calls.
#[derive(Clone, Default)]
struct Echo {
    calls: Arc<AtomicU32>,
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl UnaryService<Vec<u8>> for Echo {
    type Response = Vec<u8>;
    type Future = Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        let told = request.metadata().contains_key("grpc-timeout");
        ready(match self.calls.fetch_add(1, Ordering::SeqCst) {
            _ if !told => Err(Status::invalid_argument("how long may it take?")),
            0 => Err(Status::unavailable("not yet")),
            1 => Err(Status::resource_exhausted("too much")),
            _ => Ok(Response::new(request.into_inner())),
        })
    }
}

impl Service<http::Request<tonic::body::Body>> for Echo {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).unary(echo, request).await) })
    }
}

async fn echo(channel: Channel, mut request: Request<Vec<u8>>) -> Result<Vec<u8>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/test.Echo/Echo");
    request
        .metadata_mut()
        .insert("from", "a-test".parse().expect("plain"));
    Ok(grpc.unary(request, path, Raw).await?.into_inner())
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    let service = Echo::default();
    let calls = Arc::clone(&service.calls);
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let channel = channel.connect_lazy();
    let policy = Recovery::default();
    let recovered = policy
        .call(Call::idempotent("echo"))
        .classify_by(|result: &Result<Vec<u8>, Status>| match result {
            Ok(_) => Verdict::Good,
            Err(status) => Verdict::of_grpc(status.code() as u32, None),
        })
        .run(|attempt| {
            let mut request = Request::new(b"hello".to_vec());
            request.set_timeout(attempt.timeout());
            echo(channel.clone(), request)
        })
        .await;
    let ended: Vec<_> = recovered.report().log().map(|it| it.verdict).collect();
    assert_eq!(
        ended,
        [
            Some(Verdict::TRANSIENT),
            Some(Verdict::THROTTLED),
            Some(Verdict::Good)
        ]
    );
    assert_eq!(recovered.into_result().expect("the third"), b"hello");
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}
