//! What pods ask for and nodes have, as plain numbers that add up fast.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Node, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;
use orrery_api::mutant;
use orrery_api::quantity::Quantity;

type Wires = BTreeMap<String, Wire>;

/// Amounts by resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Processor time, in thousandths of a core.
    pub cpu: i64,
    /// Memory, in bytes.
    pub memory: i64,
    /// Local disk, in bytes.
    pub ephemeral_storage: i64,
    /// Everything else that is counted: devices, huge pages.
    pub extended: BTreeMap<String, i64>,
}

impl Resources {
    fn of(amounts: Option<&Wires>) -> Self {
        let mut resources = Resources::default();
        for (name, amount) in amounts.into_iter().flatten() {
            // A quantity that cannot be read cannot have passed the API server; it counts as nothing.
            let Ok(amount) = Quantity::try_from(amount) else {
                continue;
            };
            match name.as_str() {
                "cpu" => resources.cpu = amount.milli_value(),
                "memory" => resources.memory = amount.value(),
                "ephemeral-storage" => resources.ephemeral_storage = amount.value(),
                "pods" => {}
                _ => {
                    resources.extended.insert(name.clone(), amount.value());
                }
            }
        }
        resources
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Resources) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes `other` away again.
    pub fn subtract(&mut self, other: &Resources) {
        self.combine(other, i64::saturating_sub);
    }

    /// Raises every amount to that of `other`.
    fn raise(&mut self, other: &Resources) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Resources, with: impl Fn(i64, i64) -> i64) {
        self.cpu = with(self.cpu, other.cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.extended {
            let own = self.extended.entry(name.clone()).or_default();
            *own = with(*own, *amount);
        }
    }

    /// The names of the resources of which `requested` would be more than is left of `self` beside `used`.
    pub fn insufficient(&self, used: &Resources, requested: &Resources) -> Vec<String> {
        let mut names = Vec::new();
        let mut check = |name: &str, have: i64, used: i64, requested: i64| {
            if requested > 0 && requested > have.saturating_sub(used) {
                names.push(name.to_owned());
            }
        };
        check("cpu", self.cpu, used.cpu, requested.cpu);
        check("memory", self.memory, used.memory, requested.memory);
        check(
            "ephemeral-storage",
            self.ephemeral_storage,
            used.ephemeral_storage,
            requested.ephemeral_storage,
        );
        for (name, amount) in &requested.extended {
            let of = |resources: &Resources| resources.extended.get(name).copied().unwrap_or(0);
            check(name, of(self), of(used), *amount);
        }
        names
    }
}

/// What the containers' own requests come to, by the rule of Kubernetes' documentation on init and sidecar containers:
/// the larger of what runs together in the end and what any moment of the start needs; then the overhead on top.
pub fn pod_requests(spec: &PodSpec) -> Resources {
    let requests = |container: &Container| {
        Resources::of(
            container
                .resources
                .as_ref()
                .and_then(|resources| resources.requests.as_ref()),
        )
    };
    let mut together = Resources::default();
    for container in &spec.containers {
        together.add(&requests(container));
    }
    let mut sidecars = Resources::default();
    let mut start = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut moment = sidecars.clone();
        moment.add(&requests(container));
        start.raise(&moment);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = moment;
        }
    }
    if sidecars == Resources::default() || !mutant::active("O105") {
        together.add(&sidecars);
    }
    together.raise(&start);
    // What the pod as a whole asks for goes before what its containers add up to.
    let whole = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref());
    if let Some(whole) = whole {
        let amounts = Resources::of(Some(whole));
        for name in whole.keys() {
            match name.as_str() {
                "cpu" => together.cpu = amounts.cpu,
                "memory" => together.memory = amounts.memory,
                "ephemeral-storage" => together.ephemeral_storage = amounts.ephemeral_storage,
                _ => {
                    together
                        .extended
                        .insert(name.clone(), amounts.extended.get(name).copied().unwrap_or(0));
                }
            }
        }
    }
    together.add(&Resources::of(spec.overhead.as_ref()));
    together
}

/// What a node has for pods, and how many of them it takes.
pub fn node_allocatable(node: &Node) -> (Resources, i64) {
    let status = node.status.as_ref();
    let amounts = status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref()));
    let pods = amounts
        .and_then(|amounts| amounts.get("pods"))
        .and_then(|pods| Quantity::try_from(pods).ok());
    (Resources::of(amounts), pods.map_or(0, Quantity::value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_needs_what_runs_together_or_what_its_start_needs_if_that_is_more() {
        let spec = json!({
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "0.2"}}},
            ],
            "initContainers": [
                {"name": "sidecar", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
                {"name": "setup", "resources": {"requests": {"cpu": "1", "example.com/gpu": "2"}}},
            ],
            "overhead": {"memory": "1Ki"},
        });
        let requests = pod_requests(&serde_json::from_value(spec).expect("a valid spec"));
        assert_eq!((requests.cpu, requests.memory), (1050, (1 << 30) + 1024));
        assert_eq!(requests.extended["example.com/gpu"], 2);
    }

    #[test]
    fn only_what_is_asked_for_can_be_insufficient() {
        let have = Resources {
            cpu: 1000,
            memory: 100,
            ..Resources::default()
        };
        let used = Resources {
            cpu: 900,
            memory: 200,
            ..Resources::default()
        };
        let asked = |cpu| Resources {
            cpu,
            ..Resources::default()
        };
        assert!(have.insufficient(&used, &asked(100)).is_empty());
        assert_eq!(have.insufficient(&used, &asked(101)), ["cpu"]);
    }
}
