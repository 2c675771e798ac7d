//! Which pods a replica set gives up first when it has too many.
//!
//! The order is Kubernetes' documented one (concept page "ReplicaSet", scaling down): the least useful pod goes first,
//! then the cheapest by annotation, then one of those that crowd a node, then the youngest.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use orrery_api::meta::Object;
use orrery_api::mutant;

use crate::pods::{is_ready, node_name, phase, ready_since};

/// The annotation by which a pod says how dear its deletion is; unset means 0, lower goes first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Chooses `count` of `pods` to delete. `related` are the active pods of the same owner, among them `pods`: of two pods
/// otherwise equal the one that shares its node with more of them goes first.
pub(crate) fn choose_victims(mut pods: Vec<Arc<Pod>>, related: &[Arc<Pod>], count: usize) -> Vec<Arc<Pod>> {
    // When all go, or none, nobody needs an order.
    if count < pods.len() {
        let mut neighbours = BTreeMap::<&str, usize>::new();
        for node in related.iter().filter_map(|pod| node_name(pod)) {
            *neighbours.entry(node).or_default() += 1;
        }
        pods.sort_by(|a, b| compare(a, b, &neighbours));
    }
    pods.truncate(count);
    pods
}

/// Orders pods by who goes first.
fn compare(a: &Pod, b: &Pod, neighbours: &BTreeMap<&str, usize>) -> Ordering {
    let crowd = |pod: &Pod| {
        Reverse(
            node_name(pod)
                .and_then(|node| neighbours.get(node))
                .copied()
                .unwrap_or(0),
        )
    };
    (node_name(a).is_some().cmp(&node_name(b).is_some()))
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| crowd(a).cmp(&crowd(b)))
        .then_with(|| ready_since(b).cmp(&ready_since(a)))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| b.metadata.creation_timestamp.cmp(&a.metadata.creation_timestamp))
        .then_with(|| a.name().cmp(b.name()))
}

fn phase_rank(pod: &Pod) -> u8 {
    match phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    pod.annotation(DELETION_COST)
        .and_then(|cost| cost.parse().ok())
        .filter(|_| !mutant::active("O184"))
        .unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let containers = pod
        .status
        .iter()
        .filter_map(|status| status.container_statuses.as_ref())
        .flatten();
    containers.map(|container| container.restart_count).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: Option<&str>, phase: &str, ready: Option<i64>, cost: i32) -> Arc<Pod> {
        let conditions = ready.map(|second| {
            json!([{"type": "Ready", "status": "True",
                "lastTransitionTime": jiff::Timestamp::from_second(second).unwrap_or_default().to_string()}])
        });
        let pod = json!({
            "metadata": {"name": name, "annotations": {DELETION_COST: cost.to_string()}},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase, "conditions": conditions},
        });
        Arc::new(serde_json::from_value(pod).expect("a valid pod"))
    }

    fn first(pods: &[Arc<Pod>]) -> String {
        choose_victims(pods.to_vec(), pods, 1)[0].name().to_owned()
    }

    #[test]
    fn the_least_useful_pod_goes_first() {
        let unassigned = pod("unassigned", None, "Pending", None, 0);
        let pending = pod("pending", Some("n1"), "Pending", None, 0);
        let unready = pod("unready", Some("n1"), "Running", None, 0);
        let young = pod("young", Some("n1"), "Running", Some(200), 0);
        let old = pod("old", Some("n1"), "Running", Some(100), 0);
        let dear = pod("dear", Some("n1"), "Running", Some(300), 7);
        let mut pods = vec![dear, old, young, unready, pending, unassigned];
        let mut order = Vec::new();
        while !pods.is_empty() {
            let name = first(&pods);
            pods.retain(|pod| pod.name() != name);
            order.push(name);
        }
        assert_eq!(order, ["unassigned", "pending", "unready", "young", "old", "dear"]);
    }

    #[test]
    fn of_equal_pods_one_on_the_fuller_node_goes() {
        let pods = [
            pod("alone", Some("n1"), "Running", Some(300), 0),
            pod("crowded-a", Some("n2"), "Running", Some(100), 0),
            pod("crowded-b", Some("n2"), "Running", Some(200), 0),
        ];
        assert_eq!(first(&pods), "crowded-b");
    }

    proptest! {
        #[test]
        fn a_ready_pod_never_goes_before_an_unready_one(
            spec in prop::collection::vec((any::<bool>(), 0i64..5, 0u8..3), 1..12), count in 0usize..12,
        ) {
            let pods: Vec<_> = spec.iter().enumerate().map(|(index, (ready, since, node))| {
                pod(&format!("p{index}"), Some(&format!("n{node}")), "Running", ready.then_some(*since), 0)
            }).collect();
            let victims = choose_victims(pods.clone(), &pods, count);
            prop_assert_eq!(victims.len(), count.min(pods.len()));
            let spared_unready = pods.iter().any(|pod| {
                !is_ready(pod) && victims.iter().all(|victim| victim.name() != pod.name())
            });
            prop_assert!(!(spared_unready && victims.iter().any(|victim| is_ready(victim))));
        }

        #[test]
        fn the_choice_does_not_depend_on_the_order_of_the_pods(
            spec in prop::collection::vec((any::<bool>(), 0i64..5, 0u8..3), 1..12), count in 0usize..12,
        ) {
            let mut pods: Vec<_> = spec.iter().enumerate().map(|(index, (ready, since, node))| {
                pod(&format!("p{index}"), Some(&format!("n{node}")), "Running", ready.then_some(*since), 0)
            }).collect();
            let names = |victims: Vec<Arc<Pod>>| {
                victims.iter().map(|pod| pod.name().to_owned()).collect::<std::collections::BTreeSet<_>>()
            };
            let forward = names(choose_victims(pods.clone(), &pods, count));
            pods.reverse();
            prop_assert_eq!(forward, names(choose_victims(pods.clone(), &pods, count)));
        }
    }
}
