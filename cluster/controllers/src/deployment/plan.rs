//! What a deployment needs, from what is seen of it and its replica sets: the whole truth of the controller. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use orrery_api::meta::Object;
use orrery_api::mutant;

use super::rollout::{self, Bounds, Set};
use super::status::{self, NewSet};
use super::template::{self, DESIRED, MOST, REVISION, number, revision_of, size};

/// How many old, empty replica sets are kept when the deployment does not say.
const HISTORY: i32 = 10;

/// What to do. The parts are carried out in this order, up to the first that fails.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// The replica set to create.
    pub create: Option<ReplicaSet>,
    /// The replica sets to write, in this order.
    pub updates: Vec<Update>,
    /// The replica sets to remove from the history.
    pub deletes: Vec<Arc<ReplicaSet>>,
    /// The deployment's new status, if it changed.
    pub status: Option<DeploymentStatus>,
    /// The revision to write on the deployment, if it is another.
    pub revision: Option<i64>,
    /// When to look again though nothing happened.
    pub look_again: Option<Duration>,
}

/// A replica set as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Update {
    /// The set, with the resourceVersion it was seen at.
    pub set: ReplicaSet,
    /// The size it has.
    pub from: i32,
    /// The size it gets.
    pub to: i32,
}

/// What is seen.
pub(super) struct Observed<'a> {
    /// The deployment.
    pub deployment: &'a Deployment,
    /// Its replica sets, in any order.
    pub sets: Vec<Arc<ReplicaSet>>,
    /// Whether a pod of that set (by its uid) may still run, be it terminating.
    pub has_pods: &'a dyn Fn(&str) -> bool,
    /// The time.
    pub now: Timestamp,
}

/// The bounds of the deployment's strategy.
fn bounds(deployment: &Deployment) -> Bounds {
    let spec = deployment.spec.as_ref();
    let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    if recreates(deployment) {
        return Bounds::exact(replicas);
    }
    let rolling = spec.and_then(|spec| spec.strategy.as_ref()?.rolling_update.as_ref());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    Bounds::rolling(
        replicas,
        surge,
        rolling.and_then(|rolling| rolling.max_unavailable.as_ref()),
    )
}

fn recreates(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// A replica set as the arithmetic sees it.
fn facts(set: &ReplicaSet) -> Set {
    let status = set.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation);
    let generation = set.metadata.generation.unwrap_or(0);
    let is_untouched = observed.is_none() && status.is_none_or(|status| status.replicas == 0);
    Set {
        size: size(set),
        live: status.map_or(0, |status| status.replicas),
        available: status.and_then(|status| status.available_replicas).unwrap_or(0),
        // A set that nobody has worked on yet has no pods; but for one that has been resized since, some may be on
        // their way.
        settled: observed.unwrap_or(0) >= generation || (is_untouched && generation <= 1),
        max_then: number(set, MOST),
    }
}

/// Decides.
pub(super) fn plan(observed: Observed<'_>) -> Plan {
    let Observed {
        deployment,
        mut sets,
        has_pods,
        now,
    } = observed;
    let bounds = bounds(deployment);
    let spec = deployment.spec.as_ref();
    let paused = spec.and_then(|spec| spec.paused).unwrap_or(false);
    // Oldest first. Names break ties: every pass must see the same order.
    sets.sort_by(|a, b| (&a.metadata.creation_timestamp, a.name()).cmp(&(&b.metadata.creation_timestamp, b.name())));
    let template = template::template(deployment);
    let newest = sets
        .iter()
        .find(|set| template::is_of_template(set, &template))
        .cloned();
    let old: Vec<_> = sets
        .iter()
        .filter(|set| newest.as_ref().is_none_or(|newest| newest.uid() != set.uid()))
        .cloned()
        .collect();
    let old_facts: Vec<Set> = old.iter().map(|set| facts(set)).collect();
    let revision = old.iter().map(|set| revision_of(set)).max().unwrap_or(0) + 1;

    if deployment.is_terminating() {
        let new = newest
            .as_ref()
            .map_or(NewSet::None, |set| NewSet::Found(set.name().to_owned()));
        let (status, _) = status::status(deployment, bounds, newest.as_deref(), &sets, &new, false, now);
        let status = (!status::same(deployment.status.as_ref(), &status)).then_some(status);
        return Plan {
            create: None,
            updates: vec![],
            deletes: vec![],
            status,
            revision: None,
            look_again: None,
        };
    }

    let was_scaled = sets
        .iter()
        .filter(|set| size(set) > 0 && !set.is_terminating())
        .any(|set| number(set, DESIRED).is_some_and(|desired| desired != bounds.replicas));
    let is_under_way = newest.as_ref().is_some_and(|set| size(set) > 0);
    let is_held = paused && !(is_under_way && mutant::active("O206"));
    let rolling_out = !is_held && !was_scaled;
    // A pass for the sake of scaling renews all notes, or the deployment would look freshly scaled for ever.
    let mut renews_notes = !rolling_out;
    // Every set's next size; a set that is not in here keeps its own.
    let mut sizes = BTreeMap::<&str, i32>::new();
    let mut create = None;
    let old_must_go_first = recreates(deployment);
    let may_start = !old_must_go_first
        || (old
            .iter()
            .zip(&old_facts)
            .all(|(set, facts)| facts.size == 0 && facts.live == 0 && facts.settled && !has_pods(set.uid())));
    if !rolling_out {
        // Where no set has a size, one is woken. A pause in the middle of a rollout is no leave to do so too soon.
        let wakes = sets.iter().all(|set| size(set) == 0);
        if (may_start || !wakes) && !(paused && mutant::active("O59")) {
            match scaled(deployment, bounds, newest.as_ref(), &old) {
                Some(next) => sizes = next,
                // Until it can be scaled the notes say that it is to be.
                None => renews_notes = false,
            }
        }
    } else {
        if old_must_go_first {
            sizes.extend(old.iter().map(|set| (set.uid(), 0)));
        }
        match &newest {
            None if may_start => {
                let size = rollout::new_size(bounds, 0, &old_facts);
                create = Some(template::new_set(deployment, revision, bounds, size));
            }
            Some(newest) if may_start => {
                let facts = facts(newest);
                let next = rollout::new_size(bounds, facts.size, &old_facts);
                if next != facts.size {
                    sizes.insert(newest.uid(), next);
                } else if !old_must_go_first {
                    let next = rollout::old_sizes(bounds, &facts, &old_facts);
                    sizes.extend(old.iter().map(|set| set.uid()).zip(next));
                }
            }
            _ => {}
        }
    }

    let mut updates = Vec::new();
    // The newest set first: an error there must keep the old ones from shrinking.
    for set in newest.iter().chain(&old) {
        let is_newest = newest.as_ref().is_some_and(|newest| newest.uid() == set.uid());
        let mut next = (**set).clone();
        if is_newest {
            template::describe(&mut next, deployment, revision);
        }
        let (from, to) = (size(set), sizes.get(set.uid()).copied().unwrap_or(size(set)));
        let stale_notes = number(set, DESIRED) != Some(bounds.replicas) || number(set, MOST) != Some(bounds.most());
        if from != to || (stale_notes && from > 0 && !set.is_terminating() && renews_notes) {
            template::scale(&mut next, bounds, to);
        }
        if next != **set {
            updates.push(Update { set: next, from, to });
        }
    }

    let new = match (&newest, &create) {
        (_, Some(set)) => NewSet::Created(set.name().to_owned()),
        (Some(set), None) => NewSet::Found(set.name().to_owned()),
        (None, None) => NewSet::None,
    };
    let (status, look_again) = status::status(deployment, bounds, newest.as_deref(), &sets, &new, rolling_out, now);
    // As in Kubernetes, a pause in the middle of a rollout keeps no more of the history than its end does.
    let deletes = if paused || (status::is_complete(deployment, &status) && newest.is_some()) {
        surplus_history(deployment, newest.as_ref(), &old)
    } else {
        vec![]
    };
    // The deployment shows the revision of its newest set, once there is one.
    let shown = newest
        .as_ref()
        .map(|set| revision_of(set).max(revision))
        .or(create.as_ref().map(|_| revision));
    let current = deployment
        .annotation(REVISION)
        .and_then(|revision| revision.parse().ok());
    Plan {
        create,
        updates,
        deletes,
        status: (!status::same(deployment.status.as_ref(), &status)).then_some(status),
        revision: shown.filter(|shown| current != Some(*shown)),
        look_again,
    }
}

/// The sizes after the deployment was scaled, or while it is paused; `None` while nobody can say what lives, and it
/// matters.
fn scaled<'a>(
    deployment: &Deployment,
    bounds: Bounds,
    newest: Option<&'a Arc<ReplicaSet>>,
    old: &'a [Arc<ReplicaSet>],
) -> Option<BTreeMap<&'a str, i32>> {
    // Newest first, as the arithmetic wants them.
    let all = || newest.into_iter().chain(old.iter().rev());
    let active: Vec<_> = all().filter(|set| size(set) > 0).collect();
    Some(match active.as_slice() {
        [] => all()
            .next()
            .map(|set| (set.uid(), bounds.replicas))
            .into_iter()
            .collect(),
        [only] => BTreeMap::from([(only.uid(), bounds.replicas)]),
        _ => {
            let saturated = newest.is_some_and(|set| {
                size(set) == bounds.replicas
                    && number(set, DESIRED) == Some(bounds.replicas)
                    && facts(set).available == bounds.replicas
            });
            if saturated {
                return Some(old.iter().map(|set| (set.uid(), 0)).collect());
            }
            if recreates(deployment) {
                return Some(BTreeMap::new());
            }
            let facts: Vec<Set> = active.iter().map(|set| facts(set)).collect();
            let fallback = deployment
                .status
                .as_ref()
                .and_then(|status| status.replicas)
                .unwrap_or(0);
            let sizes = rollout::proportional(bounds, &facts, fallback)?;
            active.iter().map(|set| set.uid()).zip(sizes).collect()
        }
    })
}

/// The old, empty sets beyond what the history keeps, of the lowest revisions.
fn surplus_history(
    deployment: &Deployment,
    newest: Option<&Arc<ReplicaSet>>,
    old: &[Arc<ReplicaSet>],
) -> Vec<Arc<ReplicaSet>> {
    let limit = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.revision_history_limit)
        .unwrap_or(HISTORY);
    let Ok(limit) = usize::try_from(limit) else {
        return vec![];
    };
    // Where no set has the template yet, that of the last rollout is in force, and no history.
    let in_force = newest.or_else(|| old.iter().max_by_key(|set| revision_of(set)));
    let empty = |set: &&Arc<ReplicaSet>| {
        let facts = facts(set);
        let is_history = in_force.is_none_or(|own| own.uid() != set.uid());
        is_history && facts.size == 0 && facts.live == 0 && facts.settled && !set.is_terminating()
    };
    let mut empty: Vec<_> = old.iter().filter(empty).cloned().collect();
    let surplus = empty.len().saturating_sub(limit);
    // They come in the order in which they were made.
    if surplus == 0 || !mutant::active("O75") {
        empty.sort_by_key(|set| revision_of(set));
    }
    empty.truncate(surplus);
    empty
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
