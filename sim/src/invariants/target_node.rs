//! Q2: a pod is bound to a node that exists and is not being deleted, by the scheduler that it names.
//!
//! Checked at the write that binds. The API server writes a binding on the base of the node that it looked at, so that
//! no unlucky history passes: a scheduler whose picture is old is refused. Pods that are created with a node (daemons,
//! static pods) are not the scheduler's and not judged.
//!
//! That the pod is its own to bind is checked when a scheduler asks: the name never changes, so that it knows it as
//! soon as it knows the pod.

use super::{Invariant, Report};
use crate::model::{Asked, Change, Cluster, Item, Seen};

/// The only scheduler that this cluster has.
const OURS: &str = "default-scheduler";

/// Which scheduler a pod is for.
fn scheduler_of(pod: &Item) -> &str {
    let spec = pod.pod().and_then(|pod| pod.spec.as_ref());
    spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or(OURS)
}

/// Whether a pod is for the scheduler of this cluster, and not for one of a user's.
pub(super) fn is_ours(pod: &Item) -> bool {
    scheduler_of(pod) == OURS
}

/// See the module.
pub struct TargetNode;

impl Invariant for TargetNode {
    fn id(&self) -> &'static str {
        "Q2"
    }

    fn statement(&self) -> &'static str {
        "A pod is bound to a node that exists and is not being deleted, by the scheduler that it names."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Asked(asked) if asked.client.starts_with("scheduler/") => self.judge_ask(asked, cluster, report),
            Seen::Change(change) => self.judge(change, cluster, report),
            _ => {}
        }
    }
}

impl TargetNode {
    fn judge(&self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return;
        };
        let node = after.node_name();
        if after.pod().is_none() || !before.node_name().is_empty() || node.is_empty() {
            return;
        }
        let alive = cluster
            .find("nodes", "", node)
            .is_some_and(|node| !node.is_terminating());
        if !alive {
            report.broken(
                self.id(),
                format!(
                    "{} (uid {}) was bound at revision {} to {node}, which does not exist",
                    change.id,
                    after.uid(),
                    change.revision
                ),
                &["scheduler", "apiserver"],
            );
        }
    }

    fn judge_ask(&self, asked: &Asked, cluster: &Cluster, report: &mut Report) {
        let Some(path) = asked.path.as_ref().filter(|_| asked.method == http::Method::POST) else {
            return;
        };
        if &*path.resource != "pods" || path.subresource != "binding" {
            return;
        }
        // A namesake of the pod that is meant may name another scheduler.
        let pod = cluster.get(&path.id());
        let Some(pod) = pod.filter(|pod| asked.uid.as_deref().is_none_or(|uid| uid == pod.uid())) else {
            return;
        };
        let named = scheduler_of(pod);
        if named != OURS {
            report.broken(
                self.id(),
                format!(
                    "{} binds {} (uid {}), which is for {named}",
                    asked.client,
                    pod.id,
                    pod.uid()
                ),
                &["scheduler"],
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::contract_tests::with;
    use super::super::tests::{History, asked, pod};
    use crate::model::{Asked, Seen};

    #[test]
    fn a_scheduler_that_binds_a_pod_of_another_one_breaks_q2() {
        let binding = |client: &str, uid: &str| Asked {
            uid: Some(uid.to_owned()),
            ..asked(client, http::Method::POST, "/api/v1/namespaces/default/pods/a/binding")
        };
        let bind = |named: &str, client: &str, uid: &str| {
            let wanted = with(pod("a", "", "Pending"), "/spec/schedulerName", json!(named));
            let history = History::of(|id| id == "Q2").put("pods", wanted);
            history.see(&Seen::Asked(&binding(client, uid))).broken()
        };
        assert_eq!(bind("other", "scheduler/1", "uid-a"), ["Q2"]);
        assert!(bind("default-scheduler", "scheduler/1", "uid-a").is_empty());
        assert!(bind("other", "user", "uid-a").is_empty());
        // One of its name was there before.
        assert!(bind("other", "scheduler/1", "uid-b").is_empty());
        assert!(
            History::of(|id| id == "Q2")
                .see(&Seen::Asked(&binding("scheduler/1", "uid-a")))
                .broken()
                .is_empty()
        );
    }
}
