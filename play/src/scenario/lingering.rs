//! Pods that linger: where a node may stay broken for ever, they leave it later than the run waits for the end.

use std::time::Duration;

use serde_json::Value;

use super::faults::{FaultAction, FaultKind, FaultPlan, Moment, NodeTrouble, Parts};
use super::target::NodeTarget;
use super::vain::Vain;
use super::{Heal, Scenario, Topology, write_duration};

/// When pods without a toleration of their own leave a node that is silent: it has a grace of 50 s, and they tolerate
/// it for 300 s.
const LEAVE: Duration = Duration::from_secs(350);

/// So long those that come in their place take to be ready.
const READY: Duration = Duration::from_secs(20);

/// A fault of a swarm lasts no longer.
const SWARM: Duration = Duration::from_secs(90);

const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// The first fault after which pods may linger for too long.
pub fn find(scenario: &Scenario) -> Option<Vain> {
    // Never more than a third of the nodes stay broken.
    if scenario.heal != Heal::Core || scenario.topology.nodes.len() < 3 {
        return None;
    }
    let mut applied = scenario.applied();
    let lingering = applied.find(|object| lingers(object))?;
    let mut faults = scenario.faults.iter().enumerate();
    let (index, plan) = faults.find(|(_, plan)| is_too_late(scenario, plan))?;
    let text = |path: &str| lingering.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let pods = match (text("/kind"), text("/metadata/name")) {
        ("Pod", name) => format!("Pod {name:?} leaves"),
        (kind, name) => format!("the pods of {kind} {name:?} leave"),
    };
    Some(Vain {
        entry: ("faults", index),
        word: plan.action.key().to_owned(),
        why: format!(
            "a node that is lost when the chaos ends may stay so (`heal: core`), and {pods} it only {} after it was lost, \
             which is later than `converge` ({}) waits: write `converge: 400s` or `heal: all`, or give the pods a \
             toleration of {UNREACHABLE} with fewer `tolerationSeconds`",
            write_seconds(LEAVE),
            write_duration(scenario.expect.converge),
        ),
        certain: false,
    })
}

fn write_seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

/// Whether an object has pods that say nothing of nodes that are not reached.
fn lingers(object: &Value) -> bool {
    let pod = match object["kind"].as_str() {
        Some("Pod") => object.pointer("/spec"),
        Some("Deployment" | "ReplicaSet") => object.pointer("/spec/template/spec"),
        _ => None,
    };
    let tolerates = |toleration: &Value| {
        let text = |key: &str| toleration[key].as_str().unwrap_or_default();
        let is_meant = text("key") == UNREACHABLE || (text("key").is_empty() && text("operator") == "Exists");
        is_meant && ["", "NoExecute"].contains(&text("effect"))
    };
    pod.is_some_and(|pod| !pod["tolerations"].as_array().into_iter().flatten().any(tolerates))
}

/// Whether a node that this takes away may be lost in the end, and the end be waited for less than its pods need.
fn is_too_late(scenario: &Scenario, plan: &FaultPlan) -> bool {
    let end = scenario.duration;
    let Some(lasts) = takes_a_node_away(&scenario.topology, &plan.action) else {
        return false;
    };
    let latest = match &plan.moment {
        Moment::At(at) => (*at).min(end),
        Moment::Between(span) => span.high.min(end),
        // Mostly they come early: only what lasts so long that it does not matter is judged.
        Moment::When(trigger) if trigger.earliest() + lasts >= end => end,
        Moment::When(_) => return false,
    };
    let needed = (LEAVE + READY).saturating_sub(end - latest);
    latest.saturating_add(lasts) >= end && scenario.expect.converge < needed
}

/// For how long a fault takes a worker away, at most, so that it may stay lost. (Who only stands still always goes on
/// in the end.)
fn takes_a_node_away(topology: &Topology, fault: &FaultAction) -> Option<Duration> {
    let servers = topology.control_planes();
    let is_worker = |node: &NodeTarget| match node {
        NodeTarget::Any => true,
        NodeTarget::Named(name) => !servers.contains(name),
    };
    let has_all_servers = |group: &[NodeTarget]| {
        servers
            .iter()
            .all(|server| group.contains(&NodeTarget::Named(server.clone())))
    };
    let cuts_off = |parts: &Parts| match parts {
        Parts::Any => true,
        Parts::Node(node) => is_worker(node),
        Parts::Groups(one, other) => {
            (has_all_servers(one) && other.iter().any(is_worker))
                || (has_all_servers(other) && one.iter().any(is_worker))
        }
    };
    match fault {
        FaultAction::Crash(spec) if spec.node.as_ref().is_some_and(is_worker) => Some(spec.lasts.high),
        FaultAction::Partition(spec) if cuts_off(&spec.parts) => Some(spec.lasts.high),
        FaultAction::Nodes(spec) if matches!(spec.trouble, NodeTrouble::Replace | NodeTrouble::Wipe) => {
            Some(spec.lasts.high)
        }
        FaultAction::Swarm(spec) => {
            let away = [FaultKind::Crash, FaultKind::Partition, FaultKind::Nodes];
            spec.kinds.iter().any(|kind| away.contains(kind)).then_some(SWARM)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::examine;

    const DEPLOYMENT: &str =
        "{ apiVersion: apps/v1, kind: Deployment, metadata: { name: web }, spec: { template: { spec: SPEC } } }";

    /// The doubts about a scenario of two minutes with a deployment whose pods are such, and this.
    fn told(pod: &str, rest: &str) -> String {
        let apply = DEPLOYMENT.replace("SPEC", pod);
        let source = format!("name: a\nduration: 2m\nworkload:\n  - at: 1s\n    apply: {apply}\n{rest}\n");
        let doubts = examine("a.yaml", &source, |_| Err(String::new())).unwrap().1;
        let lines: Vec<String> = doubts.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    fn fault(entry: &str) -> String {
        told("{ containers: [] }", &format!("faults:\n  - {entry}"))
    }

    #[test]
    fn pods_that_leave_a_lost_node_later_than_the_end_is_waited_for_are_a_doubt() {
        insta::assert_snapshot!(fault("between: 20s..100s\n    crash: { node: any, for: 20s..60s }"), @r#"a.yaml:8:5: a node that is lost when the chaos ends may stay so (`heal: core`), and the pods of Deployment "web" leave it only 350s after it was lost, which is later than `converge` (2m) waits: write `converge: 400s` or `heal: all`, or give the pods a toleration of node.kubernetes.io/unreachable with fewer `tolerationSeconds`"#);
        for late in [
            "at: 100s\n    partition: { node: node-1, direction: out, for: 1m }",
            "at: 100s\n    partition: { between: [[node-1], [control-plane]], for: 1m }",
            "between: 20s..100s\n    swarm: all",
            "between: 20s..100s\n    nodes: { node: any, trouble: wipe, for: 1m }",
            "when: { create: Pod/* }\n    crash: { node: node-2, for: 10m }",
        ] {
            assert!(fault(late).contains("may stay so"), "{late}");
        }
        for over in [
            "between: 20s..60s\n    crash: { node: any, for: 10s..20s }",
            "at: 100s\n    crash: { node: control-plane, for: 60s }",
            "at: 100s\n    crash: { component: kubelet, for: 60s }",
            "at: 100s\n    pause: { node: any, for: 60s }",
            "between: 20s..100s\n    swarm: [restart, pause, loss]",
            "when: { create: Pod/* }\n    crash: { node: node-2, for: 20s }",
        ] {
            assert_eq!(fault(over), "", "{over}");
        }
    }

    #[test]
    fn who_waits_or_heals_or_tolerates_less_has_no_such_doubt() {
        let crash = "faults:\n  - at: 100s\n    crash: { node: any, for: 60s }";
        let plain = "{ containers: [] }";
        assert_ne!(told(plain, crash), "");
        for way in [
            "heal: all",
            "expect: { converge: 400s }",
            "topology: { nodes: 2 }",
            "heal: { all-but: [node-1] }",
        ] {
            assert_eq!(told(plain, &format!("{way}\n{crash}")), "", "{way}");
        }
        let tolerant =
            "{ tolerations: [{ key: node.kubernetes.io/unreachable, operator: Exists, tolerationSeconds: 10 }] }";
        assert_eq!(told(tolerant, crash), "");
        let other = "{ tolerations: [{ key: maintenance, operator: Exists, tolerationSeconds: 10 }] }";
        assert_ne!(told(other, crash), "");
        // Lost early, it has long been given up when the chaos ends.
        let early = crash.replace("at: 100s", "at: 5s").replace("60s", "10m");
        assert_eq!(told(plain, &format!("expect: {{ converge: 5m }}\n{early}")), "");
    }
}
