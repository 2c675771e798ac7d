//! What faults of containers, runtimes, nodes and leaders look like from outside: in what is written meanwhile.

use serde_json::Value;

use crate::recording::{ProcessState, Recording, Verb, What};
use crate::run::{Settings, record};
use crate::scenario::read;

/// A pod that is always restarted.
const POD: &str = "
  - at: 2s
    apply:
      apiVersion: v1
      kind: Pod
      metadata: { name: web }
      spec:
        containers: [{ name: web, image: 'web:1' }]
";

/// A pod that is asked every second whether it answers.
const PROBED: &str = "
  - at: 2s
    apply:
      apiVersion: v1
      kind: Pod
      metadata: { name: web }
      spec:
        containers:
          - name: web
            image: 'web:1'
            readinessProbe: { httpGet: { port: 80 }, periodSeconds: 1, failureThreshold: 1 }
";

/// A deployment of two.
const DEPLOYMENT: &str = "
  - at: 2s
    apply:
      apiVersion: apps/v1
      kind: Deployment
      metadata: { name: web }
      spec:
        replicas: 2
        selector: { matchLabels: { app: web } }
        template:
          metadata: { labels: { app: web } }
          spec:
            containers: [{ name: web, image: 'web:1' }]
";

struct Run(Recording);

impl Run {
    fn of(topology: &str, workload: &str, faults: &str, duration: &str) -> Self {
        let text = format!(
            "name: a\ntopology: {topology}\nworkload:{workload}faults:{faults}heal: all\nexpect: {{ converge: 10m }}\nduration: {duration}\n"
        );
        let scenario = read("a.yaml", &text, |_| Err(String::new())).unwrap();
        let (outcome, recording) = record("a.yaml", Settings::new(scenario, 1));
        assert_eq!(outcome.verdict.code(), 0, "{:?}", outcome.verdict);
        assert_eq!(outcome.never_struck, [""; 0]);
        Run(recording)
    }

    /// The states of an object that were written, the last one of a deleted object included.
    fn states(&self, resource: &str, name: &str) -> Vec<Value> {
        let written = self.0.events.iter().filter_map(|event| match &event.what {
            What::Written(written) if &*written.object.resource == resource && written.object.name == name => {
                Some(written)
            }
            _ => None,
        });
        written
            .map(|written| serde_json::from_str(&written.value).unwrap())
            .collect()
    }

    /// The values that a field of an object had, each as often as it came.
    fn values(&self, resource: &str, name: &str, pointer: &str) -> Vec<String> {
        let mut values: Vec<String> = self
            .states(resource, name)
            .iter()
            .filter_map(|state| {
                Some(
                    state
                        .pointer(pointer)?
                        .as_str()
                        .map_or_else(|| "?".to_owned(), str::to_owned),
                )
            })
            .collect();
        values.dedup();
        values
    }

    /// What the condition `Ready` of a node gave as its reason and message, while it did not hold.
    fn why_not_ready(&self, node: &str) -> Vec<String> {
        let mut whys = Vec::new();
        for state in self.states("nodes", node) {
            let conditions = state.pointer("/status/conditions").and_then(Value::as_array).cloned();
            for condition in conditions.unwrap_or_default() {
                if condition["type"] == "Ready" && condition["status"] != "True" {
                    whys.push(condition["message"].as_str().unwrap_or_default().to_owned());
                }
            }
        }
        whys
    }

    /// Whether the object ever had this text in it.
    fn said(&self, resource: &str, name: &str, text: &str) -> bool {
        self.states(resource, name)
            .iter()
            .any(|state| state.to_string().contains(text))
    }

    fn deletes(&self, resource: &str) -> usize {
        let deletes = self.0.events.iter().filter(|event| match &event.what {
            What::Written(written) => &*written.object.resource == resource && written.verb == Verb::Delete,
            _ => false,
        });
        deletes.count()
    }
}

#[test]
fn a_container_that_needs_too_much_memory_is_killed_restarted_and_held_back() {
    let faults = "
  - { at: 20s, containers: { node: node-1, trouble: oom-kill } }
  - { at: 30s, containers: { node: node-1, trouble: oom-kill } }
";
    let run = Run::of("{ nodes: 1 }", POD, faults, "1m");
    assert!(run.said("pods", "web", r#""reason":"OOMKilled""#));
    assert!(run.said("pods", "web", r#""exitCode":137"#));
    assert!(run.said("pods", "web", "CrashLoopBackOff"));
    assert!(run.said("pods", "web", r#""restartCount":2"#));
}

#[test]
fn an_image_that_cannot_be_pulled_is_tried_again_more_and_more_slowly() {
    let faults = "
  - { at: 0s, containers: { node: node-1, trouble: pull-fails, for: 25s } }
";
    let run = Run::of("{ nodes: 1 }", POD, faults, "30s");
    assert!(run.said("pods", "web", "ErrImagePull"));
    assert!(run.said("pods", "web", "ImagePullBackOff"));
}

#[test]
fn a_container_that_cannot_be_started_says_why() {
    let faults = "
  - { at: 0s, containers: { node: node-1, trouble: start-fails, for: 20s } }
";
    let run = Run::of("{ nodes: 1 }", POD, faults, "30s");
    assert!(run.said("pods", "web", "RunContainerError"));
}

#[test]
fn a_container_that_the_end_of_the_chaos_lets_answer_again_may_be_ready() {
    let faults = "
  - { at: 10s, containers: { node: node-1, trouble: no-answer, for: 10m } }
";
    // K15 would have it that it is silent, and has been for too long.
    let run = Run::of("{ nodes: 1 }", PROBED, faults, "50s");
    let mut ready: Vec<bool> = run
        .states("pods", "web")
        .iter()
        .filter_map(|pod| pod.pointer("/status/containerStatuses/0/ready")?.as_bool())
        .collect();
    ready.dedup();
    assert!(ready.ends_with(&[true, false, true]), "{ready:?}");
}

#[test]
fn a_node_whose_runtime_hangs_is_not_ready() {
    let faults = "
  - { at: 20s, runtime: { node: node-1, trouble: hang, for: 90s } }
";
    let run = Run::of("{ nodes: 1 }", POD, faults, "2m");
    let whys = run.why_not_ready("node-1");
    assert!(
        whys.iter().any(|why| why == "container runtime is down: no answer"),
        "{whys:?}"
    );
}

#[test]
fn a_node_whose_runtime_is_at_a_loss_for_its_containers_is_not_ready_after_three_minutes() {
    let faults = "
  - { at: 20s, runtime: { node: node-1, trouble: deadlock, for: 4m } }
";
    let run = Run::of("{ nodes: 1 }", POD, faults, "5m");
    let whys = run.why_not_ready("node-1");
    let pleg = "PLEG is not healthy: pleg was last seen active 3m";
    assert!(whys.iter().any(|why| why.starts_with(pleg)), "{whys:?}");
}

#[test]
fn a_node_that_is_deleted_registers_anew() {
    let faults = "
  - { at: 20s, nodes: { node: node-1, trouble: delete } }
";
    let run = Run::of("{ nodes: 2 }", DEPLOYMENT, faults, "1m");
    assert_eq!(run.values("nodes", "node-1", "/metadata/uid").len(), 2);
    let machine = run.values("nodes", "node-1", "/status/nodeInfo/machineID");
    assert_eq!(machine.len(), 1, "it is the same machine: {machine:?}");
}

#[test]
fn a_replaced_machine_has_another_node_and_a_wiped_one_the_same() {
    let faults = "
  - { at: 20s, nodes: { node: node-1, trouble: replace, for: 20s } }
  - { at: 30s, nodes: { node: node-2, trouble: wipe, for: 10s } }
";
    let run = Run::of("{ nodes: 3 }", DEPLOYMENT, faults, "1m");
    for (node, uids) in [("node-1", 2), ("node-2", 1), ("node-3", 1)] {
        assert_eq!(run.values("nodes", node, "/metadata/uid").len(), uids, "{node}");
    }
    for (node, machines) in [("node-1", 2), ("node-2", 2), ("node-3", 1)] {
        let ids = run.values("nodes", node, "/status/nodeInfo/machineID");
        assert_eq!(ids.len(), machines, "{node}");
    }
}

#[test]
fn a_node_that_is_drained_sheds_its_pods_and_takes_some_again_later() {
    let faults = "
  - { at: 20s, nodes: { node: node-1, trouble: drain, for: 40s } }
  - { at: 25s, nodes: { node: node-2, trouble: drain, for: 20s } }
";
    // Two nodes of two are drained: the pods wait for the first that takes some again.
    let run = Run::of("{ nodes: 2 }", DEPLOYMENT, faults, "90s");
    assert!(run.deletes("pods") >= 2);
    for node in ["node-1", "node-2"] {
        assert!(run.said("nodes", node, r#""unschedulable":true"#), "{node}");
        let last = run.states("nodes", node).pop().unwrap();
        assert_ne!(last["spec"]["unschedulable"], true, "{node}");
    }
}

#[test]
fn a_drain_that_the_end_of_the_chaos_cuts_short_is_taken_back() {
    let faults = "
  - { at: 20s, nodes: { node: node-1, trouble: drain, for: 10m } }
";
    let run = Run::of("{ nodes: 1 }", DEPLOYMENT, faults, "40s");
    assert!(run.said("nodes", "node-1", r#""unschedulable":true"#));
}

#[test]
fn a_machine_that_is_short_of_memory_gets_its_taint_and_loses_it() {
    let faults = "
  - { at: 10s, nodes: { node: node-1, trouble: memory-pressure, for: 30s } }
  - { at: 10s, nodes: { node: node-1, trouble: disk-pressure, for: 30s } }
";
    let run = Run::of("{ nodes: 1 }", POD, faults, "6m");
    for (condition, taint) in [
        ("KubeletHasInsufficientMemory", "node.kubernetes.io/memory-pressure"),
        ("KubeletHasDiskPressure", "node.kubernetes.io/disk-pressure"),
    ] {
        assert!(run.said("nodes", "node-1", condition), "{condition}");
        assert!(run.said("nodes", "node-1", taint), "{taint}");
        let last = run.states("nodes", "node-1").pop().unwrap().to_string();
        assert!(!last.contains(taint), "{last}");
    }
}

#[test]
fn a_flapping_node_is_lost_and_found_again_and_again() {
    let faults = "
  - { at: 10s, nodes: { node: node-1, trouble: flap, for: 120s } }
";
    let run = Run::of("{ nodes: 2 }", DEPLOYMENT, faults, "150s");
    let mut ready: Vec<bool> = Vec::new();
    for state in run.states("nodes", "node-1") {
        let conditions = state.pointer("/status/conditions").and_then(Value::as_array).cloned();
        let conditions = conditions.unwrap_or_default();
        if let Some(condition) = conditions.iter().find(|own| own["type"] == "Ready") {
            ready.push(condition["status"] == "True");
        }
    }
    ready.dedup();
    assert!(ready.iter().filter(|ready| !**ready).count() >= 2, "{ready:?}");
}

#[test]
fn a_leader_hands_over_by_standing_still_and_by_speaking_late() {
    for how in ["stands-still", "speaks-late"] {
        let faults = format!(
            "
  - {{ at: 20s, hand-over: {{ component: controller-manager, leader: {how}, for: 500ms }} }}
"
        );
        let run = Run::of("{ nodes: 1, controllerManagers: 2 }", DEPLOYMENT, &faults, "1m");
        let leaders = run.values(
            "leases.coordination.k8s.io",
            "kube-controller-manager",
            "/spec/holderIdentity",
        );
        assert!(leaders.len() >= 2, "{how}: {leaders:?}");
    }
}

#[test]
fn a_component_dies_between_two_of_its_writes() {
    let faults = "
  - { at: 1s, crash: { component: scheduler, after-writes: 1, for: 5s } }
";
    let run = Run::of("{ nodes: 2 }", DEPLOYMENT, faults, "30s");
    let at = |wanted: fn(&What) -> bool| run.0.events.iter().position(|event| wanted(&event.what));
    let bound = at(|what| match what {
        What::Written(written) => &*written.object.resource == "pods" && written.value.contains("nodeName"),
        _ => false,
    });
    let died = at(|what| {
        matches!(
            what,
            What::Process {
                state: ProcessState::Killed,
                ..
            }
        )
    });
    assert!(bound.is_some() && bound < died, "{bound:?} {died:?}");
}
