//! N4: pods of a node of which nothing is known are soon shown not ready, so that services leave them out.
//!
//! Judged when another node is heard, which shows that it is not all that is cut off. From the moment at which the node was
//! marked, one that begins anew has a node's whole grace to listen, what it saw may be old, and a round may stand still
//! until a request is given up. Each try to mark a pod begins that time anew for the pod, as does a kubelet that shows it
//! ready once more. Not judged: nodes that go on renewing their lease, and times in which no node was well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::silence::is_unknown;
use super::strays::takes_charge;
use super::{Invariant, Report, UNANSWERED};
use crate::model::{Asked, Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// A node that is silent for less is not given up.
const GRACE: Duration = Duration::from_secs(40);
/// The controller looks every five seconds, and writes one after the other.
const ROUNDS: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Default)]
pub struct LostPods {
    /// Nodes of which nothing is known, with the moment from which their pods may be marked, and of the next judgement.
    lost: BTreeMap<String, (Duration, Duration)>,
    /// Nodes that are ready.
    well: BTreeSet<String>,
    /// By uid of pods on lost nodes: when they were last shown ready, or somebody tried to mark them.
    tried: BTreeMap<String, Duration>,
}

impl LostPods {
    /// Whoever marks pods begins anew: all that are lost have their time once more.
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
            self.tried.clear();
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
            self.tried.insert(pod.uid().to_owned(), now);
        }
    }

    /// Somebody asks for something; perhaps to mark a pod.
    fn asked(&mut self, asked: &Asked, now: Duration) {
        let marks = asked.client.starts_with("controller-manager")
            && asked
                .path
                .as_ref()
                .is_some_and(|path| &*path.resource == "pods" && path.subresource == "status");
        if let (true, false, Some(uid)) = (marks, self.lost.is_empty(), &asked.uid) {
            self.tried.insert(uid.clone(), now);
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
        for (lost, (since, next)) in &mut self.lost {
            if *next > now || *since + limit >= now {
                continue;
            }
            *next = now + ROUNDS;
            let late = |pod: &&Arc<Item>| {
                let tried = self.tried.get(pod.uid()).is_some_and(|at| *at + limit >= now);
                pod.condition("Ready") && !tried
            };
            if let Some(pod) = cluster.pods_on(lost).find(late) {
                let message = format!(
                    "{} (uid {}) is shown ready on {lost}, of which nothing is known since {since:?}",
                    pod.id,
                    pod.uid()
                );
                report.broken("N4", message, &["controller-manager", &format!("kubelet/{lost}")]);
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
            Seen::Asked(asked) => self.asked(asked, now),
            _ => {}
        }
    }
}
