//! Events about objects: recorded without waiting, repeated ones counted instead of repeated.
//!
//! Best effort, as in Kubernetes: events may be lost when the server stays away, and nothing may depend on them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::clock;
use orrery_api::meta::ObjectKey;
use orrery_api::mutant;
use orrery_api::random::Random;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::api::{Api, Patch};
use crate::client::Client;

/// Events waiting to be sent; beyond it the oldest are dropped.
const QUEUE_LIMIT: usize = 1000;
/// Events remembered for counting repetitions.
const MEMORY_LIMIT: usize = 4096;

/// Whether an event tells of the ordinary or of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// The ordinary.
    Normal,
    /// Trouble.
    Warning,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Sameness {
    namespace: String,
    uid: String,
    name: String,
    field: String,
    reason: String,
    message: String,
}

impl Sameness {
    /// Whether the other is the same but for the uid.
    fn is_of_a_namesake(&self, other: &Sameness) -> bool {
        let own = Sameness {
            uid: other.uid.clone(),
            ..self.clone()
        };
        self.uid != other.uid && own == *other
    }

    /// Whether the other is the same but for the message.
    fn says_something_else(&self, other: &Sameness) -> bool {
        let own = Sameness {
            message: other.message.clone(),
            ..self.clone()
        };
        self.message != other.message && own == *other
    }
}

struct Remembered {
    key: ObjectKey,
    count: i32,
}

struct Shared {
    queue: Mutex<VecDeque<(Sameness, Event)>>,
    wake: Notify,
    api: Api<Event>,
    component: String,
    host: Option<String>,
    random: Random,
}

/// Records events of one component. Clones share it.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

impl Recorder {
    /// A recorder for `component`, on `host` if it runs on a node. Nothing is sent until [`run`](Self::run) runs.
    pub fn new(client: &Client, component: &str, host: Option<&str>, random: &Random) -> Self {
        Recorder {
            shared: Arc::new(Shared {
                queue: Mutex::new(VecDeque::new()),
                wake: Notify::new(),
                api: Api::new(client),
                component: component.to_owned(),
                host: host.map(str::to_owned),
                random: random.stream("events"),
            }),
        }
    }

    /// Records that `reason` happened to `about`. Never waits.
    pub fn event(&self, about: &ObjectReference, kind: EventKind, reason: &str, message: &str) {
        let shared = &self.shared;
        let namespace = about.namespace.clone().filter(|namespace| !namespace.is_empty());
        let usual = || if mutant::active("O79") { "" } else { "default" }.to_owned();
        let namespace = namespace.unwrap_or_else(usual);
        let name = about.name.clone().unwrap_or_default();
        let now = clock::now_time();
        // Names tell the order of events of one second: time above, chance below (two may fall on one moment).
        let moment = (clock::now().as_nanosecond() as u64 & !0xffff) | (shared.random.bits() & 0xffff);
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{moment:016x}")),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: about.clone(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            type_: Some(format!("{kind:?}")),
            source: Some(EventSource {
                component: Some(shared.component.clone()),
                host: shared.host.clone(),
            }),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            reporting_component: Some(shared.component.clone()),
            reporting_instance: shared.host.clone(),
            ..Event::default()
        };
        let sameness = Sameness {
            namespace,
            uid: about.uid.clone().unwrap_or_default(),
            name,
            field: about.field_path.clone().unwrap_or_default(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() == QUEUE_LIMIT {
            queue.pop_front();
        }
        queue.push_back((sameness, event));
        drop(queue);
        shared.wake.notify_one();
    }

    /// Sends what is recorded, for ever.
    pub async fn run(&self) {
        let mut memory: BTreeMap<Sameness, Remembered> = BTreeMap::new();
        let mut order: VecDeque<Sameness> = VecDeque::new();
        loop {
            let next = self
                .shared
                .queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let Some((mut sameness, event)) = next else {
                self.shared.wake.notified().await;
                continue;
            };
            if mutant::is_on("O62")
                && let Some(namesake) = memory.keys().find(|known| known.is_of_a_namesake(&sameness))
                && mutant::active("O62")
            {
                sameness.uid.clone_from(&namesake.uid);
            }
            if mutant::is_on("O69")
                && let Some(similar) = memory.keys().find(|known| known.says_something_else(&sameness))
                && mutant::active("O69")
            {
                sameness.message.clone_from(&similar.message);
            }
            if let Some(known) = memory.get_mut(&sameness) {
                let count = known.count + 1;
                let mut change = json!({"count": count});
                if !mutant::active("O80") {
                    change["lastTimestamp"] = json!(event.last_timestamp);
                }
                let patch = Patch::Merge(change);
                match self.shared.api.patch(&known.key, &patch).await {
                    Ok(_) => {
                        known.count = count;
                        continue;
                    }
                    // The event has expired: begin a new one.
                    Err(error) if error.is_not_found() => {
                        memory.remove(&sameness);
                        order.retain(|other| *other != sameness);
                    }
                    Err(_) => continue,
                }
            }
            if self.send(&event).await {
                if order.len() == MEMORY_LIMIT
                    && let Some(oldest) = order.pop_front()
                {
                    memory.remove(&oldest);
                }
                order.push_back(sameness.clone());
                memory.insert(
                    sameness,
                    Remembered {
                        key: ObjectKey::of(&event.metadata),
                        count: 1,
                    },
                );
            }
        }
    }

    /// Sends a new event, with three tries: a server that restarts is away for a moment only.
    async fn send(&self, event: &Event) -> bool {
        for pause in [0, 1, 5] {
            sleep(Duration::from_secs(pause)).await;
            match self.shared.api.create(event).await {
                Ok(_) => return true,
                Err(error) if error.is_already_exists() => return true,
                // The namespace is gone or going, or the event is refused for good.
                Err(crate::Error::Api(error)) if error.code() < 500 && error.code() != 429 => return false,
                Err(_) => {}
            }
        }
        false
    }
}
