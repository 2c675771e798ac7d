//! Waiting for what takes a while, never for ever.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(200);

/// Asks `look` until it finds something, and gives that.
///
/// # Panics
///
/// After `seconds`, with `what` was awaited and the reason `look` gave last.
#[track_caller]
pub fn wait_for<T, E: Display>(what: &str, seconds: u64, mut look: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match look() {
            Ok(found) => return found,
            Err(reason) if Instant::now() >= deadline => panic!("after {seconds} s not yet {what}: {reason}"),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Asks `holds` until it is so.
///
/// # Panics
///
/// After `seconds`, with `what` was awaited.
#[track_caller]
pub fn wait_until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    wait_for(what, seconds, || if holds() { Ok(()) } else { Err("it is not so") });
}
