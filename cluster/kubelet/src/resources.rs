//! What a pod requests, and its quality of service. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;
use orrery_api::quantity::Quantity;

/// Amounts by the name of the resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// Reads amounts; what cannot be read counts as nothing, since the server validates.
pub fn amounts(wire: Option<&BTreeMap<String, Wire>>) -> Amounts {
    let parsed = wire
        .into_iter()
        .flatten()
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::try_from(amount).ok()?)));
    parsed.collect()
}

/// What a container requests; a limit without a request is one.
pub fn container_requests(container: &Container) -> Amounts {
    let resources = container.resources.as_ref();
    let mut all = amounts(resources.and_then(|resources| resources.limits.as_ref()));
    all.extend(amounts(resources.and_then(|resources| resources.requests.as_ref())));
    all
}

fn add(sum: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        *sum.entry(name.clone()).or_default() += *amount;
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let own = most.entry(name.clone()).or_default();
        *own = (*own).max(*amount);
    }
}

/// Whether an init container goes on running beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What the node must set aside for a pod: the larger of what its containers need together and what it needs while
/// initialising, plus its overhead. Source: Kubernetes' documentation "Sidecar containers", resource sharing.
pub fn pod_requests(spec: &PodSpec) -> Amounts {
    let mut running = Amounts::new();
    for container in &spec.containers {
        add(&mut running, &container_requests(container));
    }
    let mut sidecars = Amounts::new();
    let mut starting = Amounts::new();
    for container in spec.init_containers.iter().flatten() {
        let mut needs = container_requests(container);
        add(&mut needs, &sidecars);
        raise(&mut starting, &needs);
        if is_sidecar(container) {
            let own = container_requests(container);
            add(&mut sidecars, &own);
            add(&mut running, &own);
        }
    }
    raise(&mut running, &starting);
    let resources = spec.resources.as_ref();
    running.extend(amounts(resources.and_then(|resources| resources.requests.as_ref())));
    add(&mut running, &amounts(spec.overhead.as_ref()));
    running
}

/// The pod's quality-of-service class. Source: Kubernetes' documentation "Pod Quality of Service Classes".
pub fn qos_class(pod: &Pod) -> &'static str {
    let Some(spec) = &pod.spec else { return "BestEffort" };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut guaranteed = true;
    let mut best_effort = true;
    for container in containers {
        let nothing = ResourceRequirements::default();
        let resources = container.resources.as_ref().unwrap_or(&nothing);
        let limits = amounts(resources.limits.as_ref());
        let requests = container_requests(container);
        for name in ["cpu", "memory"] {
            let request = requests.get(name).filter(|amount| !amount.is_zero());
            let limit = limits.get(name).filter(|amount| !amount.is_zero());
            best_effort &= request.is_none() && limit.is_none();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (best_effort, guaranteed) {
        (true, _) => "BestEffort",
        (_, true) => "Guaranteed",
        _ => "Burstable",
    }
}

/// How eagerly the kernel kills a container of the pod when memory is short. Source: Kubernetes' documentation
/// "Node-pressure Eviction", node out of memory behavior.
pub fn oom_score_adj(pod: &Pod, container: &Container, node_memory: Quantity) -> i32 {
    match qos_class(pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let request = container_requests(container)
                .get("memory")
                .copied()
                .unwrap_or_default()
                .value();
            let whole = node_memory.value().max(1);
            let score = 1000 - i128::from(request) * 1000 / i128::from(whole);
            i32::try_from(score).unwrap_or(999).clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"spec": spec})).expect("a pod")
    }

    fn cpu(spec: serde_json::Value) -> i64 {
        pod_requests(pod(spec).spec.as_ref().expect("a spec"))["cpu"].milli_value()
    }

    #[test]
    fn a_pod_needs_the_larger_of_starting_and_running() {
        let requests = |cpu: &str| serde_json::json!({"requests": {"cpu": cpu}});
        assert_eq!(
            cpu(serde_json::json!({"containers": [
            {"name": "a", "resources": requests("100m")}, {"name": "b", "resources": requests("1")}]})),
            1100
        );
        assert_eq!(
            cpu(
                serde_json::json!({"containers": [{"name": "a", "resources": requests("1")}],
            "initContainers": [{"name": "i", "resources": requests("3")}]})
            ),
            3000
        );
        assert_eq!(
            cpu(
                serde_json::json!({"containers": [{"name": "a", "resources": requests("1")}],
            "initContainers": [{"name": "s", "restartPolicy": "Always", "resources": requests("500m")},
                {"name": "i", "resources": requests("2")}]})
            ),
            2500
        );
        assert_eq!(
            cpu(serde_json::json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": "2"}}}]})),
            2000
        );
    }

    #[test]
    fn quality_of_service_follows_requests_and_limits() {
        let class = |resources: serde_json::Value| {
            qos_class(&pod(
                serde_json::json!({"containers": [{"name": "a", "resources": resources}]}),
            ))
        };
        assert_eq!(class(serde_json::json!({})), "BestEffort");
        assert_eq!(class(serde_json::json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(
            class(serde_json::json!({"limits": {"cpu": "1", "memory": "1Gi"}})),
            "Guaranteed"
        );
    }
}
