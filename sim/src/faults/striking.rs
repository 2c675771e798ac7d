//! A fault that is to strike: since when it is in force, and whether it has befallen anybody.
//!
//! Most faults strike when they are put in force. Those of requests, watches, disks and packet rules are in force for a
//! while and befall whoever comes meanwhile, or lie in wait for certain requests or operations; what carries them out
//! (links, disks, packet filters) tells their [`Victims`], and one that has befallen nobody has not struck.

use std::fmt;
#[cfg(test)]
use std::sync::atomic::AtomicU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::lock;
use crate::model::Reach;
use crate::recording::What;
use crate::scenario::{FaultAction, Moment};
use crate::world::World;

/// Whom a fault befalls: what carries it out adds each of them as it happens.
#[derive(Clone)]
pub struct Victims(Arc<dyn Fn() + Send + Sync>);

impl Victims {
    fn told_to(hear: impl Fn() + Send + Sync + 'static) -> Self {
        Victims(Arc::new(hear))
    }

    /// One more.
    pub fn add(&self) {
        (self.0)();
    }

    /// Those of a fault of a test, and how many they are.
    #[cfg(test)]
    pub(crate) fn counted() -> (Self, impl Fn() -> u32) {
        let count = Arc::new(AtomicU32::new(0));
        let counting = count.clone();
        let hear = move || {
            counting.fetch_add(1, Ordering::Relaxed);
        };
        (Victims::told_to(hear), move || count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
impl Default for Victims {
    /// Nobody wants to know of them.
    fn default() -> Self {
        Victims::told_to(|| {})
    }
}

impl fmt::Debug for Victims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Victims")
    }
}

/// Where a fault says what becomes of it.
pub struct Striking<'a> {
    world: &'a Arc<World>,
    moment: Moment,
    action: &'a FaultAction,
    /// Whether any fault of its plan has befallen anybody.
    struck: Arc<AtomicBool>,
    force: Force,
}

impl<'a> Striking<'a> {
    /// The fault `action`, whose moment has come.
    pub(super) fn new(
        world: &'a Arc<World>,
        moment: Moment,
        action: &'a FaultAction,
        struck: &Arc<AtomicBool>,
        force: &Force,
    ) -> Self {
        Striking {
            world,
            moment,
            action,
            struck: struck.clone(),
            force: force.clone(),
        }
    }

    /// It befalls somebody now; `pinned` would do the same without drawing anything.
    pub fn strikes(self, pinned: FaultAction) {
        self.begins(pinned).add();
    }

    /// It is in force from now on, whether or not it befalls anybody; `pinned` would do the same without drawing
    /// anything.
    pub fn begins(self, pinned: FaultAction) -> Victims {
        let Striking { struck, force, .. } = self;
        force.begin(self.world, self.moment, &self.action.describe(), pinned);
        Victims::told_to(move || struck.store(true, Ordering::Relaxed))
    }

    /// It is in force as soon as it befalls the first, which `tell` tells; `pinned` would do the same without drawing
    /// anything.
    pub fn begins_with_first(self, pinned: FaultAction, tell: impl FnOnce(&World) + Send + 'static) -> Victims {
        // What is told stands in the world, which must not keep itself.
        let (world, kind) = (Arc::downgrade(self.world), self.action.describe());
        let Striking { struck, force, .. } = self;
        let first = Mutex::new(Some((self.moment, pinned, tell)));
        Victims::told_to(move || {
            // What still lies in wait on a machine that stays broken is no fault of the chaos.
            let Some(world) = world.upgrade().filter(|world| !world.is_healed()) else {
                return;
            };
            struck.store(true, Ordering::Relaxed);
            if let Some((moment, pinned, tell)) = lock(&first).take() {
                force.begin(&world, moment, &kind, pinned);
                tell(&world);
            }
        })
    }
}

/// Whether a fault is in force, and how far it reaches then.
#[derive(Clone, Default)]
pub struct Force(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Its number in the recording, and its reach.
    begun: Option<(u64, Reach)>,
    /// It is over, and whom it still befalls it befalls for a moment.
    over: bool,
}

impl Force {
    fn begin(&self, world: &World, moment: Moment, kind: &str, pinned: FaultAction) {
        let reach = reach(world, &pinned);
        world.witness.change(world, |cluster| cluster.fault_begins(&reach));
        world.choices.fault(moment, pinned);
        let number = world.trace.recorder.fault_begins(world.now(), kind);
        let is_over = {
            let mut inner = lock(&self.0);
            inner.begun = Some((number, reach));
            inner.over
        };
        if is_over {
            self.end(world);
        }
    }

    /// It is over.
    pub(super) fn end(&self, world: &World) {
        let begun = {
            let mut inner = lock(&self.0);
            inner.over = true;
            inner.begun.take()
        };
        if let Some((fault, reach)) = begun {
            let recorder = &world.trace.recorder;
            recorder.note(world.now(), || What::FaultEnds { fault });
            world.witness.change(world, |cluster| cluster.fault_ends(&reach));
        }
    }
}

/// How far a fault reaches that has found whom to strike.
fn reach(world: &World, pinned: &FaultAction) -> Reach {
    let machines = pinned.whom().machines();
    let apart = machines.filter(|machines| !machines.iter().any(|name| world.is_control_plane(name)));
    apart.map_or(Reach::Everywhere, Reach::Machines)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::recording::{Recording, What};
    use crate::run::{Outcome, Settings, record};
    use crate::scenario::read;

    /// A run that holds, and its recording.
    fn play(faults: &str) -> (Outcome, Recording) {
        let text = format!(
            "name: a\ntopology: {{ nodes: 1 }}\nfaults:{faults}heal: all\nexpect: {{ converge: 2m }}\nduration: 40s\n"
        );
        let scenario = read("a.yaml", &text, |_| Err(String::new())).unwrap();
        let (outcome, recording) = record("a.yaml", Settings::new(scenario, 1));
        assert_eq!(outcome.verdict.code(), 0, "{:?}", outcome.verdict);
        (outcome, recording)
    }

    /// Where and when something first happened.
    fn first(recording: &Recording, wanted: impl Fn(&What) -> bool) -> Option<(usize, Duration)> {
        let place = recording.events.iter().position(|event| wanted(&event.what))?;
        Some((place, recording.events[place].at))
    }

    const BEGINS: fn(&What) -> bool = |what| matches!(what, What::FaultBegins { .. });
    const ENDS: fn(&What) -> bool = |what| matches!(what, What::FaultEnds { .. });

    #[test]
    fn what_lies_in_wait_for_nobody_has_not_struck_and_is_never_in_force() {
        let (outcome, recording) = play(
            "
  - { at: 5s, api-errors: { client: controller-manager, codes: [500], request: delete deployments, nth: [1] } }
  - { at: 5s, lost-answers: { client: scheduler, write: delete pods, requests: [1] } }
  - { at: 5s, disk: { fails: read } }
  - { at: 5s, drop-watches: { client: scheduler, resource: secrets } }
",
        );
        let never = [
            "errors of the API towards controller-manager",
            "lost answers",
            "failing reads of the disk",
            "end of the watches of secrets by scheduler",
        ];
        assert_eq!(outcome.never_struck, never);
        assert_eq!(first(&recording, BEGINS), None);
        for thing in ["watches were dropped", "a disk was in trouble"] {
            assert!(!outcome.coverage.contains_key(thing), "{thing}");
        }
        assert!(outcome.pinned.unwrap().faults.is_empty());
    }

    #[test]
    fn what_may_befall_anybody_for_a_while_is_in_force_whether_or_not_somebody_comes() {
        let (outcome, recording) = play(
            "
  - { at: 20s, lost-answers: { client: scheduler, for: 5s } }
",
        );
        assert_eq!(outcome.never_struck, ["lost answers"], "it has nothing to write");
        let seconds = [BEGINS, ENDS].map(|wanted| first(&recording, wanted).unwrap().1.as_secs());
        assert_eq!(seconds, [20, 25]);
    }

    #[test]
    fn what_lies_in_wait_is_in_force_from_the_first_whom_it_befalls_though_the_heal_cuts_it_short() {
        let (outcome, recording) = play(
            "
  - { at: 1s, api-errors: { client: kubelet, codes: [500], request: update leases, nth: [2, 1000], effect: false } }
",
        );
        assert_eq!(outcome.never_struck, [""; 0]);
        let (begins, at) = first(&recording, BEGINS).unwrap();
        assert!(at > Duration::from_secs(10), "{at:?}");
        let (told, _) = first(&recording, |what| matches!(what, What::Received { status: 500, .. })).unwrap();
        assert!(begins < told, "what follows from it comes after it");
        assert_eq!(first(&recording, ENDS), None);
        let pinned = outcome.pinned.unwrap().to_yaml();
        assert!(pinned.contains("- at: 1s\n    api-errors:"), "{pinned}");
    }
}
