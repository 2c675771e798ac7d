//! N4: pods of a node of which nothing is known are soon shown not ready, so that services leave them out.
//!
//! Judged when another node is heard, which shows that it is not all that is cut off. From the moment at which the node
//! was marked, one that begins anew has a node's whole grace to listen, what it saw may be old, and a round may stand
//! still until a request is given up. Whatever the controller writes begins that time anew, since what follows in its
//! round waits for the answer, as does a kubelet that shows the pod ready once more. Not judged: nodes that go on
//! renewing their lease, and times in which no node was well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::silence::is_unknown;
use super::strays::takes_charge;
use super::{Invariant, Report, UNANSWERED};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// A node that is silent for less is not given up.
const GRACE: Duration = Duration::from_secs(50);
/// The controller looks every five seconds, and writes one after the other.
const ROUNDS: Duration = Duration::from_secs(15);
/// How whoever marks nodes and pods calls itself.
pub(super) const MARKS: &str = "/node-lifecycle-controller";

/// See the module.
#[derive(Default)]
pub struct LostPods {
    /// Nodes of which nothing is known, with the moment from which their pods may be marked, and of the next judgement.
    lost: BTreeMap<String, (Duration, Duration)>,
    /// Nodes that are ready.
    well: BTreeSet<String>,
    /// By uid of pods on lost nodes: when they were last shown ready.
    shown: BTreeMap<String, Duration>,
}

impl LostPods {
    /// Whoever marks pods begins anew, or is busy: all that are lost have their time once more.
    fn begins_anew(&mut self, now: Duration) {
        for (since, next) in self.lost.values_mut() {
            (*since, *next) = (now, now);
        }
    }

    fn node(&mut self, change: &Change, now: Duration) {
        let name = &change.id.name;
        let unknown = change.after.as_deref().is_some_and(is_unknown);
        match (unknown, self.lost.contains_key(name)) {
            (true, false) => drop(self.lost.insert(name.clone(), (now, now))),
            (false, true) => drop(self.lost.remove(name)),
            _ => {}
        }
        if change.after.as_ref().is_some_and(|node| node.condition("Ready")) {
            if self.well.is_empty() {
                self.begins_anew(now);
            }
            self.well.insert(name.clone());
        } else {
            self.well.remove(name);
        }
        if self.lost.is_empty() {
            self.shown.clear();
        }
    }

    fn pod(&mut self, change: &Change, now: Duration) {
        if self.lost.is_empty() {
            return;
        }
        let is_ready = |pod: &Arc<Item>| pod.condition("Ready");
        if let Some(pod) = change.after.as_ref().filter(|pod| is_ready(pod))
            && !change.before.as_ref().is_some_and(is_ready)
            && self.lost.contains_key(pod.node_name())
        {
            self.shown.insert(pod.uid().to_owned(), now);
        }
    }

    /// The node `name` is heard.
    fn heard(&mut self, name: &str, cluster: &Cluster, report: &mut Report) {
        let now = cluster.now;
        if let Some((since, next)) = self.lost.get_mut(name) {
            (*since, *next) = (now, now);
        }
        if !self.well.contains(name) {
            return;
        }
        let limit = cluster.lag(Role::ControllerManager) + GRACE + UNANSWERED + ROUNDS;
        let id = self.id();
        for (lost, (since, next)) in &mut self.lost {
            if *next > now || *since + limit >= now {
                continue;
            }
            *next = now + ROUNDS;
            let late = |pod: &&Arc<Item>| {
                let shown = self.shown.get(pod.uid()).is_some_and(|at| *at + limit >= now);
                pod.condition("Ready") && !shown
            };
            if let Some(pod) = cluster.pods_on(lost).find(late) {
                let message = format!(
                    "{} (uid {}) is shown ready on {lost}, of which nothing is known since {since:?}",
                    pod.id,
                    pod.uid()
                );
                report.broken(id, message, &["controller-manager", &format!("kubelet/{lost}")]);
            }
        }
    }
}

impl Invariant for LostPods {
    fn id(&self) -> &'static str {
        "N4"
    }

    fn statement(&self) -> &'static str {
        "Pods of a node of which nothing is known are soon shown not ready."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let now = cluster.now;
        if takes_charge(seen) {
            self.begins_anew(now);
        }
        match seen {
            Seen::Change(change) => match &*change.id.resource {
                "nodes" => self.node(change, now),
                "pods" => self.pod(change, now),
                "leases.coordination.k8s.io" if change.id.namespace == "kube-node-lease" && change.after.is_some() => {
                    self.heard(&change.id.name, cluster, report);
                }
                _ => {}
            },
            Seen::Asked(asked) if asked.user_agent.ends_with(MARKS) && asked.method != http::Method::GET => {
                self.begins_anew(now);
            }
            _ => {}
        }
    }
}
