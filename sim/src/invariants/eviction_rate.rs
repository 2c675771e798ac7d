//! N1, its second half: evictions keep to their zone's rate.
//!
//! Judged when a node gets a taint by which the node lifecycle controller gives nodes up, and the controller has just
//! asked for it: since it gave up the one before in that zone, ten seconds must have passed, but for what the first write
//! was held up. Source: Kubernetes' documentation of nodes, "Rate limits on eviction". Not judged: the slower rates of
//! zones that are disturbed.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;

use super::lost_pods::MARKS;
use super::{Invariant, Report};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// From one node of a zone to the next.
const PAUSE: Duration = Duration::from_secs(10);
/// The taints of nodes that are given up.
const GIVEN_UP: [&str; 2] = ["node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"];

/// See the module.
#[derive(Default)]
pub struct EvictionRate {
    /// When the controller last asked to write nodes, by name.
    asked: BTreeMap<String, Duration>,
    /// When it last gave up a node, and which, by zone.
    last: BTreeMap<String, (Duration, String)>,
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
    fn changed(&mut self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let now = cluster.now;
        let Some(node) = change.after.as_deref().filter(|node| is_given_up(node)) else {
            return;
        };
        let lag = cluster.lag(Role::ControllerManager);
        let asked = self.asked.get(&change.id.name).is_some_and(|at| *at + lag >= now);
        if !asked || change.before.as_deref().is_some_and(is_given_up) {
            return;
        }
        let before = self.last.insert(zone(node), (now, change.id.name.clone()));
        if let Some((at, other)) = before.filter(|(at, _)| *at + PAUSE > now + lag) {
            let message = format!(
                "{} is given up at revision {}, {:?} after {other} of the same zone",
                change.id,
                change.revision,
                now - at
            );
            report.broken(self.id(), message, &["controller-manager"]);
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
            Seen::Change(change) if &*change.id.resource == "nodes" => self.changed(change, cluster, report),
            Seen::Asked(asked) if asked.user_agent.ends_with(MARKS) && asked.method != http::Method::GET => {
                if let Some(path) = asked.path.as_ref().filter(|path| &*path.resource == "nodes") {
                    self.asked.insert(path.name.clone(), cluster.now);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
}
