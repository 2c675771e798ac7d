//! Which world runs in this thread: for what components say, what their clocks show, and for who panicked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Once, Weak};

use k8s_openapi::jiff::Timestamp;
use madsim::task::NodeId;

use crate::world::World;

#[derive(Default)]
struct Observed {
    world: Weak<World>,
    /// What each node of the executor is, and its machine.
    names: BTreeMap<NodeId, (String, String)>,
    panic: Option<(String, String)>,
}

thread_local! {
    static OBSERVED: RefCell<Option<Observed>> = const { RefCell::new(None) };
}

/// From now on this thread plays a world.
pub fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        orrery_api::log::set_sink(say);
        orrery_api::clock::set_error(shown);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !note(panic) {
                before(panic);
            }
        }));
    });
    OBSERVED.with(|observed| *observed.borrow_mut() = Some(Observed::default()));
}

/// This thread plays `world`.
pub fn plays(world: &Arc<World>) {
    OBSERVED.with(|observed| {
        if let Some(observed) = observed.borrow_mut().as_mut() {
            observed.world = Arc::downgrade(world);
            let names = world.node_names().into_iter();
            observed.names = names.map(|(node, name, machine)| (node, (name, machine))).collect();
        }
    });
}

/// The panic of this thread's world: who, and what with where.
pub fn panicked() -> Option<(String, String)> {
    OBSERVED.with(|observed| {
        observed
            .borrow_mut()
            .as_mut()
            .and_then(|observed| observed.panic.take())
    })
}

fn say(component: &str, message: fmt::Arguments<'_>) {
    let playing = OBSERVED.with(|observed| {
        let observed = observed.borrow();
        let observed = observed.as_ref()?;
        let world = observed.world.upgrade()?;
        let process = observed
            .names
            .get(&madsim::plugin::node())
            .map(|(name, _)| name.clone());
        Some((world, process.unwrap_or_else(|| component.to_owned())))
    });
    match playing {
        Some((world, process)) => world
            .trace
            .say(world.now(), &process, format_args!("{component}: {message}")),
        None => eprintln!("{component}: {message}"),
    }
}

/// What the clock of the machine shows whose process asks; the simulator's own tasks have a clock that is right.
fn shown(time: Timestamp) -> Timestamp {
    OBSERVED.with(|observed| {
        let observed = observed.borrow();
        let playing = observed.as_ref().and_then(|observed| {
            let world = observed.world.upgrade()?;
            let (_, machine) = observed.names.get(&madsim::plugin::node())?;
            Some((world, machine))
        });
        match playing {
            Some((world, machine)) => world.clocks.shown(machine, time, world.now()),
            None => time,
        }
    })
}

/// Takes a panic down, if this thread plays a world.
fn note(panic: &std::panic::PanicHookInfo<'_>) -> bool {
    OBSERVED.with(|observed| {
        let Ok(mut observed) = observed.try_borrow_mut() else {
            return false;
        };
        let Some(observed) = observed.as_mut().filter(|observed| observed.world.strong_count() > 0) else {
            return false;
        };
        let message = panic.payload().downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message
            .or_else(|| panic.payload().downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let who = observed
            .names
            .get(&madsim::plugin::node())
            .map(|(name, _)| name.clone())
            .unwrap_or_else(|| "the simulator".to_owned());
        observed.panic.get_or_insert((who, format!("{message} ({place})")));
        true
    })
}
