//! Binding: telling the API server where a pod goes, and finding out whether it heard.
//!
//! A binding whose answer was lost may have happened, or may still happen. The pod stays counted on its node and the
//! same binding is sent again until the API server says what is true: another node is thought of only when it says that
//! the pod has none.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::mutant;
use orrery_client::{Error, EventKind};
use tokio::time::sleep;

use crate::affinity::{is_cordoned, repelling_taint};
use crate::handlers::node_of;
use crate::queue::Event;
use crate::{LONGEST_PAUSE, PAUSE, Scheduler};

/// How an attempt to bind ended.
enum Bound {
    /// The pod is on this node.
    On(String),
    /// The pod has no node and will not get this one.
    Not(String),
    /// The pod is gone.
    Gone,
    /// Nobody knows yet.
    Unknown,
}

impl Scheduler {
    /// Binds an assumed pod; the node is the one with `node_uid`, no namesake.
    pub(crate) async fn bind(self: Arc<Self>, pod: Arc<Pod>, node: String, node_uid: String) {
        let mut pause = PAUSE;
        let mut sent = false;
        loop {
            match self.try_bind(&pod, &node, &node_uid, &mut sent).await {
                Bound::On(on) => {
                    self.bound(&pod, &on, on == node);
                    return;
                }
                Bound::Gone => {
                    self.forget(&pod);
                    self.queue.remove(pod.uid());
                    return;
                }
                Bound::Not(why) => {
                    let message = format!("binding rejected: {why}");
                    self.recorder.event(
                        &pod.object_reference(),
                        EventKind::Warning,
                        "FailedScheduling",
                        &message,
                    );
                    self.forget(&pod);
                    self.queue.retry(pod.uid());
                    return;
                }
                Bound::Unknown => sleep(pause).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_bind(&self, pod: &Pod, node: &str, node_uid: &str, sent: &mut bool) -> Bound {
        // The cache may show a node that is gone, or was: the API server does not check that when it binds.
        match self.node_api.get(&ObjectKey::new("", node)).await {
            Ok(live) if live.uid() == node_uid && !live.is_terminating() => {
                // A request that was lost is sent again half a minute later: the node may keep the pod away by now.
                let repels = |spec: &PodSpec| is_cordoned(spec, &live) || repelling_taint(spec, &live).is_some();
                if *sent && pod.spec.as_ref().is_some_and(repels) && !mutant::active("O241") {
                    return self.refused(pod, "the node keeps the pod away by now").await;
                }
            }
            Ok(_) => {
                return self
                    .refused(pod, "the node is another one now, or is being deleted")
                    .await;
            }
            Err(error) if error.is_not_found() && (mutant::is_on("B28") || mutant::is_on("O03")) => {}
            Err(error) if error.is_not_found() => return self.refused(pod, "the node is gone").await,
            // What was sent may yet be heard: it must not be sent to another node.
            Err(_) if *sent => return Bound::Unknown,
            // The answer may have been missed for half a minute, and the choice be old by now: it is made anew.
            Err(error) => return Bound::Not(format!("the node cannot be read: {}", error.words())),
        }
        let metadata = ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        };
        let target = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        };
        let again = std::mem::replace(sent, true);
        match self
            .pod_api
            .post_subresource(&pod.key(), "binding", &Binding { metadata, target })
            .await
        {
            Ok(()) => Bound::On(node.to_owned()),
            Err(error) if error.outcome_unknown() => Bound::Unknown,
            // The server did not even look at it.
            Err(Error::Transport(_)) => Bound::Unknown,
            Err(error) if again || error.is_conflict() || error.is_not_found() => {
                self.refused(pod, &error.words()).await
            }
            Err(error) => Bound::Not(error.words()),
        }
    }

    /// What is true of a pod whose binding was refused: an earlier one may have been heard.
    async fn refused(&self, pod: &Pod, why: &str) -> Bound {
        match self.pod_api.get(&pod.key()).await {
            Ok(live) if live.uid() != pod.uid() => Bound::Gone,
            Ok(live) => match node_of(&live) {
                // Even one that is being deleted takes its room until it is gone.
                Some(on) => Bound::On(on.to_owned()),
                None if live.is_terminating() => Bound::Gone,
                None => Bound::Not(why.to_owned()),
            },
            Err(error) if error.is_not_found() => Bound::Gone,
            Err(_) => Bound::Unknown,
        }
    }

    /// The pod is on `node`. The cache will say so too; until then it is counted as what it is.
    fn bound(&self, pod: &Arc<Pod>, node: &str, by_us: bool) {
        if !by_us {
            // Somebody else was quicker: it must count where it is. Unless the cache has told of its end meanwhile.
            let mut state = self.state();
            if state.is_placed(pod.uid()) {
                state.confirm(pod, node);
            }
        }
        self.queue.remove(pod.uid());
        self.told().remove(pod.uid());
        if by_us {
            let message = format!("Successfully assigned {} to {node}", pod.key());
            self.recorder
                .event(&pod.object_reference(), EventKind::Normal, "Scheduled", &message);
        }
    }

    /// The pod does not count on the node that it was to have any more: there is room for another.
    fn forget(&self, pod: &Pod) {
        if self.state().forget(pod.uid()) {
            self.queue.happened(Event::PodGone);
        }
    }
}
