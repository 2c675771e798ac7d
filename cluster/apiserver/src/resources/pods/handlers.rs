//! Rules of probes and lifecycle hooks: what is run or called to ask or tell a container something.

use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler, Probe, TCPSocketAction,
};
use orrery_api::field::Error;

use super::super::check::{NOT_POSITIVE, items, non_negative, one_of, port, port_number, text};

/// Finds faults of the three probes of the container at `path`.
pub(super) fn probes(path: &str, container: &Container) -> Vec<Error> {
    let mut errors = Vec::new();
    for (name, own) in [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ] {
        let Some(own) = own else { continue };
        let path = format!("{path}.{name}");
        errors.extend(probe(&path, own));
        let threshold = own.success_threshold.unwrap_or(1);
        if name != "readinessProbe" && threshold != 1 {
            errors.push(Error::invalid(
                format!("{path}.successThreshold"),
                threshold,
                "must be 1",
            ));
        }
        if let Some(seconds) = own.termination_grace_period_seconds {
            let path = format!("{path}.terminationGracePeriodSeconds");
            if name == "readinessProbe" {
                errors.push(Error::invalid(path, seconds, "must not be set for readinessProbes"));
            } else if seconds <= 0 {
                errors.push(Error::invalid(path, seconds, NOT_POSITIVE));
            }
        }
    }
    errors
}

fn probe(path: &str, probe: &Probe) -> Vec<Error> {
    let mut actions = Actions::at(path);
    actions.exec(probe.exec.as_ref());
    actions.http_get(probe.http_get.as_ref());
    actions.tcp_socket(probe.tcp_socket.as_ref());
    if let Some(grpc) = &probe.grpc {
        actions.one("grpc", |path| port_number(&format!("{path}.port"), grpc.port));
    }
    let mut errors = actions.finish();
    for (name, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        errors.extend(non_negative(&format!("{path}.{name}"), value.unwrap_or(0)));
    }
    errors
}

/// Finds faults of the hooks at `path`.
pub(super) fn lifecycle(path: &str, lifecycle: Option<&Lifecycle>) -> Vec<Error> {
    let Some(lifecycle) = lifecycle else { return Vec::new() };
    let hooks = [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)];
    let set = hooks
        .into_iter()
        .filter_map(|(name, hook)| Some((name, hook.as_ref()?)));
    set.flat_map(|(name, hook)| handler(&format!("{path}.{name}"), hook))
        .collect()
}

fn handler(path: &str, handler: &LifecycleHandler) -> Vec<Error> {
    let mut actions = Actions::at(path);
    actions.exec(handler.exec.as_ref());
    actions.http_get(handler.http_get.as_ref());
    actions.tcp_socket(handler.tcp_socket.as_ref());
    if let Some(sleep) = &handler.sleep {
        actions.one("sleep", |path| match sleep.seconds {
            ..0 => vec![Error::invalid(path, sleep.seconds, "must be non-negative")],
            _ => Vec::new(),
        });
    }
    actions.finish()
}

/// Counts the actions of a handler, of which there must be one, and checks each.
struct Actions<'a> {
    path: &'a str,
    count: usize,
    errors: Vec<Error>,
}

impl<'a> Actions<'a> {
    fn at(path: &'a str) -> Self {
        Actions {
            path,
            count: 0,
            errors: Vec::new(),
        }
    }

    fn one(&mut self, name: &str, check: impl FnOnce(&str) -> Vec<Error>) {
        let path = format!("{}.{name}", self.path);
        self.count += 1;
        if self.count > 1 {
            self.errors
                .push(Error::forbidden(path, "may not specify more than 1 handler type"));
        } else {
            self.errors.extend(check(&path));
        }
    }

    fn exec(&mut self, exec: Option<&ExecAction>) {
        let Some(exec) = exec else { return };
        self.one("exec", |path| match items(&exec.command) {
            [] => vec![Error::required(format!("{path}.command"), "")],
            _ => Vec::new(),
        });
    }

    fn http_get(&mut self, get: Option<&HTTPGetAction>) {
        let Some(get) = get else { return };
        self.one("httpGet", |path| {
            let mut errors = Vec::new();
            if text(&get.path).is_empty() {
                errors.push(Error::required(format!("{path}.path"), ""));
            }
            errors.extend(port(&format!("{path}.port"), &get.port));
            errors.extend(one_of(&format!("{path}.scheme"), text(&get.scheme), &["HTTP", "HTTPS"]));
            for (index, header) in items(&get.http_headers).iter().enumerate() {
                let name = header.name.as_bytes();
                if name.is_empty() || !name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
                    let rule = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
                    errors.push(Error::invalid(format!("{path}.httpHeaders[{index}]"), &header.name, rule));
                }
            }
            errors
        });
    }

    fn tcp_socket(&mut self, tcp: Option<&TCPSocketAction>) {
        let Some(tcp) = tcp else { return };
        self.one("tcpSocket", |path| port(&format!("{path}.port"), &tcp.port));
    }

    fn finish(mut self) -> Vec<Error> {
        if self.count == 0 {
            self.errors
                .push(Error::required(self.path, "must specify a handler type"));
        }
        self.errors
    }
}
