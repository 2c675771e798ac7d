//! Tasks that belong to somebody: a component's tasks die with it, so that nothing outlives a restart.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::task::JoinHandle;

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
