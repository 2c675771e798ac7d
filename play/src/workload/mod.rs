//! The users: they do what the scenario says, over a link like everybody's, and try again while the server is away.

mod churn;
mod requests;
mod steps;
mod user;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orrery_api::task::TaskGroup;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::choices::Occurrences;
use crate::scenario::{Moment, StepAction, StepPlan};
use crate::stage::Stage;
use crate::waiting::Waiting;

pub use requests::{cordon, eviction, is_namespaced, named, path_of, plural};
pub use user::{Content, User};

/// From the end of a step to the next of the same moment.
const PAUSE: Duration = Duration::from_millis(20);

/// The users of a run.
pub struct Workload {
    _tasks: TaskGroup,
    open: Arc<AtomicUsize>,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Workload {
    /// Lets the users do what the scenario says, when it says so.
    pub fn begin(stage: &Arc<dyn Stage>, start: Instant) -> Self {
        let tasks = TaskGroup::new();
        let steps = &stage.scenario().workload;
        let open = Arc::new(AtomicUsize::new(steps.len()));
        let wrong: Arc<Mutex<Vec<String>>> = Arc::default();
        let names = Arc::new(Mutex::new(Occurrences::default()));
        let (ends, done): (Vec<_>, Vec<_>) = steps.iter().map(|_| watch::channel(false)).unzip();
        for ((index, plan), end) in steps.iter().enumerate().zip(ends) {
            let name = next(&names, &plan.action);
            let random = stage
                .random()
                .stream_known_as(&format!("step/{name}"), &format!("workload/{index}"));
            let waiting = Waiting::new(stage, &plan.moment, &random);
            // Steps of one moment are done in the order they are written in, but for users who do not rest.
            let is_before = |earlier: &StepPlan| {
                earlier.moment == plan.moment
                    && !matches!(plan.moment, Moment::Between(_))
                    && !matches!(earlier.action, StepAction::Churn(_))
            };
            let before = steps[..index].iter().rposition(is_before);
            let mut before = before.map(|earlier| done[earlier].clone());
            let (stage, action, open, names) = (stage.clone(), plan.action.clone(), open.clone(), names.clone());
            let wrong = wrong.clone();
            tasks.spawn(async move {
                if let StepAction::Churn(churn) = &action {
                    let end = waiting.wait_for_range(start).await;
                    churn::run(&stage, churn, end, &random, &names).await;
                } else {
                    let moment = waiting.pinned();
                    waiting.wait(start).await;
                    if let Some(before) = &mut before {
                        // Whoever ends without a word is no reason to wait.
                        let _ = before.wait_for(|done| *done).await;
                        sleep(PAUSE).await;
                    }
                    let told = steps::perform(&User::new(&stage, &name), moment, &action).await;
                    wrong.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
                }
                open.fetch_sub(1, Ordering::Relaxed);
                end.send_replace(true);
            });
        }
        Workload {
            _tasks: tasks,
            open,
            wrong,
        }
    }

    /// What was done that must be refused, and how many steps are not done yet; nothing when all is as it should be.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match self.open.load(Ordering::Relaxed) {
            0 => {}
            open => missing.push(format!("{open} steps of the workload are not done")),
        }
        missing
    }
}

/// The name of the next step of this kind, for its stream.
fn next(names: &Mutex<Occurrences>, action: &StepAction) -> String {
    names
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .next(action.to_line())
}
