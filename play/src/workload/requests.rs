//! What users ask for: the paths of objects of any kind, for users who only have a manifest, and what a drain consists
//! of.

use serde_json::{Value, json};

use super::user::{Content, MERGE};
use crate::vocabulary::vocabulary;

/// Kinds that do not live in namespaces.
const CLUSTER_WIDE: &[&str] = &[
    "Node",
    "Namespace",
    "PersistentVolume",
    "ClusterRole",
    "ClusterRoleBinding",
    "StorageClass",
    "PriorityClass",
    "RuntimeClass",
    "IngressClass",
    "CSIDriver",
    "CSINode",
    "CustomResourceDefinition",
];

/// A kind's plural, as paths have it: `Deployment` or `deployment` → `deployments`. Short names of `kubectl` and users'
/// own kinds, too.
pub fn plural(kind: &str) -> String {
    if let Some((own, _)) = vocabulary().called(kind) {
        return own.plural.clone();
    }
    let kind = kind.to_lowercase();
    match kind.as_str() {
        "po" => return "pods".to_owned(),
        "svc" => return "services".to_owned(),
        "deploy" => return "deployments".to_owned(),
        "rs" => return "replicasets".to_owned(),
        "no" => return "nodes".to_owned(),
        "ns" => return "namespaces".to_owned(),
        "cm" => return "configmaps".to_owned(),
        "endpoints" => return kind,
        _ => {}
    }
    if kind.ends_with("class") || kind.ends_with("ingress") {
        format!("{kind}es")
    } else if kind.ends_with('s') {
        kind
    } else if let Some(stem) = kind.strip_suffix('y') {
        format!("{stem}ies")
    } else {
        format!("{kind}s")
    }
}

/// Whether a kind's objects live in namespaces.
pub fn is_namespaced(kind: &str) -> bool {
    if let Some((own, _)) = vocabulary().called(kind) {
        return own.namespaced;
    }
    let called = plural(kind);
    !CLUSTER_WIDE.iter().any(|own| plural(own) == called)
}

/// Where users mean all namespaces.
pub const EVERYWHERE: &str = "*";

/// The path of a collection, in a namespace or in all of them.
pub fn collection(api_version: &str, kind: &str, namespace: &str) -> String {
    let root = if api_version.contains('/') { "/apis" } else { "/api" };
    if is_namespaced(kind) && namespace != EVERYWHERE {
        format!("{root}/{api_version}/namespaces/{namespace}/{}", plural(kind))
    } else {
        format!("{root}/{api_version}/{}", plural(kind))
    }
}

/// The paths of a manifest's collection and of itself.
pub fn path_of(object: &Value) -> (String, String) {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let namespace = match text("/metadata/namespace") {
        "" => "default",
        own => own,
    };
    let all = collection(text("/apiVersion"), text("/kind"), namespace);
    let one = format!("{all}/{}", text("/metadata/name"));
    (all, one)
}

/// The apiVersion of a kind that users name without one.
pub fn api_version(kind: &str) -> &'static str {
    if let Some((_, version)) = vocabulary().called(kind) {
        return version;
    }
    match plural(kind).as_str() {
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" => "apps/v1",
        "jobs" | "cronjobs" => "batch/v1",
        "endpointslices" => "discovery.k8s.io/v1",
        "leases" => "coordination.k8s.io/v1",
        "poddisruptionbudgets" => "policy/v1",
        _ => "v1",
    }
}

/// The patch that forbids or allows new pods on a node: where it goes, and what is sent.
pub fn cordon(node: &str, is_forbidden: bool) -> (String, Content) {
    let patch = json!({"spec": {"unschedulable": is_forbidden}});
    (format!("/api/v1/nodes/{node}"), Some((MERGE, patch)))
}

/// The request that a pod be evicted, to be posted: where it goes, and what is sent.
pub fn eviction(namespace: &str, pod: &str) -> (String, Content) {
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    (path, Some(("application/json", eviction)))
}

/// A resource of which users make objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// Its name in the store, with its group.
    pub name: &'static str,
    /// Its apiVersion.
    pub api_version: &'static str,
    /// Its kind.
    pub kind: &'static str,
}

const fn resource(name: &'static str, api_version: &'static str, kind: &'static str) -> Resource {
    Resource {
        name,
        api_version,
        kind,
    }
}

/// Namespaces.
pub const NAMESPACES: Resource = resource("namespaces", "v1", "Namespace");
/// Deployments.
pub const DEPLOYMENTS: Resource = resource("deployments.apps", "apps/v1", "Deployment");
/// Services.
pub const SERVICES: Resource = resource("services", "v1", "Service");
/// Config maps.
pub const CONFIG_MAPS: Resource = resource("configmaps", "v1", "ConfigMap");
/// Secrets.
pub const SECRETS: Resource = resource("secrets", "v1", "Secret");

/// What users have in namespaces.
pub const OWN: &[Resource] = &[CONFIG_MAPS, SECRETS, DEPLOYMENTS, SERVICES];

/// An object's kind, namespace and name, of `Kind/name` or `Kind/namespace/name`.
pub fn named(object: &str) -> Option<(&str, &str, &str)> {
    match *object.split('/').collect::<Vec<_>>() {
        [kind, namespace, name] => Some((kind, namespace, name)),
        [kind, name] => Some((kind, "default", name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_has_the_path_that_kubectl_would_use() {
        let object = serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
        assert_eq!(path_of(&object).1, "/apis/apps/v1/namespaces/default/deployments/web");
        let node = serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
        assert_eq!(path_of(&node).0, "/api/v1/nodes");
        assert_eq!(collection("v1", "Pod", EVERYWHERE), "/api/v1/pods");
        assert_eq!(collection("v1", "no", "default"), "/api/v1/nodes");
        assert_eq!(collection("v1", "namespaces", "default"), "/api/v1/namespaces");
        assert_eq!(plural("Ingress"), "ingresses");
        assert_eq!(plural("NetworkPolicy"), "networkpolicies");
        assert_eq!(plural("EndpointSlice"), "endpointslices");
    }
}
