//! The supervisor of the control plane's processes: what ends by itself is started again after a while.
//!
//! As systemd does with `orrery`, which ends when its store can write no more, or cannot be opened. A store that cannot
//! be opened is only forgiven if its disk did something wrong meanwhile; what comes back is judged as after every
//! restart.

use std::sync::Arc;
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

/// A fault in force that may disturb everybody, for as long as it is kept: its machine may die before it is over.
struct Disturbance(Arc<World>);

impl Disturbance {
    fn begin(world: Arc<World>) -> Self {
        world
            .witness
            .change(&world, |cluster| cluster.fault_begins(&Reach::Everywhere));
        Disturbance(world)
    }
}

impl Drop for Disturbance {
    fn drop(&mut self) {
        let world = &self.0;
        world
            .witness
            .change(world, |cluster| cluster.fault_ends(&Reach::Everywhere));
    }
}

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
            let _disturbance = Disturbance::begin(world.clone());
            tokio::time::sleep(ends).await;
            // Unless somebody else has done so meanwhile.
            if world.starts(&name) == starts {
                world.kill(&name);
                tokio::time::sleep(down).await;
                world.start(&name);
            }
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

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::choices::Choices;
    use crate::in_simulation;
    use crate::scenario::read;
    use crate::trace::Trace;
    use crate::variation::Variation;

    #[test]
    fn a_machine_that_dies_takes_its_supervisor_along_and_leaves_nobody_disturbed() {
        in_simulation(1, || async {
            let scenario = read("a.yaml", "name: a\nduration: 1m\n", |_| Err(String::new()));
            let (scenario, trace) = (Arc::new(scenario.unwrap()), Trace::new(None, false));
            let world = World::new(scenario, 1, &Variation::default(), trace, Arc::new(Choices::default()));
            let process = world.processes().get("apiserver/1").cloned().unwrap();
            let is_disturbed = || {
                world
                    .witness
                    .look(&world, |cluster| cluster.is_disturbed_everywhere(Duration::ZERO))
            };
            world.fails(&process, "it cannot write");
            sleep(Duration::from_millis(1)).await;
            assert!(is_disturbed());
            world.crash_machine(&process.machine);
            sleep(Duration::from_secs(10)).await;
            assert!(!is_disturbed());
            world.end();
        });
    }
}
