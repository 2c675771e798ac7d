//! The pods of the node: who has a worker, who is taken, and what is left over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Node, NodeStatus, Pod};
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::mutant;
use orrery_api::task::TaskGroup;
use orrery_client::{Cache, EventKind};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::admission::{admit, counts, was_admitted};
use crate::context::Context;
use crate::node::registration;
use crate::runtime::PodIdentity;
use crate::view::{api_phase, identity, is_terminal};
use crate::worker::{Desired, Entry, Worker};

/// What the kubelet hears of.
pub enum Message {
    /// A pod is there, or has changed.
    Pod(Arc<Pod>),
    /// The API no longer has a pod.
    Gone(Arc<Pod>),
    /// The runtime has something else of pods with these uids than before.
    Observed(Vec<String>),
    /// A worker has nothing left to do.
    Over(String),
}

/// The pods of the node and their workers, by uid.
pub struct Pods {
    context: Arc<Context>,
    pods: Cache<Pod>,
    node: Cache<Node>,
    entries: Mutex<BTreeMap<String, Arc<Entry>>>,
    messages: tokio::sync::mpsc::UnboundedSender<Message>,
}

impl Pods {
    /// The pods of a node, none yet.
    pub fn new(
        context: Arc<Context>,
        pods: Cache<Pod>,
        node: Cache<Node>,
        messages: tokio::sync::mpsc::UnboundedSender<Message>,
    ) -> Self {
        Pods {
            context,
            pods,
            node,
            entries: Mutex::default(),
            messages,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens for ever.
    pub async fn run(&self, mut messages: UnboundedReceiver<Message>) {
        let workers = TaskGroup::new();
        // Before both are known nothing can be told from something left over.
        self.pods.wait_synced().await;
        // Nobody is taken before it is known whom the node's labels let in.
        self.node.wait_synced().await;
        self.context.observer.look().await;
        let all = self.pods.list().into_iter().map(Message::Pod).collect();
        let observed = Message::Observed(self.context.observer.uids());
        self.take(all, &workers);
        self.take(vec![observed], &workers);
        while let Some(first) = messages.recv().await {
            let mut batch = vec![first];
            while let Ok(message) = messages.try_recv() {
                batch.push(message);
            }
            self.take(batch, &workers);
        }
    }

    fn take(&self, batch: Vec<Message>, workers: &TaskGroup) {
        let mut pods: BTreeMap<String, Arc<Pod>> = BTreeMap::new();
        let mut gone: BTreeMap<String, Arc<Pod>> = BTreeMap::new();
        let mut observed = Vec::new();
        for message in batch {
            match message {
                Message::Pod(pod) => {
                    pods.insert(pod.uid().to_owned(), pod);
                }
                Message::Gone(pod) => {
                    gone.insert(pod.uid().to_owned(), pod);
                }
                Message::Observed(uids) => observed.extend(uids),
                Message::Over(uid) => {
                    self.lock().remove(&uid);
                }
            }
        }
        // A uid that is gone never comes back.
        pods.retain(|uid, _| !gone.contains_key(uid));
        for (uid, pod) in gone {
            self.end(&uid, pod);
        }
        // Those that run already go first, then the older ones.
        let mut pods: Vec<(bool, Arc<Pod>)> = pods
            .into_values()
            .map(|pod| {
                let in_runtime = !self.context.observer.last(pod.uid()).is_empty();
                (!was_admitted(&pod, in_runtime), pod)
            })
            .collect();
        pods.sort_by(|(a_new, a), (b_new, b)| (a_new, age(a)).cmp(&(b_new, age(b))));
        for (new, pod) in pods {
            self.set(pod, new, workers);
        }
        for uid in observed {
            self.observed(&uid, workers);
        }
    }

    fn set(&self, pod: Arc<Pod>, new: bool, workers: &TaskGroup) {
        let uid = pod.uid().to_owned();
        let known = self.lock().get(&uid).cloned();
        if let Some(entry) = known {
            entry.change(|desired| {
                // Messages queued before the first list may be older than it.
                let newer = desired
                    .pod
                    .as_ref()
                    .is_none_or(|known| known.revision() <= pod.revision());
                if newer && !desired.gone {
                    desired.pod = Some(pod);
                }
            });
            return;
        }
        // A message that waited while the pod went has no pod in the cache any more.
        let current = self.pods.get(&pod.key()).is_some_and(|current| current.uid() == uid);
        if !current {
            return;
        }
        let mut refused = None;
        if new && !pod.is_terminating() && !is_terminal(api_phase(&pod)) {
            let others: Vec<Arc<Pod>> = self
                .lock()
                .values()
                .map(|entry| entry.desired())
                .filter(|desired| !desired.gone && desired.refused.is_none())
                .filter_map(|desired| desired.pod)
                .map(|pod| self.context.reporter.newest(&pod))
                .filter(|pod| counts(pod))
                .collect();
            let others = others.iter().map(|pod| &**pod);
            if let Err(refusal) = admit(&pod, others, &self.context.allocatable, &self.node())
                && !mutant::active("O173")
            {
                self.context
                    .pod_event(&pod, EventKind::Warning, &refusal.reason, &refusal.message);
                refused = Some(refusal);
            }
        }
        let desired = Desired {
            identity: identity(&pod),
            pod: Some(pod),
            gone: false,
            refused,
        };
        self.employ(desired, workers);
    }

    /// The node; while the API has none, as it will be registered. Source: `getNodeAnyWay` of Kubernetes' kubelet.
    fn node(&self) -> Arc<Node> {
        let options = &self.context.options;
        let known = self.node.get(&ObjectKey::new("", &options.node_name));
        known.unwrap_or_else(|| Arc::new(registration(options, NodeStatus::default())))
    }

    fn end(&self, uid: &str, pod: Arc<Pod>) {
        let entry = self.lock().get(uid).cloned();
        match entry {
            Some(entry) => entry.change(|desired| {
                // The last state seen tells how long its containers may take.
                let older = desired
                    .pod
                    .as_ref()
                    .is_none_or(|known| known.revision() <= pod.revision());
                if older {
                    desired.pod = Some(pod);
                }
                desired.gone = true;
            }),
            None => self.context.reporter.forget(uid),
        }
    }

    fn observed(&self, uid: &str, workers: &TaskGroup) {
        if let Some(entry) = self.lock().get(uid) {
            entry.wake.notify_one();
            return;
        }
        let sandboxes = self.context.observer.last(uid);
        let Some(first) = sandboxes.first() else { return };
        let in_api = self.pods.get(&ObjectKey::new(&first.pod.namespace, &first.pod.name));
        if in_api
            .as_ref()
            .is_some_and(|pod| pod.uid() == uid || mutant::active("B105"))
        {
            // Its message is on the way.
            return;
        }
        let bare = sandboxes.iter().all(|sandbox| sandbox.containers.is_empty());
        if bare && in_api.is_none() && mutant::active("O21") {
            return;
        }
        let identity: PodIdentity = first.pod.clone();
        self.employ(
            Desired {
                identity,
                pod: None,
                gone: false,
                refused: None,
            },
            workers,
        );
    }

    fn employ(&self, desired: Desired, workers: &TaskGroup) {
        let uid = desired.identity.uid.clone();
        let entry = Arc::new(Entry::new(desired));
        self.lock().insert(uid.clone(), entry.clone());
        let worker = Worker::new(self.context.clone(), entry);
        let messages = self.messages.clone();
        workers.spawn(async move {
            worker.run().await;
            let _ = messages.send(Message::Over(uid));
        });
    }
}

/// Older pods sort first.
fn age(pod: &Pod) -> (Option<jiff::Timestamp>, &str) {
    (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.uid())
}
