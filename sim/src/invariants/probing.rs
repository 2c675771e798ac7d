//! How containers are probed over the network, for the invariants that judge what comes of it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::restarts::containers;
use crate::model::Item;

/// The probes of a container do not come quite in time.
pub(super) const ROUNDING: Duration = Duration::from_millis(500);

/// How a container is probed.
pub(super) struct Probing {
    /// How long after its start it is left alone.
    pub delay: Duration,
    /// From one probe to the next.
    pub period: Duration,
    /// How long a probe waits for its answer.
    pub timeout: Duration,
    /// So many failures in a row are a verdict.
    pub failures: u32,
    /// So many successes in a row are one.
    pub successes: u32,
    /// Whether a startup probe comes before.
    pub starts: bool,
}

impl Probing {
    /// From the first of the failures that are a verdict to the last, at the least.
    pub fn failing(&self) -> Duration {
        self.period * (self.failures - 1)
    }

    /// From the first of the successes that are a verdict to the last, at the least.
    pub fn succeeding(&self) -> Duration {
        self.period * (self.successes - 1)
    }
}

/// How a container's readiness is probed.
pub(super) fn readiness(own: &Container) -> Option<&Probe> {
    own.readiness_probe.as_ref()
}

/// How it is probed whether a container lives.
pub(super) fn liveness(own: &Container) -> Option<&Probe> {
    own.liveness_probe.as_ref()
}

/// How a container's start is probed.
pub(super) fn startup(own: &Container) -> Option<&Probe> {
    own.startup_probe.as_ref()
}

/// Whether a probe asks somebody else than its container over the network: a host that it names, or a port that
/// another container of the pod declares, such as that of a proxy beside it. A port's name is the container's own. Who
/// answers on a port that nobody declares is not known here: it is taken for the container's own.
pub(super) fn asks_another(probe: &Probe, own: &Container, spec: &PodSpec) -> bool {
    let http = probe.http_get.as_ref().map(|asked| (&asked.host, asked.port.clone()));
    let tcp = probe.tcp_socket.as_ref().map(|asked| (&asked.host, asked.port.clone()));
    let grpc = probe.grpc.as_ref().map(|asked| (&None, IntOrString::Int(asked.port)));
    http.or(tcp).or(grpc).is_some_and(|(host, port)| {
        let is_elsewhere = host.as_deref().is_some_and(|host| !host.is_empty());
        let IntOrString::Int(number) = port else {
            return is_elsewhere;
        };
        let declares = |container: &Container| {
            let ports = container.ports.iter().flatten();
            let mut tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
            tcp.any(|port| port.container_port == number)
        };
        let mut others = containers(spec).filter(|other| other.name != own.name);
        is_elsewhere || (!declares(own) && others.any(declares))
    })
}

/// How a container is probed over the network by the probe that `which` finds; none if it is not, or if that asks
/// somebody else.
pub(super) fn probing(pod: &Item, name: &str, which: fn(&Container) -> Option<&Probe>) -> Option<Probing> {
    let spec = pod.pod()?.spec.as_ref()?;
    let container = spec.containers.iter().find(|own| own.name == name)?;
    let asks = |probe: &&Probe| probe.http_get.is_some() || probe.tcp_socket.is_some();
    let probe = which(container).filter(asks)?;
    if asks_another(probe, container, spec) {
        return None;
    }
    let positive = |value: Option<i32>, default: u32| {
        let value = value.and_then(|value| u32::try_from(value).ok());
        value.filter(|value| *value > 0).unwrap_or(default)
    };
    let seconds = |value, default| Duration::from_secs(positive(value, default).into());
    Some(Probing {
        delay: seconds(probe.initial_delay_seconds, 0),
        period: seconds(probe.period_seconds, 10),
        timeout: seconds(probe.timeout_seconds, 1),
        failures: positive(probe.failure_threshold, 3),
        successes: positive(probe.success_threshold, 1),
        starts: container.startup_probe.is_some(),
    })
}

/// Whether nobody but the pod's one container can answer at its address.
pub(super) fn answers_alone(spec: &PodSpec) -> bool {
    containers(spec).count() == 1 && spec.host_network != Some(true)
}
