//! The way from a machine to its pods, for probes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use orrery_kubelet::runtime::{CONNECT_LIMIT, ErrorKind, HttpGet, PodNetwork, RuntimeError, ServingStatus};
use tokio::time::sleep;

use super::{SharedRuntime, SimRuntime};

/// Whether somebody answers at an address.
enum Answer {
    /// Yes.
    Yes,
    /// The connection is refused: nobody listens, or not yet.
    Refused,
    /// Nobody has the address.
    Nobody,
}

impl SimRuntime {
    fn answer(&self, host: &str, port: u16) -> Answer {
        let Ok(ip) = host.parse::<IpAddr>() else {
            return Answer::Nobody;
        };
        let state = self.lock();
        let sandboxes: BTreeSet<&str> = state
            .sandboxes
            .iter()
            .filter(|(_, sandbox)| sandbox.ready)
            .filter(|(_, sandbox)| sandbox.ip == Some(ip) || (sandbox.config.host_network && ip == self.address))
            .map(|(id, _)| id.as_str())
            .collect();
        if sandboxes.is_empty() && ip != self.address {
            return Answer::Nobody;
        }
        if state.is_answered(&sandboxes, port) {
            Answer::Yes
        } else {
            Answer::Refused
        }
    }

    /// Whether a pod with that address answers on the port.
    pub fn listens(&self, ip: IpAddr, port: u16) -> bool {
        matches!(self.answer(&ip.to_string(), port), Answer::Yes)
    }

    async fn connect(self: &Arc<Self>, host: &str, port: u16, timeout: Duration) -> Result<(), RuntimeError> {
        self.call().await;
        match self.answer(host, port) {
            Answer::Yes => Ok(()),
            Answer::Refused => Err(RuntimeError::other(format!(
                "dial tcp {host}:{port}: connect: connection refused"
            ))),
            Answer::Nobody => {
                sleep(timeout).await;
                Err(RuntimeError::new(
                    ErrorKind::Timeout,
                    format!("dial tcp {host}:{port}: i/o timeout"),
                ))
            }
        }
    }
}

#[async_trait]
impl PodNetwork for SharedRuntime {
    async fn http_get(&self, request: &HttpGet, timeout: Duration) -> Result<u16, RuntimeError> {
        let limit = timeout.min(CONNECT_LIMIT);
        self.0.connect(&request.host, request.port, limit).await.map(|()| 200)
    }

    async fn tcp_connect(&self, host: &str, port: u16, timeout: Duration) -> Result<(), RuntimeError> {
        self.0.connect(host, port, timeout).await
    }

    async fn grpc_check(
        &self,
        address: SocketAddr,
        _service: &str,
        timeout: Duration,
    ) -> Result<ServingStatus, RuntimeError> {
        let host = address.ip().to_string();
        let answered = self.0.connect(&host, address.port(), timeout).await;
        answered.map(|()| ServingStatus::Serving)
    }
}
