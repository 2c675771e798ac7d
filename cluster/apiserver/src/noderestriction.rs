//! A node keeps to itself: its own `Node`, its own lease, the pods bound to it, and what those pods refer to. A kubelet
//! that is taken over must not give away the cluster.
//!
//! Sources: Kubernetes' "Using Node Authorization" and its admission plugin NodeRestriction; the messages are theirs.

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::message::Identity;
use orrery_api::mutant;
use orrery_api::status::ApiError;
use serde_json::Value;

use crate::authorization::{node_name, refusal};
use crate::request::{Query, ResourcePath};
use crate::resource::AnyObject;
use crate::selection::Selection;
use crate::server::ApiServer;

/// The annotation of a pod that only mirrors what a kubelet runs on its own.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// The labels of Kubernetes' own that a node may set on itself, besides those of [`KUBELET_DOMAINS`]. The last one is
/// our addition: the kubelet that is started beside a control plane says so itself, where `kubeadm` does for others.
const KUBELET_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node-role.kubernetes.io/control-plane",
];
/// The domains of Kubernetes' own whose labels are nodes' to set.
const KUBELET_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Where the leases of nodes live.
const LEASES: &str = "kube-node-lease";

impl ApiServer {
    /// 403 when a node reaches for what is not its own, as far as the path and the state tell.
    pub(crate) async fn check_node(
        &self,
        identity: &Identity,
        path: &ResourcePath,
        query: &Query,
        verb: &str,
    ) -> Result<(), ApiError> {
        let Some(node) = node_name(identity) else { return Ok(()) };
        let info = path.resource.info();
        let reads = matches!(verb, "get" | "list" | "watch");
        let refuse_to_show = |why: String| {
            let cannot = refusal(identity, verb, info.plural, info.group, &path.namespace);
            Err(ApiError::forbidden(
                info.plural,
                &path.name,
                &format!("{cannot}: {why}"),
            ))
        };
        match info.plural {
            "nodes" if reads => match path.name.as_str() {
                "" if selects(path, query, "metadata.name", node)? => Ok(()),
                "" => refuse_to_show(format!("node '{node}' cannot read all nodes, only its own Node object")),
                name if name == node => Ok(()),
                name => refuse_to_show(format!("node '{node}' cannot read '{name}', only its own Node object")),
            },
            "pods" if path.name.is_empty() && reads => match selects(path, query, "spec.nodeName", node)? {
                true => Ok(()),
                false => refuse_to_show("can only list/watch pods with spec.nodeName field selector".to_owned()),
            },
            "pods" if !path.name.is_empty() => {
                let current = self.current(path.resource, &path.namespace, &path.name)?;
                if is_bound_to(current.object.as_ref(), node) || mutant::active("O167") {
                    return Ok(());
                }
                if reads {
                    return refuse_to_show(unrelated(node));
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
                refuse_to_show(unrelated(node))
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

/// Whether a list or watch is only about objects whose field `field` is `value`.
fn selects(path: &ResourcePath, query: &Query, field: &str, value: &str) -> Result<bool, ApiError> {
    let selection = Selection::of(path, query)?;
    Ok(selection.fields.exact_value(field) == Some(value))
}

fn unrelated(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
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

/// The labels that say where workloads may go, or might come to: nodes may not set them on themselves.
fn reserved_labels(meta: &ObjectMeta) -> impl Iterator<Item = (&String, &String)> {
    let labels = meta.labels.iter().flatten();
    labels.filter(|(key, _)| is_reserved(key))
}

/// Whether a label is one of Kubernetes' own and not the kubelet's (`node-restriction.kubernetes.io` is such a domain).
fn is_reserved(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let is_within = |parent: &str| {
        let above = domain.strip_suffix(parent);
        above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    ["kubernetes.io", "k8s.io"].into_iter().any(is_within)
        && !KUBELET_LABELS.contains(&label)
        && !KUBELET_DOMAINS.into_iter().any(is_within)
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
        "nodes" if reserved_labels(object.meta()).next().is_some() => {
            let list: Vec<&str> = reserved_labels(object.meta()).map(|(key, _)| key.as_str()).collect();
            return refuse(format!(
                "node {node:?} is not allowed to set the following labels: {}",
                list.join(", ")
            ));
        }
        _ => {}
    }
    Ok(())
}

/// 403 when a node gives itself what decides over where workloads go, or a pod what decides over who finds it.
pub fn check_update(identity: &Identity, new: &dyn AnyObject, old: &dyn AnyObject) -> Result<(), ApiError> {
    let Some(node) = node_name(identity) else { return Ok(()) };
    if new.as_any().is::<Pod>() {
        let (after, before) = (&new.meta().labels, &old.meta().labels);
        if after.iter().flatten().ne(before.iter().flatten()) {
            let name = old.meta().name.as_deref().unwrap_or_default();
            let why = format!("node {node:?} cannot update labels through pod status");
            return Err(ApiError::forbidden("pods", name, &why));
        }
    }
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
        reserved_labels(&node.metadata)
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
