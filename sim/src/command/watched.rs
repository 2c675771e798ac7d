//! A process whose output is read while it runs: it may take so long and no longer, and goes when nobody reads on.

use std::io;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it is looked at whether the process has ended.
const LOOK: Duration = Duration::from_millis(10);

/// How a process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, by somebody else's signal, or because nobody wanted it any more.
    Ended(ExitStatus),
    /// Its time was up.
    Late,
}

impl End {
    /// Its exit code, if it has one.
    pub fn code(self) -> Option<i32> {
        match self {
            End::Ended(status) => status.code(),
            End::Late => None,
        }
    }
}

/// See the module.
pub struct Watched {
    unwanted: Arc<AtomicBool>,
    watcher: JoinHandle<io::Result<End>>,
}

impl Watched {
    /// Looks after a process, and kills it when it takes longer than `limit`: what it prints is over then.
    pub fn new(child: Child, limit: Duration) -> Self {
        let unwanted = Arc::new(AtomicBool::new(false));
        let flag = unwanted.clone();
        let watcher = std::thread::spawn(move || watch(child, limit, &flag));
        Watched { unwanted, watcher }
    }

    /// Waits for its end.
    pub fn end(self) -> io::Result<End> {
        let end = self.watcher.join();
        end.unwrap_or_else(|_| Err(io::Error::other("nobody knows how the process ended")))
    }

    /// Kills it, unless it has ended by itself.
    pub fn stop(self) -> io::Result<End> {
        self.unwanted.store(true, Ordering::Relaxed);
        self.end()
    }
}

fn watch(mut child: Child, limit: Duration, unwanted: &AtomicBool) -> io::Result<End> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(End::Ended(status));
        }
        let is_late = started.elapsed() >= limit;
        if is_late || unwanted.load(Ordering::Relaxed) {
            // It may have ended at this very moment.
            let _ = child.kill();
            let status = child.wait()?;
            return Ok(if is_late { End::Late } else { End::Ended(status) });
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sleeping(seconds: &str, limit: Duration) -> Watched {
        let child = Command::new("sleep").arg(seconds).spawn();
        Watched::new(child.expect("there is sleep"), limit)
    }

    #[test]
    fn a_process_ends_by_itself_or_when_its_time_is_up_or_when_nobody_wants_it() {
        let (long, short) = (Duration::from_secs(60), Duration::from_millis(1));
        let end = |watched: Watched| watched.end().expect("a child");
        assert_eq!(end(sleeping("0", long)).code(), Some(0));
        assert_eq!(end(sleeping("60", short)), End::Late);
        let stopped = sleeping("60", long).stop().expect("a child");
        assert!(
            stopped != End::Late && stopped.code().is_none(),
            "it is killed: {stopped:?}"
        );
    }
}
