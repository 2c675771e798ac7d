//! Which world runs in this thread: for what components say, and for who panicked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Once, Weak};

use madsim::task::NodeId;

use crate::world::World;

#[derive(Default)]
struct Observed {
    world: Weak<World>,
    names: BTreeMap<NodeId, String>,
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
            observed.names = world.node_names().into_iter().collect();
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
        let process = observed.names.get(&madsim::plugin::node()).cloned();
        Some((world, process.unwrap_or_else(|| component.to_owned())))
    });
    match playing {
        Some((world, process)) => world
            .trace
            .say(world.now(), &process, format_args!("{component}: {message}")),
        None => eprintln!("{component}: {message}"),
    }
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
            .cloned()
            .unwrap_or_else(|| "the simulator".to_owned());
        observed.panic.get_or_insert((who, format!("{message} ({place})")));
        true
    })
}
