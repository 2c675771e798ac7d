//! G1: the collector deletes an object only when none of its owners lives.
//!
//! Checked when the controller manager asks to delete an object that has owners, all judged against the store at that
//! moment: an owner's uid never comes back, so one that lives then lived all the time before. The collector's own
//! requests, which say whose they are, are judged without exception. Several other controllers share the process, and
//! some may delete what lives under a living owner, for whoever controls it; these lawful deletes pass: everything in a
//! namespace that is going; endpoint slices; replica sets that want nothing (old revisions); pods that are finished,
//! already terminating, in excess of what their set wanted within the controller's lag, or on a node that is or just
//! was lost or tainted. Owners of kinds that the model does not hold by uid count as living only if they are found, and
//! those of other namespaces are none.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invariant, MEMORY, Report};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// How the collector's requests call their sender.
pub(super) const COLLECTOR: &str = "/generic-garbage-collector";

/// See the module.
#[derive(Default)]
pub struct Collector {
    /// When nodes were last seen lost or tainted.
    unwell: BTreeMap<String, Duration>,
    /// By uid of a replica set: when pods of it ceased to be live.
    ceased: BTreeMap<String, Vec<Duration>>,
    /// By uid of a replica set: smaller numbers of replicas it wanted, and until when.
    wanted: BTreeMap<String, Vec<(Duration, i32)>>,
}

impl Invariant for Collector {
    fn id(&self) -> &'static str {
        "G1"
    }

    fn statement(&self) -> &'static str {
        "The collector deletes an object only when none of its owners lives."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) => self.remember(change, cluster.now),
            Seen::Asked(asked) => {
                let Some(path) = &asked.path else { return };
                let delete = asked.method == http::Method::DELETE && !path.name.is_empty();
                if !delete || !asked.client.starts_with("controller-manager") {
                    return;
                }
                let Some(item) = cluster.get(&path.id()) else { return };
                // A delete of another object, or of another state of it, is refused.
                if !asked.is_for(item) {
                    return;
                }
                let owners = item.meta.owner_references.as_deref().unwrap_or_default();
                // What lives in another namespace is nobody's owner here, whatever a reference says.
                let may_own = |owner: &Item| owner.id.namespace.is_empty() || owner.id.namespace == item.id.namespace;
                let living = |uid: &str| {
                    let owner = cluster.by_uid(uid)?;
                    (may_own(owner) && !owner.is_terminating()).then_some(owner)
                };
                let controlling = owners.iter().filter(|owner| owner.controller == Some(true));
                let Some(owner) = controlling.chain(owners).find_map(|owner| living(&owner.uid)) else {
                    return;
                };
                if !asked.user_agent.ends_with(COLLECTOR) && self.is_lawful(item, owner, cluster) {
                    return;
                }
                let message = format!(
                    "{} deletes {} (uid {}, revision {}) though its owner {} (uid {}) lives",
                    asked.client,
                    item.id,
                    item.uid(),
                    item.revision,
                    owner.id,
                    owner.uid()
                );
                report.broken(self.id(), message, &[&asked.client, "apiserver"]);
            }
            _ => {}
        }
    }
}

fn wants(item: &Item) -> Option<i32> {
    Some(
        item.replica_set()?
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1),
    )
}

impl Collector {
    fn remember(&mut self, change: &Change, now: Duration) {
        if let Some(node) = change.newest().filter(|item| item.node().is_some()) {
            let tainted = node
                .node()
                .and_then(|node| node.spec.as_ref()?.taints.as_ref())
                .is_some_and(|taints| taints.iter().any(|taint| taint.effect == "NoExecute"));
            let was_unwell = change.before.as_ref().is_some_and(|before| !before.condition("Ready"));
            if change.after.is_none() || tainted || !node.condition("Ready") || was_unwell {
                self.unwell.insert(change.id.name.clone(), now);
            }
        }
        let Some(before) = &change.before else { return };
        if before.is_live_pod()
            && change.after.as_ref().is_none_or(|after| !after.is_live_pod())
            && let Some(owner) = before.controller_uid()
        {
            let ceased = self.ceased.entry(owner.to_owned()).or_default();
            ceased.retain(|at| *at + MEMORY > now);
            ceased.push(now);
        }
        if let Some(old) = wants(before) {
            match change.after.as_ref().and_then(|after| wants(after)) {
                Some(new) if new != old => {
                    let wanted = self.wanted.entry(before.uid().to_owned()).or_default();
                    wanted.retain(|(until, _)| *until + MEMORY > now);
                    wanted.push((now, old));
                }
                Some(_) => {}
                None => {
                    self.wanted.remove(before.uid());
                    self.ceased.remove(before.uid());
                }
            }
        }
    }

    fn is_lawful(&self, item: &Item, owner: &Item, cluster: &Cluster) -> bool {
        let namespace = cluster.find("namespaces", "", &item.id.namespace);
        if !item.id.namespace.is_empty() && namespace.is_none_or(|namespace| namespace.is_terminating()) {
            return true;
        }
        match &*item.id.resource {
            "endpointslices.discovery.k8s.io" | "endpoints" => true,
            "replicasets.apps" => wants(item) == Some(0),
            "pods" => {
                let node = item.node_name();
                let unwell = !node.is_empty()
                    && (cluster
                        .find("nodes", "", node)
                        .is_none_or(|node| !node.condition("Ready"))
                        || self.unwell.get(node).is_some_and(|at| *at + MEMORY > cluster.now));
                if item.is_finished() || item.is_terminating() || unwell {
                    return true;
                }
                let Some(now_wanted) = wants(owner) else { return false };
                let lag = cluster.lag(Role::ControllerManager);
                let since = |at: &Duration| *at + lag > cluster.now;
                let past = self.wanted.get(owner.uid()).into_iter().flatten();
                let least = past
                    .filter(|(until, _)| since(until))
                    .map(|(_, wanted)| *wanted)
                    .chain([now_wanted])
                    .min();
                let live = cluster.owned(owner.uid()).filter(|pod| pod.is_live_pod()).count();
                let ceased = self
                    .ceased
                    .get(owner.uid())
                    .into_iter()
                    .flatten()
                    .filter(|at| since(at))
                    .count();
                (live + ceased) as i64 > i64::from(least.unwrap_or(0))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::contract_tests::{namespace, with};
    use super::super::tests::{History, asked, node, pod, set};
    use crate::model::Seen;

    #[test]
    fn what_the_second_owner_keeps_is_not_to_be_collected_though_the_first_one_goes() {
        let owner = |name: &str| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": format!("uid-{name}")});
        let owned = json!({"metadata": {"name": "a", "namespace": "default", "uid": "uid-a",
            "ownerReferences": [owner("going"), owner("staying")]}});
        let deleted = json!("1970-01-01T00:00:01Z");
        let going = with(set("going", 1), "/metadata/deletionTimestamp", deleted);
        let history = || {
            History::of(|id| id == "G1")
                .put("namespaces", namespace())
                .put("replicasets.apps", going.clone())
                .put("configmaps", owned.clone())
        };
        let path = "/api/v1/namespaces/default/configmaps/a";
        let collect = asked("controller-manager/1", http::Method::DELETE, path);
        let kept = history().put("replicasets.apps", set("staying", 1));
        assert_eq!(kept.see(&Seen::Asked(&collect)).broken(), ["G1"]);
        assert!(history().see(&Seen::Asked(&collect)).broken().is_empty());
        // One that lives in another namespace cannot own it.
        let elsewhere = with(set("staying", 1), "/metadata/namespace", json!("team"));
        let stray = history().put("replicasets.apps", elsewhere);
        assert!(stray.see(&Seen::Asked(&collect)).broken().is_empty());
    }

    #[test]
    fn a_set_may_delete_a_pod_too_many_that_somebody_else_owns_besides() {
        let reference = |kind: &str, name: &str, controls: bool| json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": format!("uid-{name}"), "controller": controls});
        let owned = json!([
            reference("ConfigMap", "beside", false),
            reference("ReplicaSet", "web", true)
        ]);
        let shared = with(pod("a", "n", "Running"), "/metadata/ownerReferences", owned);
        let beside = json!({"metadata": {"name": "beside", "namespace": "default", "uid": "uid-beside"}});
        let delete = asked(
            "controller-manager/1",
            http::Method::DELETE,
            "/api/v1/namespaces/default/pods/a",
        );
        let wanting = |replicas| {
            let history = History::of(|id| id == "G1")
                .put("namespaces", namespace())
                .put("nodes", node("n"))
                .put("configmaps", beside.clone())
                .put("replicasets.apps", set("web", replicas))
                .put("pods", shared.clone());
            history.see(&Seen::Asked(&delete)).broken()
        };
        assert!(wanting(0).is_empty());
        assert_eq!(wanting(1), ["G1"]);
    }
}
