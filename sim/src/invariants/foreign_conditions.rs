//! K17: a kubelet leaves alone what others say of its pods.
//!
//! Judged at every write of a pod's status that a server tells its kubelet it has carried out: of the conditions that
//! are not the kubelet's own (a readiness gate's, for example) that revision must have changed none that the kubelet
//! has sent. It knows them from its watch, and may know what they were. Source: Kubernetes' documentation, "Pod readiness": the status of
//! gates is determined by others.

use http::Method;
use k8s_openapi::api::core::v1::PodCondition;
use serde_json::Value;

use super::{Invariant, Report, carried_out};
use crate::model::{Asked, Cluster, Item, Seen};

/// What kubelets say of pods. Source: Kubernetes' documentation, "Pod conditions".
const OWN: [&str; 6] = [
    "PodReadyToStartContainers",
    "Initialized",
    "ContainersReady",
    "Ready",
    "PodScheduled",
    "DisruptionTarget",
];

/// See the module.
pub struct ForeignConditions;

/// The conditions of a pod that are not its kubelet's.
fn foreign(pod: &Item) -> Vec<&PodCondition> {
    let status = pod.pod().and_then(|pod| pod.status.as_ref());
    let all = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    all.filter(|condition| !OWN.contains(&&*condition.type_)).collect()
}

impl Invariant for ForeignConditions {
    fn id(&self) -> &'static str {
        "K17"
    }

    fn statement(&self) -> &'static str {
        "A kubelet changes no condition of a pod that somebody else speaks of."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Answered(asked, answered) = seen else { return };
        if !asked.client.starts_with("kubelet/") || ![Method::PUT, Method::PATCH].contains(&asked.method) {
            return;
        }
        let Some((path, change)) = carried_out(asked, answered, cluster) else {
            return;
        };
        if &*path.resource != "pods" || path.subresource != "status" {
            return;
        }
        if let (Some(before), Some(after)) = (&change.before, &change.after)
            && before.uid() == after.uid()
            && foreign(before) != foreign(after)
            && sends(asked, &[foreign(before), foreign(after)].concat())
        {
            let message = format!(
                "{} (uid {}) by {} at revision {}: {} became {}",
                path.id(),
                after.uid(),
                asked.client,
                change.revision,
                told(&foreign(before)),
                told(&foreign(after)),
            );
            report.broken(self.id(), message, &[&asked.client, "apiserver"]);
        }
    }
}

/// Whether one of these conditions is in what `asked` sends: otherwise the change is not its own.
fn sends(asked: &Asked, conditions: &[&PodCondition]) -> bool {
    let Some(patch) = &asked.patch else { return true };
    let patch: Value = serde_json::from_slice(patch).unwrap_or_default();
    let sent = patch["status"]["conditions"].as_array();
    let mut kinds = sent.into_iter().flatten().filter_map(|sent| sent["type"].as_str());
    kinds.any(|kind| conditions.iter().any(|condition| condition.type_ == kind))
}

/// Conditions in words.
fn told(conditions: &[&PodCondition]) -> String {
    let all = conditions.iter().map(|own| format!("{}={}", own.type_, own.status));
    format!("[{}]", all.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::super::contract_tests::with;
    use super::super::tests::{History, POD, asked, pod};
    use super::*;
    use crate::model::Answered;

    /// A client changes what a pod's conditions `Ready` and `open` are.
    fn written(client: &str, before: [&str; 2], after: [&str; 2]) -> Vec<&'static str> {
        sent(client, None, before, after)
    }

    /// The same, by a patch.
    fn sent(client: &str, patch: Option<Value>, before: [&str; 2], after: [&str; 2]) -> Vec<&'static str> {
        let shown = |[ready, open]: [&str; 2]| -> Value {
            let conditions = json!([{"type": "Ready", "status": ready}, {"type": "open", "status": open}]);
            with(pod("a", "n", "Running"), "/status/conditions", conditions)
        };
        let write = Asked {
            patch: patch.map(|patch| Bytes::from(patch.to_string())),
            ..asked(client, Method::PATCH, &format!("{POD}/status"))
        };
        let answer = Answered {
            status: 200,
            revision: Some(3),
            ..Answered::default()
        };
        let history = History::of(|id| id == "K17").put("pods", shown(before));
        let history = history.put("pods", shown(after));
        history.see(&Seen::Answered(&write, &answer)).broken()
    }

    #[test]
    fn a_kubelet_that_writes_back_what_somebody_else_said_before_breaks_k17() {
        assert_eq!(written("kubelet/n", ["False", "True"], ["True", "False"]), ["K17"]);
        assert!(written("kubelet/n", ["False", "True"], ["True", "True"]).is_empty());
        assert!(written("user", ["False", "True"], ["False", "False"]).is_empty());
    }

    #[test]
    fn what_a_kubelet_has_not_sent_is_somebody_elses_word() {
        let patched = |kind: &str| {
            let patch = json!({"status": {"conditions": [{"type": kind, "status": "False"}]}});
            sent("kubelet/n", Some(patch), ["False", "True"], ["False", "False"])
        };
        assert_eq!(patched("open"), ["K17"]);
        assert!(patched("Ready").is_empty());
    }
}
