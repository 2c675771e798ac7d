//! The writes of pods' statuses that are being carried out, for invariants that must know how old a change is: one that
//! was held up, or is carried out twice, may come long after newer ones.

use std::collections::BTreeMap;
use std::time::Duration;

use super::AFTERLIFE;
use crate::model::{Asked, Change, Cluster, ObjectId, Seen};

/// See the module.
#[derive(Default)]
pub(super) struct StatusWrites(BTreeMap<u64, Write>);

/// A write of a pod's status.
struct Write {
    pod: ObjectId,
    /// When it left its client, and the store's revision then.
    left: Duration,
    floor: u64,
    /// When its server died over it.
    lost: Option<Duration>,
}

impl Write {
    /// What `asked` writes, if it is a pod's status.
    fn of(asked: &Asked) -> Option<Self> {
        let path = asked.path.as_ref()?;
        let is_status = &*path.resource == "pods" && path.subresource == "status";
        is_status.then(|| Write {
            pod: path.id(),
            left: asked.at,
            floor: asked.floor,
            lost: None,
        })
    }
}

impl StatusWrites {
    /// Keeps up with what happens; to be called with all that is seen.
    pub(super) fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster) {
        match seen {
            Seen::Begun { execution, asked } => {
                self.0
                    .retain(|_, write| write.lost.is_none_or(|at| cluster.now < at + AFTERLIFE));
                self.0.extend(Write::of(asked).map(|write| (*execution, write)));
            }
            Seen::Answered(_, answer) => {
                self.0.remove(&answer.execution);
            }
            Seen::Lost { execution } => {
                if let Some(write) = self.0.get_mut(execution) {
                    write.lost = Some(cluster.now);
                }
            }
            _ => {}
        }
    }

    /// The writes that may have made `change`.
    fn of<'a>(&'a self, change: &'a Change) -> impl Iterator<Item = &'a Write> {
        self.0.values().filter(|write| write.pod == change.id)
    }

    /// When the oldest write that may have made `change` left its client.
    pub(super) fn left(&self, change: &Change) -> Option<Duration> {
        self.of(change).map(|write| write.left).min()
    }

    /// Whether `change` may be of a write that left its client before what it changed was there.
    pub(super) fn is_late(&self, change: &Change) -> bool {
        let based = change.before.as_ref().map_or(0, |before| before.revision);
        self.of(change).any(|write| write.floor < based)
    }
}
