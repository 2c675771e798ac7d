//! A service's slices and its `Endpoints` object at rest: they say of each pod what it is, and the same.
//!
//! Of each pod that a service selects, that has an address and has not finished, there is one endpoint in the slices:
//! `serving` if it is ready, `terminating` if it is being deleted, `ready` if it serves and is not terminating, or if
//! the service publishes all. The `Endpoints` object has the same pods but for terminating ones (unless all are
//! published), those that are ready as addresses, the others as not ready. Both have the ports that the service leads
//! to. Not judged: services without a selector, slices and objects that others keep, pods in their host's network,
//! services whose ports go by name (a pod may lack them), and lists that were cut off.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::model::{Cluster, EndpointState, Item};

/// The annotation that tells of addresses cut off.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

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
        if let Some(ports) = ports(spec) {
            in_object(cluster, service, spec, &wanted, missing);
            on_ports(cluster, service, &ports, missing);
        }
    }
}

/// A port where a pod is asked: its name, number and protocol.
type Port = (String, i32, String);

fn port(name: Option<&String>, number: i32, protocol: Option<&String>) -> Port {
    let protocol = protocol.map_or("TCP", String::as_str).to_owned();
    (name.cloned().unwrap_or_default(), number, protocol)
}

/// Where the service's pods are asked; none if that goes by name.
fn ports(spec: &ServiceSpec) -> Option<BTreeSet<Port>> {
    let target = |own: &ServicePort| match &own.target_port {
        Some(IntOrString::String(_)) => None,
        Some(IntOrString::Int(number)) if *number != 0 => Some(*number),
        _ => Some(own.port),
    };
    let all = spec.ports.iter().flatten();
    all.map(|own| Some(port(own.name.as_ref(), target(own)?, own.protocol.as_ref())))
        .collect()
}

/// The slices and the object that have addresses have them on the service's ports.
fn on_ports(cluster: &Cluster, service: &Item, wanted: &BTreeSet<Port>, missing: &mut Vec<String>) {
    let kept = cluster
        .slices_of(service)
        .filter(|slice| slice.is_kept_slice() && slice.slice_endpoints().next().is_some());
    let mut found: Vec<(&Item, BTreeSet<Port>)> = Vec::new();
    for item in kept {
        let ports = item.slice().into_iter().flat_map(|slice| slice.ports.iter().flatten());
        let ports = ports.map(|own| port(own.name.as_ref(), own.port.unwrap_or(0), own.protocol.as_ref()));
        found.push((item, ports.collect()));
    }
    if let Some(item) = cluster.find("endpoints", &service.id.namespace, &service.id.name) {
        let subsets = item
            .endpoints()
            .into_iter()
            .flat_map(|own| own.subsets.iter().flatten());
        for subset in subsets {
            let ports = subset.ports.iter().flatten();
            let ports = ports.map(|own| port(own.name.as_ref(), own.port, own.protocol.as_ref()));
            found.push((item, ports.collect()));
        }
    }
    for (item, is) in found.into_iter().filter(|(_, is)| is != wanted) {
        missing.push(format!("{} is on ports {is:?}, not {wanted:?}", item.id));
    }
}

/// By address: what the endpoints of a service should say; none if pods share addresses with their nodes.
fn wanted(cluster: &Cluster, service: &Item, spec: &ServiceSpec) -> Option<BTreeMap<String, EndpointState>> {
    let publishes = spec.publish_not_ready_addresses.unwrap_or(false);
    let selected = cluster.all("pods").filter(|pod| pod.is_selected_by(service));
    let mut wanted = BTreeMap::new();
    for pod in selected.filter(|pod| !pod.is_finished()) {
        if pod.pod().and_then(|pod| pod.spec.as_ref()?.host_network) == Some(true) {
            return None;
        }
        let Some(ip) = pod.address() else { continue };
        let (serving, terminating) = (pod.condition("Ready"), pod.is_terminating());
        let said = EndpointState {
            ready: publishes || (serving && !terminating),
            serving,
            terminating,
        };
        // An address that a lost machine's pod still shows may be another's by now: the living one is meant.
        let known = wanted.entry(ip.to_owned()).or_insert(said);
        if known.terminating {
            *known = said;
        }
    }
    Some(wanted)
}

fn in_slices(cluster: &Cluster, service: &Item, wanted: &BTreeMap<String, EndpointState>, missing: &mut Vec<String>) {
    let mut there: BTreeMap<&str, Vec<EndpointState>> = BTreeMap::new();
    for slice in cluster.slices_of(service).filter(|slice| slice.is_kept_slice()) {
        for endpoint in slice.slice_endpoints() {
            let said = EndpointState::of(endpoint);
            for ip in &endpoint.addresses {
                there.entry(ip).or_default().push(said);
            }
        }
    }
    for (ip, said) in wanted {
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
    wanted: &BTreeMap<String, EndpointState>,
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
        let said = wanted.iter().filter(|(_, said)| publishes || !said.terminating);
        said.filter(|(_, said)| said.ready == is_ready)
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
