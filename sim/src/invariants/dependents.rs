//! G3: an owner deleted in the foreground goes after its dependents; one deleted with `Orphan` leaves them free.
//!
//! Judged when such an owner vanishes: then nothing may name it as an owner any more that it had to wait for (in the
//! foreground: what blocks it; with orphans: anything). What has named it only since within the controller's lag, as
//! what was made or adopted then, may have come too late.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invariant, Report};
use crate::model::{Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct Dependents {
    /// Since when objects name their owners, by the object's uid and the owner's.
    named: BTreeMap<String, BTreeMap<String, Duration>>,
}

impl Dependents {
    /// Takes in whom an object names as its owners.
    fn note(&mut self, change: &Change, now: Duration) {
        let Some(after) = &change.after else {
            self.named
                .remove(change.before.as_ref().map_or("", |before| before.uid()));
            return;
        };
        let before = change.before.as_ref();
        if before.and_then(|before| before.meta.owner_references.as_ref()) == after.meta.owner_references.as_ref() {
            return;
        }
        let known = self.named.entry(after.uid().to_owned()).or_default();
        let owners = after.meta.owner_references.as_deref().unwrap_or_default();
        known.retain(|uid, _| owners.iter().any(|owner| owner.uid == *uid));
        for owner in owners {
            known.entry(owner.uid.clone()).or_insert(now);
        }
    }
}

impl Invariant for Dependents {
    fn id(&self) -> &'static str {
        "G3"
    }

    fn statement(&self) -> &'static str {
        "A foreground owner goes last; one that leaves orphans frees them first."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        self.note(change, cluster.now);
        let (Some(owner), None) = (&change.before, &change.after) else {
            return;
        };
        let held = |name: &str| owner.meta.finalizers.iter().flatten().any(|own| own == name);
        let (foreground, orphan) = (held("foregroundDeletion"), held("orphan"));
        if !foreground && !orphan {
            return;
        }
        let lag = cluster.lag(Role::ControllerManager);
        let since = |item: &Item| self.named.get(item.uid())?.get(owner.uid()).copied();
        let waits_for = |item: &Item| {
            let mut owners = item.meta.owner_references.iter().flatten();
            owners.any(|own| own.uid == owner.uid() && (orphan || own.block_owner_deletion == Some(true)))
                && since(item).is_none_or(|at| at + lag < cluster.now)
        };
        if let Some(left) = cluster.everything().find(|item| waits_for(item)) {
            let message = format!(
                "{} (uid {}) is gone at revision {} before {} (uid {}) {}",
                change.id,
                owner.uid(),
                change.revision,
                left.id,
                left.uid(),
                if orphan { "was set free" } else { "went" }
            );
            report.broken(self.id(), message, &["controller-manager", "apiserver"]);
        }
    }
}
