//! The transport over TLS: one connection a request, HTTP/1.1. Real world only; for commands, which ask little.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header;
use http_body_util::{BodyStream, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use orrery_api::message::{Body, BodyError, Request, Response, Transport, TransportError};
use orrery_api::task::TaskGroup;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A transport to one server.
pub struct Https {
    /// `host:port`.
    address: String,
    connector: TlsConnector,
    connections: TaskGroup,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be set up: {0}")]
pub struct TlsError(String);

impl Https {
    /// A transport to `address` (`host:port`), which must be certified by `authority`, as the one that `certificate`
    /// and `key` name; all PEM.
    pub fn new(address: &str, authority: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| TlsError(format!("{what}: {error}"));
        let mut roots = rustls::RootCertStore::empty();
        for one in CertificateDer::pem_slice_iter(authority) {
            let one = one.map_err(|error| failed("the authority", &error))?;
            roots.add(one).map_err(|error| failed("the authority", &error))?;
        }
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| failed("the certificate", &error))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| failed("the key", &error))?;
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed("the protocol versions", &error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| failed("the certificate", &error))?;
        Ok(Https {
            address: address.to_owned(),
            connector: TlsConnector::from(Arc::new(config)),
            connections: TaskGroup::new(),
        })
    }
}

fn unsent(error: impl std::fmt::Display) -> TransportError {
    TransportError {
        message: error.to_string(),
        sent: false,
    }
}

#[async_trait]
impl Transport for Https {
    async fn send(&self, mut request: Request) -> Result<Response, TransportError> {
        let stream = TcpStream::connect(&self.address)
            .await
            .map_err(|error| unsent(format!("cannot connect to {}: {error}", self.address)))?;
        let host = self
            .address
            .rsplit_once(':')
            .map_or(self.address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.to_owned()).map_err(unsent)?;
        let stream = self.connector.connect(name, stream).await.map_err(unsent)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unsent)?;
        self.connections.spawn(async move {
            // Its end shows in the body that is being read.
            let _ = connection.await;
        });
        if let Ok(host) = http::HeaderValue::from_str(&self.address) {
            request.headers_mut().insert(header::HOST, host);
        }
        let response = sender
            .send_request(request.map(Full::<Bytes>::new))
            .await
            .map_err(|error| TransportError {
                message: error.to_string(),
                sent: true,
            })?;
        Ok(response.map(|body| {
            Body::stream(BodyStream::new(body).filter_map(|frame| {
                let data = match frame {
                    Ok(frame) => frame.into_data().ok().map(Ok),
                    Err(error) => Some(Err(BodyError(error.to_string()))),
                };
                std::future::ready(data)
            }))
        }))
    }
}
