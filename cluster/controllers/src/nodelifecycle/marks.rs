//! Keeps the taints that follow from what a node says of itself, at once when it says so.

use k8s_openapi::api::core::v1::Node;
use orrery_api::clock;
use orrery_api::meta::{Object, ObjectKey};
use orrery_client::{Api, Cache, Change, Error, EventKind, Next, Recorder, WorkQueue, process};

use super::taints::{self, Evict};
use crate::informers::Informers;
use crate::{Context, retry};

/// The part that taints by condition.
pub(super) struct Marks {
    nodes: Cache<Node>,
    api: Api<Node>,
    queue: WorkQueue<ObjectKey>,
}

impl Marks {
    pub(super) fn new(context: &Context, informers: &mut Informers, recorder: Recorder) -> Self {
        let queue = retry::queue();
        informers.nodes.on_change({
            let queue = queue.clone();
            move |change| {
                queue.add(change.key());
                if let Change::Updated { old, new } = change
                    && taints::status(old, "Ready") == Some("True")
                    && taints::status(new, "Ready") != Some("True")
                {
                    let message = format!("Node {} status is now: NodeNotReady", new.name());
                    recorder.event(&new.object_reference(), EventKind::Normal, "NodeNotReady", &message);
                }
            }
        });
        Marks {
            nodes: informers.nodes.cache(),
            api: Api::new(&context.client),
            queue,
        }
    }

    pub(super) async fn run(&self) {
        process(self.queue.clone(), |key| self.reconcile(key)).await
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<Next, Error> {
        if let Some(node) = self.nodes.get(&key) {
            put_taints(&self.api, &node, Evict::Leave).await?;
        }
        Ok(Next::Done)
    }
}

/// Brings the node's taints to what they should be; answers whether that took a write.
pub(super) async fn put_taints(api: &Api<Node>, node: &Node, evict: Evict) -> Result<bool, Error> {
    let Some(taints) = taints::plan(node, evict, &clock::now_time()) else {
        return Ok(false);
    };
    let mut node = node.clone();
    node.spec.get_or_insert_default().taints = (!taints.is_empty()).then_some(taints);
    match api.replace(&node).await {
        Err(error) if error.is_not_found() => Ok(false),
        other => other.map(|_| true),
    }
}
