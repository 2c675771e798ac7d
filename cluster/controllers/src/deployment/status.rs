//! A deployment's status: counts, and the conditions that tell whether it is available and getting anywhere. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orrery_api::clock::whole_seconds;
use orrery_api::meta::Object;
use orrery_api::mutant;

use super::rollout::Bounds;

/// The condition that tells of the rollout.
const PROGRESSING: &str = "Progressing";
/// The reason of a rollout that has ended well.
const COMPLETE: &str = "NewReplicaSetAvailable";
/// The reason of a rollout that takes too long.
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

/// What happened to the newest replica set in this pass, for the conditions.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NewSet {
    /// There is none, and none is made.
    None,
    /// There is this one.
    Found(String),
    /// It is being made.
    Created(String),
}

/// The status as the replica sets make it, and how long until the rollout's deadline, if it is running.
pub(super) fn status(
    deployment: &Deployment,
    bounds: Bounds,
    newest: Option<&ReplicaSet>,
    sets: &[Arc<ReplicaSet>],
    new: &NewSet,
    rolling_out: bool,
    now: Timestamp,
) -> (DeploymentStatus, Option<Duration>) {
    let old = deployment.status.clone().unwrap_or_default();
    let mut status = counts(&old, deployment, newest, sets);
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let now = Time(whole_seconds(now));

    let available = status.available_replicas.unwrap_or(0) >= bounds.least_available();
    let (value, reason, message) = if available {
        (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    let mut known = conditions.iter().filter(|condition| condition.type_ == "Available");
    let stays = !available && known.any(|condition| condition.status == "True") && mutant::active("O76");
    if !stays {
        set(&mut conditions, "Available", value, reason, message, &now);
    }

    let failure = newest.into_iter().chain(sets.iter().map(|set| &**set)).find_map(|set| {
        set.status
            .as_ref()?
            .conditions
            .as_ref()?
            .iter()
            .find(|condition| condition.type_ == "ReplicaFailure")
    });
    match failure {
        Some(failure) => {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            set(
                &mut conditions,
                &failure.type_,
                &failure.status,
                &text(&failure.reason),
                &text(&failure.message),
                &now,
            );
        }
        None => conditions.retain(|condition| condition.type_ != "ReplicaFailure"),
    }

    let wait = progress(deployment, &old, &status, &mut conditions, new, rolling_out, &now);
    // Available before Progressing, as it has always been shown; nobody else's condition is touched.
    conditions.sort_by_key(|condition| match condition.type_.as_str() {
        "Available" => 0,
        PROGRESSING => 1,
        _ => 2,
    });
    status.conditions = Some(conditions);
    (status, wait)
}

fn counts(
    old: &DeploymentStatus,
    deployment: &Deployment,
    newest: Option<&ReplicaSet>,
    sets: &[Arc<ReplicaSet>],
) -> DeploymentStatus {
    let statuses = || sets.iter().filter_map(|set| set.status.as_ref());
    let replicas: i32 = statuses().map(|status| status.replicas).sum();
    let available: i32 = statuses().filter_map(|status| status.available_replicas).sum();
    // Pods that are yet to be made are unavailable, too.
    let wanted = sets.iter().filter_map(|set| set.spec.as_ref()?.replicas);
    let wanted: i32 = wanted.fold(0, i32::saturating_add);
    DeploymentStatus {
        replicas: Some(replicas),
        updated_replicas: Some(
            newest
                .and_then(|set| set.status.as_ref())
                .map_or(0, |status| status.replicas),
        ),
        ready_replicas: Some(statuses().filter_map(|status| status.ready_replicas).sum()),
        available_replicas: Some(available),
        unavailable_replicas: Some((wanted - available).max(0)),
        terminating_replicas: Some(statuses().filter_map(|status| status.terminating_replicas).sum()),
        observed_generation: old.observed_generation.max(deployment.metadata.generation),
        collision_count: old.collision_count.filter(|_| !mutant::active("O211")),
        conditions: None,
    }
}

/// Updates the condition Progressing; answers how long until the deadline, while it runs.
fn progress(
    deployment: &Deployment,
    old: &DeploymentStatus,
    status: &DeploymentStatus,
    conditions: &mut Vec<DeploymentCondition>,
    new: &NewSet,
    rolling_out: bool,
    now: &Time,
) -> Option<Duration> {
    let spec = deployment.spec.as_ref();
    let Some(deadline) = spec
        .and_then(|spec| spec.progress_deadline_seconds)
        .filter(|limit| *limit != i32::MAX)
    else {
        conditions.retain(|condition| condition.type_ != PROGRESSING);
        return None;
    };
    let find = |conditions: &[DeploymentCondition]| {
        conditions
            .iter()
            .find(|condition| condition.type_ == PROGRESSING)
            .cloned()
    };
    let reason = |condition: &Option<DeploymentCondition>| {
        condition
            .as_ref()
            .and_then(|condition| condition.reason.clone())
            .unwrap_or_default()
    };
    let mut current = find(conditions);
    if spec.and_then(|spec| spec.paused).unwrap_or(false) {
        // The verdict on a rollout that took too long stands while it is paused.
        if !matches!(reason(&current).as_str(), "DeploymentPaused" | TIMED_OUT) && !mutant::active("O207") {
            set(
                conditions,
                PROGRESSING,
                "Unknown",
                "DeploymentPaused",
                "Deployment is paused",
                now,
            );
        }
        return None;
    }
    if reason(&current) == "DeploymentPaused" {
        set(
            conditions,
            PROGRESSING,
            "Unknown",
            "DeploymentResumed",
            "Deployment is resumed",
            now,
        );
        current = find(conditions);
    }
    let name = match new {
        NewSet::Created(name) => {
            let message = format!("Created new replica set {name:?}");
            set(conditions, PROGRESSING, "True", "NewReplicaSetCreated", &message, now);
            return Some(crate::pods::seconds(deadline));
        }
        NewSet::Found(name) => Some(name),
        NewSet::None => None,
    };
    if !rolling_out {
        return None;
    }
    if let (None, Some(name)) = (&current, name) {
        let message = format!("Found new replica set {name:?}");
        set(conditions, PROGRESSING, "True", "FoundNewReplicaSet", &message, now);
        current = find(conditions);
    }
    let subject = match name {
        Some(name) => format!("ReplicaSet {name:?}"),
        None => format!("Deployment {:?}", deployment.name()),
    };
    let count = |count: Option<i32>| count.unwrap_or(0);
    let was_complete = reason(&current) == COMPLETE && status.replicas == status.updated_replicas;
    if was_complete {
        return None;
    }
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let complete = count(status.updated_replicas) == wanted
        && count(status.replicas) == wanted
        && count(status.available_replicas) == wanted
        && name.is_some();
    if complete {
        set(
            conditions,
            PROGRESSING,
            "True",
            COMPLETE,
            &format!("{subject} has successfully progressed."),
            now,
        );
        return None;
    }
    let outdated = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    let progressed = count(status.updated_replicas) > count(old.updated_replicas)
        || outdated(status) < outdated(old)
        || count(status.ready_replicas) > count(old.ready_replicas)
        || count(status.available_replicas) > count(old.available_replicas);
    if progressed {
        let message = format!("{subject} is progressing.");
        let since = current
            .filter(|condition| condition.status == "True")
            .and_then(|one| one.last_transition_time);
        conditions.retain(|condition| condition.type_ != PROGRESSING);
        conditions.push(condition(
            PROGRESSING,
            "True",
            "ReplicaSetUpdated",
            &message,
            since.as_ref().unwrap_or(now),
            now,
        ));
        return Some(crate::pods::seconds(deadline));
    }
    let current = current?;
    if current.reason.as_deref() == Some(TIMED_OUT) || current.reason.as_deref() == Some(COMPLETE) {
        return None;
    }
    let mut since = current.last_update_time.as_ref().unwrap_or(now);
    if let Some(first) = current.last_transition_time.as_ref()
        && first != since
        && mutant::active("O208")
    {
        since = first;
    }
    let waited = Duration::try_from(now.0.duration_since(since.0)).unwrap_or(Duration::ZERO);
    let deadline = crate::pods::seconds(deadline);
    if waited > deadline {
        set(
            conditions,
            PROGRESSING,
            "False",
            TIMED_OUT,
            &format!("{subject} has timed out progressing."),
            now,
        );
        return None;
    }
    // A second more: time stamps are whole seconds.
    Some(deadline - waited + Duration::from_secs(1))
}

/// Sets a condition. One that says the same already stays as it is; while its value stays, so does its transition time.
pub(super) fn set(
    conditions: &mut Vec<DeploymentCondition>,
    kind: &str,
    value: &str,
    reason: &str,
    message: &str,
    now: &Time,
) {
    let current = conditions.iter().find(|condition| condition.type_ == kind);
    if current.is_some_and(|current| current.status == value && current.reason.as_deref() == Some(reason)) {
        return;
    }
    let since = current
        .filter(|current| current.status == value)
        .and_then(|one| one.last_transition_time.clone());
    conditions.retain(|condition| condition.type_ != kind);
    conditions.push(condition(
        kind,
        value,
        reason,
        message,
        since.as_ref().unwrap_or(now),
        now,
    ));
}

fn condition(kind: &str, value: &str, reason: &str, message: &str, since: &Time, now: &Time) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(since.clone()),
        last_update_time: Some(now.clone()),
    }
}

/// Whether all pods are of the newest template, there are as many as wanted, and all are available.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    [status.updated_replicas, status.replicas, status.available_replicas]
        .iter()
        .all(|count| count.unwrap_or(0) == wanted)
}

/// Whether two statuses say the same; an absent count is zero, as the API server writes it.
pub(super) fn same(old: Option<&DeploymentStatus>, new: &DeploymentStatus) -> bool {
    let counts = |status: &DeploymentStatus| {
        [
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
            status.unavailable_replicas,
            status.terminating_replicas,
            status.collision_count,
        ]
        .map(|count| count.unwrap_or(0))
    };
    old.is_some_and(|old| {
        counts(old) == counts(new)
            && old.observed_generation == new.observed_generation
            && old.conditions.as_deref().unwrap_or_default() == new.conditions.as_deref().unwrap_or_default()
    })
}
