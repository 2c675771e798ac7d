//! The supervisor of the control plane's processes: what ends by itself is started again after a while.
//!
//! As systemd does with `orrery`, which ends when its store can write no more, or cannot be opened. A store that cannot
//! be opened is only forgiven if its disk did something wrong meanwhile; what comes back is judged as after every
//! restart.

use std::time::Duration;

use orrery_store::{OpenError, Options};

use super::{Process, World};
use crate::invariants::Finding;
use crate::model::Reach;
use crate::scenario::Role;

/// A process that has to end does so within this time: what it has answered already may get out, or not.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// So long a process that ended is down.
const DOWN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));

impl World {
    /// How the store is told to behave.
    pub(super) fn store_options(&self) -> Options {
        let files = &self.scenario.topology.store;
        let (real, own) = (Options::default(), |bytes: Option<u32>| bytes.map(u64::from));
        Options {
            segment_bytes: own(files.segment).unwrap_or(real.segment_bytes),
            snapshot_log_bytes: own(files.snapshot).unwrap_or(real.snapshot_log_bytes),
            ..real
        }
    }

    /// A process cannot go on: it ends, and is started again.
    pub(super) fn fails(&self, process: &Process, why: &str) {
        let (Some(world), name) = (self.own.upgrade(), process.name.clone()) else {
            return;
        };
        self.coverage.saw("a process ended by itself");
        self.trace.event(self.now(), &name, format_args!("ends: {why}"));
        let random = self
            .random
            .stream("supervisor")
            .stream(&format!("{name}/{}", process.starts));
        let (ends, down) = (
            random.duration(Duration::ZERO, LAST_WORDS),
            random.duration(DOWN.0, DOWN.1),
        );
        // Without it nobody learns anything.
        for role in Role::all() {
            self.stall(role, ends + down);
        }
        let starts = process.starts;
        self.spawn_on_machine(&process.machine, async move {
            world
                .witness
                .change(&world, |cluster| cluster.fault_begins(&Reach::Everywhere));
            tokio::time::sleep(ends).await;
            // Unless somebody else has done so meanwhile.
            if world.starts(&name) == starts {
                world.kill(&name);
                tokio::time::sleep(down).await;
                world.start(&name);
            }
            world
                .witness
                .change(&world, |cluster| cluster.fault_ends(&Reach::Everywhere));
        });
    }

    /// The store cannot be opened. That is forgiven if its disk did something wrong meanwhile.
    pub(super) fn cannot_open(&self, process: &Process, error: &OpenError, excused: bool) {
        if !excused {
            let message = format!("the store cannot be opened again: {error}");
            let actors = vec!["apiserver".to_owned(), "disk".to_owned()];
            self.violated(vec![Finding {
                invariant: "S2",
                message,
                actors,
            }]);
            return;
        }
        self.coverage.saw("a store refused to open");
        self.fails(process, &error.to_string());
    }
}
