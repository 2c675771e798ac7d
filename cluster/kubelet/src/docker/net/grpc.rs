//! gRPC's health check, as far as a probe needs it: one call of `grpc.health.v1.Health/Check` over HTTP/2, without TLS.
//!
//! Source: gRPC's documents "Health Checking Protocol" and "gRPC over HTTP2". Each of the two messages has one field,
//! of number 1: the service's name, and its status.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use orrery_api::task::TaskGroup;
use tokio::net::TcpStream;

use crate::runtime::ServingStatus;

/// The longest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 4096;
/// Field 1 in protobuf's encoding, where a value with a length follows, and where a number does.
const TEXT_FIELD: u8 = 1 << 3 | 2;
const NUMBER_FIELD: u8 = 1 << 3;

/// Asks the server at the other end of `stream`, which is at `address`, for the health of `service`.
pub(super) async fn check(stream: TcpStream, address: SocketAddr, service: &str) -> io::Result<ServingStatus> {
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let connections = TaskGroup::new();
    connections.spawn(async move {
        // Its end shows in the answer that is waited for.
        let _ = connection.await;
    });
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("Content-Type", "application/grpc")
        .header("TE", "trailers")
        .header("User-Agent", "kube-probe/1.35")
        .body(Full::new(question(service)))
        .map_err(io::Error::other)?;
    let (head, body) = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?
        .into_parts();
    if head.status != StatusCode::OK {
        return Err(io::Error::other(format!("unexpected HTTP status code {}", head.status)));
    }
    let body = Limited::new(body, ANSWER_LIMIT)
        .collect()
        .await
        .map_err(io::Error::other)?;
    // Who has no message to send may say so at once.
    succeeded(body.trailers().unwrap_or(&head.headers))?;
    answer(&body.to_bytes())
}

/// The question for the health of `service`, framed: not compressed, its length, itself.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(TEXT_FIELD);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    Bytes::from(framed)
}

/// Whether a call succeeded, by the fields at its end.
fn succeeded(fields: &HeaderMap) -> io::Result<()> {
    let text = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
    let message = text("grpc-message").unwrap_or_default();
    match text("grpc-status") {
        Some("0") => Ok(()),
        Some(code) => Err(io::Error::other(format!("rpc error: code = {code} desc = {message}"))),
        None => Err(io::Error::other("the server does not speak gRPC")),
    }
}

/// The status in a framed answer, which leaves it out where it is 0.
fn answer(framed: &[u8]) -> io::Result<ServingStatus> {
    let message = framed.split_first_chunk::<5>();
    let message = message.and_then(|([compressed, length @ ..], message)| {
        let is_whole = u32::from_be_bytes(*length) as usize == message.len();
        (is_whole && *compressed == 0).then_some(message)
    });
    match message {
        Some([] | [NUMBER_FIELD, 0, ..]) => Ok(ServingStatus::Unknown),
        Some([NUMBER_FIELD, 1, ..]) => Ok(ServingStatus::Serving),
        Some([NUMBER_FIELD, 2, ..]) => Ok(ServingStatus::NotServing),
        Some([NUMBER_FIELD, 3, ..]) => Ok(ServingStatus::ServiceUnknown),
        _ => Err(io::Error::other("malformed answer")),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http::{HeaderValue, Response};
    use http_body_util::StreamBody;
    use hyper::body::{Frame, Incoming};
    use hyper::server;
    use hyper::service::service_fn;
    use tokio::net::TcpListener;

    use super::*;

    /// What a probe hears of a server that gives this answer and ends the call with this code.
    async fn heard(answer: &'static [u8], code: &'static str) -> Result<ServingStatus, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let calls = service_fn(move |call: Request<Incoming>| async move {
                assert_eq!(call.uri().path(), "/grpc.health.v1.Health/Check");
                assert_eq!(call.headers()["content-type"], "application/grpc");
                let asked = call.into_body().collect().await?.to_bytes();
                assert_eq!(asked, question("web"));
                let end = HeaderMap::from_iter([(
                    http::HeaderName::from_static("grpc-status"),
                    HeaderValue::from_static(code),
                )]);
                let frames = [Frame::data(Bytes::from_static(answer)), Frame::trailers(end)];
                let frames = stream::iter(frames.map(Ok::<_, hyper::Error>));
                Ok::<_, hyper::Error>(Response::new(StreamBody::new(frames)))
            });
            let connection = server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = connection.serve_connection(TokioIo::new(stream), calls).await;
        });
        let stream = TcpStream::connect(address).await.expect("a connection");
        let status = check(stream, address, "web").await.map_err(|error| error.to_string());
        served.abort();
        status
    }

    #[tokio::test]
    async fn the_health_of_a_service_is_what_its_server_says() {
        assert_eq!(heard(&[0, 0, 0, 0, 2, 8, 1], "0").await, Ok(ServingStatus::Serving));
        assert_eq!(heard(&[0, 0, 0, 0, 2, 8, 2], "0").await, Ok(ServingStatus::NotServing));
        assert_eq!(heard(&[0, 0, 0, 0, 0], "0").await, Ok(ServingStatus::Unknown));
        let cut = heard(&[0, 0, 0, 0, 2, 8], "0").await;
        assert_eq!(cut, Err("malformed answer".to_owned()));
        let failed = heard(&[], "12").await;
        assert_eq!(failed, Err("rpc error: code = 12 desc = ".to_owned()));
    }

    #[test]
    fn a_question_names_the_service_or_none() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("web")[..], b"\0\0\0\0\x05\x0a\x03web");
        let long = question(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 10, 0xac, 2]);
        assert_eq!(long.len(), 5 + 3 + 300);
    }
}
