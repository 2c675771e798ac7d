//! What probes and lifecycle hooks do to a container: a request, a connection, a command.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orrery_api::task::within;

use crate::backoff::go_duration;
use crate::runtime::{ContainerRuntime, ErrorKind, HttpGet, PodNetwork};

/// One way to ask or tell a container something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    /// A GET request; any status from 200 to 399 is good.
    Http(HttpGet),
    /// A connection that can be opened.
    Tcp {
        /// To which host.
        host: String,
        /// To which port.
        port: u16,
    },
    /// A command that ends with 0.
    Exec(Vec<String>),
    /// Time to pass.
    Sleep(Duration),
}

impl Handler {
    /// What a probe does to `container`, whose pod has the address `ip`; none if it does nothing that we know.
    ///
    /// A gRPC probe only finds out whether the port accepts connections: there is no gRPC client here.
    pub fn of_probe(probe: &Probe, container: &Container, ip: IpAddr) -> Option<Self> {
        let timeout = seconds(probe.timeout_seconds.unwrap_or(1).max(1));
        if let Some(action) = &probe.http_get {
            return http(action, container, ip, timeout);
        }
        if let Some(action) = &probe.tcp_socket {
            return tcp(action, container, ip);
        }
        if let Some(action) = &probe.grpc {
            return Some(Handler::Tcp {
                host: ip.to_string(),
                port: u16::try_from(action.port).ok()?,
            });
        }
        probe.exec.as_ref().map(exec)
    }

    /// What a hook does to `container`, whose pod has the address `ip`.
    pub fn of_hook(hook: &LifecycleHandler, container: &Container, ip: Option<IpAddr>) -> Option<Self> {
        if let Some(action) = &hook.exec {
            return Some(exec(action));
        }
        if let Some(action) = &hook.sleep {
            return Some(Handler::Sleep(Duration::from_secs(
                u64::try_from(action.seconds).unwrap_or(0),
            )));
        }
        http(hook.http_get.as_ref()?, container, ip?, Duration::from_secs(30))
    }

    /// Does it, within `timeout`; a failure says what went wrong.
    pub async fn run(
        &self,
        runtime: &dyn ContainerRuntime,
        network: &dyn PodNetwork,
        container_id: &str,
        timeout: Duration,
    ) -> Result<(), String> {
        // The other side has to keep the limit; the second in addition is for one that does not.
        let limit = timeout + Duration::from_secs(1);
        let done = within(limit, async {
            match self {
                Handler::Http(request) => {
                    let code = network.http_get(request).await.map_err(|error| error.to_string())?;
                    let good = (200..400).contains(&code);
                    if good {
                        Ok(())
                    } else {
                        Err(format!("HTTP probe failed with statuscode: {code}"))
                    }
                }
                Handler::Tcp { host, port } => network
                    .tcp_connect(host, *port, timeout)
                    .await
                    .map_err(|error| error.to_string()),
                Handler::Exec(command) => match runtime.exec(container_id, command, timeout).await {
                    Ok(outcome) if outcome.exit_code == 0 => Ok(()),
                    Ok(outcome) if outcome.output.is_empty() => {
                        Err(format!("command exited with {}", outcome.exit_code))
                    }
                    Ok(outcome) => Err(String::from_utf8_lossy(&outcome.output).into_owned()),
                    Err(error) if error.kind == ErrorKind::Timeout => {
                        let limit = go_duration(timeout);
                        Err(format!(
                            "command timed out: {:?} timed out after {limit}",
                            command.join(" ")
                        ))
                    }
                    Err(error) => Err(error.to_string()),
                },
                Handler::Sleep(time) => {
                    tokio::time::sleep((*time).min(timeout)).await;
                    Ok(())
                }
            }
        });
        done.await
            .unwrap_or_else(|_| Err(format!("no answer within {}", go_duration(timeout))))
    }
}

fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn exec(action: &ExecAction) -> Handler {
    Handler::Exec(action.command.clone().unwrap_or_default())
}

fn http(action: &HTTPGetAction, container: &Container, ip: IpAddr, timeout: Duration) -> Option<Handler> {
    let path = action.path.clone().unwrap_or_default();
    let headers = action.http_headers.iter().flatten();
    Some(Handler::Http(HttpGet {
        tls: action.scheme.as_deref() == Some("HTTPS"),
        host: action
            .host
            .clone()
            .filter(|host| !host.is_empty())
            .unwrap_or_else(|| ip.to_string()),
        port: port(&action.port, container)?,
        path: if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        },
        headers: headers
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
        timeout,
    }))
}

fn tcp(action: &TCPSocketAction, container: &Container, ip: IpAddr) -> Option<Handler> {
    let host = action
        .host
        .clone()
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| ip.to_string());
    Some(Handler::Tcp {
        host,
        port: port(&action.port, container)?,
    })
}

/// The number of a port that is named by its number or by its name in the container's spec.
fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_deref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())?
        }
    };
    u16::try_from(number).ok().filter(|number| *number > 0)
}
