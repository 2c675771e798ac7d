//! What of a scenario one real machine can play. What it cannot is left out, and said.

use orrery_play::scenario::{
    ContainerTrouble, CrashSpec, FaultAction, FaultPlan, Heal, Manifest, Moment, NodeTrouble, PacketsTrouble,
    PauseSpec, Scenario, Span, StepAction, StepPlan,
};

use super::brief::brief;
use super::here::is_node;
use super::{here, swarm};

/// What a fault does to a real machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Strike {
    /// The process is killed and started again at once.
    Restart,
    /// The process is killed and started again after a while.
    Crash(Span),
    /// The machine loses power for a while: the process is killed, containers and packet rules are gone.
    PowerLoss(Span),
    /// The machine is set up anew, which takes a while: as by a power loss, and containers and volumes are removed.
    Wipe(Span),
    /// The process stands still for a while.
    Pause(Span),
    /// A container is killed.
    KillContainer {
        /// The how manieth of those that run, counted from 1, the one that runs longest; drawn if none.
        nth: Option<u32>,
        /// It is asked to end instead.
        gently: bool,
    },
    /// Somebody else removes the packet rules.
    FlushRules,
}

impl Strike {
    /// What `action` does to a real machine; why it does nothing, if so.
    pub fn of(action: &FaultAction) -> Result<Strike, &'static str> {
        match action {
            FaultAction::Restart(_) => Ok(Strike::Restart),
            FaultAction::Crash(CrashSpec {
                after_writes: Some(_), ..
            }) => Err("nobody counts the writes of a real component"),
            FaultAction::Crash(CrashSpec {
                node: Some(_), lasts, ..
            }) => Ok(Strike::PowerLoss(*lasts)),
            FaultAction::Crash(spec) => Ok(Strike::Crash(spec.lasts)),
            FaultAction::Pause(PauseSpec { until: Some(_), .. }) => Err("who stands still sees nothing happen"),
            FaultAction::Pause(spec) => Ok(Strike::Pause(spec.lasts)),
            FaultAction::Containers(spec) => match spec.trouble {
                ContainerTrouble::Crash | ContainerTrouble::OomKill => Ok(Strike::KillContainer {
                    nth: spec.nth,
                    gently: false,
                }),
                ContainerTrouble::Exit => Ok(Strike::KillContainer {
                    nth: spec.nth,
                    gently: true,
                }),
                _ => Err("Docker does as it is told"),
            },
            FaultAction::Packets(spec) => match spec.trouble {
                PacketsTrouble::Flushed => Ok(Strike::FlushRules),
                _ => Err("iptables does as it is told"),
            },
            FaultAction::Swarm(_) => Err("a swarm is of many faults"),
            FaultAction::Nodes(spec) if spec.trouble == NodeTrouble::Wipe => Ok(Strike::Wipe(spec.lasts)),
            FaultAction::Nodes(_) | FaultAction::HandOver(_) => Err("there is one machine, and one process"),
            FaultAction::Runtime(_) => Err("Docker is not the cluster's to harm"),
            FaultAction::Disk(_) => Err("the disk is not the cluster's to harm"),
            FaultAction::Clock(_) => Err("the clock is not the cluster's to put wrong"),
            FaultAction::Compact(_) => Err("a real API server compacts at its own time"),
            FaultAction::Flows(_) => Err("the kernel forgets flows at its own time"),
            FaultAction::Lag(_)
            | FaultAction::ApiLag(_)
            | FaultAction::DropWatches(_)
            | FaultAction::Reconnect(_)
            | FaultAction::DelayCall(_)
            | FaultAction::ApiErrors(_)
            | FaultAction::Duplicate(_)
            | FaultAction::LostAnswers(_)
            | FaultAction::SlowReader(_)
            | FaultAction::Partition(_)
            | FaultAction::SlowLink(_)
            | FaultAction::Loss(_)
            | FaultAction::Reset(_) => Err(NO_NETWORK),
        }
    }
}

const UNSEEN: &str = "what it waits for is only seen in a simulated world";
const NO_NETWORK: &str = "components of one process have no network between them";
const ONE: &str = "there is one machine here, which has to run everything";

/// What can be played of a scenario, and what cannot.
#[derive(Debug)]
pub struct Playable {
    /// Without what is left out; its one node is this machine.
    pub scenario: Scenario,
    /// What is left out, and why.
    pub left_out: Vec<String>,
}

impl Playable {
    /// See the module.
    pub fn of(scenario: &Scenario) -> Self {
        let mut left_out = differences(scenario);
        let is_alone = scenario.topology.nodes.len() == 1;
        let mut played = scenario.clone();
        played.faults.retain(|plan| match fault(plan) {
            Ok(()) => true,
            Err(why) => {
                left_out.push(format!("{}: {why}", plan.action.describe()));
                false
            }
        });
        played.workload.retain(|plan| match step(plan, is_alone) {
            Ok(()) => true,
            Err(why) => {
                left_out.push(format!("{}: {why}", brief(&plan.action)));
                false
            }
        });
        left_out.extend(played.faults.iter().filter_map(rest_of_swarm));
        for plan in &mut played.workload {
            here::step(&mut plan.action);
        }
        for entry in &mut played.expect.state {
            *entry = std::mem::take(entry)
                .into_iter()
                .filter_map(|(object, fields)| match is_node(&object) {
                    true if !is_alone => {
                        left_out.push(format!("what is expected of {object}: {ONE}"));
                        None
                    }
                    true => Some((here::node(), fields)),
                    false => Some((object, fields)),
                })
                .collect();
        }
        played.heal = Heal::All;
        Playable {
            scenario: played,
            left_out,
        }
    }
}

/// What the world of a scenario has that this machine has not.
fn differences(scenario: &Scenario) -> Vec<String> {
    let topology = &scenario.topology;
    let mut left_out = Vec::new();
    match topology.nodes.as_slice() {
        [node] if !node.labels.is_empty() || !node.taints.is_empty() => {
            left_out.push(format!(
                "the labels and taints of {}: the node is this machine",
                node.name
            ));
        }
        [_] => {}
        nodes => left_out.push(format!("{} nodes, and what is said of them: {ONE}", nodes.len())),
    }
    let several = [
        (topology.apiservers, "API servers"),
        (topology.schedulers, "schedulers"),
        (topology.controller_managers, "controller managers"),
    ];
    for (count, what) in several.into_iter().filter(|(count, _)| *count > 1) {
        left_out.push(format!("{count} {what}: one process has one of each"));
    }
    if scenario.network.loss > 0.0 {
        left_out.push(format!("loss of the network: {NO_NETWORK}"));
    }
    left_out
}

fn fault(plan: &FaultPlan) -> Result<(), &'static str> {
    is_seen(&plan.moment)?;
    match &plan.action {
        FaultAction::Swarm(spec) if swarm::possible(spec).is_empty() => Err("a real machine has no fault of its kinds"),
        FaultAction::Swarm(_) => Ok(()),
        action => Strike::of(action).map(drop),
    }
}

/// What is left out of a swarm that can be played.
fn rest_of_swarm(plan: &FaultPlan) -> Option<String> {
    let FaultAction::Swarm(spec) = &plan.action else {
        return None;
    };
    let possible = swarm::possible(spec);
    let kept: Vec<&str> = possible.iter().map(|kind| kind.as_str()).collect();
    (possible.len() < spec.kinds.len()).then(|| {
        let kept = kept.join(", ");
        format!("of the swarm all kinds but {kept}: a real machine has no others")
    })
}

/// Whether it is seen on a real cluster that a moment has come.
fn is_seen(moment: &Moment) -> Result<(), &'static str> {
    match moment {
        Moment::When(trigger) if !trigger.is_about_store() => Err(UNSEEN),
        _ => Ok(()),
    }
}

fn step(plan: &StepPlan, is_alone: bool) -> Result<(), &'static str> {
    let of_node = match &plan.action {
        StepAction::Edit(spec) => is_node(&spec.object),
        StepAction::SetCondition(spec) => is_node(&spec.object),
        StepAction::Delete(spec) => is_node(&spec.object),
        StepAction::AddFinalizer(spec) | StepAction::RemoveFinalizer(spec) => is_node(&spec.object),
        StepAction::Apply(Manifest::Inline(objects)) => {
            if objects.iter().any(|object| object["kind"] == "Node") {
                return Err("a machine that is not there cannot become a node");
            }
            false
        }
        StepAction::Replace(spec) if spec.object["kind"] == "Node" => {
            return Err("the node is this machine, which says itself what it is");
        }
        StepAction::Refused(spec) => {
            // Who asks under a name of its own is a kubelet, of this machine or of none.
            let as_node = spec.who.as_ref().is_some_and(|who| who.instance.is_some());
            as_node || spec.object().is_some_and(is_node)
        }
        action => !action.whom().nodes.is_empty(),
    };
    if of_node && !is_alone {
        return Err(ONE);
    }
    is_seen(&plan.moment)
}

#[cfg(test)]
mod tests {
    use orrery_play::scenario::read;

    use super::*;
    use crate::place;

    fn playable(text: &str) -> Playable {
        let text = format!(
            "name: a\nduration: 1m\n{}{text}",
            if text.contains("topology") {
                ""
            } else {
                "topology: { nodes: 1 }\n"
            }
        );
        Playable::of(&read("a.yaml", &text, |_| Err(String::new())).expect("a scenario"))
    }

    #[test]
    fn what_one_machine_cannot_have_is_left_out_and_said() {
        let played = playable(
            "faults:\n  \
               - { at: 1s, crash: { node: any, for: 10s } }\n  \
               - { at: 2s, restart: scheduler }\n  \
               - { at: 3s, partition: { node: any } }\n  \
               - { at: 4s, containers: { node: any, trouble: pull-fails } }\n  \
               - { at: 5s, packets: { node: any, flushed: true } }\n  \
               - { between: 0s..1m, swarm: all }\n",
        );
        let strikes: Vec<Strike> = (played.scenario.faults[..3].iter())
            .map(|plan| Strike::of(&plan.action).expect("possible"))
            .collect();
        let ten = Span::seconds(10, 10);
        assert_eq!(strikes, [Strike::PowerLoss(ten), Strike::Restart, Strike::FlushRules]);
        assert!(matches!(played.scenario.faults[3].action, FaultAction::Swarm(_)));
        assert_eq!(played.left_out.len(), 3, "{:?}", played.left_out);
        assert!(
            played.left_out.iter().all(|line| line.contains(": ")),
            "{:?}",
            played.left_out
        );
    }

    #[test]
    fn the_only_node_is_this_machine_and_one_of_several_is_left_alone() {
        let steps = "workload:\n  - { at: 1s, cordon: { node: node-1 } }\n  - { at: 2s, drain: { node: any } }\n";
        let alone = playable(&format!("topology: {{ nodes: 1 }}\n{steps}"));
        assert_eq!(alone.left_out, Vec::<String>::new());
        for plan in &alone.scenario.workload {
            assert!(plan.action.to_line().contains(place::NAME), "{}", plan.action.to_line());
        }
        let several = playable(&format!("topology: {{ nodes: 2, schedulers: 2 }}\n{steps}"));
        assert_eq!(several.scenario.workload.len(), 0);
        assert_eq!(several.left_out.len(), 4, "{:?}", several.left_out);
    }

    #[test]
    fn who_asks_as_the_only_node_asks_as_this_machine() {
        let web = "{ apiVersion: v1, kind: ConfigMap, metadata: { name: web } }";
        let steps = format!(
            "workload:\n  \
               - {{ at: 1s, refused: {{ get: ConfigMap/web, as: kubelet/node-1, code: 403 }} }}\n  \
               - {{ at: 2s, refused: {{ create: {web}, code: 409 }} }}\n  \
               - {{ at: 3s, replace: {{ apiVersion: v1, kind: Node, metadata: {{ name: node-1 }} }} }}\n"
        );
        let alone = playable(&format!("topology: {{ nodes: 1 }}\n{steps}"));
        assert_eq!(alone.left_out.len(), 1, "{:?}", alone.left_out);
        let line = alone.scenario.workload[0].action.to_line();
        assert!(line.contains(&format!("kubelet/{}", place::NAME)), "{line}");
        let several = playable(&format!("topology: {{ nodes: 2 }}\n{steps}"));
        assert_eq!(several.scenario.workload.len(), 1, "{:?}", several.left_out);
    }

    #[test]
    fn what_is_expected_of_the_node_is_expected_of_this_machine() {
        let expect = "expect: { state: [{ node/node-1: { spec.unschedulable: true } }, { deployment/web: { spec.replicas: 1 } }] }\n";
        let alone = playable(expect);
        let objects: Vec<&String> = alone
            .scenario
            .expect
            .state
            .iter()
            .flat_map(|entry| entry.keys())
            .collect();
        assert_eq!(objects, ["Node/orrery", "deployment/web"]);
        let several = playable(&format!("topology: {{ nodes: 3 }}\n{expect}"));
        let objects: Vec<&String> = several
            .scenario
            .expect
            .state
            .iter()
            .flat_map(|entry| entry.keys())
            .collect();
        assert_eq!(objects, ["deployment/web"]);
    }

    #[test]
    fn what_waits_for_the_unseen_is_left_out() {
        let web = "workload:\n  - { at: 1s, apply: { apiVersion: v1, kind: ConfigMap, metadata: { name: web } } }\n";
        let played = playable(&format!(
            "{web}faults:\n  \
               - {{ when: {{ update: ConfigMap/web }}, restart: scheduler }}\n  \
               - {{ when: {{ update: ConfigMap/web, observed-by: kubelet }}, restart: kubelet }}\n"
        ));
        assert_eq!(played.left_out, [format!("restart of kubelet: {UNSEEN}")]);
        assert_eq!(played.scenario.faults.len(), 1);
    }
}
