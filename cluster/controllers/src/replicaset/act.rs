//! How a replica set's pods are made and unmade: creates in growing batches, deletes by uid, and what is done about
//! answers that never came.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use orrery_api::labels::Selector;
use orrery_api::meta::{Object, ObjectKey, is_controlled_by};
use orrery_api::mutant;
use orrery_client::{DeleteParams, Error, EventKind, ListParams};
use tokio::time::Instant;

use super::ReplicaSetController;
use super::expectations::{Answer, Open};
use super::plan::{self, Failure};
use crate::pods::is_active;

/// A create that was asked for so long ago and cannot be found will not come any more: a request is given up after 30
/// s.
const LOST_FOR_GOOD: Duration = Duration::from_secs(45);

/// Why scaling stopped.
#[derive(Debug)]
pub(super) struct Failed {
    /// The error to come back for.
    pub cause: Error,
    /// What the set's status says about it, if it is a refusal and not a mere disturbance.
    pub failure: Option<Failure>,
}

impl From<Error> for Failed {
    fn from(cause: Error) -> Self {
        Failed { cause, failure: None }
    }
}

/// How one create ended.
enum Created {
    /// The pod is there.
    Yes,
    /// Nobody knows; the expectation stays open.
    Unknown,
    /// It is not, and need not be reported: the name was taken.
    No,
    /// It is not, and nothing will be made in its namespace any more, which is being terminated.
    Closed,
    /// It was refused.
    Refused(Error),
}

impl ReplicaSetController {
    /// Settles what is open and can be: by the cache, and what is overdue by looking it up in the API server.
    pub(super) async fn settle(&self, set: &ReplicaSet, pods: &[Arc<Pod>]) -> Result<(), Failed> {
        let expected = self.expectations.of(set.uid());
        for (name, open) in &expected.creates {
            if pods.iter().any(|pod| pod.name() == name && open.is_of(pod.revision())) {
                self.expectations.create_settled(set.uid(), name);
            } else if open.due() <= Instant::now() {
                self.settle_create(set, pods, name, open).await?;
            }
        }
        for (uid, (name, open)) in &expected.deletes {
            if !pods.iter().any(|pod| pod.uid() == uid && !pod.is_terminating()) {
                self.expectations.delete_settled(set.uid(), uid);
            } else if open.due() <= Instant::now() {
                match self.find(set, name).await? {
                    // Still there after all: it is to be decided anew.
                    Some(pod) if pod.uid() == uid && !pod.is_terminating() => {
                        self.expectations.delete_settled(set.uid(), uid);
                    }
                    _ => self.expectations.delete_answered(set.uid(), uid, Answer::Done),
                }
            }
        }
        Ok(())
    }

    async fn settle_create(&self, set: &ReplicaSet, pods: &[Arc<Pod>], name: &str, open: &Open) -> Result<(), Failed> {
        let wanted = plan::possible(pods, &self.expectations.of(set.uid())) <= plan::replicas(set);
        let (mut refused, mut closed) = (None, false);
        if open.answer == Answer::Lost && wanted {
            // The same name again: whichever of the two requests comes second is refused.
            match self.create_one(set, name, true).await {
                // That says nothing about the one before.
                Created::Refused(error) => refused = Some(error),
                // The one before has made the pod by now, or never will.
                Created::Closed => closed = true,
                _ => return Ok(()),
            }
        }
        match self.find(set, name).await? {
            Some(pod) if is_controlled_by(&pod.metadata, set.uid()) && is_active(&pod) => self.exists(set, &pod),
            None if open.answer == Answer::Lost && open.asked.elapsed() < LOST_FOR_GOOD && !closed => {
                self.expectations.create_answered(set.uid(), name, Answer::Lost);
            }
            _ => self.expectations.create_settled(set.uid(), name),
        }
        refused.map_or(Ok(()), |error| {
            Err(self.refused(set, "FailedCreate", "creating", error))
        })
    }

    /// The pod is there; it is expected as long as the cache is behind.
    fn exists(&self, set: &ReplicaSet, pod: &Pod) {
        if self.pods.revision() < pod.revision() {
            self.expectations.exists(set.uid(), pod.name(), pod.revision());
        } else {
            self.expectations.create_settled(set.uid(), pod.name());
        }
    }

    /// The newest state of a pod of the set's namespace.
    async fn find(&self, set: &ReplicaSet, name: &str) -> Result<Option<Arc<Pod>>, Error> {
        match self.pod_api.get(&ObjectKey::new(set.namespace(), name)).await {
            Ok(pod) => Ok(Some(pod)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Counts the set's pods in the API server: those that the cache does not show yet are expected from now on.
    pub(super) async fn count(&self, set: &ReplicaSet, selector: &Selector) -> Result<(), Failed> {
        let namespace = Some(set.namespace().to_owned());
        let params = ListParams {
            namespace,
            labels: Some(selector.to_string()),
            ..ListParams::default()
        };
        for pod in self.pod_api.list(&params).await?.items {
            let unseen = self.pods.get(&pod.key()).is_none_or(|cached| cached.uid() != pod.uid());
            if unseen && is_active(&pod) && is_controlled_by(&pod.metadata, set.uid()) {
                self.exists(set, &pod);
            }
        }
        self.expectations.counted(set.uid());
        Ok(())
    }

    /// Creates `count` pods: one, then two, four … at once, so that what always fails fails once and not `count` times.
    /// No batch begins after `until`: the wish is then to be read again.
    pub(super) async fn create(&self, set: &ReplicaSet, count: usize, until: Instant) -> Result<(), Failed> {
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let size = batch.min(left);
            let names: Vec<_> = (0..size).map(|_| self.new_name(set)).collect();
            let results = join_all(names.iter().map(|name| self.create_one(set, name, false))).await;
            let (mut stop, mut closed) = (false, false);
            for result in results {
                match result {
                    Created::Yes => {}
                    Created::Unknown | Created::No => stop = true,
                    Created::Closed => closed = true,
                    Created::Refused(error) => return Err(self.refused(set, "FailedCreate", "creating", error)),
                }
            }
            if closed {
                // There is nothing to do until something changes.
                return Ok(());
            }
            if stop {
                // What is unknown is looked into when it is due; what was not tried waits for that.
                self.queue
                    .add_after(set.key(), super::expectations::LOST_ANSWER_PATIENCE);
                return Ok(());
            }
            left -= size;
            batch *= 2;
            if left > 0 && Instant::now() > until {
                self.queue.add(set.key());
                return Ok(());
            }
        }
        Ok(())
    }

    /// A name that no pod of the namespace has, as far as the cache knows, and that is expected from now on.
    fn new_name(&self, set: &ReplicaSet) -> String {
        loop {
            let name = format!("{}{}", plan::name_prefix(set), self.random.suffix(5));
            let taken = self.pods.get(&ObjectKey::new(set.namespace(), name.clone())).is_some()
                || self.expectations.of(set.uid()).creates.contains_key(&name);
            if !taken {
                self.expectations.expect_create(set.uid(), &name);
                return name;
            }
        }
    }

    /// Asks for one pod; `again` if its name was asked for before, and nobody knows what came of that.
    async fn create_one(&self, set: &ReplicaSet, name: &str, again: bool) -> Created {
        let asked = Instant::now();
        match self.pod_api.create(&plan::pod(set, name)).await {
            Ok(pod) => self.exists(set, &pod),
            // As if the pod were on its way: nobody comes back for it.
            Err(error) if error.outcome_unknown() && mutant::active("B41") => {
                self.expectations.create_answered(set.uid(), name, Answer::Waiting);
                return Created::Yes;
            }
            Err(error) if error.outcome_unknown() => {
                self.expectations.create_lost(set.uid(), name, asked);
                return Created::Unknown;
            }
            Err(error) if error.is_already_exists() => match self.find(set, name).await {
                Ok(Some(pod)) if is_controlled_by(&pod.metadata, set.uid()) => self.exists(set, &pod),
                Ok(_) => {
                    self.expectations.create_settled(set.uid(), name);
                    return Created::No;
                }
                Err(_) => {
                    self.expectations.create_answered(set.uid(), name, Answer::Lost);
                    return Created::Unknown;
                }
            },
            Err(error) => {
                if again {
                    self.expectations.create_answered(set.uid(), name, Answer::Lost);
                } else {
                    self.expectations.create_settled(set.uid(), name);
                }
                return if is_for_termination(&error) {
                    Created::Closed
                } else {
                    Created::Refused(unnamed(error, name, set))
                };
            }
        }
        let message = format!("Created pod: {name}");
        self.recorder
            .event(&set.object_reference(), EventKind::Normal, "SuccessfulCreate", &message);
        Created::Yes
    }

    /// Deletes the victims, each only if it is still the same pod.
    pub(super) async fn delete(&self, set: &ReplicaSet, victims: Vec<Arc<Pod>>) -> Result<(), Failed> {
        for pod in &victims {
            self.expectations.expect_delete(set.uid(), pod.uid(), pod.name());
        }
        let mut failed = None;
        for error in join_all(victims.iter().map(|pod| self.delete_one(set, pod)))
            .await
            .into_iter()
            .flatten()
        {
            failed.get_or_insert(error);
        }
        failed.map_or(Ok(()), |error| {
            Err(self.refused(set, "FailedDelete", "deleting", error))
        })
    }

    async fn delete_one(&self, set: &ReplicaSet, pod: &Pod) -> Option<Error> {
        match self.pod_api.delete(&pod.key(), &DeleteParams::of(pod)).await {
            Ok(()) => {
                let message = format!("Deleted pod: {}", pod.name());
                self.recorder
                    .event(&set.object_reference(), EventKind::Normal, "SuccessfulDelete", &message);
            }
            // That pod is gone already: the cache will say so.
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) if error.outcome_unknown() => {
                self.expectations.delete_answered(set.uid(), pod.uid(), Answer::Lost);
                return None;
            }
            Err(error) => {
                self.expectations.delete_settled(set.uid(), pod.uid());
                return Some(error);
            }
        }
        self.expectations.delete_answered(set.uid(), pod.uid(), Answer::Done);
        None
    }

    fn refused(&self, set: &ReplicaSet, reason: &'static str, doing: &str, error: Error) -> Failed {
        if !matches!(error, Error::Api(_)) {
            return error.into();
        }
        let why = error.words();
        let message = format!("Error {doing}: {why}");
        self.recorder
            .event(&set.object_reference(), EventKind::Warning, reason, &message);
        Failed {
            failure: Some(Failure { reason, message: why }),
            cause: error,
        }
    }
}

/// A refusal to create a pod without the name that was chosen for it: the next try chooses another one, and what is
/// told is to be the same as long as the reason is.
fn unnamed(mut error: Error, name: &str, set: &ReplicaSet) -> Error {
    if let Error::Api(refusal) = &mut error
        && let Some(message) = &mut refusal.0.message
    {
        *message = message.replace(name, &plan::name_prefix(set));
    }
    error
}

/// Whether a create is refused because its namespace is being terminated.
fn is_for_termination(error: &Error) -> bool {
    let Error::Api(status) = error else { return false };
    let causes = status.details().and_then(|details| details.causes.as_ref());
    let mut causes = causes.into_iter().flatten();
    causes.any(|cause| cause.reason.as_deref() == Some("NamespaceTerminating"))
}
