//! The users: they do what the scenario says, over a link like everybody's, and try again while the server is away.

mod churn;
mod requests;
mod steps;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use orrery_api::message::Identity;
use orrery_api::task::TaskGroup;
use orrery_client::{Client, Informer};
use tokio::time::{Instant, sleep};

use crate::faults::Waiting;
use crate::link::SimTransport;
use crate::scenario::StepAction;
use crate::world::World;

pub use requests::{path_of, plural};

/// The users of a run.
pub struct Workload {
    _tasks: TaskGroup,
    open: Arc<AtomicUsize>,
}

impl Workload {
    /// Lets the users do what the scenario says, when it says so.
    pub fn begin(world: &Arc<World>, start: Instant) -> Self {
        let tasks = TaskGroup::new();
        let open = Arc::new(AtomicUsize::new(world.scenario.workload.len()));
        for (index, plan) in world.scenario.workload.iter().enumerate() {
            let random = world.random.stream(&format!("workload/{index}"));
            let waiting = Waiting::new(world, &plan.moment, &random);
            let identity = Identity::new("kubernetes-admin", &["system:masters"]);
            let link = SimTransport::new(world, "user", None, "workstation", identity, random.stream("link"));
            let user = steps::User {
                world: world.clone(),
                client: Client::new(link, "kubectl").with_limit(Duration::from_secs(10)),
                random: random.clone(),
            };
            let (action, open) = (plan.action.clone(), open.clone());
            tasks.spawn(async move {
                if let StepAction::Churn(churn) = &action {
                    let end = waiting.wait_for_range(start).await;
                    churn::run(&user, churn, end).await;
                } else {
                    waiting.wait(start).await;
                    // Steps of one moment are done in the order they are written in.
                    sleep(Duration::from_millis(20 * index as u64)).await;
                    steps::perform(&user, &action).await;
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
