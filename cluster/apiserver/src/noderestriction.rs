//! A node keeps to itself: its own `Node`, its own lease, the pods bound to it, and what those pods refer to. A kubelet
//! that is taken over must not give away the cluster.
//!
//! Sources: Kubernetes' "Using Node Authorization" and its admission plugin NodeRestriction; the messages are theirs.

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::message::Identity;
use orrery_api::status::ApiError;
use serde_json::Value;

use crate::authorization::node_name;
use crate::request::{Query, ResourcePath};
use crate::resource::AnyObject;
use crate::selection::Selection;
use crate::server::ApiServer;

/// The annotation of a pod that only mirrors what a kubelet runs on its own.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Labels with this prefix say where workloads may go: nodes may not set them on themselves.
const RESERVED_LABELS: &str = "node-restriction.kubernetes.io/";
/// Where the leases of nodes live.
const LEASES: &str = "kube-node-lease";

impl ApiServer {
    /// 403 when a node reaches for what is not its own, as far as the path and the state tell.
    pub(crate) async fn check_node(
        &self,
        identity: &Identity,
        path: &ResourcePath,
        verb: &str,
    ) -> Result<(), ApiError> {
        let Some(node) = node_name(identity) else { return Ok(()) };
        let info = path.resource.info();
        let reads = matches!(verb, "get" | "list" | "watch");
        match info.plural {
            "pods" if !path.name.is_empty() && !reads => {
                let current = self.current(path.resource, &path.namespace, &path.name)?;
                if is_bound_to(current.object.as_ref(), node) {
                    return Ok(());
                }
                let why = format!("node {node:?} can only {verb} pods with spec.nodeName set to itself");
                Err(ApiError::forbidden("pods", &path.name, &why))
            }
            "leases" if path.namespace != LEASES => {
                let why = format!("can only access leases in the {LEASES:?} system namespace");
                Err(ApiError::forbidden(&info.qualified(), &path.name, &why))
            }
            "secrets" | "configmaps" => {
                if self.is_referred_to(node, path).await? {
                    return Ok(());
                }
                let why = format!(
                    "User {:?} cannot {verb} resource {:?} in API group \"\" in the namespace {:?}: no relationship found between node '{node}' and this object",
                    identity.user, info.plural, path.namespace
                );
                Err(ApiError::forbidden(info.plural, &path.name, &why))
            }
            _ => Ok(()),
        }
    }

    /// Whether a pod on `node` refers to the secret or config map that `path` names.
    async fn is_referred_to(&self, node: &str, path: &ResourcePath) -> Result<bool, ApiError> {
        let Some(pods) = crate::kinds::Kinds::default().find("", "v1", "pods") else {
            return Ok(false);
        };
        let all = ResourcePath {
            resource: pods,
            namespace: path.namespace.clone(),
            name: String::new(),
            subresource: String::new(),
            watch: false,
        };
        let own = format!("spec.nodeName={}", orrery_api::fields::escape(node));
        let selection = Selection::of(&all, &Query::of("fieldSelector", &own))?;
        let bound = self.newest(pods, &selection, 0).await?;
        Ok(bound.items.iter().any(|pod| {
            serde_json::from_slice::<Value>(&pod.bytes)
                .is_ok_and(|pod| refers_to(&pod["spec"], path.resource.info().kind, Some(&path.name)))
        }))
    }
}

fn is_bound_to(pod: &dyn AnyObject, node: &str) -> bool {
    let spec = pod.as_any().downcast_ref::<Pod>().and_then(|pod| pod.spec.as_ref());
    spec.and_then(|spec| spec.node_name.as_deref()) == Some(node)
}

/// Whether anything in `spec` refers to the object `name` of `kind`; to any of that kind when there is no name.
/// References are told by the names of their fields, which are the same wherever they stand in a pod.
fn refers_to(spec: &Value, kind: &str, name: Option<&str>) -> bool {
    let fields: &[&str] = match kind {
        "Secret" => &["secret", "secretRef", "secretKeyRef", "imagePullSecrets"],
        _ => &["configMap", "configMapRef", "configMapKeyRef"],
    };
    let is_it = |one: &Value| name.is_none_or(|name| one["name"] == name || one["secretName"] == name);
    match spec {
        Value::Object(entries) => entries.iter().any(|(field, value)| {
            let named = fields.contains(&field.as_str())
                && match value {
                    Value::Array(list) => list.iter().any(is_it),
                    one => is_it(one),
                };
            named || refers_to(value, kind, name)
        }),
        Value::Array(list) => list.iter().any(|value| refers_to(value, kind, name)),
        _ => false,
    }
}

fn labels(meta: &ObjectMeta) -> impl Iterator<Item = (&String, &String)> {
    let labels = meta.labels.iter().flatten();
    labels.filter(|(key, _)| key.starts_with(RESERVED_LABELS))
}

/// 403 when a node makes something that is not its own.
pub fn check_create(identity: &Identity, path: &ResourcePath, object: &dyn AnyObject) -> Result<(), ApiError> {
    let Some(node) = node_name(identity) else { return Ok(()) };
    let info = path.resource.info();
    let name = object.meta().name.as_deref().unwrap_or_default();
    let refuse = |why: String| Err(ApiError::forbidden(&info.qualified(), name, &why));
    if let Some(pod) = object.as_any().downcast_ref::<Pod>() {
        let annotations = pod.metadata.annotations.as_ref();
        if annotations.is_none_or(|annotations| !annotations.contains_key(MIRROR)) {
            return refuse(format!(
                "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
            ));
        }
        if !is_bound_to(object, node) {
            return refuse(format!(
                "node {node:?} can only create pods with spec.nodeName set to itself"
            ));
        }
        let spec = object.to_value()["spec"].take();
        if ["Secret", "ConfigMap"].iter().any(|kind| refers_to(&spec, kind, None)) {
            return refuse(format!(
                "node {node:?} can not create pods that reference secrets or config maps"
            ));
        }
    }
    match info.plural {
        "nodes" if name != node => return refuse(format!("node {node:?} is not allowed to modify node {name:?}")),
        "leases" if name != node => {
            return refuse("can only access node lease with the same name as the requesting node".to_owned());
        }
        "nodes" if labels(object.meta()).next().is_some() => {
            let list: Vec<&str> = labels(object.meta()).map(|(key, _)| key.as_str()).collect();
            return refuse(format!(
                "node {node:?} is not allowed to set the following labels: {}",
                list.join(", ")
            ));
        }
        _ => {}
    }
    Ok(())
}

/// 403 when a node gives itself what decides over where workloads go.
pub fn check_update(identity: &Identity, new: &dyn AnyObject, old: &dyn AnyObject) -> Result<(), ApiError> {
    let Some(node) = node_name(identity) else { return Ok(()) };
    let (Some(new), Some(old)) = (new.as_any().downcast_ref::<Node>(), old.as_any().downcast_ref::<Node>()) else {
        return Ok(());
    };
    let refuse = |what: String| {
        let why = format!("node {node:?} is not allowed to modify {what}");
        Err(ApiError::forbidden("nodes", node, &why))
    };
    let taints = |node: &Node| {
        node.spec
            .as_ref()
            .and_then(|spec| spec.taints.clone())
            .unwrap_or_default()
    };
    if taints(new) != taints(old) {
        return refuse("taints".to_owned());
    }
    let of = |node: &Node| -> Vec<(String, String)> {
        labels(&node.metadata)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let (before, after) = (of(old), of(new));
    if before != after {
        let changed = before
            .iter()
            .filter(|one| !after.contains(one))
            .chain(after.iter().filter(|one| !before.contains(one)));
        let changed: std::collections::BTreeSet<&str> = changed.map(|(key, _)| key.as_str()).collect();
        return refuse(format!(
            "labels: {}",
            changed.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    if new.metadata.owner_references.as_deref().unwrap_or_default()
        != old.metadata.owner_references.as_deref().unwrap_or_default()
    {
        return refuse("ownerReferences".to_owned());
    }
    Ok(())
}
