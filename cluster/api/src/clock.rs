//! The wall clock. Objects are stamped with it; nothing is measured with it (`tokio::time` does that).

use std::sync::OnceLock;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// What a machine's clock shows when it truly is the given time.
pub type Error = fn(Timestamp) -> Timestamp;

static ERROR: OnceLock<Error> = OnceLock::new();

/// Lets clocks be wrong by `error`, which knows whose clock is read; the first call wins. Without it they are right.
pub fn set_error(error: Error) {
    let _ = ERROR.set(error);
}

/// The time now. The only reader of the wall clock in code that also runs simulated: there madsim answers it, and each
/// machine's clock may be wrong.
pub fn now() -> Timestamp {
    #[allow(clippy::disallowed_methods, reason = "the one place that may")]
    let now = Timestamp::now();
    ERROR.get().map_or(now, |error| error(now))
}

/// Now, in whole seconds, as Kubernetes stamps objects.
pub fn now_time() -> Time {
    Time(whole_seconds(now()))
}

/// Now, in microseconds, as leases are stamped.
pub fn now_micro_time() -> MicroTime {
    MicroTime(now())
}

/// `time` without its fraction of a second.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
