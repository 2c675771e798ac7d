//! P7: at most one controlling owner; an orphan is adopted only by a set that selects it.
//!
//! Judged when an object that was there gets another controller, and over every write for more than one.

use orrery_api::labels::Selector;

use super::{Invariant, Report};
use crate::model::{Cluster, Item, Seen};

/// See the module.
pub struct Ownership;

impl Invariant for Ownership {
    fn id(&self) -> &'static str {
        "P7"
    }

    fn statement(&self) -> &'static str {
        "At most one controlling owner, which selects what it adopts."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
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
                .filter(|owner| !selects(owner, after))
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

fn selects(owner: &Item, item: &Item) -> bool {
    let set = owner
        .replica_set()
        .and_then(|set| set.spec.as_ref())
        .map(|spec| &spec.selector);
    let selector = set.or_else(|| owner.deployment()?.spec.as_ref().map(|spec| &spec.selector));
    let Some(Ok(selector)) = selector.map(Selector::from_label_selector) else {
        return true;
    };
    selector.matches(item.meta.labels.as_ref().unwrap_or(&std::collections::BTreeMap::new()))
}
