//! Telling why a pod fits nowhere: by events, and by the pod's condition `PodScheduled`.
//!
//! Events are recorded as they come. The condition is written by one task a pod, which goes on until the pod says what
//! is newest, or has a node. Each write rests on the pod as it was seen: one that comes late, when the pod has been
//! bound or says something newer, is refused.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::{clock, log, mutant};
use orrery_client::{EventKind, Patch};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{LONGEST_PAUSE, PAUSE, Scheduler, Work};

/// An event that says nothing new is repeated after so long, before the old one expires.
const REPEAT_EVENT: Duration = Duration::from_secs(300);

/// What is told about a pod that fits nowhere.
pub(crate) struct Told {
    /// Why it fits nowhere, as was found last.
    message: String,
    /// When an event last told so.
    since: Instant,
    /// The pod as it was after the last write of its condition.
    written: Option<Arc<Pod>>,
    /// Whether a task sees to it that the pod says so.
    under_way: bool,
}

impl Scheduler {
    /// What is told about each pod that fits nowhere, by uid.
    pub(crate) fn told(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells by an event why the pod fits nowhere, unless that is no news. Answers what is left to do for the pod to
    /// say so too, if no task is at it.
    pub(crate) fn tell(self: &Arc<Self>, pod: &Pod, message: &str) -> Option<Work> {
        let mut told = self.told();
        let known = told.get(pod.uid());
        if known.is_some_and(|known| known.message == message && known.since.elapsed() < REPEAT_EVENT) {
            return None;
        }
        let (written, under_way) = known.map_or((None, false), |known| (known.written.clone(), known.under_way));
        let news = Told {
            message: message.to_owned(),
            since: Instant::now(),
            written,
            under_way: true,
        };
        told.insert(pod.uid().to_owned(), news);
        drop(told);
        let about = pod.object_reference();
        self.recorder
            .event(&about, EventKind::Warning, "FailedScheduling", message);
        if under_way {
            return None;
        }
        let (uid, key) = (pod.uid().to_owned(), pod.key());
        Some(Box::pin(self.clone().write_condition(uid, key)))
    }

    /// Sees to it that the pod says why it fits nowhere, by what is found until then.
    async fn write_condition(self: Arc<Self>, uid: String, key: ObjectKey) {
        let mut pause = PAUSE;
        let mut said: Option<String> = None;
        while let Some((pod, message)) = self.unsaid(&uid, &key, said.as_deref()) {
            match self.pod_api.patch_status(&key, &unschedulable(&pod, &message)).await {
                Ok(written) => {
                    if let Some(known) = self.told().get_mut(&uid) {
                        known.written = Some(written);
                    }
                    said = Some(message);
                    pause = PAUSE;
                }
                // The pod is not as it was seen; the cache will show how it is.
                Err(error) if error.is_conflict() => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    if !error.is_not_found() {
                        log::line(
                            "scheduler",
                            format_args!("cannot write the condition of {key}: {error}"),
                        );
                    }
                    // It is told again with the next change; the pod waits all the same.
                    self.told().remove(&uid);
                    return;
                }
            }
        }
    }

    /// The pod, as far as is known, and what it is to say, if it has not `said` that. `None` when nothing is left to
    /// say: then no task is at it any more.
    fn unsaid(&self, uid: &str, key: &ObjectKey, said: Option<&str>) -> Option<(Arc<Pod>, String)> {
        let cached = self.pods.get(key).filter(|pod| pod.uid() == uid);
        let waits = !self.state().is_placed(uid);
        let Some(cached) = cached.filter(|_| waits) else {
            self.told().remove(uid);
            return None;
        };
        let mut told = self.told();
        let known = told.get_mut(uid)?;
        let written = known.written.clone();
        let newer = written.filter(|pod| pod.revision() > cached.revision());
        let pod = newer.unwrap_or(cached);
        if said == Some(known.message.as_str()) || says(&pod, &known.message) {
            known.under_way = false;
            return None;
        }
        Some((pod, known.message.clone()))
    }
}

/// The pod's condition that says whether it is scheduled.
fn scheduled(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|condition| condition.type_ == "PodScheduled")
}

/// Whether the pod says that it fits nowhere for the reason `message`.
fn says(pod: &Pod, message: &str) -> bool {
    scheduled(pod).is_some_and(|one| {
        one.status == "False"
            && one.reason.as_deref() == Some("Unschedulable")
            && (one.message.as_deref() == Some(message) || mutant::active("O82"))
    })
}

/// The patch that makes the pod, if it is as it was seen, say why it fits nowhere.
fn unschedulable(pod: &Pod, message: &str) -> Patch {
    let since = scheduled(pod)
        .filter(|one| one.status == "False")
        .and_then(|one| one.last_transition_time.clone());
    Patch::Strategic(json!({
        "metadata": {"uid": pod.uid(), "resourceVersion": pod.metadata.resource_version},
        "status": {"conditions": [{
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "observedGeneration": pod.metadata.generation,
            "lastProbeTime": null,
            "lastTransitionTime": since.unwrap_or_else(clock::now_time),
        }]},
    }))
}
