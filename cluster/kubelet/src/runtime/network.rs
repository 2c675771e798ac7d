//! The way to pods over the node's network: [`PodNetwork`], with plain data.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;

use super::RuntimeError;

/// How long opening a connection for a request may take, however long its answer may: hooks may wait for hours, and
/// nobody may have the address any more. Source: the dialer of Go's default HTTP transport.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Reaches pods over the node's network, for probes and hooks.
#[async_trait]
pub trait PodNetwork: Send + Sync {
    /// Sends one GET and returns the status code, whatever it is; of a redirect, where it is on the same host, the one
    /// that it leads to. Certificates are not checked. An error means that there was no connection within
    /// [`CONNECT_LIMIT`], that no status line came within `timeout`, or that redirects have no end.
    async fn http_get(&self, request: &HttpGet, timeout: Duration) -> Result<u16, RuntimeError>;

    /// Opens a TCP connection to an address, or a name that the node resolves, and closes it again.
    async fn tcp_connect(&self, host: &str, port: u16, timeout: Duration) -> Result<(), RuntimeError>;

    /// Asks the gRPC server at `address` for the health of `service`; an empty name means the server as a whole. An
    /// error means that it did not say within `timeout`.
    async fn grpc_check(
        &self,
        address: SocketAddr,
        service: &str,
        timeout: Duration,
    ) -> Result<ServingStatus, RuntimeError>;
}

/// One HTTP request of a probe or hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGet {
    /// Over TLS.
    pub tls: bool,
    /// To which host: an address, or a name that the node resolves.
    pub host: String,
    /// To which port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Header fields beyond `Host`, `User-Agent`, `Accept` and `Connection`, which are set unless they are here.
    pub headers: Vec<(String, String)>,
}

/// What a gRPC server says of a service's health. Source: `grpc.health.v1.HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServingStatus {
    /// It does not know yet.
    Unknown,
    /// It serves.
    Serving,
    /// It does not serve.
    NotServing,
    /// There is no such service.
    ServiceUnknown,
}

impl fmt::Display for ServingStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ServingStatus::Unknown => "UNKNOWN",
            ServingStatus::Serving => "SERVING",
            ServingStatus::NotServing => "NOT_SERVING",
            ServingStatus::ServiceUnknown => "SERVICE_UNKNOWN",
        })
    }
}
