//! What every namespace in use has by itself, at rest: the service account `default` and the config map
//! `kube-root-ca.crt`. Users may delete both, and get them again; what they write into the config map is taken back.

use k8s_openapi::api::core::v1::ConfigMap;

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

fn is_right(root: &Item, authority: &str) -> bool {
    let data = root.read::<ConfigMap>().and_then(|map| map.data).unwrap_or_default();
    data.len() == 1 && data.get(ROOT.1).map(String::as_str) == Some(authority)
}
