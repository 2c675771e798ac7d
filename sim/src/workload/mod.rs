//! The users: they do what the scenario says, over a link like everybody's, and try again while the server is away.

mod churn;
mod requests;
mod steps;
mod user;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use orrery_api::message::Identity;
use orrery_api::task::TaskGroup;
use orrery_client::{Client, Informer};
use tokio::time::{Instant, sleep};

use crate::choices::Occurrences;
use crate::faults::Waiting;
use crate::link::SimTransport;
use crate::scenario::StepAction;
use crate::world::World;

pub(crate) use requests::{cordon, eviction};
pub use requests::{is_namespaced, named, path_of, plural};
pub(crate) use user::User;

/// The users of a run.
pub struct Workload {
    _tasks: TaskGroup,
    open: Arc<AtomicUsize>,
}

impl Workload {
    /// Lets the users do what the scenario says, when it says so.
    pub fn begin(world: &Arc<World>, start: Instant) -> Self {
        let tasks = TaskGroup::new();
        let steps = &world.scenario.workload;
        let open = Arc::new(AtomicUsize::new(steps.len()));
        let names = Arc::new(Mutex::new(Occurrences::default()));
        for (index, plan) in steps.iter().enumerate() {
            let name = next(&names, &plan.action);
            let random = world
                .random
                .stream_known_as(&format!("step/{name}"), &format!("workload/{index}"));
            let waiting = Waiting::new(world, &plan.moment, &random);
            // Steps of one moment are done in the order they are written in.
            let before = steps[..index].iter().filter(|earlier| earlier.moment == plan.moment);
            let rank = Duration::from_millis(20 * before.count() as u64);
            let (world, action, open, names) = (world.clone(), plan.action.clone(), open.clone(), names.clone());
            tasks.spawn(async move {
                if let StepAction::Churn(churn) = &action {
                    let end = waiting.wait_for_range(start).await;
                    churn::run(&world, churn, end, &random, &names).await;
                } else {
                    let moment = waiting.pinned();
                    waiting.wait(start).await;
                    sleep(rank).await;
                    steps::perform(&User::new(&world, &name), moment, &action).await;
                }
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
        look_on(world, &tasks);
        Workload { _tasks: tasks, open }
    }

    /// How many steps are not done.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// The name of the next step of this kind, for its stream.
fn next(names: &Mutex<Occurrences>, action: &StepAction) -> String {
    names
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .next(action.to_line())
}

/// Somebody who only watches, by a field whose value changes: what ceases to match has to be shown as gone.
fn look_on(world: &Arc<World>, tasks: &TaskGroup) {
    let random = world.random.stream("onlooker");
    let identity = Identity::new("kubernetes-admin", &["system:masters"]);
    let link = SimTransport::new(world, "onlooker", None, "workstation", identity, random.stream("link"));
    let client = Client::new(link, "kubectl").with_limit(Duration::from_secs(10));
    tasks.spawn(
        Informer::<Pod>::new(&client, &random)
            .fields("status.phase=Pending")
            .run(),
    );
}
