//! What is told of runs that come to no good end.

use super::*;
use crate::scenario::read;

fn settings() -> Settings {
    let text = "name: a\ntopology: { nodes: 1 }\nduration: 40s\n";
    Settings::new(read("a.yaml", text, |_| Err(String::new())).expect("a scenario"), 1)
}

/// Panics once, when it has been written to so often.
struct Panics(Option<u32>);

impl Write for Panics {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == Some(0) {
            self.0 = None;
            panic!("enough");
        }
        self.0 = self.0.map(|left| left - 1);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_run_that_panics_has_a_trace_until_then() {
    let panics = |after: u32| {
        run(Settings {
            trace: Some(Box::new(Panics(Some(after)))),
            ..settings()
        })
    };
    let (early, late) = (panics(500), panics(1500));
    for outcome in [&early, &late] {
        assert!(
            matches!(&outcome.verdict, Verdict::Panicked { message, .. } if message.starts_with("enough ")),
            "{:?}",
            outcome.verdict
        );
        assert!(!outcome.hash.is_empty());
        assert!(outcome.pinned.is_some());
    }
    assert!(
        0 < early.events && early.events < late.events,
        "{} and {}",
        early.events,
        late.events
    );
    assert_ne!(early.hash, late.hash);
    assert!(early.simulated <= late.simulated);
}

#[test]
fn a_run_that_does_not_end_in_time_is_recorded_until_then() {
    let recording = record_within("a.yaml", settings(), Duration::ZERO);
    assert_eq!(recording.ending, Ending::Endless { seconds: 0 });
    assert_eq!(recording.ending.code(), exit::NOT_CONVERGED);
    let cut = recording.cut().expect("it is not whole");
    assert!(
        cut.starts_with("did not end within 0 s of real time, and was cut at "),
        "{cut}"
    );
    assert!(run_within(settings(), Duration::ZERO).is_none());
}

#[test]
fn a_run_that_ends_in_time_is_whole() {
    let recording = record_within("a.yaml", settings(), Duration::MAX);
    assert_eq!(recording.ending, Ending::Held);
    assert_eq!(recording.cut(), None);
    let outcome = run_within(settings(), Duration::MAX).expect("there is time enough");
    assert_eq!(outcome.verdict.code(), exit::HELD);
}
