//! What users do to nodes.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::scenario::{CordonSpec, DrainSpec, Moment, NodeTarget, StepAction, TaintStep};
use crate::workload::requests;
use crate::workload::user::{Reply, TRIES, User};

/// How long `kubectl` waits after a disruption budget forbade an eviction.
const FORBIDDEN: Duration = Duration::from_secs(5);
/// How often it looks whether an evicted pod is gone.
const LOOK: Duration = Duration::from_secs(1);

/// The node that is meant, by name.
fn chosen(user: &User, target: &NodeTarget) -> Option<String> {
    match target {
        NodeTarget::Named(name) => Some(name.clone()),
        NodeTarget::Any => user.random.choose(&user.stage.nodes()).cloned(),
    }
}

async fn forbid(user: &User, node: &str, is_forbidden: bool) {
    let (path, patch) = requests::cordon(node, is_forbidden);
    user.insist(Method::PATCH, &path, patch, &[404]).await;
}

/// Forbids or allows new pods on a node.
pub async fn cordon(user: &User, moment: Moment, target: &NodeTarget, is_forbidden: bool) {
    let Some(name) = chosen(user, target) else { return };
    let spec = CordonSpec {
        node: NodeTarget::Named(name.clone()),
    };
    let pinned = if is_forbidden {
        StepAction::Cordon(spec)
    } else {
        StepAction::Uncordon(spec)
    };
    user.stage.does(moment, pinned);
    forbid(user, &name, is_forbidden).await;
}

/// Drains a node as `kubectl drain` does: cordons it, evicts the pods that are there then, and waits for them to be
/// gone.
pub async fn drain(user: &User, moment: Moment, spec: &DrainSpec) {
    let Some(node) = chosen(user, &spec.node) else { return };
    let patience = spec.timeout.draw(&user.random);
    let pinned = DrainSpec {
        node: NodeTarget::Named(node.clone()),
        timeout: patience.into(),
        force: spec.force,
    };
    user.stage.does(moment, StepAction::Drain(pinned));
    let leave = async {
        forbid(user, &node, true).await;
        let pods = user
            .get(&format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}"))
            .await;
        let pods = pods.as_ref().and_then(|pods| pods["items"].as_array());
        let leaving = pods.into_iter().flatten().filter(|pod| must_leave(pod, spec.force));
        join_all(leaving.map(|pod| evict(user, pod))).await;
    };
    // Whoever has no more patience leaves what is there where it is.
    let _ = timeout(patience, leave).await;
}

/// Whether a drain evicts a pod: not those of daemons, which would be back at once, nor mirrors of what a kubelet runs
/// by itself, nor, unless it is forced, those that nobody would make anew.
fn must_leave(pod: &Value, force: bool) -> bool {
    let owners = pod["metadata"]["ownerReferences"].as_array();
    let controller = owners.and_then(|owners| owners.iter().find(|owner| owner["controller"] == true));
    let is_mirror = pod["metadata"]["annotations"]
        .get("kubernetes.io/config.mirror")
        .is_some();
    let is_finished = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    match controller {
        _ if is_mirror => false,
        Some(controller) => controller["kind"] != "DaemonSet" || is_finished,
        None => force || is_finished,
    }
}

/// Asks a pod to leave until it is gone.
async fn evict(user: &User, pod: &Value) {
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name, uid) = (
        text("/metadata/namespace"),
        text("/metadata/name"),
        text("/metadata/uid"),
    );
    let (eviction, body) = requests::eviction(namespace, name);
    for _ in 0..TRIES {
        match user.ask_once(&Method::POST, &eviction, &body).await {
            Some(Reply::Done(_)) => break,
            Some(Reply::Refused(404, _)) => return,
            Some(Reply::Refused(429, _)) => sleep(FORBIDDEN).await,
            Some(Reply::Refused(code, why)) if code < 500 && code != 409 => {
                return user
                    .stage
                    .trouble(format!("the eviction of {namespace}/{name} was refused: {why}"));
            }
            Some(Reply::Refused(..)) | None => sleep(LOOK).await,
        }
    }
    let pod = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    while let Some(there) = user.get(&pod).await {
        if there["metadata"]["uid"] != uid {
            return;
        }
        sleep(LOOK).await;
    }
}

/// Puts a taint on a node, or takes it off, as `kubectl taint` does: by what the node has now.
pub async fn taint(user: &User, moment: Moment, spec: &TaintStep, on: bool) {
    let Some(node) = chosen(user, &spec.node) else { return };
    let pinned = TaintStep {
        node: NodeTarget::Named(node.clone()),
        ..spec.clone()
    };
    let pinned = if on {
        StepAction::Taint(pinned)
    } else {
        StepAction::Untaint(pinned)
    };
    user.stage.does(moment, pinned);
    let change = |node: &Value| {
        let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints.retain(|taint| taint["key"] != spec.key || taint["effect"] != spec.effect);
        if on {
            let mut taint = json!({"key": spec.key, "effect": spec.effect});
            if let Some(value) = &spec.value {
                taint["value"] = json!(value);
            }
            taints.push(taint);
        }
        Some(json!({"spec": {"taints": taints}}))
    };
    user.change("Node", "", &node, change).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_leaves_the_pods_of_daemons_and_those_that_nobody_would_make_anew() {
        let owned = |kind: &str| json!({"metadata": {"ownerReferences": [{"kind": kind, "controller": true}]}});
        assert!(must_leave(&owned("ReplicaSet"), false));
        assert!(!must_leave(&owned("DaemonSet"), true));
        let mut alone = json!({"metadata": {}});
        assert!(!must_leave(&alone, false));
        assert!(must_leave(&alone, true));
        alone["status"]["phase"] = json!("Succeeded");
        assert!(must_leave(&alone, false));
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
        assert!(!must_leave(&mirror, true));
    }
}
