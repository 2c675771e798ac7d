//! S7: generation grows exactly when the spec changes, and nobody has observed one that is still to come.
//!
//! Judged at every write of a Deployment or ReplicaSet. The beginning of a deletion counts as a change,
//! and so do annotations of a Deployment, as in Kubernetes.

use super::{Invariant, Report};
use crate::model::{Cluster, Item, Seen};

/// See the module.
pub struct Generations;

fn observed(item: &Item) -> Option<i64> {
    let set = item
        .replica_set()
        .and_then(|set| set.status.as_ref()?.observed_generation);
    set.or_else(|| item.deployment()?.status.as_ref()?.observed_generation)
}

fn same_spec(before: &Item, after: &Item) -> bool {
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
        let judged = after.deployment().is_some() || after.replica_set().is_some();
        if !judged || after.meta.generation.is_none() {
            return;
        }
        let generation = |item: &Item| item.meta.generation.unwrap_or(0);
        let mut wrong = None;
        if observed(after) > Some(generation(after)) {
            wrong = Some("is observed at a generation that is still to come".to_owned());
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
