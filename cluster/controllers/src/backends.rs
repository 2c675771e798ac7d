//! The pods behind a service: which they are, on which ports they answer, and when they last changed.
//!
//! What endpoints and endpoint slices have in common. Nothing here reads or writes the API.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerPort, ObjectReference, Pod, PodSpec, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::mutant;
use orrery_client::{Cache, Change, WorkQueue};

use crate::pods::{is_finished, is_ready};

/// When the pods or the service last changed, for those who measure how long programming the network takes.
pub(crate) const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Tells readers that nobody needs to program a virtual IP for the service.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// Whether `service` gets its endpoints from pods: it selects some, and is not merely a name for something outside.
pub(crate) fn is_selecting(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        spec.type_.as_deref() != Some("ExternalName") && spec.selector.as_ref().is_some_and(|labels| !labels.is_empty())
    })
}

/// Whether `service` selects `pod`.
pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    is_selecting(service)
        && service.namespace() == pod.namespace()
        && service
            .spec
            .iter()
            .flat_map(|spec| spec.selector.iter().flatten())
            .all(|(name, value)| pod.label(name) == Some(value))
}

/// Whether `service` has no virtual IP.
pub(crate) fn is_headless(service: &Service) -> bool {
    let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    matches!(address, None | Some("" | "None"))
}

/// Whether pods count before they are ready and while they terminate.
pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.publish_not_ready_addresses)
        .is_some_and(|publishes| publishes && !mutant::active("O149"))
}

/// The pod's IPv4 address, if it has one.
pub(crate) fn address(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    listed
        .chain(status.pod_ip.as_deref())
        .find(|ip| ip.parse::<std::net::Ipv4Addr>().is_ok())
}

/// The name under which the pod is found below the service's own name.
pub(crate) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let inside = spec.subdomain.as_deref() == Some(service.name());
    spec.hostname.clone().filter(|name| inside && !name.is_empty())
}

/// How an endpoint names its pod.
pub(crate) fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The number that `port` has in the pod; `None` when it goes by a name that no container of the pod uses.
pub(crate) fn port_number(pod: &PodSpec, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let is_it = |own: &&ContainerPort| {
                own.name.as_deref() == Some(name)
                    && (own.protocol.as_deref().unwrap_or("TCP") == protocol || mutant::active("O142"))
            };
            // A sidecar is an init container that is restarted; it serves like any other.
            let sidecars = pod.init_containers.iter().flatten();
            let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
            let mut ports = pod
                .containers
                .iter()
                .chain(sidecars)
                .flat_map(|container| container.ports.iter().flatten());
            ports.find(is_it).map(|own| own.container_port)
        }
    }
}

/// When the service or one of its pods last changed: a function of what is there, so that twins agree on it.
pub(crate) fn last_change<'a>(service: &Service, pods: impl IntoIterator<Item = &'a Pod>) -> Option<Timestamp> {
    let created = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let ready = pods.into_iter().filter_map(|pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ready = conditions.filter(|condition| condition.type_ == "Ready");
        ready
            .filter_map(|condition| condition.last_transition_time.as_ref().map(|time| time.0))
            .max()
    });
    ready.chain(created).max()
}

/// `time` as annotations have it.
pub(crate) fn stamp(time: Timestamp) -> String {
    let time = orrery_api::clock::whole_seconds(time);
    time.to_string()
}

/// Queues the services whose endpoints a change of a pod may touch.
pub(crate) fn enqueue_services_of(queue: &WorkQueue<ObjectKey>, services: &Cache<Service>, change: &Change<Pod>) {
    let old = match change {
        Change::Updated { old, new } if !matters(old, new) => return,
        Change::Updated { old, .. } => Some(old),
        Change::Added(_) | Change::Deleted(_) => None,
    };
    let pod = change.object();
    for service in services.in_namespace(pod.namespace()) {
        if selects(&service, pod) || old.is_some_and(|old| selects(&service, old) && !mutant::active("O38")) {
            queue.add(service.key());
        }
    }
}

/// Whether anything changed that endpoints tell of. Heartbeats and container details do not.
fn matters(old: &Pod, new: &Pod) -> bool {
    let spec = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        spec.map(|spec| (spec.node_name.clone(), spec.hostname.clone(), spec.subdomain.clone()))
    };
    let state = |pod: &Pod| {
        (
            address(pod).map(str::to_owned),
            is_ready(pod),
            is_finished(pod),
            pod.is_terminating(),
        )
    };
    old.metadata.labels != new.metadata.labels || state(old) != state(new) || spec(old) != spec(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        let pod = json!({
            "metadata": {"namespace": "a", "name": "p", "uid": "u", "labels": {"app": "web", "tier": "x"}},
            "spec": {
                "initContainers": [
                    {"name": "once", "ports": [{"name": "once", "containerPort": 1}]},
                    {"name": "side", "restartPolicy": "Always", "ports": [{"name": "metrics", "containerPort": 9}]}
                ],
                "containers": [{"name": "c", "ports": [
                    {"name": "http", "containerPort": 53, "protocol": "UDP"},
                    {"name": "http", "containerPort": 8080}
                ]}]
            },
            "status": {"podIPs": [{"ip": "fd00::1"}, {"ip": "10.0.0.1"}]}
        });
        serde_json::from_value(pod).expect("a pod")
    }

    fn service(spec: serde_json::Value) -> Service {
        serde_json::from_value(json!({"metadata": {"namespace": "a", "name": "s"}, "spec": spec})).expect("a service")
    }

    #[test]
    fn a_service_selects_by_all_its_labels_and_none_selects_nothing() {
        assert!(selects(&service(json!({"selector": {"app": "web"}})), &pod()));
        assert!(!selects(
            &service(json!({"selector": {"app": "web", "tier": "y"}})),
            &pod()
        ));
        assert!(!selects(&service(json!({"selector": {}})), &pod()));
        assert!(!selects(
            &service(json!({"type": "ExternalName", "selector": {"app": "web"}})),
            &pod()
        ));
    }

    #[test]
    fn a_named_port_is_that_of_a_container_with_its_protocol() {
        let spec = pod().spec.expect("a spec");
        let number = |target: serde_json::Value, protocol: &str| {
            let port = json!({"port": 80, "targetPort": target, "protocol": protocol});
            port_number(&spec, &serde_json::from_value(port).expect("a port"))
        };
        assert_eq!(number(json!("http"), "TCP"), Some(8080));
        assert_eq!(number(json!("http"), "UDP"), Some(53));
        assert_eq!(number(json!("metrics"), "TCP"), Some(9));
        assert_eq!(number(json!("once"), "TCP"), None);
        assert_eq!(number(json!(8443), "TCP"), Some(8443));
        assert_eq!(number(json!(null), "TCP"), Some(80));
    }

    #[test]
    fn the_address_is_the_ipv4_one() {
        assert_eq!(address(&pod()), Some("10.0.0.1"));
    }
}
