//! TLS for probes: encrypted, but whoever answers is believed, as Kubernetes documents it for HTTPS probes
//! ("the kubelet sends an HTTPS request skipping the certificate verification"). Nothing secret is sent.

use std::io;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

static CONNECTOR: LazyLock<Option<TlsConnector>> = LazyLock::new(|| {
    let provider = Arc::new(ring::default_provider());
    let believer = Arc::new(Believer(provider.clone()));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(believer)
        .with_no_client_auth();
    Some(TlsConnector::from(Arc::new(config)))
});

/// Shakes hands with `host` over `stream`.
pub(super) async fn connect(stream: TcpStream, host: &str) -> io::Result<TlsStream<TcpStream>> {
    let connector = CONNECTOR
        .as_ref()
        .ok_or_else(|| io::Error::other("TLS cannot be set up"))?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    connector.connect(name, stream).await
}

/// Believes every certificate, and that its owner has the key to it: where any certificate will do, the key proves
/// nothing, and to check it the certificate would have to be read, which fails with X.509 of version 1.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// What a client hears of a server that shows this certificate.
    async fn heard(certificate: CertificateDer<'static>, key: &KeyPair) -> String {
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let key = ring::sign::any_supported_type(&key).expect("a key that signs");
        let shown = CertifiedKey::new(vec![certificate], key);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let mut stream = acceptor.accept(stream).await.expect("a handshake");
            stream.write_all(b"hello").await.expect("written");
            stream.shutdown().await.expect("ended");
        });
        let stream = TcpStream::connect(address).await.expect("connected");
        let mut stream = connect(stream, "127.0.0.1").await.expect("a handshake");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("read");
        served.await.expect("served");
        text
    }

    #[tokio::test]
    async fn a_server_with_a_certificate_of_its_own_making_is_heard() {
        let own = rcgen::generate_simple_self_signed(vec!["elsewhere".to_owned()]).expect("a certificate");
        assert_eq!(heard(own.cert.der().clone(), &own.signing_key).await, "hello");
    }

    #[tokio::test]
    async fn a_server_with_a_certificate_that_cannot_be_read_is_heard() {
        let own = KeyPair::generate().expect("a key");
        let certificate = CertificateDer::from(b"of a version that is not known here".to_vec());
        assert_eq!(heard(certificate, &own).await, "hello");
    }
}
