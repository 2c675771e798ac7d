//! What a Deployment asks for: how many pods it may have and has to keep, whether it recreates them, whether it is
//! paused. No invariant of its own: several share it.
//!
//! As [Kubernetes' documentation][bounds] has it: `maxSurge` and `maxUnavailable` are numbers, or percentages of the
//! replicas, and 25 % where nothing is said. A surge is rounded up, what may be unavailable is rounded down. Both zero
//! would never get anywhere, so one pod may be unavailable then. What recreates its pods has no more than its replicas,
//! and is available when it has all of them. Not judged here: whether what is said makes sense. The server refuses what
//! does not.
//!
//! [bounds]: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-update-deployment

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStrategy, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::model::Item;

/// The percentage where nothing is said.
const DEFAULT: i64 = 25;

/// How many pods a set asks for; what is no set asks for none.
pub(super) fn size(item: &Item) -> i32 {
    let of = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    item.replica_set().map_or(0, of)
}

fn strategy(deployment: &Deployment) -> Option<&DeploymentStrategy> {
    deployment.spec.as_ref()?.strategy.as_ref()
}

/// Whether a Deployment ends all its pods before it makes new ones.
pub(super) fn recreates(deployment: &Deployment) -> bool {
    strategy(deployment).and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// Whether a Deployment's rollout rests.
pub(super) fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false)
}

/// How many pods a Deployment asks for, and how far it may be off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How many it asks for.
    pub(super) replicas: i32,
    /// How many more its sets may ask for together.
    surge: i32,
    /// How many fewer may be available.
    unavailable: i32,
}

impl Bounds {
    /// Those of a Deployment as it stands.
    pub(super) fn of(deployment: &Deployment) -> Self {
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        if recreates(deployment) {
            return Bounds {
                replicas,
                surge: 0,
                unavailable: 0,
            };
        }
        let rolling = strategy(deployment).and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let surge = whole(hundredths(surge, replicas).saturating_add(99));
        let unavailable = whole(hundredths(unavailable, replicas));
        Bounds {
            replicas,
            surge,
            unavailable: if surge == 0 { unavailable.max(1) } else { unavailable },
        }
    }

    /// The most pods that all its sets may ask for together.
    pub(super) fn most(self) -> i32 {
        self.replicas.saturating_add(self.surge)
    }

    /// The fewest pods that have to be available for the whole to be.
    pub(super) fn least(self) -> i32 {
        self.replicas - self.unavailable.min(self.replicas)
    }
}

/// A number of pods, or a percentage of `replicas`, in hundredths of a pod.
fn hundredths(value: Option<&IntOrString>, replicas: i32) -> i64 {
    let percent: i64 = match value {
        Some(IntOrString::Int(number)) => return i64::from(*number) * 100,
        Some(IntOrString::String(text)) => text.trim_end_matches('%').parse().unwrap_or(0),
        None => DEFAULT,
    };
    percent.saturating_mul(i64::from(replicas))
}

/// The whole pods in so many hundredths.
fn whole(hundredths: i64) -> i32 {
    i32::try_from(hundredths / 100).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The most and the least of a Deployment of this size and strategy.
    fn bounds(replicas: i32, strategy: &Value) -> (i32, i32) {
        let deployment = json!({"metadata": {"name": "web"},
            "spec": {"replicas": replicas, "selector": {}, "template": {}, "strategy": strategy}});
        let deployment: Deployment = serde_json::from_value(deployment).unwrap();
        let bounds = Bounds::of(&deployment);
        (bounds.most(), bounds.least())
    }

    fn rolling(replicas: i32, surge: &Value, unavailable: &Value) -> (i32, i32) {
        let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        bounds(replicas, &strategy)
    }

    #[test]
    fn a_surge_is_rounded_up_and_what_may_be_unavailable_down() {
        assert_eq!(rolling(10, &json!("25%"), &json!("25%")), (13, 8));
        assert_eq!(rolling(3, &json!("34%"), &json!("34%")), (5, 2));
        assert_eq!(rolling(4, &json!("25%"), &json!("25%")), (5, 3));
        // No fraction of a number is lost or won: 7 % of 100 is 7.
        assert_eq!(rolling(100, &json!("7%"), &json!("7%")), (107, 93));
        assert_eq!(rolling(10, &json!(2), &json!(3)), (12, 7));
    }

    #[test]
    fn where_nothing_is_said_it_is_a_quarter() {
        assert_eq!(bounds(10, &json!({})), (13, 8));
        assert_eq!(bounds(3, &json!({"type": "RollingUpdate"})), (4, 3));
        assert_eq!(rolling(10, &json!(1), &Value::Null), (11, 8));
        assert_eq!(rolling(10, &Value::Null, &json!(1)), (13, 9));
    }

    #[test]
    fn one_pod_may_be_unavailable_where_nothing_else_may_be_done() {
        assert_eq!(rolling(4, &json!(0), &json!(0)), (4, 3));
        assert_eq!(rolling(4, &json!("0%"), &json!("20%")), (4, 3));
        assert_eq!(rolling(4, &json!(1), &json!(0)), (5, 4));
        assert_eq!(rolling(0, &json!(0), &json!(0)), (0, 0));
    }

    #[test]
    fn no_more_may_be_unavailable_than_there_are() {
        assert_eq!(rolling(2, &json!(0), &json!(5)), (2, 0));
        assert_eq!(rolling(2, &json!("200%"), &json!("100%")), (6, 0));
    }

    #[test]
    fn what_recreates_its_pods_has_as_many_as_it_asks_for() {
        assert_eq!(bounds(4, &json!({"type": "Recreate"})), (4, 4));
    }
}
