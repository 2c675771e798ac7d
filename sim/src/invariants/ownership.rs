//! P7: at most one controlling owner; an orphan is adopted only by a set that selects it.
//!
//! Judged when an object that was there gets another controller, and over every write for more than one. An orphan that
//! was relabelled within the controller's lag may still be adopted by who selected it before; it is let go again.
//!
//! Judged in the end: nothing belongs to a set, or a Deployment, that does not select it, nor is anything nobody's that
//! one selects. Not judged there: what is being deleted, pods that have finished, and owners that are being deleted, or
//! select by nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use orrery_api::labels::Selector;

use super::{Invariant, MEMORY, Missing, Report};
use crate::model::{self, Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct Ownership {
    /// By uid: when an object was relabelled, and how it stood before; the last time at the end.
    relabelled: BTreeMap<String, VecDeque<(Duration, Arc<Item>)>>,
}

impl Invariant for Ownership {
    fn id(&self) -> &'static str {
        "P7"
    }

    fn statement(&self) -> &'static str {
        "At most one controlling owner, which selects what it adopts; in the end none that does not select."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        self.remember(change, cluster.now);
        let Some(after) = &change.after else { return };
        let owners = after.meta.owner_references.as_deref().unwrap_or_default();
        let controllers = owners.iter().filter(|owner| owner.controller == Some(true)).count();
        let before = change.before.as_ref().filter(|before| before.uid() == after.uid());
        let (old, new) = (before.and_then(|item| item.controller_uid()), after.controller_uid());
        let wrong = if controllers > 1 {
            Some(format!("has {controllers} controllers"))
        } else if old.is_some() && new.is_some() && old != new {
            Some("was taken from its controller".to_owned())
        } else if before.is_some() && old.is_none() {
            new.and_then(|uid| cluster.by_uid(uid))
                .filter(|owner| !selects(owner, after) && !self.has_just_selected(owner, after, cluster))
                .map(|owner| format!("was adopted by {}, which does not select it", owner.id))
        } else {
            None
        };
        if let Some(wrong) = wrong {
            let message = format!(
                "{} (uid {}) {wrong} at revision {}",
                change.id,
                after.uid(),
                change.revision
            );
            report.broken(self.id(), message, &["controller-manager", "apiserver"]);
        }
    }

    fn missing(&self, cluster: &Cluster, missing: &mut Missing) {
        for (dependents, owners) in [("pods", "replicasets.apps"), ("replicasets.apps", "deployments.apps")] {
            let claimed = cluster
                .all(dependents)
                .filter(|item| !item.is_terminating() && !item.is_finished());
            for item in claimed {
                if let Some(what) = astray(item, owners, cluster) {
                    missing.push(what);
                }
            }
        }
    }
}

/// Why an object is not whose it should be, of owners of a kind; none if it is.
fn astray(item: &Item, owners: &str, cluster: &Cluster) -> Option<String> {
    if let Some(uid) = item.controller_uid() {
        let owner = cluster
            .by_uid(uid)
            .filter(|owner| &*owner.id.resource == owners && !owner.is_terminating())?;
        return (has_selector(owner) && !selects(owner, item))
            .then(|| format!("P7: {} belongs to {}, which does not select it", item.id, owner.id));
    }
    let mut owners = cluster.all(owners).filter(|owner| {
        let is_near = owner.id.namespace == item.id.namespace;
        is_near && !owner.is_terminating() && has_selector(owner) && selects(owner, item)
    });
    let owner = owners.next()?;
    Some(format!("P7: {} is nobody's, though {} selects it", item.id, owner.id))
}

/// Whether `owner` is one that selects what is its own, by more than nothing.
fn has_selector(owner: &Item) -> bool {
    let set = owner.replica_set().and_then(|set| set.spec.as_ref());
    let deployment = owner.deployment().and_then(|deployment| deployment.spec.as_ref());
    let selector = set
        .map(|spec| &spec.selector)
        .or_else(|| deployment.map(|spec| &spec.selector));
    selector.is_some_and(|selector| *selector != LabelSelector::default())
}

impl Ownership {
    fn remember(&mut self, change: &Change, now: Duration) {
        let Some(before) = &change.before else { return };
        match &change.after {
            Some(after) if after.meta.labels != before.meta.labels => {
                let past = self.relabelled.entry(before.uid().to_owned()).or_default();
                past.push_back((now, before.clone()));
                while past.front().is_some_and(|(at, _)| *at + MEMORY < now) {
                    past.pop_front();
                }
            }
            Some(_) => {}
            None => {
                self.relabelled.remove(before.uid());
            }
        }
    }

    /// Whether `owner` selected the object until within its controller's lag.
    fn has_just_selected(&self, owner: &Item, item: &Item, cluster: &Cluster) -> bool {
        let lag = cluster.lag(Role::ControllerManager);
        let mut past = self.relabelled.get(item.uid()).into_iter().flatten();
        past.any(|(at, old)| *at + lag > cluster.now && selects(owner, old))
    }
}

/// Whether the labels of `item` are those that `owner` selects; of an owner without a selector they are.
pub(super) fn selects(owner: &Item, item: &Item) -> bool {
    let set = owner
        .replica_set()
        .and_then(|set| set.spec.as_ref())
        .map(|spec| &spec.selector);
    let selector = set.or_else(|| owner.deployment()?.spec.as_ref().map(|spec| &spec.selector));
    let Some(Ok(selector)) = selector.map(Selector::from_label_selector) else {
        return true;
    };
    model::selects(&selector, item)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::contract_tests::with;
    use super::super::tests::{History, owned, pod, set};

    fn labelled(app: &str) -> Value {
        with(pod("a", "n", "Running"), "/metadata/labels", json!({"app": app}))
    }

    /// What is missing in the end of a pod beside a set that selects `app: web`.
    fn end(pod: Value, set_is_going: bool) -> Vec<String> {
        let selector = json!({"matchLabels": {"app": "web"}});
        let mut set = with(set("web", 1), "/spec/selector", selector);
        if set_is_going {
            set["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:01Z");
        }
        let history = History::of(|id| id == "P7").put("replicasets.apps", set);
        history.put("pods", pod).missing()
    }

    #[test]
    fn a_pod_that_its_set_does_not_select_is_let_go_in_the_end() {
        let own = |app: &str| owned(labelled(app), "ReplicaSet", "web");
        assert_eq!(
            end(own("other"), false),
            ["P7: pods/default/a belongs to replicasets.apps/default/web, which does not select it"]
        );
        assert!(end(own("web"), false).is_empty());
        assert!(end(own("other"), true).is_empty(), "its owner goes");
        let finished = with(own("other"), "/status/phase", json!("Failed"));
        assert!(end(finished, false).is_empty());
    }

    #[test]
    fn a_pod_of_nobodys_that_a_set_selects_is_adopted_in_the_end() {
        assert_eq!(
            end(labelled("web"), false),
            ["P7: pods/default/a is nobody's, though replicasets.apps/default/web selects it"]
        );
        assert!(end(labelled("other"), false).is_empty());
        assert!(end(labelled("web"), true).is_empty());
        let elsewhere = with(labelled("web"), "/metadata/namespace", json!("team"));
        assert!(end(elsewhere, false).is_empty());
        let going = with(
            labelled("web"),
            "/metadata/deletionTimestamp",
            json!("1970-01-01T00:00:01Z"),
        );
        assert!(end(going, false).is_empty());
    }
}
