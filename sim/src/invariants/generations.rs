//! S7: generation grows exactly when the spec changes, and nobody has observed one that is still to come.
//!
//! Judged at every write of a Deployment, ReplicaSet or pod. The first generation is 1. The beginning of a deletion
//! counts as a change, and so do annotations of a Deployment, as in Kubernetes; that a pod is bound does not count.
//!
//! Source, for pods: KEP-5067.

use k8s_openapi::api::core::v1::PodSpec;

use super::{Invariant, Report};
use crate::model::{Cluster, Item, Seen};

/// See the module.
pub struct Generations;

fn observed(item: &Item) -> Option<i64> {
    let set = item
        .replica_set()
        .and_then(|set| set.status.as_ref()?.observed_generation);
    set.or_else(|| item.deployment()?.status.as_ref()?.observed_generation)
        .or_else(|| item.pod()?.status.as_ref()?.observed_generation)
}

/// Whether two specs of a pod are the same but for its node.
fn same_but_node(before: Option<&PodSpec>, after: Option<&PodSpec>) -> bool {
    let unbound = |spec: Option<&PodSpec>| {
        let spec = spec.cloned().unwrap_or_default();
        PodSpec {
            node_name: None,
            ..spec
        }
    };
    // Most writes are of the status.
    before == after || unbound(before) == unbound(after)
}

fn same_spec(before: &Item, after: &Item) -> bool {
    if let (Some(old), Some(new)) = (before.pod(), after.pod()) {
        return same_but_node(old.spec.as_ref(), new.spec.as_ref());
    }
    match (before.deployment(), after.deployment()) {
        (Some(old), Some(new)) => old.spec == new.spec && before.meta.annotations == after.meta.annotations,
        _ => match (before.replica_set(), after.replica_set()) {
            (Some(before), Some(after)) => before.spec == after.spec,
            _ => true,
        },
    }
}

impl Invariant for Generations {
    fn id(&self) -> &'static str {
        "S7"
    }

    fn statement(&self) -> &'static str {
        "generation grows exactly when spec changes; observedGeneration ≤ generation."
    }

    fn observe(&mut self, seen: &Seen<'_>, _cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        let Some(after) = &change.after else { return };
        let judged = after.deployment().is_some() || after.replica_set().is_some() || after.pod().is_some();
        if !judged || after.meta.generation.is_none() {
            return;
        }
        let generation = |item: &Item| item.meta.generation.unwrap_or(0);
        let mut wrong = None;
        if observed(after) > Some(generation(after)) {
            wrong = Some("is observed at a generation that is still to come".to_owned());
        }
        if change.is_create() && generation(after) != 1 {
            wrong = Some(format!("begins with generation {}", generation(after)));
        }
        if let Some(before) = change.before.as_ref().filter(|before| before.uid() == after.uid()) {
            let changed = !same_spec(before, after) || before.is_terminating() != after.is_terminating();
            let (old, new) = (generation(before), generation(after));
            if changed != (new > old) || new < old {
                let did = if changed { "changed" } else { "did not change" };
                wrong = Some(format!("{did} while its generation went from {old} to {new}"));
            }
        }
        if let Some(wrong) = wrong {
            let message = format!(
                "{} (uid {}) {wrong} at revision {}",
                change.id,
                after.uid(),
                change.revision
            );
            report.broken(self.id(), message, &["apiserver", "controller-manager"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::contract_tests::with;
    use super::super::tests::{History, pod};

    fn of_generation(pod: Value, generation: i64) -> Value {
        with(pod, "/metadata/generation", json!(generation))
    }

    fn written(before: Value, after: Value) -> Vec<&'static str> {
        let history = History::of(|id| id == "S7").put("pods", before);
        history.put("pods", after).broken()
    }

    #[test]
    fn a_pod_whose_spec_changes_without_its_generation_breaks_s7_but_for_its_node() {
        let first = || of_generation(pod("a", "", "Pending"), 1);
        let tolerant = |generation| {
            let pod = with(pod("a", "", "Pending"), "/spec/tolerations", json!([{"key": "a"}]));
            of_generation(pod, generation)
        };
        assert_eq!(written(first(), tolerant(1)), ["S7"]);
        assert!(written(first(), tolerant(2)).is_empty());
        let bound = |generation| of_generation(pod("a", "n", "Pending"), generation);
        assert!(written(first(), bound(1)).is_empty());
        assert_eq!(written(first(), bound(2)), ["S7"]);
        let going = |generation| {
            with(
                bound(generation),
                "/metadata/deletionTimestamp",
                json!("2026-01-01T00:00:00Z"),
            )
        };
        assert_eq!(written(bound(1), going(1)), ["S7"]);
        assert!(written(bound(1), going(2)).is_empty());
    }

    #[test]
    fn a_first_generation_that_is_not_1_breaks_s7() {
        let made = |generation| {
            let history = History::of(|id| id == "S7");
            history
                .put("pods", of_generation(pod("a", "", "Pending"), generation))
                .broken()
        };
        assert!(made(1).is_empty());
        assert_eq!(made(2), ["S7"]);
    }

    #[test]
    fn a_generation_of_a_pod_that_is_observed_too_soon_breaks_s7() {
        let observed = |generation: i64| {
            let before = of_generation(pod("a", "n", "Pending"), 1);
            let after = with(before.clone(), "/status/observedGeneration", json!(generation));
            written(before, after)
        };
        assert!(observed(1).is_empty());
        assert_eq!(observed(2), ["S7"]);
    }
}
