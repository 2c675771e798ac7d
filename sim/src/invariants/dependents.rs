//! G3: an owner deleted in the foreground goes after its dependents; one deleted with `Orphan` leaves them free.
//!
//! Judged when such an owner vanishes: then nothing may name it as an owner any more that it had to wait for (in the
//! foreground: what blocks it; with orphans: anything). What was made within the controller's lag may have come too late.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invariant, Report};
use crate::model::{Cluster, Item, Seen};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct Dependents {
    /// When objects with owners were made, by uid.
    made: BTreeMap<String, Duration>,
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
        if let Some(after) = change.after.as_ref().filter(|_| change.is_create())
            && after.meta.owner_references.is_some()
        {
            self.made.insert(after.uid().to_owned(), cluster.now);
        }
        let (Some(owner), None) = (&change.before, &change.after) else {
            return;
        };
        self.made.remove(owner.uid());
        let held = |name: &str| owner.meta.finalizers.iter().flatten().any(|own| own == name);
        let (foreground, orphan) = (held("foregroundDeletion"), held("orphan"));
        if !foreground && !orphan {
            return;
        }
        let lag = cluster.lag(Role::ControllerManager);
        let waits_for = |item: &Item| {
            let mut owners = item.meta.owner_references.iter().flatten();
            owners.any(|own| own.uid == owner.uid() && (orphan || own.block_owner_deletion == Some(true)))
                && self.made.get(item.uid()).is_none_or(|at| *at + lag < cluster.now)
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
