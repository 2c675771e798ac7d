//! What probes and lifecycle hooks do to a container: a request, a connection, a question, a command.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orrery_api::mutant;
use orrery_api::task::within;

use crate::backoff::go_duration;
use crate::runtime::{ContainerRuntime, ErrorKind, ExecOutcome, HttpGet, PodNetwork, RuntimeError, ServingStatus};

/// One way to ask or tell a container something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    /// A GET request of a probe; any status from 200 to 399 is good.
    Http(HttpGet),
    /// A GET request of a hook; any answer is good. Source: `runHTTPHandler` of Kubernetes' kubelet.
    HttpHook(HttpGet),
    /// A connection that can be opened.
    Tcp {
        /// To which host.
        host: String,
        /// To which port.
        port: u16,
    },
    /// A gRPC service that says that it serves.
    Grpc {
        /// Where its server is.
        address: SocketAddr,
        /// The service; empty for the server as a whole.
        service: String,
    },
    /// A command that ends with 0.
    Exec(Vec<String>),
    /// Time to pass.
    Sleep(Duration),
}

/// Why a handler did not succeed, in words for events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The container did not do its part, or not in time.
    #[error("{0}")]
    Container(String),
    /// The runtime could not be asked, which says nothing about the container.
    #[error("{0}")]
    Runtime(String),
}

impl Handler {
    /// What a probe does to `container`, whose pod has the address `ip`; none if it does nothing that we know.
    pub fn of_probe(probe: &Probe, container: &Container, ip: IpAddr) -> Option<Self> {
        if let Some(action) = &probe.http_get {
            return http(action, container, ip).map(Handler::Http);
        }
        if let Some(action) = &probe.tcp_socket {
            return tcp(action, container, ip);
        }
        if let Some(action) = &probe.grpc {
            return Some(Handler::Grpc {
                address: SocketAddr::new(ip, u16::try_from(action.port).ok()?),
                service: action.service.clone().unwrap_or_default(),
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
        http(hook.http_get.as_ref()?, container, ip?).map(Handler::HttpHook)
    }

    /// Does it, within `timeout`; a failure says what went wrong.
    pub async fn run(
        &self,
        runtime: &dyn ContainerRuntime,
        network: &dyn PodNetwork,
        container_id: &str,
        timeout: Duration,
    ) -> Result<(), Failure> {
        // The other side has to keep the limit; the second in addition is for one that does not.
        let limit = timeout + Duration::from_secs(1);
        let done = within(limit, async {
            match self {
                Handler::Http(request) | Handler::HttpHook(request) => {
                    let code = network.http_get(request, timeout).await.map_err(unanswered)?;
                    self.judge_code(code)
                }
                Handler::Tcp { host, port } => network.tcp_connect(host, *port, timeout).await.map_err(unanswered),
                Handler::Grpc { address, service } => {
                    let status = network.grpc_check(*address, service, timeout).await;
                    judge_health(status.map_err(unanswered)?)
                }
                Handler::Exec(command) => {
                    let outcome = runtime.exec(container_id, command, timeout).await;
                    judge_outcome(&outcome.map_err(|error| unfinished(error, command, timeout))?)
                }
                Handler::Sleep(time) => {
                    tokio::time::sleep((*time).min(timeout)).await;
                    Ok(())
                }
            }
        });
        done.await.unwrap_or_else(|_| {
            let limit = go_duration(timeout);
            Err(Failure::Container(format!("no answer within {limit}")))
        })
    }

    /// What the status code of an answer to its request says; to a hook, nothing.
    fn judge_code(&self, code: u16) -> Result<(), Failure> {
        if matches!(self, Handler::HttpHook(_)) || (200..400).contains(&code) {
            return Ok(());
        }
        let why = format!("HTTP probe failed with statuscode: {code}");
        Err(Failure::Container(why))
    }
}

/// What it means that nobody answered over the network.
fn unanswered(error: RuntimeError) -> Failure {
    Failure::Container(error.message)
}

/// What it means that `command` was not run to its end within `timeout`.
fn unfinished(error: RuntimeError, command: &[String], timeout: Duration) -> Failure {
    match error.kind {
        ErrorKind::Unavailable if !mutant::active("O236") => Failure::Runtime(error.message),
        ErrorKind::Timeout => Failure::Container(format!(
            "command timed out: {:?} timed out after {}",
            command.join(" "),
            go_duration(timeout)
        )),
        _ => Failure::Container(error.message),
    }
}

fn judge_health(status: ServingStatus) -> Result<(), Failure> {
    if status == ServingStatus::Serving {
        return Ok(());
    }
    let why = format!("service unhealthy (responded with \"{status}\")");
    Err(Failure::Container(why))
}

fn judge_outcome(outcome: &ExecOutcome) -> Result<(), Failure> {
    if outcome.exit_code == 0 {
        return Ok(());
    }
    Err(Failure::Container(match outcome.output.is_empty() {
        true => format!("command exited with {}", outcome.exit_code),
        false => String::from_utf8_lossy(&outcome.output).into_owned(),
    }))
}

fn exec(action: &ExecAction) -> Handler {
    Handler::Exec(action.command.clone().unwrap_or_default())
}

fn http(action: &HTTPGetAction, container: &Container, ip: IpAddr) -> Option<HttpGet> {
    let path = action.path.clone().unwrap_or_default();
    let headers = action.http_headers.iter().flatten();
    Some(HttpGet {
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
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn probe(probe: serde_json::Value) -> Handler {
        let probe: Probe = serde_json::from_value(probe).expect("a probe");
        Handler::of_probe(&probe, &Container::default(), IP).expect("it does something")
    }

    fn hook(hook: serde_json::Value) -> Handler {
        let hook: LifecycleHandler = serde_json::from_value(hook).expect("a hook");
        Handler::of_hook(&hook, &Container::default(), Some(IP)).expect("it does something")
    }

    #[test]
    fn the_code_of_the_answer_matters_to_a_probe_and_not_to_a_hook() {
        let request = serde_json::json!({"httpGet": {"path": "/", "port": 80}});
        let (probe, hook) = (probe(request.clone()), hook(request));
        for (code, is_good) in [(199, false), (200, true), (399, true), (400, false), (503, false)] {
            assert_eq!(probe.judge_code(code).is_ok(), is_good, "{code}");
            assert_eq!(hook.judge_code(code), Ok(()));
        }
    }

    #[test]
    fn a_grpc_probe_asks_for_the_health_of_its_service() {
        let address = SocketAddr::new(IP, 9000);
        let named = probe(serde_json::json!({"grpc": {"port": 9000, "service": "web"}}));
        let service = "web".to_owned();
        assert_eq!(named, Handler::Grpc { address, service });
        let whole = probe(serde_json::json!({"grpc": {"port": 9000}}));
        let service = String::new();
        assert_eq!(whole, Handler::Grpc { address, service });
        assert_eq!(judge_health(ServingStatus::Serving), Ok(()));
        let why = "service unhealthy (responded with \"NOT_SERVING\")".to_owned();
        assert_eq!(judge_health(ServingStatus::NotServing), Err(Failure::Container(why)));
    }

    #[test]
    fn a_runtime_that_is_away_says_nothing_about_the_container() {
        let failure = |kind| {
            let error = RuntimeError::new(kind, "connection refused");
            unfinished(error, &["ready".to_owned(), "-q".to_owned()], Duration::from_secs(2))
        };
        let away = "connection refused".to_owned();
        assert_eq!(failure(ErrorKind::Unavailable), Failure::Runtime(away.clone()));
        assert_eq!(failure(ErrorKind::Other), Failure::Container(away));
        let late = "command timed out: \"ready -q\" timed out after 2s".to_owned();
        assert_eq!(failure(ErrorKind::Timeout), Failure::Container(late));
    }
}
