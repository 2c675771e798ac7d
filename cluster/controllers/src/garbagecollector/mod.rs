//! Deletes what belongs to nobody any more, and ends the deletions that wait for dependents.
//!
//! *Observe*: the [`graph`] that the informers draw says whom to look at; what is decided rests on the server's newest
//! word: the object itself, each of its owners by uid, and for owners that wait, lists of all that may depend on them.
//! *Plan*: [`judgement`]. *Act*: by patches and deletes that hold only for the revision that was judged.
//!
//! A new process, or one whose informers lag, therefore looks at too much but deletes nothing that has a living owner.

mod graph;
mod judgement;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orrery_api::meta::{ObjectKey, has_finalizer};
use orrery_api::mutant;
use orrery_client::{DeleteParams, Error, Next, Patch, WorkQueue, process_with};
use serde_json::json;

use crate::informers::{AnyShared, Informers};
use crate::kinds::{self, Kind};
use crate::{Context, retry};
use graph::{FOREGROUND, Graph, Node, ORPHAN};
use judgement::{Owner, Verdict};

/// When to look again at an owner whose dependents take their time.
const PAUSE: Duration = Duration::from_secs(2);
/// When to look again at an object one of whose owners lives and has not been heard of.
const UNHEARD: Duration = Duration::from_secs(30);
/// How many absent owners are remembered: kube-controller-manager's number.
const MEMORY: usize = 500;

/// Deletes what belongs to nobody any more.
pub(crate) struct GarbageCollector {
    kinds: Vec<Box<dyn Kind>>,
    graph: Arc<Mutex<Graph>>,
    queue: WorkQueue<String>,
    absent: Mutex<Absent>,
    workers: usize,
}

/// Owners that the server has said are gone: a uid never comes back, so that it need not be asked twice.
#[derive(Default)]
struct Absent {
    known: BTreeSet<String>,
    order: VecDeque<String>,
}

impl Absent {
    fn insert(&mut self, uid: &str) {
        if !self.known.insert(uid.to_owned()) {
            return;
        }
        self.order.push_back(uid.to_owned());
        if self.order.len() > MEMORY
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl GarbageCollector {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(context: &Context, informers: &mut Informers) -> Self {
        let collector = GarbageCollector {
            kinds: kinds::collected(
                &context.client.clone().named("generic-garbage-collector"),
                &context.options.custom_kinds,
            ),
            graph: Arc::default(),
            queue: retry::queue(),
            absent: Mutex::default(),
            workers: context.options.workers,
        };
        collector.watch(&mut informers.pods);
        collector.watch(&mut informers.replica_sets);
        collector.watch(&mut informers.deployments);
        collector.watch(&mut informers.services);
        collector.watch(&mut informers.endpoints);
        collector.watch(&mut informers.endpoint_slices);
        collector.watch(&mut informers.config_maps);
        collector.watch(&mut informers.secrets);
        collector.watch(&mut informers.service_accounts);
        collector.watch(&mut informers.leases);
        collector.watch(&mut informers.namespaces);
        collector.watch(&mut informers.nodes);
        for shared in &mut informers.custom {
            collector.watch(&mut **shared);
        }
        collector
    }

    fn watch(&self, shared: &mut dyn AnyShared) {
        let (group, name) = shared.names();
        let Some(kind) = self
            .kinds
            .iter()
            .position(|kind| kind.kind() == name && kind.group() == group)
        else {
            return;
        };
        let (graph, queue) = (self.graph.clone(), self.queue.clone());
        shared.on_metadata(Box::new(move |meta, is_gone| {
            let uid = meta.uid.as_deref().unwrap_or_default();
            let mut graph = graph.lock().unwrap_or_else(PoisonError::into_inner);
            let look = if is_gone {
                graph.remove(uid)
            } else {
                graph.put(uid, Node::of(kind, meta))
            };
            drop(graph);
            for uid in look {
                queue.add(uid);
            }
        }));
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        process_with(self.workers, &self.queue, |uid| self.reconcile(uid)).await;
    }

    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn reconcile(&self, uid: String) -> Result<Next, Error> {
        let known = {
            let graph = self.graph();
            graph
                .get(&uid)
                .filter(|node| node.waits || !graph.is_kept(node))
                .cloned()
        };
        let Some(node) = known else { return Ok(Next::Done) };
        let is_known = |owner: &OwnerReference| self.graph().get(&owner.uid).is_some();
        if !node.owners.is_empty() && !node.owners.iter().any(is_known) && mutant::active("B74") {
            let params = DeleteParams {
                uid: Some(uid),
                ..DeleteParams::default()
            };
            self.kinds[node.kind].delete(&node.key, &params).await?;
            return Ok(Next::Done);
        }
        let kind = &*self.kinds[node.kind];
        let Some(meta) = kind
            .get(&node.key)
            .await?
            .filter(|meta| meta.uid.as_deref() == Some(&uid))
        else {
            return Ok(Next::Done);
        };
        if meta.deletion_timestamp.is_none() {
            return self.look_at(kind, &meta).await;
        }
        if has_finalizer(&meta, ORPHAN) {
            return self.set_free(kind, &meta).await;
        }
        if has_finalizer(&meta, FOREGROUND) {
            return self.wait_for_dependents(kind, &meta).await;
        }
        Ok(Next::Done)
    }

    /// Judges an object by its owners.
    async fn look_at(&self, kind: &dyn Kind, meta: &ObjectMeta) -> Result<Next, Error> {
        let mut owners = Vec::new();
        for reference in meta.owner_references.iter().flatten() {
            owners.push(self.owner(kind, meta, reference).await?);
        }
        let uid = meta.uid.as_deref().unwrap_or_default();
        let (has_dependents, circle) = {
            let graph = self.graph();
            (
                graph.dependents_of(uid).next().is_some(),
                graph.has_waiting_dependent(uid),
            )
        };
        match judgement::judge(meta, &owners, has_dependents, circle) {
            // An informer that lists anew never shows an owner that comes and goes meanwhile: its end is looked for.
            Verdict::Keep if self.has_unheard_owner(kind, meta) => return Ok(Next::After(UNHEARD)),
            Verdict::Keep => {}
            Verdict::Detach(owners) => drop(patch(kind, meta, json!({"ownerReferences": owners})).await?),
            Verdict::Delete { propagation, unblock } => {
                let mut meta = meta.clone();
                if unblock {
                    let mut owners = meta.owner_references.clone().unwrap_or_default();
                    owners
                        .iter_mut()
                        .for_each(|owner| owner.block_owner_deletion = Some(false));
                    match patch(kind, &meta, json!({"ownerReferences": owners})).await? {
                        Some(patched) => meta = patched,
                        None => return Ok(Next::Done),
                    }
                }
                let params = DeleteParams {
                    uid: meta.uid.clone(),
                    resource_version: meta.resource_version.clone(),
                    propagation: Some(propagation),
                    ..DeleteParams::default()
                };
                kind.delete(&ObjectKey::of(&meta), &params).await?;
            }
        }
        Ok(Next::Done)
    }

    /// Whether the informers have not shown an owner that they are to show of the object with `meta`.
    fn has_unheard_owner(&self, kind: &dyn Kind, meta: &ObjectMeta) -> bool {
        let graph = self.graph();
        let mut owners = meta.owner_references.iter().flatten();
        owners.any(|owner| self.kind_of_owner(kind, owner).is_some() && graph.get(&owner.uid).is_none())
    }

    /// The kind of an owner of an object of `kind`. Of one that is not collected nobody knows; and no cluster-wide
    /// object can have its owner in a namespace, since the reference does not say in which.
    fn kind_of_owner(&self, kind: &dyn Kind, reference: &OwnerReference) -> Option<&dyn Kind> {
        let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
        let mut kinds = self.kinds.iter().map(|owner| &**owner);
        let owner = kinds.find(|owner| owner.group() == group && owner.kind() == reference.kind);
        owner.filter(|owner| kind.is_namespaced() || !owner.is_namespaced())
    }

    /// What the server says of an owner of the object with `meta`.
    async fn owner(&self, kind: &dyn Kind, meta: &ObjectMeta, reference: &OwnerReference) -> Result<Owner, Error> {
        let Some(owner) = self.kind_of_owner(kind, reference) else {
            return Ok(Owner::Solid);
        };
        let namespace = if owner.is_namespaced() {
            meta.namespace.clone().unwrap_or_default()
        } else {
            String::new()
        };
        // The same uid in another place is another question.
        let place = if mutant::active("O185") {
            reference.uid.clone()
        } else {
            format!(
                "{}/{}/{namespace}/{}/{}",
                reference.api_version, reference.kind, reference.name, reference.uid
            )
        };
        if self.absent().known.contains(&place) {
            return Ok(Owner::Absent);
        }
        match owner.get(&ObjectKey::new(namespace, &reference.name)).await? {
            Some(live) if live.uid.as_deref() == Some(&reference.uid) => {
                let waits = live.deletion_timestamp.is_some() && has_finalizer(&live, FOREGROUND);
                Ok(if waits { Owner::Waiting } else { Owner::Solid })
            }
            _ => {
                self.absent().insert(&place);
                Ok(Owner::Absent)
            }
        }
    }

    fn absent(&self) -> MutexGuard<'_, Absent> {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the deletion of an object that leaves its dependents behind.
    async fn set_free(&self, kind: &dyn Kind, meta: &ObjectMeta) -> Result<Next, Error> {
        let mut dependents = self.dependents(meta).await?;
        if mutant::is_on("O114") {
            // As if the graph knew all dependents.
            let known: BTreeSet<String> = self
                .graph()
                .dependents_of(meta.uid.as_deref().unwrap_or_default())
                .collect();
            dependents.retain(|(_, dependent)| {
                dependent.uid.as_ref().is_some_and(|uid| known.contains(uid)) || !mutant::active("O114")
            });
        }
        for (dependent_kind, dependent) in dependents {
            let mut owners = dependent.owner_references.clone().unwrap_or_default();
            owners.retain(|owner| Some(&owner.uid) != meta.uid.as_ref());
            let freed = patch(dependent_kind, &dependent, json!({"ownerReferences": owners})).await;
            if let Err(error) = freed
                && !(error.is_conflict() && mutant::active("O55"))
            {
                return Err(error);
            }
        }
        remove_finalizer(kind, meta, ORPHAN).await?;
        Ok(Next::Done)
    }

    /// Ends the deletion of an object when its dependents have gone before it.
    async fn wait_for_dependents(&self, kind: &dyn Kind, meta: &ObjectMeta) -> Result<Next, Error> {
        let blocks = |dependent: &ObjectMeta| {
            let mut owners = dependent.owner_references.iter().flatten();
            owners.any(|owner| Some(&owner.uid) == meta.uid.as_ref() && owner.block_owner_deletion == Some(true))
        };
        let mut dependents = self.dependents(meta).await?;
        let is_going = |dependent: &ObjectMeta| dependent.deletion_timestamp.is_some();
        dependents.retain(|(_, own)| blocks(own) && !(is_going(own) && mutant::active("O205")));
        if dependents.is_empty() {
            remove_finalizer(kind, meta, FOREGROUND).await?;
            return Ok(Next::Done);
        }
        for (_, dependent) in &dependents {
            if dependent.deletion_timestamp.is_none() {
                self.queue.add(dependent.uid.clone().unwrap_or_default());
            }
        }
        Ok(Next::After(PAUSE))
    }

    /// All that names the object with `meta` as its owner, as the server has it now. The graph would not do: what it
    /// has not heard of yet would be lost for good.
    async fn dependents(&self, meta: &ObjectMeta) -> Result<Vec<(&dyn Kind, ObjectMeta)>, Error> {
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let mut dependents = Vec::new();
        for kind in self
            .kinds
            .iter()
            .filter(|kind| namespace.is_empty() || kind.is_namespaced())
        {
            let mut objects = kind.list(namespace).await?;
            objects.retain(|object| {
                object
                    .owner_references
                    .iter()
                    .flatten()
                    .any(|owner| Some(&owner.uid) == meta.uid.as_ref())
            });
            dependents.extend(objects.into_iter().map(|object| (&**kind, object)));
        }
        Ok(dependents)
    }
}

/// Changes the metadata of the object with `meta`, if it still is as it was.
async fn patch(kind: &dyn Kind, meta: &ObjectMeta, mut change: serde_json::Value) -> Result<Option<ObjectMeta>, Error> {
    change["uid"] = json!(meta.uid);
    change["resourceVersion"] = json!(meta.resource_version);
    kind.patch(&ObjectKey::of(meta), &Patch::Merge(json!({"metadata": change})))
        .await
}

async fn remove_finalizer(kind: &dyn Kind, meta: &ObjectMeta, finalizer: &str) -> Result<(), Error> {
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    finalizers.retain(|own| own != finalizer && !mutant::active("O193"));
    patch(kind, meta, json!({"finalizers": finalizers})).await.map(drop)
}
