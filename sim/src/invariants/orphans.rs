//! N3: a pod is given up as an orphan only when its node is gone.
//!
//! Judged when the pod collector asks to mark a bound pod as failed or to delete it, as it is in the store at that
//! moment: its node must be absent then, or must have been so at some moment since the collector last began to ask the
//! server for that node. That lets pass: a node that comes back between the answer and the writes that rest on it,
//! however long these take. One that it deletes without grace, in whatever state, must have been marked, so that its
//! owner counts it as failed ("Garbage collection of Pods" in Kubernetes' documentation). Not judged: deletes that name
//! a revision (finished pods that are too many, and pods that end unbound), pods on their way out on a node that is out
//! of service and not ready, or was not of late (KEP-2268), and what the server refuses, since it is about another pod
//! or another state of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invariant, MEMORY, Report};
use crate::model::{Asked, Cluster, Seen};

/// How the pod collector's requests call their sender.
const COLLECTOR: &str = "/pod-garbage-collector";

/// See the module.
#[derive(Default)]
pub struct Orphans {
    /// By process, and node that its collector has asked for: whether the node has been absent since then.
    looked: BTreeMap<String, BTreeMap<String, bool>>,
    /// The nodes that are ready, and since when.
    ready: BTreeMap<String, Duration>,
}

impl Invariant for Orphans {
    fn id(&self) -> &'static str {
        "N3"
    }

    fn statement(&self) -> &'static str {
        "A pod is given up as an orphan only when its node is gone, and is marked as failed before it is deleted."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        if let Seen::Change(change) = seen
            && &*change.id.resource == "nodes"
        {
            if change.after.as_ref().is_some_and(|node| node.condition("Ready")) {
                self.ready.entry(change.id.name.clone()).or_insert(cluster.now);
            } else {
                self.ready.remove(&change.id.name);
            }
        }
        match seen {
            Seen::Change(change) if &*change.id.resource == "nodes" && change.after.is_none() => {
                for looked in self.looked.values_mut() {
                    if let Some(absent) = looked.get_mut(&change.id.name) {
                        *absent = true;
                    }
                }
            }
            Seen::Started { process } => {
                self.looked.remove(*process);
            }
            Seen::Asked(asked) if asked.user_agent.ends_with(COLLECTOR) => self.judge(asked, cluster, report),
            _ => {}
        }
    }
}

/// Whether somebody has said of a node that nothing on it runs any more.
fn is_out_of_service(node: &str, cluster: &Cluster) -> bool {
    let node = cluster.find("nodes", "", node).and_then(|item| item.node());
    let mut taints = node
        .and_then(|node| node.spec.as_ref()?.taints.as_ref())
        .into_iter()
        .flatten();
    taints.any(|taint| taint.key == "node.kubernetes.io/out-of-service")
}

impl Orphans {
    fn judge(&mut self, asked: &Asked, cluster: &Cluster, report: &mut Report) {
        let Some(path) = asked.path.as_ref().filter(|path| !path.name.is_empty()) else {
            return;
        };
        let is_absent = |node: &str| cluster.find("nodes", "", node).is_none();
        if asked.method == http::Method::GET && &*path.resource == "nodes" {
            let looked = self.looked.entry(asked.client.clone()).or_default();
            looked.insert(path.name.clone(), is_absent(&path.name));
            return;
        }
        let deletes = asked.method == http::Method::DELETE;
        let marks = asked.method == http::Method::PUT || asked.method == http::Method::PATCH;
        if &*path.resource != "pods" || !(marks || deletes && asked.base.is_none()) {
            return;
        }
        let Some(pod) = cluster.get(&path.id()) else { return };
        let node = pod.node_name();
        if !asked.is_for(pod) || node.is_empty() {
            return;
        }
        if deletes && asked.grace == Some(0) && !pod.is_finished() {
            let message = format!(
                "{} deletes {} (uid {}, revision {}) as an orphan, and has not marked it as failed",
                asked.client,
                pod.id,
                pod.uid(),
                pod.revision
            );
            report.broken(self.id(), message, &[&asked.client, "apiserver"]);
        }
        // Whoever has been well for long is not out of service, whatever a taint says.
        let is_well = self.ready.get(node).is_some_and(|since| *since + MEMORY < cluster.now);
        let is_out = pod.is_terminating() && is_out_of_service(node, cluster) && !is_well;
        if is_absent(node) || is_out {
            return;
        }
        let looked = self.looked.get(&asked.client).and_then(|looked| looked.get(node));
        if looked != Some(&true) {
            let message = format!(
                "{} {} {} (uid {}, revision {}) as an orphan, though {node} {}",
                asked.client,
                if deletes { "deletes" } else { "marks" },
                pod.id,
                pod.uid(),
                pod.revision,
                match looked {
                    Some(_) => "has been there ever since it asked for it",
                    None => "is there and it did not ask for it",
                }
            );
            report.broken(self.id(), message, &[&asked.client, "apiserver"]);
        }
    }
}
