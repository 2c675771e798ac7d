//! What a replica set needs: how many pods to create, which to delete, and its status. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use orrery_api::clock::whole_seconds;
use orrery_api::meta::Object;
use orrery_api::mutant;

use super::expectations::{Answer, Expected, Open};
use super::ranking::choose_victims;
use crate::pods::{is_active, is_finished, is_ready, seconds};

/// At most so many creates or deletes in one go.
const BURST: usize = 500;
/// The longest prefix of a generated name: five letters follow, and a name that is to be a label has at most 63.
const PREFIX_LIMIT: usize = 58;

/// How the number of pods must change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scale {
    /// Not at all, as far as is known.
    Keep,
    /// So many more.
    Create(usize),
    /// Without these.
    Delete(Vec<Arc<Pod>>),
}

/// The number of replicas that the set wants.
pub(crate) fn replicas(set: &ReplicaSet) -> usize {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(wanted).unwrap_or(0)
}

/// How the number of pods must change so that it becomes `wanted`, never passing it on the way: a create that may have
/// happened counts as a pod, a delete that may not have happened leaves one.
///
/// `pods` are the set's pods in the cache; `related` answers with the active pods by which crowded nodes are judged.
pub(crate) fn plan(
    wanted: usize,
    pods: &[Arc<Pod>],
    expected: &Expected,
    related: impl FnOnce() -> Vec<Arc<Pod>>,
) -> Scale {
    let present = present(pods, expected);
    let surplus = present.len().saturating_sub(wanted);
    if surplus > 0 {
        return Scale::Delete(choose_victims(present, &related(), surplus.min(BURST)));
    }
    match wanted.saturating_sub(possible(pods, expected)) {
        0 => Scale::Keep,
        missing => Scale::Create(missing.min(BURST)),
    }
}

/// The pods that live as far as is known: in the cache, active, and not asked to go.
fn present(pods: &[Arc<Pod>], expected: &Expected) -> Vec<Arc<Pod>> {
    pods.iter()
        .filter(|pod| is_active(pod) && !expected.deletes.contains_key(pod.uid()))
        .cloned()
        .collect()
}

/// How many pods may be alive in the worst case.
pub(crate) fn possible(pods: &[Arc<Pod>], expected: &Expected) -> usize {
    // A name is one pod at a time: where the cache still shows another one alive under it, that is the one counted.
    let shows = |name: &str, open: &Open| {
        let mut named = pods.iter().filter(|pod| pod.name() == name);
        named.any(|pod| is_active(pod) || open.is_of(pod.revision()))
    };
    let unseen = expected
        .creates
        .iter()
        .filter(|(name, open)| !shows(name, open))
        .count();
    let undead = pods.iter().filter(|pod| is_active(pod)).filter(|pod| {
        expected
            .deletes
            .get(pod.uid())
            .is_some_and(|(_, open)| open.answer != Answer::Done && !mutant::active("O51"))
    });
    present(pods, expected).len() + undead.count() + unseen
}

/// The prefix of the names of the set's pods.
pub(crate) fn name_prefix(set: &ReplicaSet) -> String {
    let mut prefix = format!("{}-", set.name());
    prefix.truncate(PREFIX_LIMIT);
    prefix
}

/// The pod of the set's template under `name`.
pub(crate) fn pod(set: &ReplicaSet, name: &str) -> Pod {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone());
    let PodTemplateSpec { metadata, spec } = template.unwrap_or_default();
    let metadata = metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            generate_name: Some(name_prefix(set)),
            namespace: set.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![set.controller_reference()]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// A failure to create or delete pods, as the set's condition tells it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub reason: &'static str,
    /// What went wrong.
    pub message: String,
}

/// The set's status as its `pods`, each ready for so long, make it, and how long until it changes by the mere passing
/// of time. While pods are `unseen` that were asked for, the counts are not yet those of the newest generation, and the
/// status does not say so: a deployment must not believe that a set has shrunk whose last pods are still to be seen.
pub(crate) fn status(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    unseen: bool,
    failure: Option<&Failure>,
    now: Timestamp,
    ready_for: impl Fn(&Pod) -> Option<Duration>,
) -> (ReplicaSetStatus, Option<Duration>) {
    let old = set.status.clone().unwrap_or_default();
    let spec = set.spec.as_ref();
    let min_ready = seconds(spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0));
    let template = spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
    let active: Vec<_> = pods.iter().filter(|pod| is_active(pod)).collect();
    let waits: Vec<_> = active
        .iter()
        .filter_map(|pod| Some(min_ready.saturating_sub(ready_for(pod)?)))
        .collect();
    let carries_labels = |pod: &Pod| {
        template
            .into_iter()
            .flatten()
            .all(|(key, value)| pod.label(key) == Some(value.as_str()))
    };
    let available = waits.iter().filter(|wait| wait.is_zero() || mutant::active("O28"));
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let status = ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: Some(count(active.iter().filter(|pod| carries_labels(pod)).count())),
        ready_replicas: Some(count(active.iter().filter(|pod| is_ready(pod)).count())),
        available_replicas: Some(count(available.count())),
        terminating_replicas: Some(count(
            pods.iter()
                .filter(|pod| pod.is_terminating() && !is_finished(pod))
                .count(),
        )),
        // A cache can lag, but what was observed never becomes less.
        observed_generation: match unseen {
            true => old.observed_generation,
            false => old.observed_generation.max(set.metadata.generation),
        },
        conditions: conditions(old.conditions, failure, now),
    };
    (status, waits.into_iter().filter(|wait| !wait.is_zero()).min())
}

fn conditions(
    old: Option<Vec<ReplicaSetCondition>>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let old = old.unwrap_or_default();
    let stands = old
        .iter()
        .find(|condition| condition.type_ == "ReplicaFailure")
        .cloned();
    let mut conditions: Vec<_> = old
        .into_iter()
        .filter(|condition| condition.type_ != "ReplicaFailure")
        .collect();
    if let Some(failure) = failure {
        conditions.push(
            stands
                .filter(|condition| condition.reason.as_deref() == Some(failure.reason))
                .unwrap_or(ReplicaSetCondition {
                    type_: "ReplicaFailure".to_owned(),
                    status: "True".to_owned(),
                    reason: Some(failure.reason.to_owned()),
                    message: Some(failure.message.clone()),
                    last_transition_time: Some(Time(whole_seconds(now))),
                }),
        );
    } else if let Some(stands) = stands
        && mutant::active("O66")
    {
        conditions.push(stands);
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// Whether two statuses say the same; an absent number is zero, as the API server writes it.
pub(crate) fn same_status(old: Option<&ReplicaSetStatus>, new: &ReplicaSetStatus) -> bool {
    let Some(old) = old else { return false };
    let counts = |status: &ReplicaSetStatus| {
        [
            Some(status.replicas),
            status.fully_labeled_replicas,
            status.ready_replicas,
            status.available_replicas,
            status.terminating_replicas,
        ]
        .map(|count| count.unwrap_or(0))
    };
    counts(old) == counts(new)
        && old.observed_generation == new.observed_generation
        && old.conditions.as_deref().unwrap_or_default() == new.conditions.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    fn pod_of(number: usize, terminating: bool) -> Arc<Pod> {
        let deletion = terminating.then_some("2024-01-01T00:00:00Z");
        let pod = json!({
            "metadata": {"name": format!("web-{number}"), "uid": format!("uid-{number}"), "deletionTimestamp": deletion},
            "status": {"phase": "Running"},
        });
        Arc::new(serde_json::from_value(pod).expect("a valid pod"))
    }

    fn open(answer: Answer) -> Open {
        Open {
            answer,
            asked: Instant::now(),
            since: Instant::now(),
            revision: 0,
        }
    }

    #[test]
    fn a_create_whose_answer_was_lost_counts_as_a_pod() {
        let creates = BTreeMap::from([("web-9".to_owned(), open(Answer::Lost))]);
        let expected = Expected {
            creates,
            ..Expected::default()
        };
        assert_eq!(plan(2, &[pod_of(1, false)], &expected, Vec::new), Scale::Keep);
        assert_eq!(plan(3, &[pod_of(1, false)], &expected, Vec::new), Scale::Create(1));
    }

    #[test]
    fn a_create_that_may_have_happened_costs_no_living_pod() {
        let creates = BTreeMap::from([("web-9".to_owned(), open(Answer::Lost))]);
        let expected = Expected {
            creates,
            ..Expected::default()
        };
        assert_eq!(plan(1, &[pod_of(1, false)], &expected, Vec::new), Scale::Keep);
    }

    #[test]
    fn a_terminating_pod_is_replaced_at_once() {
        assert_eq!(
            plan(1, &[pod_of(1, true)], &Expected::default(), Vec::new),
            Scale::Create(1)
        );
    }

    #[test]
    fn a_long_name_leaves_room_for_its_suffix() {
        let mut set = ReplicaSet::default();
        set.metadata.name = Some("x".repeat(70));
        assert_eq!(name_prefix(&set).len() + 5, 63);
    }

    proptest! {
        /// Whatever the lost answers hid, carrying out the plan leaves at most the wanted number alive.
        #[test]
        fn the_plan_never_makes_too_many_pods_whatever_was_lost(
            wanted in 0usize..8,
            pods in prop::collection::vec((any::<bool>(), prop::option::of(0u8..3), any::<bool>()), 0..8),
            creates in prop::collection::vec((0u8..3, any::<bool>()), 0..4),
        ) {
            let answer = |kind: u8| match kind { 0 => Answer::Waiting, 1 => Answer::Done, _ => Answer::Lost };
            let mut expected = Expected::default();
            let mut alive = 0;
            let mut cached = Vec::new();
            for (number, (terminating, delete, happened)) in pods.iter().enumerate() {
                let pod = pod_of(number, *terminating);
                let mut lives = !*terminating;
                if let Some(delete) = delete {
                    let answer = answer(*delete);
                    lives &= answer != Answer::Done && !happened;
                    expected.deletes.insert(pod.uid().to_owned(), (pod.name().to_owned(), open(answer)));
                }
                alive += usize::from(lives);
                cached.push(pod);
            }
            for (number, (kind, happened)) in creates.iter().enumerate() {
                let answer = answer(*kind);
                alive += usize::from(answer == Answer::Done || *happened);
                expected.creates.insert(format!("new-{number}"), open(answer));
            }
            match plan(wanted, &cached, &expected, || cached.clone()) {
                Scale::Create(count) => prop_assert!(alive + count <= wanted),
                Scale::Delete(victims) => {
                    prop_assert!(victims.iter().all(|pod| !pod.is_terminating()));
                    prop_assert!(present(&cached, &expected).len() - victims.len() >= wanted);
                }
                Scale::Keep => {}
            }
        }
    }
}
