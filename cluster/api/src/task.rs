//! Tasks that belong to somebody: a component's tasks die with it, so that nothing outlives a restart.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep};

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

/// Runs `work` for at most `limit`.
///
/// Unlike `tokio::time::timeout` it asks the clock for one wake-up, however often `work` is polled: the simulator's
/// timers cannot be taken back, and a watch that is polled for every event would leave one each time.
pub fn within<F: Future>(limit: Duration, work: F) -> Within<F> {
    let deadline = Instant::now() + limit;
    Within { work: Box::pin(work), alarm: Box::pin(sleep(limit)), deadline, waker: None }
}

/// The future of [`within`].
pub struct Within<F> {
    work: Pin<Box<F>>,
    alarm: Pin<Box<Sleep>>,
    deadline: Instant,
    waker: Option<Waker>,
}

impl<F: Future> Future for Within<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.work.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        if Instant::now() >= self.deadline {
            return Poll::Ready(Err(Elapsed));
        }
        let set = self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
        if !set {
            if self.alarm.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Elapsed));
            }
            self.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}
