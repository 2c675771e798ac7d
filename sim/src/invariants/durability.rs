//! S2: an acknowledged write survives every crash in which fsync was honoured.
//!
//! Checked when the store is opened again: its whole state must be what was last seen of it (what the store shows is
//! durable by its own contract), at the same revision. A write whose answer was still under way may be there or not;
//! it is not in the history then, and not judged. Not checked: the history before the last state.

use super::{Invariant, Report};
use crate::model::{Cluster, Seen};

/// See the module.
pub struct Durability;

impl Invariant for Durability {
    fn id(&self) -> &'static str {
        "S2"
    }

    fn statement(&self) -> &'static str {
        "An acknowledged write survives every crash in which fsync was honoured."
    }

    fn observe(&mut self, seen: &Seen<'_>, _cluster: &Cluster, report: &mut Report) {
        let Seen::Reopened { revision, differences } = seen else {
            return;
        };
        if !differences.is_empty() {
            let shown = differences.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
            report.broken(
                self.id(),
                format!("the store came back at revision {revision} without what it had shown: {shown}"),
                &["apiserver", "disk", "fault"],
            );
        }
    }
}
