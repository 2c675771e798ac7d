//! P11: a Deployment says that it is available exactly when enough of its pods are.
//!
//! Judged at every write of its status that is of its newest spec: the condition `Available` against the count in that
//! same status, and `maxUnavailable`
//! ([Deployment status](https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status)).
//! Whether the count is right is the matter of others.

use super::availability::least_available;
use super::{Invariant, Report};
use crate::model::{Cluster, Seen};

/// See the module.
pub struct Available;

impl Invariant for Available {
    fn id(&self) -> &'static str {
        "P11"
    }

    fn statement(&self) -> &'static str {
        "A Deployment says that it is available exactly when enough of its pods are."
    }

    fn observe(&mut self, seen: &Seen<'_>, _cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        let before = change.before.as_ref().and_then(|item| item.deployment());
        let Some(deployment) = change.after.as_ref().and_then(|item| item.deployment()) else {
            return;
        };
        let Some(status) = deployment.status.as_ref() else {
            return;
        };
        let is_new = before.and_then(|before| before.status.as_ref()) != Some(status);
        if !is_new || status.observed_generation != deployment.metadata.generation {
            return;
        }
        let (available, least) = (status.available_replicas.unwrap_or(0), least_available(deployment));
        let mut conditions = status.conditions.iter().flatten();
        let said = conditions.find(|condition| condition.type_ == "Available");
        let said = said.map(|condition| condition.status.as_str());
        let should = if available >= least { "True" } else { "False" };
        if said != Some(should) {
            let message = format!(
                "{} has {available} available pods of {least} that it needs, and says {said:?} at revision {}",
                change.id, change.revision
            );
            report.broken(self.id(), message, &["controller-manager"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::History;

    #[test]
    fn a_deployment_that_says_otherwise_than_it_counts_breaks_p11() {
        let written = |available: i32, said: &str, strategy: &str, observed: i32| {
            let deployment = json!({"metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 2},
                "spec": {"replicas": 3, "selector": {}, "template": {}, "strategy": {"type": strategy}},
                "status": {"observedGeneration": observed, "availableReplicas": available,
                    "conditions": [{"type": "Available", "status": said}]}});
            History::of(|id| id == "P11")
                .put("deployments.apps", deployment)
                .broken()
        };
        for (available, said) in [(3, "True"), (2, "False")] {
            assert!(written(available, said, "RollingUpdate", 2).is_empty());
            assert_eq!(written(5 - available, said, "RollingUpdate", 2), ["P11"]);
            assert_eq!(written(5 - available, said, "Recreate", 2), ["P11"]);
            // Of an older spec, that wanted another number.
            assert!(written(5 - available, said, "RollingUpdate", 1).is_empty());
        }
    }
}
