//! P7: at most one controlling owner; an orphan is adopted only by a set that selects it.
//!
//! Judged when an object that was there gets another controller, and over every write for more than one. An orphan that
//! was relabelled within the controller's lag may still be adopted by who selected it before; it is let go again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use orrery_api::labels::Selector;

use super::{Invariant, MEMORY, Report};
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
        "At most one controlling owner, which selects what it adopts."
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
