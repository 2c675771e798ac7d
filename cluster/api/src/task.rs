//! Tasks that belong to somebody: a component's tasks die with it, so that nothing outlives a restart.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until};

/// A set of tasks, aborted when it is dropped.
#[derive(Default)]
pub struct TaskGroup {
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl TaskGroup {
    /// An empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` until it ends or the group is dropped.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        #[allow(clippy::disallowed_methods, reason = "this group owns the task")]
        let handle = tokio::spawn(task);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Finished tasks are swept when the list has doubled, so that a busy group does not grow.
        if tasks.len() == tasks.capacity() {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(handle);
    }

    /// How many tasks still run.
    pub fn running(&self) -> usize {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().filter(|task| !task.is_finished()).count()
    }

    /// Aborts all tasks.
    pub fn abort_all(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

impl Drop for TaskGroup {
    fn drop(&mut self) {
        self.abort_all();
    }
}

/// The limit of [`within`] passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub struct Elapsed;

/// The longest delay that anything waits for: what users write may be longer than any clock counts.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The moment when `delay` has passed; of longer delays than a century, when a century has.
pub fn moment_after(delay: Duration) -> Instant {
    Instant::now() + delay.min(FOR_EVER)
}

/// A moment to wake up at.
///
/// Unlike a fresh `sleep` at every turn of a loop it asks the clock once per moment, however often it is polled: the
/// simulator's timers cannot be taken back, and a watch that is polled for every event would leave one each time.
pub struct Alarm {
    at: Instant,
    sleep: Pin<Box<Sleep>>,
    waker: Option<Waker>,
}

impl Alarm {
    /// An alarm at `at`.
    pub fn at(at: Instant) -> Self {
        Alarm {
            at,
            sleep: Box::pin(sleep_until(at)),
            waker: None,
        }
    }

    /// An alarm when `delay` has passed.
    pub fn after(delay: Duration) -> Self {
        Alarm::at(moment_after(delay))
    }

    /// The moment.
    pub fn moment(&self) -> Instant {
        self.at
    }

    /// Sets another moment.
    pub fn reset(&mut self, at: Instant) {
        if self.at != at {
            *self = Alarm::at(at);
        }
    }

    /// Ready once the moment has come.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.at {
            return Poll::Ready(());
        }
        if self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            return Poll::Pending;
        }
        self.waker = Some(context.waker().clone());
        self.sleep.as_mut().poll(context)
    }

    /// Waits for the moment. Safe to cancel.
    pub async fn passed(&mut self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }
}

/// Runs `work` for at most `limit`.
pub fn within<F: Future>(limit: Duration, work: F) -> Within<F> {
    Within {
        work: Box::pin(work),
        alarm: Alarm::after(limit),
    }
}

/// The future of [`within`].
pub struct Within<F> {
    work: Pin<Box<F>>,
    alarm: Alarm,
}

impl<F: Future> Future for Within<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.work.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        self.alarm.poll(context).map(|()| Err(Elapsed))
    }
}
