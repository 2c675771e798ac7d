//! The server's sockets: HTTP/1.1 and HTTP/2 over TLS, clients known by their certificates. Real world only.
//!
//! Source: Kubernetes' "Authenticating", X.509 client certificates: the common name is the user, organizations are the
//! groups.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use orrery_api::log;
use orrery_api::message::{Body, BodyError, Identity, Service};
use orrery_api::status::ApiError;
use orrery_api::task::TaskGroup;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::body::BODY_LIMIT;

/// A client that does not finish its handshake or its request's head in time is sent away.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// A body must arrive within so long.
const BODY_READ_LIMIT: Duration = Duration::from_secs(60);
/// A pause after the system refused to accept a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The server's certificate, its key, and whom clients must be certified by; all PEM.
pub struct TlsFiles<'a> {
    /// The certificate chain.
    pub certificate: &'a [u8],
    /// The private key.
    pub key: &'a [u8],
    /// The authority that certifies clients.
    pub client_authority: &'a [u8],
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be set up: {0}")]
pub struct TlsError(String);

/// Makes the TLS side of the server: 1.2 and later, HTTP/2 by ALPN, client certificates asked for but not demanded, so
/// that who has none gets an answer (401) instead of a broken handshake.
pub fn acceptor(files: &TlsFiles<'_>) -> Result<TlsAcceptor, TlsError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| TlsError(format!("{what}: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(files.client_authority) {
        let certificate = certificate.map_err(|error| failed("the client authority", &error))?;
        roots
            .add(certificate)
            .map_err(|error| failed("the client authority", &error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| failed("the client authority", &error))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(files.certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| failed("the certificate", &error))?;
    let key = PrivateKeyDer::from_pem_slice(files.key).map_err(|error| failed("the key", &error))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed("the protocol versions", &error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| failed("the certificate", &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Binds a socket. The error says which address.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

/// Serves `service` on `listener`, for ever. Dropping the future closes the listener and every connection.
pub async fn serve(listener: TcpListener, acceptor: TlsAcceptor, service: Arc<dyn Service>) {
    let connections = TaskGroup::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let acceptor = acceptor.clone();
                let service = service.clone();
                connections.spawn(async move { converse(stream, acceptor, service).await });
            }
            Err(error) => {
                log::line("apiserver", format_args!("cannot accept a connection: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, from its handshake to its end. Its errors are the client's business.
async fn converse(stream: TcpStream, acceptor: TlsAcceptor, service: Arc<dyn Service>) {
    // Watches send small frames that must not wait for each other.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await else {
        return;
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let identity = certificates.and_then(|chain| chain.first()).and_then(identity_of);
    let answer = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let service = service.clone();
        let identity = identity.clone();
        async move { Ok::<_, Infallible>(answer(request, identity, service.as_ref()).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(250)
        .keep_alive_interval(Duration::from_secs(30));
    let _ = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), answer)
        .await;
}

/// Who a verified certificate is of: the common name, in the groups of its organizations.
fn identity_of(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> = subject
        .iter_organization()
        .filter_map(|group| group.as_str().ok())
        .collect();
    Some(Identity::new(user, &groups))
}

type OutgoingBody = UnsyncBoxBody<Bytes, BodyError>;

async fn answer(
    request: http::Request<Incoming>,
    identity: Option<Identity>,
    service: &dyn Service,
) -> http::Response<OutgoingBody> {
    let (mut parts, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_READ_LIMIT, Limited::new(body, BODY_LIMIT).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => {
            return outgoing(ApiError::too_large(BODY_LIMIT).into_response());
        }
        Ok(Err(error)) => return outgoing(ApiError::bad_request(error.to_string()).into_response()),
        Err(_) => return outgoing(ApiError::timeout("the body did not arrive in time").into_response()),
    };
    // Who asks is only what the certificate says.
    parts.extensions.remove::<Identity>();
    if let Some(identity) = identity {
        parts.extensions.insert(identity);
    }
    outgoing(service.call(http::Request::from_parts(parts, body)).await)
}

fn outgoing(response: orrery_api::message::Response) -> http::Response<OutgoingBody> {
    response.map(|body| match body {
        Body::Full(bytes) => Full::new(bytes)
            .map_err(|never: Infallible| match never {})
            .boxed_unsync(),
        Body::Stream(frames) => StreamBody::new(frames.map(|frame| frame.map(Frame::data))).boxed_unsync(),
    })
}
