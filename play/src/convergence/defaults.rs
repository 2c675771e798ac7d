//! What every namespace in use has by itself, at rest: the service account `default` and the config map
//! `kube-root-ca.crt`. Users may delete both, and get them again; what they write into the config map is taken back.
//! So it is with what the API server keeps of its own: the first namespaces, the service `kubernetes`, and where it
//! leads.

use k8s_openapi::api::core::v1::{ConfigMap, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::model::{Cluster, Item};

/// The config map that publishes the cluster's authority, and its key.
const ROOT: (&str, &str) = ("kube-root-ca.crt", "ca.crt");

/// The resources and names of what every namespace has.
const DEFAULTS: [(&str, &str); 2] = [("serviceaccounts", "default"), ("configmaps", ROOT.0)];

/// What is not there, or not as it should be.
pub(super) fn missing(cluster: &Cluster, authority: &str, missing: &mut Vec<String>) {
    for namespace in cluster.all("namespaces").filter(|own| !own.is_terminating()) {
        let namespace = &namespace.id.name;
        let lacks = |(resource, name): &(&str, &str)| cluster.find(resource, namespace, name).is_none();
        for (resource, name) in DEFAULTS.iter().filter(|own| lacks(own)) {
            missing.push(format!("{resource}/{namespace}/{name} is not there"));
        }
        let root = cluster.find("configmaps", namespace, ROOT.0);
        if let Some(root) = root.filter(|root| !is_right(root, authority)) {
            missing.push(format!(
                "{} does not hold the cluster's authority and nothing else",
                root.id
            ));
        }
    }
}

/// The namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// What of the API server's own is not there, or not as it should be: all servers are found at one address, which the
/// endpoints of the service and its slice both tell.
pub(super) fn kept(cluster: &Cluster, missing: &mut Vec<String>) {
    for name in NAMESPACES {
        if cluster.find("namespaces", "", name).is_none() {
            missing.push(format!("namespaces/{name} is not there"));
        }
    }
    let own = |resource: &str| cluster.find(resource, "default", "kubernetes");
    if own("services").is_none() {
        missing.push("services/default/kubernetes is not there".to_owned());
    }
    let endpoints = own("endpoints").and_then(|item| item.endpoints());
    let endpoints = endpoints.map(addresses).unwrap_or_default();
    let slice = own("endpointslices.discovery.k8s.io").and_then(|item| item.slice());
    let slice = slice.map(addresses_of_slice).unwrap_or_default();
    if endpoints.len() != 1 || endpoints != slice {
        missing.push(format!(
            "endpoints/default/kubernetes is [{}], and its slice [{}]: the API server has one address",
            endpoints.join(" "),
            slice.join(" ")
        ));
    }
}

/// The ready addresses, each with its port.
fn addresses(endpoints: &Endpoints) -> Vec<String> {
    let subsets = endpoints.subsets.iter().flatten();
    let pairs = subsets.flat_map(|subset| {
        let ports = move || subset.ports.iter().flatten();
        let addresses = subset.addresses.iter().flatten();
        addresses.flat_map(move |address| ports().map(move |port| format!("{}:{}", address.ip, port.port)))
    });
    pairs.collect()
}

/// The same of a slice.
fn addresses_of_slice(slice: &EndpointSlice) -> Vec<String> {
    let is_ready = |endpoint: &&Endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|conditions| conditions.ready) != Some(false)
    };
    let ready = slice.endpoints.iter().filter(is_ready);
    let pairs = ready.flat_map(|endpoint| {
        let ports = move || slice.ports.iter().flatten().filter_map(|port| port.port);
        let addresses = endpoint.addresses.iter();
        addresses.flat_map(move |address| ports().map(move |port| format!("{address}:{port}")))
    });
    pairs.collect()
}

fn is_right(root: &Item, authority: &str) -> bool {
    let data = root.read::<ConfigMap>().and_then(|map| map.data).unwrap_or_default();
    data.len() == 1 && data.get(ROOT.1).map(String::as_str) == Some(authority)
}
