//! Which pods nobody else will clean up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use orrery_api::meta::Object;
use orrery_api::mutant;

use crate::pods;

/// The finished pods that are too many: all but the youngest `threshold`; none when it is 0.
pub(super) fn surplus(all: &[Arc<Pod>], threshold: usize) -> Vec<Arc<Pod>> {
    let finished = all.iter().filter(|pod| pods::is_finished(pod) && !pod.is_terminating());
    let mut finished: Vec<Arc<Pod>> = finished.cloned().collect();
    if threshold == 0 || finished.len() <= threshold {
        return Vec::new();
    }
    finished.sort_by_key(|pod| (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.key()));
    finished.truncate(finished.len() - threshold);
    finished
}

/// The pods that are being deleted and were never bound: no kubelet will confirm their end.
pub(super) fn unbound(all: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    all.iter()
        .filter(|pod| pod.is_terminating() && pods::node_name(pod).is_none())
        .cloned()
        .collect()
}

/// The key of the taint by which an administrator says that a node will not come back with what ran there: a
/// "non-graceful node shutdown" in Kubernetes' documentation of nodes.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Whether a node is not ready, and out of service.
pub(super) fn is_out_of_service(node: &Node) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.any(|taint| taint.key == OUT_OF_SERVICE) && (!is_ready || mutant::active("O188"))
}

/// The pods that are being deleted on nodes whose kubelets will never confirm their end.
pub(super) fn unconfirmed(all: &[Arc<Pod>], is_out: impl Fn(&str) -> bool) -> Vec<Arc<Pod>> {
    all.iter()
        .filter(|pod| pod.is_terminating() && pods::node_name(pod).is_some_and(&is_out))
        .cloned()
        .collect()
}

/// The pods bound to nodes that are missing, by node.
pub(super) fn orphans(all: &[Arc<Pod>], exists: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<Arc<Pod>>> {
    let mut orphans: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in all {
        if let Some(node) = pods::node_name(pod).filter(|node| !exists(node))
            && (!pod.is_terminating() || !mutant::active("O39"))
            && (pods::phase(pod) != "Pending" || !mutant::active("O67"))
        {
            orphans.entry(node.to_owned()).or_default().push(pod.clone());
        }
    }
    orphans
}

/// Since when nodes are missing. A node that has just come or gone may only look missing.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    since: BTreeMap<String, Duration>,
}

impl Quarantine {
    /// Takes the nodes that are missing at `now`; answers those that have been missing for `time` without a break.
    pub(super) fn update<'a>(
        &mut self,
        missing: impl IntoIterator<Item = &'a String>,
        now: Duration,
        time: Duration,
    ) -> Vec<String> {
        let missing = missing.into_iter();
        self.since = missing
            .map(|node| (node.clone(), self.since.get(node).copied().unwrap_or(now)))
            .collect();
        let ripe = self
            .since
            .iter()
            .filter(|(_, since)| now.saturating_sub(**since) >= time);
        ripe.map(|(node, _)| node.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, phase: &str, created: u32, node: Option<&str>, deleted: bool) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"namespace": "a", "name": name, "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z")},
            "spec": {"containers": [], "nodeName": node},
            "status": {"phase": phase}
        });
        if deleted {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        }
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().map(|pod| pod.name()).collect()
    }

    #[test]
    fn of_too_many_finished_pods_the_oldest_go() {
        let all = [
            pod("new", "Failed", 9, Some("n"), false),
            pod("old", "Succeeded", 1, Some("n"), false),
            pod("middle", "Failed", 5, Some("n"), false),
            pod("alive", "Running", 0, Some("n"), false),
        ];
        assert_eq!(names(&surplus(&all, 1)), ["old", "middle"]);
        assert!(surplus(&all, 3).is_empty());
        assert!(surplus(&all, 0).is_empty());
    }

    #[test]
    fn only_unbound_pods_that_are_being_deleted_are_ended() {
        let all = [
            pod("waits", "Pending", 0, None, false),
            pod("ends", "Pending", 0, None, true),
            pod("bound", "Running", 0, Some("n"), true),
        ];
        assert_eq!(names(&unbound(&all)), ["ends"]);
    }

    #[test]
    fn pods_that_end_on_nodes_out_of_service_are_ended() {
        let node = |ready: &str, taint: &str| -> Node {
            let taints = json!([{"key": taint, "value": "nodeshutdown", "effect": "NoExecute"}]);
            let conditions = json!([{"type": "Ready", "status": ready}]);
            let node = json!({"spec": {"taints": taints}, "status": {"conditions": conditions}});
            serde_json::from_value(node).expect("a node")
        };
        assert!(is_out_of_service(&node("Unknown", OUT_OF_SERVICE)));
        assert!(!is_out_of_service(&node("True", OUT_OF_SERVICE)));
        assert!(!is_out_of_service(&node("Unknown", "another")));
        let all = [
            pod("stays", "Running", 0, Some("out"), false),
            pod("ends", "Running", 0, Some("out"), true),
            pod("elsewhere", "Running", 0, Some("n"), true),
        ];
        assert_eq!(names(&unconfirmed(&all, |node| node == "out")), ["ends"]);
    }

    #[test]
    fn a_node_is_missing_only_after_its_quarantine_without_a_break() {
        let mut quarantine = Quarantine::default();
        let time = Duration::from_secs(40);
        let n = ["n".to_owned()];
        let at = Duration::from_secs;
        assert!(quarantine.update(&n, at(0), time).is_empty());
        assert!(quarantine.update(&[], at(20), time).is_empty());
        assert!(quarantine.update(&n, at(40), time).is_empty());
        assert!(quarantine.update(&n, at(60), time).is_empty());
        assert_eq!(quarantine.update(&n, at(80), time), ["n"]);
    }
}
