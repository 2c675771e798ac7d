//! Replica sets: exactly as many living pods as wanted.
//!
//! *Observe*: the cached pods of the set, and what was asked for and is not seen yet ([`expectations`]). *Plan*:
//! [`plan`]. *Act*: [`act`], which creates under names chosen here and deletes by uid.
//!
//! Three things keep a stale cache from making too many pods: nothing asked for is forgotten before it is seen, or
//! looked up; a set that another process may have worked on is counted once in the API server before this one creates;
//! and how many are wanted is read from there before any is made or lost.

mod act;
mod expectations;
mod plan;
mod ranking;
mod readiness;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::Resource as _;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use orrery_api::clock;
use orrery_api::labels::Selector;
use orrery_api::log;
use orrery_api::meta::{Object, ObjectKey, controller_of};
use orrery_api::mutant;
use orrery_api::random::Random;
use orrery_client::{Api, Cache, Change, DeleteParams, Error, Next, Patch, Recorder, WorkQueue, process_with};
use tokio::time::Instant;

use self::expectations::Expectations;
use self::plan::{Failure, Scale};
use self::readiness::Readiness;
use crate::Context;
use crate::informers::{BY_OWNER, Informers};
use crate::ownership::{self, Claim};

/// How long after a lost race the set is looked at again, if no event says so before.
const AFTER_CONFLICT: Duration = Duration::from_secs(1);

/// A wish that was read so long ago is read again before pods are made or lost for it: answers may take long to come.
const FRESH: Duration = Duration::from_secs(5);
/// How soon a set is looked at again that could not be finished because what was read is no longer fresh.
const AT_ONCE: Duration = Duration::from_millis(10);

/// How soon the cache is looked at again for pods that are there and not shown by it yet: when it is filled anew,
/// nobody tells that one of them is gone already.
const GLANCE: Duration = Duration::from_secs(2);

/// The pauses after failures: short enough that a set is soon whole again when a long outage ends.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Keeps the number of pods of every replica set.
pub(crate) struct ReplicaSetController {
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    set_api: Api<ReplicaSet>,
    pod_api: Api<Pod>,
    queue: WorkQueue<ObjectKey>,
    expectations: Arc<Expectations>,
    readiness: Arc<Readiness>,
    recorder: Recorder,
    random: Random,
    workers: usize,
}

impl ReplicaSetController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(context: &Context, informers: &mut Informers) -> Self {
        let queue = WorkQueue::with_backoff(FIRST_PAUSE, LONGEST_PAUSE);
        let expectations = Arc::new(Expectations::default());
        let sets = informers.replica_sets.cache();
        let (wake, seen) = (queue.clone(), expectations.clone());
        informers.replica_sets.on_change(move |change| {
            if let Change::Deleted(set) = change {
                seen.forget(set.uid());
            }
            wake.add(change.key());
        });
        let (wake, seen, known) = (queue.clone(), expectations.clone(), sets.clone());
        let readiness = Arc::new(Readiness::default());
        let watched = readiness.clone();
        informers.pods.on_change(move |change| {
            match change {
                Change::Deleted(pod) => watched.forget(pod.uid()),
                _ => watched.saw(change.object(), clock::now()),
            }
            pod_changed(change, &wake, &seen, &known);
        });
        ReplicaSetController {
            sets,
            pods: informers.pods.cache(),
            set_api: Api::new(&context.client),
            pod_api: Api::new(&context.client),
            queue,
            expectations,
            readiness,
            recorder: context.recorder("replicaset-controller"),
            random: context.random.stream("replicaset-controller"),
            workers: context.options.workers,
        }
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        process_with(self.workers, &self.queue, |key| self.reconcile(key)).await;
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<Next, Error> {
        let Some(set) = self.sets.get(&key) else {
            return Ok(Next::Done);
        };
        let Some(selector) = selector(&set) else {
            log::line("replicaset", format_args!("{key} has a selector that cannot be read"));
            return Ok(Next::Done);
        };
        // Before the pods are read: what comes to the cache while answers are waited for is not among them.
        let seen = self.pods.revision();
        let pods = self.claim(&set, &selector).await?;
        self.expectations.creates_seen(set.uid(), seen);
        let result = if set.is_terminating() {
            Ok(None)
        } else {
            self.scale(&set, &pods, &selector).await
        };
        let failure = result.as_ref().err().and_then(|error| error.failure.as_ref());
        // The status is told even when scaling failed: the failure is part of it.
        let later = self.tell(&set, &pods, failure).await?;
        match result {
            Ok(look_again) => Ok([later, look_again]
                .into_iter()
                .flatten()
                .min()
                .map_or(Next::Done, Next::After)),
            Err(error) => Err(error.cause),
        }
    }

    /// The pods of the set, after adopting and releasing.
    async fn claim(&self, set: &ReplicaSet, selector: &Selector) -> Result<Vec<Arc<Pod>>, Error> {
        let mut pods = Vec::new();
        let mut owner_checked = false;
        let candidates = self.pods.by_index(BY_OWNER, set.uid());
        let orphans = self
            .pods
            .by_index(BY_OWNER, "")
            .into_iter()
            .filter(|pod| pod.namespace() == set.namespace());
        for pod in candidates.into_iter().chain(orphans) {
            let patch = match ownership::claim(&*pod, set.uid(), set.is_terminating(), selector) {
                Claim::Own => {
                    pods.push(pod);
                    continue;
                }
                // Finished pods are nobody's replicas.
                Claim::Adopt if !crate::pods::is_finished(&pod) && !mutant::active("O214") => {
                    // The cache may not know yet that the set is going; an adopted pod would go with it.
                    if !owner_checked {
                        let live = self.set_api.get(&set.key()).await?;
                        if live.uid() != set.uid() || live.is_terminating() {
                            return Ok(pods);
                        }
                        owner_checked = true;
                    }
                    ownership::adoption(set, &*pod)
                }
                Claim::Release if mutant::active("O213") => {
                    let delete = DeleteParams::exactly(&*pod);
                    self.pod_api.delete(&pod.key(), &delete).await?;
                    continue;
                }
                Claim::Release => ownership::release(set.uid(), &*pod),
                Claim::Adopt | Claim::Ignore => continue,
            };
            let adopts = controller_of(&pod.metadata).is_none();
            match self.pod_api.patch(&pod.key(), &Patch::Strategic(patch)).await {
                Ok(adopted) if adopts => pods.push(adopted),
                Ok(_) => {}
                // It has another controller, or is gone.
                Err(error) if error.is_invalid() || self.pod_api.is_gone(&pod, &error).await? => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pods)
    }

    /// Brings the number of pods to what is wanted; answers when to look again at what is still open.
    async fn scale(
        &self,
        set: &ReplicaSet,
        pods: &[Arc<Pod>],
        selector: &Selector,
    ) -> Result<Option<Duration>, act::Failed> {
        let related = || self.related(set);
        let plan = |set: &ReplicaSet, pods: &[Arc<Pod>]| {
            plan::plan(plan::replicas(set), pods, &self.expectations.of(set.uid()), related)
        };
        let overdue = self
            .expectations
            .of(set.uid())
            .creates
            .values()
            .any(|open| open.due() <= Instant::now());
        let live;
        let set = if overdue || plan(set, pods) != Scale::Keep {
            // The cache may show an older wish, or a set that is gone: pods are made and lost only for what stands now.
            live = match self.set_api.get(&set.key()).await {
                Ok(live) if live.uid() == set.uid() && !live.is_terminating() => live,
                Ok(_) => return Ok(None),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            &live
        } else {
            set
        };
        let read = Instant::now();
        self.settle(set, &self.renewed(set, pods, selector)).await?;
        // What was expected may have come while answers were waited for: only pods of this very moment fit what is
        // still expected now.
        let mut scale = plan(set, &self.renewed(set, pods, selector));
        if matches!(scale, Scale::Create(_)) && self.may_have_a_past(set) {
            self.count(set, selector).await?;
            scale = plan(set, &self.renewed(set, pods, selector));
        }
        if scale != Scale::Keep && read.elapsed() > FRESH {
            // What was waited for took so long that the wish may be another by now.
            return Ok(Some(AT_ONCE));
        }
        match scale {
            Scale::Keep => {}
            Scale::Create(count) => self.create(set, count, read + FRESH).await?,
            Scale::Delete(victims) => self.delete(set, victims).await?,
        }
        let open = self.expectations.of(set.uid());
        let due = open
            .creates
            .values()
            .chain(open.deletes.values().map(|(_, open)| open))
            .map(|open| open.due())
            .min();
        let later = due.map(|due| due.saturating_duration_since(Instant::now()).max(AT_ONCE));
        let glance = open.creates.values().any(|open| open.revision > 0).then_some(GLANCE);
        Ok(later.into_iter().chain(glance).min())
    }

    /// The set's pods as the cache shows them now; of those claimed before also the ones whose adoption it does not
    /// show.
    fn renewed(&self, set: &ReplicaSet, claimed: &[Arc<Pod>], selector: &Selector) -> Vec<Arc<Pod>> {
        let owned = |pod: &Arc<Pod>| {
            matches!(
                ownership::claim(&**pod, set.uid(), set.is_terminating(), selector),
                Claim::Own
            )
        };
        let mut pods = self.pods.by_index(BY_OWNER, set.uid());
        // What is still as it was claimed needs no second look: there are many.
        let unchanged: BTreeSet<_> = pods.iter().map(Arc::as_ptr).collect();
        pods.retain(owned);
        let adopted = claimed.iter().filter(|pod| {
            if unchanged.contains(&Arc::as_ptr(pod)) {
                return false;
            }
            let cached = self.pods.get(&pod.key());
            cached.is_some_and(|cached| cached.uid() == pod.uid() && controller_of(&cached.metadata).is_none())
        });
        pods.extend(adopted.cloned());
        pods
    }

    /// Whether another process may have made pods for this set that the cache does not show.
    fn may_have_a_past(&self, set: &ReplicaSet) -> bool {
        let worked_on = set
            .status
            .as_ref()
            .is_some_and(|status| status.observed_generation.is_some());
        worked_on && !self.expectations.of(set.uid()).counted && !mutant::is_on("B40")
    }

    /// The active pods of all sets with the set's own owner.
    fn related(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let mut sets = match controller_of(&set.metadata) {
            Some(owner) => self.sets.by_index(BY_OWNER, &owner.uid),
            None => Vec::new(),
        };
        if sets.iter().all(|sibling| sibling.uid() != set.uid()) {
            sets.push(Arc::new(set.clone()));
        }
        let pods = sets.iter().flat_map(|set| self.pods.by_index(BY_OWNER, set.uid()));
        pods.filter(|pod| crate::pods::is_active(pod)).collect()
    }

    /// Writes the status if it changed; answers when it will change by time alone.
    async fn tell(
        &self,
        set: &ReplicaSet,
        pods: &[Arc<Pod>],
        failure: Option<&Failure>,
    ) -> Result<Option<Duration>, Error> {
        let unseen = !self.expectations.of(set.uid()).creates.is_empty();
        let now = clock::now();
        let ready_for = |pod: &Pod| self.readiness.of(pod, now);
        let (status, later) = plan::status(set, pods, unseen, failure, now, ready_for);
        if plan::same_status(set.status.as_ref(), &status) {
            return Ok(later);
        }
        let set = ReplicaSet {
            status: Some(status),
            ..set.clone()
        };
        match self.set_api.replace_status(&set).await {
            Ok(_) => Ok(later),
            // The cache is behind; its next event wakes the set again.
            Err(error) if error.is_conflict() => Ok(Some(later.unwrap_or(AFTER_CONFLICT).min(AFTER_CONFLICT))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The set's selector, if it can be read and is not empty: an empty one would match every pod.
fn selector(set: &ReplicaSet) -> Option<Selector> {
    let selector = &set.spec.as_ref()?.selector;
    if selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty())
        && selector
            .match_expressions
            .as_ref()
            .is_none_or(|expressions| expressions.is_empty())
    {
        return None;
    }
    Selector::from_label_selector(selector).ok()
}

/// Wakes the sets that a change to a pod concerns, and settles what was expected of it.
fn pod_changed(
    change: &Change<Pod>,
    queue: &WorkQueue<ObjectKey>,
    expectations: &Expectations,
    sets: &Cache<ReplicaSet>,
) {
    let pod = change.object();
    let gone = matches!(change, Change::Deleted(_));
    let owner = controller_of(&pod.metadata);
    if let Some(owner) = owner.filter(|owner| owner.kind == ReplicaSet::KIND) {
        expectations.create_seen(&owner.uid, pod.name(), pod.revision());
        if gone || pod.is_terminating() {
            expectations.delete_settled(&owner.uid, pod.uid());
        }
        queue.add(ObjectKey::new(pod.namespace(), owner.name.clone()));
    }
    let old = match change {
        Change::Updated { old, .. } => Some(old),
        _ => None,
    };
    let old_owner = old.and_then(|old| controller_of(&old.metadata));
    if let Some(lost) =
        old_owner.filter(|old| owner.is_none_or(|owner| owner.uid != old.uid) && old.kind == ReplicaSet::KIND)
    {
        queue.add(ObjectKey::new(pod.namespace(), lost.name.clone()));
    }
    let looks_new = old.is_none_or(|old| old.metadata.labels != pod.metadata.labels || old_owner.is_some());
    if owner.is_none() && !gone && looks_new {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        for set in sets.in_namespace(pod.namespace()) {
            if selector(&set).is_some_and(|selector| selector.matches(&labels)) {
                queue.add(set.key());
            }
        }
    }
}

#[cfg(test)]
mod tests;
