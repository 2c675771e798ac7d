//! Deployments: one replica set a template, and the change from one to the next without losing too many pods or making
//! too many.
//!
//! *Observe*: the deployment, its replica sets, and this process's own last writes to them ([`written`]). *Plan*:
//! [`plan`], by the arithmetic of [`rollout`]. *Act*: each replica set is written at the resourceVersion it was judged
//! by, and the first write that fails ends the pass. A template's replica set has a name that is a function of the
//! template, so that there is one, however often its creation is tried.

mod plan;
mod rollout;
mod status;
mod template;
mod written;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::Resource as _;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use orrery_api::clock;
use orrery_api::labels::Selector;
use orrery_api::meta::{Object, ObjectKey, controller_of, is_controlled_by};
use orrery_api::mutant;
use orrery_client::{
    Api, Cache, Change, DeleteParams, Error, EventKind, Next, Patch, Recorder, WorkQueue, process_with,
};
use serde_json::json;
use tokio::time::Instant;

use self::plan::{Observed, Plan, Update};
use self::written::Written;
use crate::informers::{BY_OWNER, Informers};
use crate::ownership::{self, Claim};
use crate::{Context, pods};

/// How long after a lost race the deployment is looked at again, if no event says so before.
const AFTER_CONFLICT: Duration = Duration::from_secs(1);

/// A wish that was read so long ago is read again before a replica set is resized for it: answers may take long to
/// come.
const FRESH: Duration = Duration::from_secs(5);

/// The pauses after failures: short enough that a deployment soon moves again when a long outage ends.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Rolls deployments out.
pub(crate) struct DeploymentController {
    deployments: Cache<Deployment>,
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    deployment_api: Api<Deployment>,
    set_api: Api<ReplicaSet>,
    queue: WorkQueue<ObjectKey>,
    written: Arc<Written>,
    recorder: Recorder,
    workers: usize,
}

impl DeploymentController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(context: &Context, informers: &mut Informers) -> Self {
        let queue = WorkQueue::with_backoff(FIRST_PAUSE, LONGEST_PAUSE);
        let written = Arc::new(Written::default());
        let (deployments, sets) = (informers.deployments.cache(), informers.replica_sets.cache());
        let wake = queue.clone();
        let own = written.clone();
        informers.deployments.on_change(move |change| {
            if let Change::Deleted(deployment) = change {
                own.forget_owner(deployment.uid());
            }
            wake.add(change.key());
        });
        let (wake, known, own) = (queue.clone(), deployments.clone(), written.clone());
        informers.replica_sets.on_change(move |change| {
            if let Change::Deleted(set) = change {
                own.forget(set.uid());
            }
            set_changed(change, &wake, &known);
        });
        let (wake, known) = (queue.clone(), sets.clone());
        informers.pods.on_change(move |change| {
            // A deployment that recreates waits for the last pod of its old sets to go.
            if !matches!(change, Change::Deleted(_)) {
                return;
            }
            let pod = change.object();
            let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == ReplicaSet::KIND);
            let set = owner.and_then(|owner| known.get(&ObjectKey::new(pod.namespace(), owner.name.clone())));
            if let Some(owner) = set.as_ref().and_then(|set| controller_of(&set.metadata)) {
                wake.add(ObjectKey::new(pod.namespace(), owner.name.clone()));
            }
        });
        DeploymentController {
            deployments,
            sets,
            pods: informers.pods.cache(),
            deployment_api: Api::new(&context.client),
            set_api: Api::new(&context.client),
            queue,
            written,
            recorder: context.recorder("deployment-controller"),
            workers: context.options.workers,
        }
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        process_with(self.workers, &self.queue, |key| self.reconcile(key)).await;
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<Next, Error> {
        let Some(deployment) = self.deployments.get(&key) else {
            return Ok(Next::Done);
        };
        let Some(selector) = selector(&deployment) else {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.event(
                &deployment.object_reference(),
                EventKind::Warning,
                "SelectingAll",
                message,
            );
            return Ok(Next::Done);
        };
        let sets = self.claim(&deployment, &selector).await?;
        let has_pods = |set: &str| {
            self.pods
                .by_index(BY_OWNER, set)
                .iter()
                .any(|pod| !pods::is_finished(pod) || mutant::active("O191"))
        };
        let plan = plan::plan(Observed {
            deployment: &deployment,
            sets,
            has_pods: &has_pods,
            now: clock::now(),
        });
        let look_again = plan.look_again.filter(|_| !mutant::active("O209"));
        let resizes = plan.create.is_some() || plan.updates.iter().any(|update| update.from != update.to);
        if resizes && !self.is_current(&deployment).await? {
            // A newer wish is on its way to the cache; pods are not made or lost for an old one.
            return Ok(Next::After(AFTER_CONFLICT));
        }
        match self.act(&deployment, plan, Instant::now() + FRESH).await {
            Ok(()) => Ok(look_again.map_or(Next::Done, Next::After)),
            // The cache is behind; its next event wakes the deployment again.
            Err(error) if error.is_conflict() => Ok(Next::After(AFTER_CONFLICT)),
            Err(error) => Err(error),
        }
    }

    /// Whether what the cache shows is still what the deployment's owner wants, as the API server says, and new sets
    /// are still named by it as they were: one whose creation is on its way is found by its name alone.
    async fn is_current(&self, deployment: &Deployment) -> Result<bool, Error> {
        match self.deployment_api.get(&deployment.key()).await {
            Ok(live) => Ok(live.uid() == deployment.uid()
                && live.metadata.generation == deployment.metadata.generation
                && template::collisions(&live) == template::collisions(deployment)
                && !live.is_terminating()),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The replica sets of the deployment, after adopting and releasing, as this process last wrote them.
    async fn claim(&self, deployment: &Deployment, selector: &Selector) -> Result<Vec<Arc<ReplicaSet>>, Error> {
        let mut sets = Vec::new();
        let mut owner_checked = false;
        // Before the sets are read: what comes to the cache while answers are waited for is not among them.
        let seen = self.sets.revision();
        let candidates = self.sets.by_index(BY_OWNER, deployment.uid());
        let orphans = self
            .sets
            .by_index(BY_OWNER, "")
            .into_iter()
            .filter(|set| set.namespace() == deployment.namespace());
        for set in candidates.into_iter().chain(orphans) {
            let set = self.written.newer(set);
            let patch = match ownership::claim(&*set, deployment.uid(), deployment.is_terminating(), selector) {
                Claim::Own => {
                    sets.push(set);
                    continue;
                }
                Claim::Adopt => {
                    if !owner_checked {
                        match self.deployment_api.get(&deployment.key()).await {
                            Ok(live) if live.uid() == deployment.uid() && !live.is_terminating() => {}
                            _ if mutant::active("O226") => {}
                            Ok(_) => return Ok(sets),
                            Err(error) => return Err(error),
                        }
                        owner_checked = true;
                    }
                    ownership::adoption(deployment, &*set)
                }
                Claim::Release => ownership::release(deployment.uid(), &*set),
                Claim::Ignore => continue,
            };
            let adopts = controller_of(&set.metadata).is_none();
            match self.set_api.patch(&set.key(), &Patch::Strategic(patch)).await {
                Ok(adopted) if adopts => sets.push(self.written.note(adopted)),
                Ok(released) => drop(self.written.note(released)),
                // It has another controller, or is gone.
                Err(error) if error.is_invalid() || self.set_api.is_gone(&set, &error).await? => {}
                Err(error) => return Err(error),
            }
        }
        for unanswered in self.written.unanswered(deployment.uid()) {
            match self.set_api.get(&unanswered).await {
                Ok(live) => drop(self.written.note(live)),
                Err(missing) if missing.is_not_found() => self.written.is_missing(&unanswered),
                Err(error) => return Err(error),
            }
        }
        // A set just created may not be in the cache yet; the cache may still show a namesake that went before it.
        for set in self.written.unseen(deployment.uid(), seen) {
            if sets.iter().all(|known| known.uid() != set.uid()) {
                sets.push(set);
            }
        }
        Ok(sets)
    }

    /// Carries the plan out; what is not begun by `until` is left to the next pass.
    async fn act(&self, deployment: &Deployment, plan: Plan, until: Instant) -> Result<(), Error> {
        let mut status = plan.status;
        if let Some(set) = &plan.create {
            match self.create(deployment, set).await {
                Ok(true) => {}
                Ok(false) => {
                    self.queue.add_after(deployment.key(), AFTER_CONFLICT);
                    return Ok(());
                }
                Err(error) => {
                    if let Error::Api(refusal) = &error
                        && !error.outcome_unknown()
                    {
                        self.tell_failure(deployment, set.name(), refusal.message()).await?;
                    }
                    return Err(error);
                }
            }
        }
        for update in &plan.updates {
            if update.from != update.to && Instant::now() > until {
                self.queue.add(deployment.key());
                return Ok(());
            }
            self.update(deployment, update).await?;
        }
        for set in &plan.deletes {
            match self.set_api.delete(&set.key(), &DeleteParams::exactly(&**set)).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        if let Some(status) = status.take() {
            let deployment = Deployment {
                status: Some(status),
                ..deployment.clone()
            };
            self.deployment_api
                .replace_status(&deployment)
                .await
                .map(drop)
                .or_else(gone_is_fine)?;
        }
        if let Some(revision) = plan.revision {
            let annotations = json!({template::REVISION: revision.to_string()});
            let patch = json!({"metadata": {"uid": deployment.uid(), "annotations": annotations}});
            let patched = self.deployment_api.patch(&deployment.key(), &Patch::Merge(patch)).await;
            patched.map(drop).or_else(gone_is_fine)?;
        }
        Ok(())
    }

    /// Creates the replica set of a new template, or finds that it has been created. False if it is to be tried again:
    /// the name was another's, and the next try hashes to another one.
    async fn create(&self, deployment: &Deployment, set: &ReplicaSet) -> Result<bool, Error> {
        let error = match self.set_api.create(set).await {
            Ok(created) => {
                let to = template::size(&created);
                self.written.note(created);
                if to > 0 {
                    self.tell_scaled(deployment, set.name(), 0, to);
                }
                return Ok(true);
            }
            Err(error) if error.is_already_exists() || error.outcome_unknown() => error,
            Err(error) => return Err(error),
        };
        self.written.note_unanswered(set.key(), deployment.uid());
        let live = match self.set_api.get(&set.key()).await {
            Ok(live) => self.written.note(live),
            // Not there after all; a create that is still on its way will be found under the same name.
            Err(missing) if missing.is_not_found() && error.is_already_exists() => return Ok(false),
            Err(missing) if missing.is_not_found() => return Err(error),
            Err(unread) if unread.outcome_unknown() || error.is_already_exists() => return Err(unread),
            Err(_) => return Err(error),
        };
        if is_controlled_by(&live.metadata, deployment.uid())
            && template::is_of_template(&live, &template::template(deployment))
        {
            return Ok(true);
        }
        if mutant::active("O210") {
            return Ok(false);
        }
        let mut status = deployment.status.clone().unwrap_or_default();
        status.collision_count = Some(template::collisions(deployment) + 1);
        let deployment = Deployment {
            status: Some(status),
            ..deployment.clone()
        };
        match self.deployment_api.replace_status(&deployment).await {
            Ok(_) => Ok(false),
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a replica set as it was judged, and tells if that scaled it.
    async fn update(&self, deployment: &Deployment, update: &Update) -> Result<(), Error> {
        match self.set_api.replace(&update.set).await {
            Ok(set) => {
                self.written.note(set);
                if update.from != update.to {
                    self.tell_scaled(deployment, update.set.name(), update.from, update.to);
                }
                Ok(())
            }
            Err(error) => {
                // Whatever went wrong, the next pass must not rest on what may be out of date.
                if error.is_conflict() || error.outcome_unknown() {
                    match self.set_api.get(&update.set.key()).await {
                        Ok(live) if live.uid() == update.set.uid() => drop(self.written.note(live)),
                        Ok(_) => self.written.forget(update.set.uid()),
                        Err(missing) if missing.is_not_found() => self.written.forget(update.set.uid()),
                        Err(_) => {}
                    }
                } else if error.is_not_found() {
                    self.written.forget(update.set.uid());
                }
                Err(error)
            }
        }
    }

    fn tell_scaled(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        let direction = if from < to { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
        self.recorder.event(
            &deployment.object_reference(),
            EventKind::Normal,
            "ScalingReplicaSet",
            &message,
        );
    }

    /// The replica set was refused: the deployment says why.
    async fn tell_failure(&self, deployment: &Deployment, set: &str, why: &str) -> Result<(), Error> {
        let message = format!("Failed to create new replica set {set:?}: {why}");
        self.recorder.event(
            &deployment.object_reference(),
            EventKind::Warning,
            "ReplicaSetCreateError",
            &message,
        );
        let mut status: DeploymentStatus = deployment.status.clone().unwrap_or_default();
        let now = Time(clock::whole_seconds(clock::now()));
        let conditions = status.conditions.get_or_insert_default();
        status::set(
            conditions,
            "Progressing",
            "False",
            "ReplicaSetCreateError",
            &message,
            &now,
        );
        if deployment.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let deployment = Deployment {
            status: Some(status),
            ..deployment.clone()
        };
        self.deployment_api
            .replace_status(&deployment)
            .await
            .map(drop)
            .or_else(gone_is_fine)
    }
}

fn gone_is_fine(error: Error) -> Result<(), Error> {
    if error.is_not_found() { Ok(()) } else { Err(error) }
}

/// The deployment's selector, if it can be read and is not empty: an empty one would match every replica set.
fn selector(deployment: &Deployment) -> Option<Selector> {
    let selector = &deployment.spec.as_ref()?.selector;
    (*selector != LabelSelector::default())
        .then(|| Selector::from_label_selector(selector).ok())
        .flatten()
}

/// Wakes the deployments that a change to a replica set concerns.
fn set_changed(change: &Change<ReplicaSet>, queue: &WorkQueue<ObjectKey>, deployments: &Cache<Deployment>) {
    let set = change.object();
    let owner = controller_of(&set.metadata);
    if let Some(owner) = owner.filter(|owner| owner.kind == Deployment::KIND) {
        queue.add(ObjectKey::new(set.namespace(), owner.name.clone()));
    }
    if let Change::Updated { old, .. } = change {
        let lost = controller_of(&old.metadata).filter(|old| old.kind == Deployment::KIND);
        if let Some(lost) = lost.filter(|lost| owner.is_none_or(|owner| owner.uid != lost.uid)) {
            queue.add(ObjectKey::new(set.namespace(), lost.name.clone()));
        }
    }
    if owner.is_none() && !matches!(change, Change::Deleted(_)) {
        let labels = set.metadata.labels.clone().unwrap_or_default();
        for deployment in deployments.in_namespace(set.namespace()) {
            if selector(&deployment).is_some_and(|selector| selector.matches(&labels)) {
                queue.add(deployment.key());
            }
        }
    }
}
