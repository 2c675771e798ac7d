//! What every namespace in use has by itself, at rest: the service account `default` and the config map
//! `kube-root-ca.crt`. Users may delete both, and get them again. Not judged: what stands in them.

use crate::model::Cluster;

/// The resources and names of what every namespace has.
const DEFAULTS: [(&str, &str); 2] = [("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")];

/// What is not there.
pub(super) fn missing(cluster: &Cluster, missing: &mut Vec<String>) {
    for namespace in cluster.all("namespaces").filter(|own| !own.is_terminating()) {
        let namespace = &namespace.id.name;
        let lacks = |(resource, name): &(&str, &str)| cluster.find(resource, namespace, name).is_none();
        for (resource, name) in DEFAULTS.iter().filter(|own| lacks(own)) {
            missing.push(format!("{resource}/{namespace}/{name} is not there"));
        }
    }
}
