//! A service's slices and its `Endpoints` object at rest: they say of each pod what it is, and the same.
//!
//! Of each pod that a service selects, that has an address and has not finished, there is one endpoint in the slices:
//! `serving` if it is ready, `terminating` if it is being deleted, `ready` if it serves and is not terminating, or if
//! the service publishes all. The `Endpoints` object has the same pods but for terminating ones (unless all are
//! published), those that are ready as addresses, the others as not ready; it leaves out those that lack all of the
//! service's ports. Both have each pod on the ports that the service leads to, and on its node, the slices also in that
//! one's zone. And no object is left of a service that is gone. Not judged: services without a selector, slices and
//! objects that others keep, pods in their host's network, and lists that were cut off.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ContainerPort, ObjectReference, PodSpec, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::model::{Cluster, EndpointState, Item, sidecars};

/// The annotation that tells of addresses cut off.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// The annotation of an object that old components use as their election's lock.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// The label that names who keeps an `Endpoints` object, and Kubernetes' own controller as it has it.
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
/// The label that names a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// What is not as the pods are.
pub(super) fn missing(cluster: &Cluster, missing: &mut Vec<String>) {
    for service in cluster.all("services").filter(|service| !service.is_terminating()) {
        let Some(spec) = service.service().and_then(|service| service.spec.as_ref()) else {
            continue;
        };
        let selects = spec.selector.as_ref().is_some_and(|selector| !selector.is_empty());
        if !selects || spec.type_.as_deref() == Some("ExternalName") {
            continue;
        }
        let Some(wanted) = wanted(cluster, service, spec) else {
            continue;
        };
        in_slices(cluster, service, &wanted, missing);
        in_object(cluster, service, spec, &wanted, missing);
        as_pods(cluster, service, spec, missing);
    }
    of_nobody(cluster, missing);
}

/// A port where a pod is asked: its name, number and protocol.
type Port = (String, i32, String);

fn port(name: Option<&String>, number: i32, protocol: Option<&String>) -> Port {
    let protocol = protocol.map_or("TCP", String::as_str).to_owned();
    (name.cloned().unwrap_or_default(), number, protocol)
}

/// Where a pod is asked for a service. A port that goes by name is that of a container or sidecar with this name and
/// protocol, and is left out where there is none. Source: the API's documentation of `ServicePort.targetPort`.
fn ports_of(spec: &ServiceSpec, pod: &PodSpec) -> BTreeSet<Port> {
    let containers = pod.containers.iter().chain(sidecars(pod));
    let own: Vec<&ContainerPort> = containers.flat_map(|own| own.ports.iter().flatten()).collect();
    let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let number = |wanted: &ServicePort| match &wanted.target_port {
        Some(IntOrString::String(name)) => {
            let is_it = |own: &&&ContainerPort| {
                own.name.as_ref() == Some(name) && protocol(&own.protocol) == protocol(&wanted.protocol)
            };
            own.iter().find(is_it).map(|own| own.container_port)
        }
        Some(IntOrString::Int(number)) if *number != 0 => Some(*number),
        _ => Some(wanted.port),
    };
    let all = spec.ports.iter().flatten();
    all.filter_map(|wanted| Some(port(wanted.name.as_ref(), number(wanted)?, wanted.protocol.as_ref())))
        .collect()
}

/// Each endpoint of a service's slices and object has the node of the pod that it names, that one's zone, and the ports
/// on which the pod is asked.
fn as_pods(cluster: &Cluster, service: &Item, spec: &ServiceSpec, missing: &mut Vec<String>) {
    // Many endpoints may be wrong in the same way.
    let mut wrong = BTreeSet::new();
    for slice in cluster.slices_of(service).filter(|slice| slice.is_kept_slice()) {
        let ports = slice.slice().into_iter().flat_map(|own| own.ports.iter().flatten());
        let ports = ports.map(|own| port(own.name.as_ref(), own.port.unwrap_or(0), own.protocol.as_ref()));
        let ports: BTreeSet<Port> = ports.collect();
        for endpoint in slice.slice_endpoints() {
            let node = endpoint.node_name.as_deref();
            let found = untrue(cluster, spec, endpoint.target_ref.as_ref(), node, &ports);
            wrong.extend(found.map(|found| format!("the endpoints of {} {found}", slice.id)));
            let node = node.unwrap_or_default();
            let zone = cluster.find("nodes", "", node).and_then(|node| node.label(ZONE));
            let (said, zone) = (endpoint.zone.as_deref().unwrap_or_default(), zone.unwrap_or_default());
            if said != zone {
                let id = &slice.id;
                wrong.insert(format!(
                    "the endpoints of {id} have {node} in zone {said:?}, not {zone:?}"
                ));
            }
        }
    }
    let object = cluster.find("endpoints", &service.id.namespace, &service.id.name);
    let subsets = object.and_then(|object| object.endpoints()).into_iter();
    for subset in subsets.flat_map(|own| own.subsets.iter().flatten()) {
        let ports = subset.ports.iter().flatten();
        let ports = ports.map(|own| port(own.name.as_ref(), own.port, own.protocol.as_ref()));
        let ports: BTreeSet<Port> = ports.collect();
        for address in subset.addresses.iter().chain(&subset.not_ready_addresses).flatten() {
            let node = address.node_name.as_deref();
            let found = untrue(cluster, spec, address.target_ref.as_ref(), node, &ports);
            wrong.extend(found.map(|found| format!("the Endpoints of {} {found}", service.id)));
        }
    }
    missing.extend(wrong);
}

/// What an endpoint on `node` and `ports` says that is not so of the pod that it names.
fn untrue(
    cluster: &Cluster,
    spec: &ServiceSpec,
    target: Option<&ObjectReference>,
    node: Option<&str>,
    ports: &BTreeSet<Port>,
) -> Option<String> {
    let uid = target.and_then(|target| target.uid.as_deref());
    let Some((pod, own)) = uid.and_then(|uid| cluster.pod_by_uid(uid)) else {
        return Some("have an address that names no pod".to_owned());
    };
    let (said, node) = (node.unwrap_or_default(), pod.node_name());
    if said != node {
        return Some(format!("have {} on {said:?}, and it is on {node:?}", pod.id));
    }
    let wanted = ports_of(spec, own);
    (*ports != wanted).then(|| format!("have addresses on ports {ports:?}, not {wanted:?}"))
}

/// No `Endpoints` object that the controller keeps is left of a service that is gone.
fn of_nobody(cluster: &Cluster, missing: &mut Vec<String>) {
    let all = cluster.all("endpoints");
    for item in all.filter(|item| item.label(MANAGED_BY.0) == Some(MANAGED_BY.1)) {
        let annotations = item.meta.annotations.as_ref();
        let is_lock = annotations.is_some_and(|annotations| annotations.contains_key(LEADER));
        if !is_lock && cluster.find("services", &item.id.namespace, &item.id.name).is_none() {
            missing.push(format!("{} is there, and its service is not", item.id));
        }
    }
}

/// What is wanted of the endpoint of a pod.
#[derive(Clone, Copy)]
struct Wanted {
    said: EndpointState,
    /// Whether the pod has one of the service's ports, or there is none to have: others are not in the object.
    is_asked: bool,
}

/// By address: what the endpoints of a service should say; none if pods share addresses with their nodes.
fn wanted(cluster: &Cluster, service: &Item, spec: &ServiceSpec) -> Option<BTreeMap<String, Wanted>> {
    let has_no_ports = spec.ports.iter().flatten().next().is_none();
    let publishes = spec.publish_not_ready_addresses.unwrap_or(false);
    let selected = cluster.all("pods").filter(|pod| pod.is_selected_by(service));
    let mut wanted = BTreeMap::new();
    for pod in selected.filter(|pod| !pod.is_finished()) {
        let own = pod.pod().and_then(|pod| pod.spec.as_ref());
        if own.and_then(|own| own.host_network) == Some(true) {
            return None;
        }
        let (Some(ip), Some(own)) = (pod.address(), own) else {
            continue;
        };
        let (serving, terminating) = (pod.condition("Ready"), pod.is_terminating());
        let one = Wanted {
            said: EndpointState {
                ready: publishes || (serving && !terminating),
                serving,
                terminating,
            },
            is_asked: has_no_ports || !ports_of(spec, own).is_empty(),
        };
        // An address that a lost machine's pod still shows may be another's by now: the living one is meant.
        let known = wanted.entry(ip.to_owned()).or_insert(one);
        if known.said.terminating {
            *known = one;
        }
    }
    Some(wanted)
}

fn in_slices(cluster: &Cluster, service: &Item, wanted: &BTreeMap<String, Wanted>, missing: &mut Vec<String>) {
    let mut there: BTreeMap<&str, Vec<EndpointState>> = BTreeMap::new();
    for slice in cluster.slices_of(service).filter(|slice| slice.is_kept_slice()) {
        for endpoint in slice.slice_endpoints() {
            let said = EndpointState::of(endpoint);
            for ip in &endpoint.addresses {
                there.entry(ip).or_default().push(said);
            }
        }
    }
    for (ip, Wanted { said, .. }) in wanted {
        match there.remove(ip.as_str()) {
            None => missing.push(format!("{ip} is in no slice of {}", service.id)),
            // Two pods may show one address, if one of them is on a machine that stays broken.
            Some(own) if own.contains(said) => {}
            Some(own) => missing.push(format!("{ip} is {own:?} in the slices of {}, not {said:?}", service.id)),
        }
    }
    for ip in there.keys() {
        missing.push(format!("{ip} is in a slice of {}, and no pod's", service.id));
    }
}

fn in_object(
    cluster: &Cluster,
    service: &Item,
    spec: &ServiceSpec,
    wanted: &BTreeMap<String, Wanted>,
    missing: &mut Vec<String>,
) {
    let publishes = spec.publish_not_ready_addresses.unwrap_or(false);
    let found = cluster.find("endpoints", &service.id.namespace, &service.id.name);
    let Some(endpoints) = found.and_then(|item| item.endpoints()) else {
        missing.push(format!("{} has no Endpoints object", service.id));
        return;
    };
    let annotations = endpoints.metadata.annotations.as_ref();
    if annotations.is_some_and(|annotations| annotations.contains_key(OVER_CAPACITY)) {
        return;
    }
    let (mut ready, mut unready) = (BTreeSet::new(), BTreeSet::new());
    for subset in endpoints.subsets.iter().flatten() {
        ready.extend(subset.addresses.iter().flatten().map(|address| address.ip.as_str()));
        unready.extend(
            subset
                .not_ready_addresses
                .iter()
                .flatten()
                .map(|address| address.ip.as_str()),
        );
    }
    let should = |is_ready: bool| -> BTreeSet<&str> {
        let counts = |one: &Wanted| one.is_asked && (publishes || !one.said.terminating);
        let said = wanted.iter().filter(|(_, one)| counts(one));
        said.filter(|(_, one)| one.said.ready == is_ready)
            .map(|(ip, _)| ip.as_str())
            .collect()
    };
    for (name, is, should) in [
        ("addresses", ready, should(true)),
        ("notReadyAddresses", unready, should(false)),
    ] {
        if is != should {
            missing.push(format!(
                "the Endpoints of {} have as {name} {is:?}, not {should:?}",
                service.id
            ));
        }
    }
}
