//! What components say to people: lines with the component's name. Not for decisions, not for tests.

use std::fmt;
use std::sync::OnceLock;

/// Where lines go.
pub type Sink = fn(component: &str, message: fmt::Arguments<'_>);

static SINK: OnceLock<Sink> = OnceLock::new();

/// Sends lines to `sink` from now on; the first call wins. Without it they go to standard error.
pub fn set_sink(sink: Sink) {
    let _ = SINK.set(sink);
}

/// Says `message` on behalf of `component`.
pub fn line(component: &str, message: fmt::Arguments<'_>) {
    match SINK.get() {
        Some(sink) => sink(component, message),
        None => eprintln!("{} {component}: {message}", crate::clock::now()),
    }
}
