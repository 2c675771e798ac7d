//! N1, its second half: evictions keep to their zone's rate.
//!
//! Judged when a node gets a taint by which the node lifecycle controller gives nodes up, and the controller has asked
//! for it of late: from when it first asked about the one before in that zone until it last asked about this one, five
//! of the ten seconds must have passed, since actors may be slow at every step. Source: Kubernetes' documentation of
//! nodes, "Rate limits on eviction". In a zone that has been disturbed for long, and has no more than fifty nodes, none
//! is given up: of those that are there, some are ready, and at least three and 55 % are not. Not judged: the slower
//! rate of larger zones that are disturbed, and what another process has given up, or another life of this one.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;

use super::evictions::GIVEN_UP;
use super::lost_pods::MARKS;
use super::{Invariant, MEMORY, Report};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// From one node of a zone to the next, at the least.
const PAUSE: Duration = Duration::from_secs(5);
/// The share of nodes in percent, and the number, from which on those that are not ready disturb their zone.
const DISTURBING: (usize, usize) = (55, 3);
/// Larger zones give nodes up while they are disturbed, though slowly.
const LARGE: usize = 50;

/// See the module.
#[derive(Default)]
pub struct EvictionRate {
    /// When which process has asked to write a node of late, by the node's name.
    asked: BTreeMap<String, Vec<(Duration, String)>>,
    /// The node that was last given up, by zone.
    last: BTreeMap<String, GivenUp>,
    /// The nodes of each zone.
    zones: BTreeMap<String, Nodes>,
    /// The zones that are disturbed, and since when.
    disturbed: BTreeMap<String, Duration>,
}

/// How many nodes a zone has, and how many of them are ready.
#[derive(Clone, Copy, Default)]
struct Nodes {
    all: usize,
    ready: usize,
}

impl Nodes {
    fn are_disturbed(self) -> bool {
        let (share, number) = DISTURBING;
        let lost = self.all - self.ready;
        self.ready > 0 && lost >= number && lost * 100 >= self.all * share && self.all <= LARGE
    }
}

/// A node that was given up.
struct GivenUp {
    name: String,
    /// Who has done it.
    process: String,
    /// When that process may have decided it, at the earliest.
    since: Duration,
}

fn is_given_up(node: &Item) -> bool {
    let spec = node.node().and_then(|node| node.spec.as_ref());
    let mut taints = spec.into_iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.any(|Taint { key, effect, .. }| effect == "NoExecute" && GIVEN_UP.contains(&key.as_str()))
}

/// The region and the zone of a node.
fn zone(node: &Item) -> String {
    let label = |name: &str| node.meta.labels.as_ref().and_then(|labels| labels.get(name));
    let [region, zone] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"].map(label);
    format!(
        "{}:{}",
        region.map_or("", |region| region),
        zone.map_or("", |zone| zone)
    )
}

impl EvictionRate {
    /// Takes what a change of a node makes of its zone, and of the one in which it was.
    fn count(&mut self, change: &Change, now: Duration) {
        let kind = |node: &Item| (zone(node), node.condition("Ready"));
        let (before, after) = (change.before.as_deref().map(kind), change.after.as_deref().map(kind));
        if before == after {
            return;
        }
        if let Some((zone, ready)) = &before
            && let Some(nodes) = self.zones.get_mut(zone)
        {
            nodes.all -= 1;
            nodes.ready -= usize::from(*ready);
        }
        if let Some((zone, ready)) = &after {
            let nodes = self.zones.entry(zone.clone()).or_default();
            nodes.all += 1;
            nodes.ready += usize::from(*ready);
        }
        for (zone, _) in before.into_iter().chain(after) {
            let nodes = self.zones.get(&zone).copied().unwrap_or_default();
            if nodes.are_disturbed() {
                self.disturbed.entry(zone).or_insert(now);
            } else {
                self.disturbed.remove(&zone);
            }
        }
        self.zones.retain(|_, nodes| nodes.all > 0);
    }

    fn changed(&mut self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let now = cluster.now;
        let Some(node) = change.after.as_deref().filter(|node| is_given_up(node)) else {
            return;
        };
        if change.before.as_deref().is_some_and(is_given_up) {
            return;
        }
        let lag = cluster.lag(Role::ControllerManager);
        let asked = self.asked.get(&change.id.name).into_iter().flatten();
        let mut asked = asked.filter(|(at, _)| *at + lag >= now).peekable();
        let Some((first, _)) = asked.peek().copied() else {
            return;
        };
        let Some((last, process)) = asked.last() else { return };
        // A round may wait for answers in vain, node by node, after it has counted them.
        let is_long = |since: &Duration| *since + lag.max(MEMORY) < *first;
        if let Some(since) = self.disturbed.get(&zone(node)).filter(|since| is_long(since)) {
            let message = format!(
                "{} is given up at revision {}, and most nodes of its zone have not been ready since {since:?}",
                change.id, change.revision
            );
            report.broken(self.id(), message, &[process]);
        }
        let given_up = GivenUp {
            name: change.id.name.clone(),
            process: process.clone(),
            since: *first,
        };
        let before = self.last.insert(zone(node), given_up);
        let before = before.filter(|before| before.process == *process);
        if let Some(GivenUp { name, since, .. }) = before.filter(|before| before.since + PAUSE > *last) {
            let message = format!(
                "{} is given up at revision {}, {:?} after {name} of the same zone",
                change.id,
                change.revision,
                *last - since
            );
            report.broken(self.id(), message, &[process]);
        }
    }
}

impl Invariant for EvictionRate {
    fn id(&self) -> &'static str {
        "N1"
    }

    fn statement(&self) -> &'static str {
        "A node is given up only after its grace, not when the control plane is cut off, and at its zone's rate."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) if &*change.id.resource == "nodes" => {
                self.changed(change, cluster, report);
                self.count(change, cluster.now);
            }
            Seen::Asked(asked) if asked.user_agent.ends_with(MARKS) && asked.method != http::Method::GET => {
                if let Some(path) = asked.path.as_ref().filter(|path| &*path.resource == "nodes") {
                    let known = self.asked.entry(path.name.clone()).or_default();
                    known.retain(|(at, _)| *at + MEMORY > cluster.now);
                    known.push((cluster.now, asked.client.clone()));
                }
            }
            Seen::Started { process } | Seen::Leads { process } => {
                self.last.retain(|_, given_up| given_up.process != *process);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::contract_tests::with;
    use super::super::tests::{History, asked, node};
    use super::*;
    use crate::model::Asked;

    #[test]
    fn two_nodes_of_a_zone_that_are_given_up_at_once_break_n1() {
        let given_up = |zones: [&str; 2], after: u64, agent: &str| {
            let mut history = History::of(|id| id == "N1");
            for (number, zone) in zones.into_iter().enumerate() {
                let name = format!("node-{number}");
                let mut own = node(&name);
                own["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": zone});
                history = history.at(100 + after * number as u64).put("nodes", own.clone());
                own["spec"]["taints"] = json!([{"key": GIVEN_UP[0], "effect": "NoExecute"}]);
                let write = Asked {
                    user_agent: format!("kube-controller-manager/{agent}"),
                    ..asked(
                        "controller-manager/1",
                        http::Method::PUT,
                        &format!("/api/v1/nodes/{name}"),
                    )
                };
                history = history.see(&Seen::Asked(&write)).put("nodes", own);
            }
            history
                .messages()
                .iter()
                .filter(|message| message.contains("of the same zone"))
                .count()
        };
        let controller = "node-lifecycle-controller";
        assert_eq!(given_up(["a", "a"], 1, controller), 1);
        assert_eq!(given_up(["a", "a"], 10, controller), 0);
        assert_eq!(given_up(["a", "b"], 1, controller), 0);
        assert_eq!(given_up(["a", "a"], 1, "another"), 0);
    }

    #[test]
    fn a_node_of_a_zone_that_is_disturbed_for_long_and_is_given_up_breaks_n1() {
        let given_up = |all: usize, lost: usize, at: u64| {
            let unready = |number: usize| {
                let unready = json!([{"type": "Ready", "status": "Unknown"}]);
                with(node(&format!("node-{number}")), "/status/conditions", unready)
            };
            let mut history = History::of(|id| id == "N1");
            for number in 0..all {
                history = history.put("nodes", node(&format!("node-{number}")));
            }
            history = history.at(100);
            for number in 0..lost {
                history = history.put("nodes", unready(number));
            }
            let taints = json!([{"key": GIVEN_UP[0], "effect": "NoExecute"}]);
            let write = Asked {
                user_agent: "kube-controller-manager/node-lifecycle-controller".to_owned(),
                ..asked("controller-manager/1", http::Method::PUT, "/api/v1/nodes/node-0")
            };
            let history = history.at(at).see(&Seen::Asked(&write));
            let messages = history
                .put("nodes", with(unready(0), "/spec/taints", taints))
                .messages();
            messages
                .iter()
                .any(|message| message.contains("most nodes of its zone"))
        };
        assert!(given_up(4, 3, 500));
        assert!(!given_up(4, 3, 200), "it may not have been seen yet");
        assert!(!given_up(4, 2, 500), "too few");
        assert!(!given_up(9, 4, 500), "too small a share");
        assert!(!given_up(3, 3, 500), "all of them");
    }
}
