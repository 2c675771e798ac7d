//! Plans carried out on a list of slices: they converge in one step, never repeat an endpoint, write as little as can
//! be.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn service() -> Service {
    let service = json!({
        "metadata": {"namespace": "a", "name": "web", "uid": "service-1", "labels": {"app": "web"}},
        "spec": {
            "selector": {"app": "web"},
            "clusterIP": "10.96.0.1",
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]
        }
    });
    serde_json::from_value(service).expect("a service")
}

/// A pod whose port `http` is `port`; `state` draws readiness, termination and the end of life.
fn pod(number: u32, port: i32, state: u8) -> Pod {
    let mut pod = json!({
        "metadata": {
            "namespace": "a", "name": format!("web-{number}"), "uid": format!("pod-{number}"),
            "labels": {"app": "web"}
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]},
        "status": {
            "podIP": format!("10.0.{}.{}", number / 250, number % 250 + 1),
            "phase": if state == 3 { "Failed" } else { "Running" },
            "conditions": [{"type": "Ready", "status": if state == 0 { "False" } else { "True" }}]
        }
    });
    if state == 2 {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    serde_json::from_value(pod).expect("a pod")
}

fn node() -> Arc<Node> {
    let node = json!({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}});
    Arc::new(serde_json::from_value(node).expect("a node"))
}

fn wanted(pods: &[Pod]) -> Desired {
    desired(&service(), pods, |_| Some(node()))
}

/// The slices after `plan`; names and revisions are given as a server would.
fn carry_out(plan: &Plan, slices: &[Arc<EndpointSlice>], serial: &mut u32) -> Vec<Arc<EndpointSlice>> {
    let mut by_name: BTreeMap<String, Arc<EndpointSlice>> = slices
        .iter()
        .map(|slice| (slice.name().to_owned(), slice.clone()))
        .collect();
    for slice in &plan.delete {
        by_name.remove(slice.name()).expect("what is deleted exists");
    }
    for slice in &plan.update {
        by_name
            .insert(slice.name().to_owned(), Arc::new(slice.clone()))
            .expect("what is updated exists");
    }
    for slice in &plan.create {
        *serial += 1;
        let mut slice = slice.clone();
        slice.metadata.name = Some(format!("web-{serial:05}"));
        by_name.insert(slice.name().to_owned(), Arc::new(slice));
    }
    by_name.into_values().collect()
}

fn identities(slices: &[Arc<EndpointSlice>]) -> Vec<String> {
    let mut all: Vec<String> = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().map(identity))
        .collect();
    all.sort();
    all
}

#[test]
fn a_service_without_pods_has_one_empty_slice() {
    let plan = super::plan(&service(), wanted(&[]), &[], None, CAPACITY);
    assert_eq!(plan.create.len(), 1);
    assert_eq!(plan.create[0].ports, None);
    let mut serial = 0;
    let slices = carry_out(&plan, &[], &mut serial);
    assert!(super::plan(&service(), wanted(&[]), &slices, None, CAPACITY).is_empty());
    // The first pod moves into it.
    let plan = super::plan(&service(), wanted(&[pod(1, 80, 1)]), &slices, None, CAPACITY);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));
}

#[test]
fn a_pod_that_changes_rewrites_only_its_slice() {
    let pods: Vec<Pod> = (0..250).map(|number| pod(number, 80, 1)).collect();
    let mut serial = 0;
    let slices = carry_out(
        &super::plan(&service(), wanted(&pods), &[], None, CAPACITY),
        &[],
        &mut serial,
    );
    assert_eq!(
        slices.iter().map(|slice| slice.endpoints.len()).collect::<Vec<_>>(),
        [100, 100, 50]
    );
    let mut pods = pods;
    pods[3] = pod(3, 80, 0);
    let plan = super::plan(&service(), wanted(&pods), &slices, None, CAPACITY);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));
}

#[test]
fn a_terminating_pod_serves_but_is_not_ready() {
    let desired = wanted(&[pod(1, 80, 2)]);
    let conditions = desired
        .values()
        .next()
        .and_then(|endpoints| endpoints[0].conditions.clone())
        .expect("conditions");
    assert_eq!(
        (conditions.ready, conditions.serving, conditions.terminating),
        (Some(false), Some(true), Some(true))
    );
}

#[test]
fn a_pod_whose_node_is_gone_is_no_endpoint_unless_the_service_publishes_all() {
    let pods = [pod(1, 80, 1)];
    let zones = |desired: Desired| -> Vec<Option<String>> {
        let endpoints = desired.into_values().flatten();
        endpoints.map(|endpoint| endpoint.zone).collect()
    };
    assert_eq!(zones(wanted(&pods)), [Some("z1".to_owned())]);
    assert_eq!(desired(&service(), &pods, |_| None), Desired::new());
    let mut all = service();
    all.spec.get_or_insert_default().publish_not_ready_addresses = Some(true);
    assert_eq!(zones(desired(&all, &pods, |_| None)), [None]);
}

#[test]
fn slices_of_an_earlier_service_of_the_same_name_go() {
    let mut serial = 0;
    let slices = carry_out(
        &super::plan(&service(), wanted(&[]), &[], None, CAPACITY),
        &[],
        &mut serial,
    );
    let mut again = service();
    again.metadata.uid = Some("service-2".to_owned());
    let plan = super::plan(&again, wanted(&[]), &slices, None, CAPACITY);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (1, 0, 1));
}

#[test]
fn an_endpoint_that_stands_in_two_slices_leaves_one() {
    let mut serial = 0;
    let pods = [pod(1, 80, 1)];
    let first = super::plan(&service(), wanted(&pods), &[], None, CAPACITY);
    let once = carry_out(&first, &[], &mut serial);
    let twice = carry_out(&first, &once, &mut serial);
    assert_eq!(identities(&twice).len(), 2);
    let slices = carry_out(
        &super::plan(&service(), wanted(&pods), &twice, None, CAPACITY),
        &twice,
        &mut serial,
    );
    assert_eq!(identities(&slices).len(), 1);
}

proptest! {
    /// However pods come and go, one plan brings every pod into exactly one slice, and the next plan is empty.
    #[test]
    fn a_plan_converges_in_one_step_without_duplicates(
        steps in prop::collection::vec(prop::collection::btree_map(0u32..40, (0i32..3, 0u8..4), 0..30), 1..6),
        capacity in 1usize..7,
    ) {
        let mut slices = Vec::new();
        let mut serial = 0;
        for step in steps {
            let pods: Vec<Pod> = step.iter().map(|(number, (port, state))| pod(*number, 8080 + port, *state)).collect();
            let plan = super::plan(&service(), wanted(&pods), &slices, None, capacity);
            slices = carry_out(&plan, &slices, &mut serial);
            let mut expected: Vec<String> = wanted(&pods).values().flatten().map(identity).collect();
            expected.sort();
            prop_assert_eq!(identities(&slices), expected);
            prop_assert!(slices.iter().all(|slice| slice.endpoints.len() <= capacity));
            for slice in &slices {
                let of_ports = wanted(&pods).remove(&ports_in(slice)).unwrap_or_default();
                prop_assert!(slice.endpoints.iter().all(|endpoint| of_ports.contains(endpoint)));
            }
            prop_assert!(super::plan(&service(), wanted(&pods), &slices, None, capacity).is_empty());
        }
    }
}
