//! P12: a paused rollout does not go on; and of one that is not paused it is said that it takes too long when its
//! deadline is over, and not before.
//!
//! A pause, as [Kubernetes' documentation][pauses] has it, keeps a Deployment from changing over to another template,
//! and not from having as many pods as it wants. So judged are two steps, at the write of a ReplicaSet that the
//! controller manager asked for, when the Deployment had been paused and asked for the same for longer than the
//! controller's lag. A set without size may get one only if no other has any. And a set may shrink only if all sets
//! together are more than the Deployment's replicas and surge, if it is the only one with a size, or if the set of the
//! Deployment's template has all replicas already. Another set with a size is one that the Deployment selects: what it
//! does not select it lets go. Sets that others have resized or relabelled within the lag may still count as they were.
//!
//! The lag ends when the write is asked for, since it may be carried out long after that, and nobody can take it back.
//! If it was asked for several times on one state of the set, the first counts: any may be the one carried out.
//!
//! Not judged: by how much sets grow beside each other (a pause that comes when the surge is not used up yet lets
//! them); whether a set is made (P8 does that).
//!
//! The deadline (`progressDeadlineSeconds`) counts from the last progress, which the condition `Progressing` of the
//! status that was there shows (`lastUpdateTime`): a controller that writes another status has seen just that one. A
//! rollout that is paused or has ended is not given up. That one is given up late is judged in calm times only, and
//! generously. No deadline is judged while a clock is wrong, since it goes by stamps; what a pause forbids is judged
//! all the same.
//!
//! [pauses]: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#pausing-and-resuming-a-deployment

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use orrery_play::convergence::{bare, template};

use super::availability::DESIRED;
use super::bounds::{Bounds, is_paused, size};
use super::ownership::selects;
use super::{CALM, Invariant, MEMORY, Report};
use crate::model::{Change, Cluster, Item, ObjectId, Seen};
use crate::scenario::Role;

/// The reason of a rollout that takes too long.
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
/// The reason of one that has ended.
const COMPLETE: &str = "NewReplicaSetAvailable";
/// The reasons of one that is under way.
const UNDER_WAY: [&str; 4] = [
    "NewReplicaSetCreated",
    "FoundNewReplicaSet",
    "ReplicaSetUpdated",
    "DeploymentResumed",
];

/// Stamps are whole seconds.
const SECOND: Duration = Duration::from_secs(1);
/// How often is looked for rollouts that take too long.
const EVERY: Duration = Duration::from_secs(10);
/// So long after its deadline a rollout in calm times must have been given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A write that was asked for.
#[derive(Clone, Copy)]
struct Wish {
    /// The revision on which the object is to be written.
    base: u64,
    /// When it was first asked for.
    at: Duration,
    /// The controller's lag then.
    lag: Duration,
}

/// See the module.
#[derive(Default)]
pub struct Paused {
    /// By uid of a Deployment: since when it is paused and asks for the same.
    still: BTreeMap<String, Duration>,
    /// By uid of a Deployment: when it was last written.
    written: BTreeMap<String, Duration>,
    /// By uid of a set: since when it has its size, its labels and its owner.
    sized: BTreeMap<String, Duration>,
    /// On which state of a set the controller manager last asked to write it.
    asked: BTreeMap<ObjectId, Wish>,
    /// When rollouts are looked at next.
    next: Duration,
}

impl Invariant for Paused {
    fn id(&self) -> &'static str {
        "P12"
    }

    fn statement(&self) -> &'static str {
        "A paused rollout does not go on, and one is given up when its deadline is over, and not before."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) => {
                match &*change.id.resource {
                    "deployments.apps" => {
                        self.remember(change, cluster.now);
                        if let Some(wrong) = given_up(change, cluster) {
                            self.tell(change, &wrong, report);
                        }
                    }
                    "replicasets.apps" => {
                        if let Some(wrong) = self.goes_on(change, cluster) {
                            self.tell(change, &wrong, report);
                        }
                        self.remember_set(change, cluster.now);
                    }
                    _ => {}
                }
                if self.next <= cluster.now {
                    self.next = cluster.now + EVERY;
                    self.look(cluster, report);
                }
            }
            Seen::Asked(asked) => {
                let Some(path) = &asked.path else { return };
                let writes = asked.method == http::Method::PUT && path.subresource.is_empty();
                if writes && &*path.resource == "replicasets.apps" && asked.client.starts_with("controller-manager") {
                    self.wish(path.id(), asked.base.unwrap_or(0), cluster);
                }
            }
            _ => {}
        }
    }
}

/// What a Deployment says of its rollout.
fn progress(deployment: &Deployment) -> Option<&DeploymentCondition> {
    let mut conditions = deployment.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == "Progressing")
}

fn reason(condition: Option<&DeploymentCondition>) -> &str {
    condition
        .and_then(|condition| condition.reason.as_deref())
        .unwrap_or_default()
}

/// When the deadline of a Deployment's rollout is over, and how long it is; none if there is none.
fn deadline(deployment: &Deployment, cluster: &Cluster) -> Option<(Duration, Duration)> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds?;
    let whole = Duration::from_secs(u64::try_from(seconds).ok()?);
    let since = progress(deployment)?.last_update_time.as_ref()?;
    (seconds != i32::MAX).then(|| (cluster.moment(since.0) + whole, whole))
}

/// What is wrong with a write by which a Deployment says that its rollout takes too long.
fn given_up(change: &Change, cluster: &Cluster) -> Option<String> {
    let (before, after) = (change.before.as_ref()?, change.after.as_ref()?);
    if before.uid() != after.uid() {
        return None;
    }
    let (old, new) = (before.deployment()?, after.deployment()?);
    let was = reason(progress(old));
    if reason(progress(new)) != TIMED_OUT || was == TIMED_OUT {
        return None;
    }
    if is_paused(old) {
        return Some("is paused, and its rollout is given up".to_owned());
    }
    if was == COMPLETE {
        return Some("has ended its rollout, which is given up".to_owned());
    }
    let (until, whole) = deadline(old, cluster)?;
    if cluster.is_clock_wrong(whole + MEMORY) || until <= cluster.now + SECOND {
        return None;
    }
    Some(format!(
        "has {whole:?} from its last progress ({was}) on, until {until:?}, and its rollout is given up"
    ))
}

impl Paused {
    fn tell(&self, change: &Change, wrong: &str, report: &mut Report) {
        let message = format!("{} {wrong} at revision {}", change.id, change.revision);
        report.broken(self.id(), message, &["controller-manager", "apiserver"]);
    }

    /// Takes in that the controller manager asks to write a set as it stands at `base`.
    fn wish(&mut self, set: ObjectId, base: u64, cluster: &Cluster) {
        let new = Wish {
            base,
            at: cluster.now,
            lag: cluster.lag(Role::ControllerManager),
        };
        let known = self.asked.entry(set).or_insert(new);
        // An earlier one on the same state may still be on its way.
        if known.base != base {
            *known = new;
        }
    }

    fn remember(&mut self, change: &Change, now: Duration) {
        let Some(newest) = change.newest() else { return };
        let uid = newest.uid().to_owned();
        let Some(deployment) = change.after.as_ref().and_then(|item| item.deployment()) else {
            self.still.remove(&uid);
            self.written.remove(&uid);
            return;
        };
        self.written.insert(uid.clone(), now);
        let before = change.before.as_ref().filter(|before| before.uid() == uid);
        let before = before.and_then(|before| before.deployment());
        if !is_paused(deployment) {
            self.still.remove(&uid);
        } else if before.is_none_or(|before| before.spec != deployment.spec) {
            // What it was made as it has always been.
            let since = if before.is_none() { Duration::ZERO } else { now };
            self.still.insert(uid, since);
        }
    }

    fn remember_set(&mut self, change: &Change, now: Duration) {
        let Some(after) = &change.after else {
            if let Some(before) = &change.before {
                self.sized.remove(before.uid());
            }
            self.asked.remove(&change.id);
            return;
        };
        let is_same = |before: &Item| {
            before.uid() == after.uid()
                && size(before) == size(after)
                && before.meta.labels == after.meta.labels
                && before.controller_uid() == after.controller_uid()
                && before.is_terminating() == after.is_terminating()
        };
        if !change.before.as_ref().is_some_and(|before| is_same(before)) {
            self.sized.insert(after.uid().to_owned(), now);
        }
    }

    /// Why the write of a set is a step of a rollout that is paused, if it is one.
    fn goes_on(&self, change: &Change, cluster: &Cluster) -> Option<String> {
        let (before, after) = (change.before.as_ref()?, change.after.as_ref()?);
        let (from, to) = (size(before), size(after));
        if from == to || before.uid() != after.uid() {
            return None;
        }
        let wish = self.asked.get(&change.id);
        let wish = wish.filter(|wish| wish.base == before.revision)?;
        let owner = cluster.by_uid(before.controller_uid()?)?;
        let deployment = owner.deployment().filter(|_| !owner.is_terminating())?;
        // What held the controller up may have been forgotten since, or have become known only then.
        let lag = wish.lag.max(cluster.lag(Role::ControllerManager));
        let rests = |since: &Duration| since.is_zero() || *since + lag < wish.at;
        let since = self.still.get(owner.uid()).filter(|since| rests(since))?;
        let others = cluster.owned(owner.uid()).map(|other| &**other);
        let others = others.filter(|other| other.replica_set().is_some() && other.uid() != after.uid());
        let others: Vec<&Item> = others.collect();
        let has_rested = |item: &&Item| self.sized.get(item.uid()).is_none_or(rests);
        // What it does not select any more it lets go.
        let is_active = |item: &&Item| size(item) > 0 && !item.is_terminating() && selects(owner, item);
        let paused = format!(
            "asked for at {:?}, though {} is paused since {since:?}",
            wish.at, owner.id
        );
        if from == 0 {
            let mut others = others.iter().copied();
            let other = others.find(|other| is_active(other) && has_rested(other))?;
            return Some(format!("gets a size of {to} beside {}, {paused}", other.id));
        }
        let all: i32 = others.iter().map(|other| size(other)).fold(from, i32::saturating_add);
        let bounds = Bounds::of(deployment);
        let (most, wanted) = (bounds.most(), bounds.replicas);
        let own = deployment.spec.as_ref().map(|spec| bare(spec.template.clone()));
        let mut sets = others.iter().copied().chain([&**before]);
        let is_full = sets.any(|set| size(set) == wanted && template(set) == own);
        let is_step = to < from
            && all <= most
            && wanted > 0
            && !is_full
            && others.iter().copied().any(|other| is_active(&other))
            && others.iter().copied().all(|other| has_rested(&other));
        is_step.then(|| format!("shrinks from {from} to {to} of {all}, of which {most} may be, {paused}"))
    }

    /// Looks for rollouts that should have been given up.
    fn look(&self, cluster: &Cluster, report: &mut Report) {
        if cluster.is_disturbed(CALM) || cluster.was_stalled(Role::ControllerManager) {
            return;
        }
        for item in cluster.all("deployments.apps") {
            if let Some(wrong) = self.is_late(item, cluster) {
                report.broken(self.id(), format!("{} {wrong}", item.id), &["controller-manager"]);
            }
        }
    }

    fn is_late(&self, item: &Item, cluster: &Cluster) -> Option<String> {
        let deployment = item
            .deployment()
            .filter(|own| !is_paused(own) && !item.is_terminating())?;
        let status = deployment.status.as_ref()?;
        let was = reason(progress(deployment));
        let (until, whole) = deadline(deployment, cluster).filter(|_| UNDER_WAY.contains(&was))?;
        let lag = cluster.lag(Role::ControllerManager);
        let written = self.written.get(item.uid()).copied()?;
        let wanted = Bounds::of(deployment).replicas;
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        let has_ended = counts.iter().all(|count| count.unwrap_or(0) == wanted);
        if has_ended
            || status.observed_generation != deployment.metadata.generation
            || until + PATIENCE + lag > cluster.now
            || written + PATIENCE + lag > cluster.now
            || cluster.is_clock_wrong(whole + MEMORY)
        {
            return None;
        }
        // One that is being scaled is looked at when that is done.
        let sets = cluster.owned(item.uid()).filter(|set| set.replica_set().is_some());
        let mut noted = sets.filter(|set| size(set) > 0).map(|set| {
            let notes = set.meta.annotations.as_ref();
            notes.and_then(|notes| notes.get(DESIRED)?.parse::<i32>().ok())
        });
        if noted.any(|noted| noted != Some(wanted)) {
            return None;
        }
        Some(format!(
            "has had {whole:?} from its last progress ({was}) on, until {until:?}, and its rollout is not given up"
        ))
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::{Value, json};

    use super::super::contract_tests::with;
    use super::super::tests::{History, asked, owned, set};
    use super::*;
    use crate::model::Asked;

    fn pod_template(image: &str) -> Value {
        json!({"spec": {"containers": [{"name": "c", "image": image}]}})
    }

    fn deployment(paused: bool) -> Value {
        json!({"metadata": {"name": "web", "namespace": "default", "uid": "uid-web", "generation": 1},
            "spec": {"replicas": 4, "selector": {}, "template": pod_template("2"), "paused": paused,
                "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}})
    }

    fn set_of(image: &str, replicas: i32) -> Value {
        let set = owned(set(&format!("web-{image}"), replicas), "Deployment", "web");
        with(set, "/spec/template", pod_template(image))
    }

    /// The controller manager, or somebody else, asks to write a set, whose last write had this revision.
    fn asks(history: History, client: &str, base: u64, set: &str) -> History {
        let path = format!("/apis/apps/v1/namespaces/default/replicasets/{set}");
        let put = Asked {
            base: Some(base),
            ..asked(client, Method::PUT, &path)
        };
        history.see(&Seen::Asked(&put))
    }

    /// The same, and it is done at once: the set is resized.
    fn resizes(history: History, client: &str, base: u64, set: Value) -> Vec<&'static str> {
        let name = set["metadata"]["name"].as_str().unwrap();
        let history = asks(history, client, base, name);
        history.put("replicasets.apps", set).broken()
    }

    const MANAGER: &str = "controller-manager/1";

    /// A rollout from image 1 to image 2, by the sizes of its sets (revisions 2 and 3).
    fn running(sizes: [i32; 2]) -> History {
        let history = History::of(|id| id == "P12").put("replicasets.apps", set_of("1", sizes[0]));
        let history = history.put("replicasets.apps", set_of("2", sizes[1]));
        history.put("deployments.apps", deployment(false))
    }

    /// The same, which is paused at second 100.
    fn rollout(sizes: [i32; 2], paused: Value) -> History {
        running(sizes).at(100).put("deployments.apps", paused)
    }

    #[test]
    fn an_old_set_that_shrinks_in_a_pause_breaks_p12() {
        let step = |sizes: [i32; 2], second: u64, client: &str, paused: bool| {
            resizes(rollout(sizes, deployment(paused)).at(second), client, 2, set_of("1", 3))
        };
        assert_eq!(step([4, 1], 150, MANAGER, true), ["P12"]);
        assert!(step([4, 1], 150, MANAGER, false).is_empty(), "not paused");
        assert!(step([4, 1], 105, MANAGER, true).is_empty(), "not seen yet");
        assert!(step([4, 1], 150, "user", true).is_empty(), "a user's");
        let other = resizes(rollout([4, 1], deployment(true)).at(150), MANAGER, 9, set_of("1", 3));
        assert!(other.is_empty(), "somebody else's write");
        assert!(step([4, 2], 150, MANAGER, true).is_empty(), "they are too many");
        let full = resizes(rollout([1, 4], deployment(true)).at(150), MANAGER, 2, set_of("1", 0));
        assert!(full.is_empty(), "the new one has all");
        assert!(step([5, 0], 150, MANAGER, true).is_empty(), "it is the only one");
    }

    #[test]
    fn a_deployment_that_asked_for_something_else_a_moment_ago_may_still_get_that() {
        let scaled = with(deployment(true), "/spec/replicas", json!(5));
        let history = rollout([4, 1], deployment(true))
            .at(150)
            .put("deployments.apps", scaled);
        assert!(resizes(history.at(155), MANAGER, 2, set_of("1", 3)).is_empty());
        // And one whose other set was resized may still count that one as it was.
        let history = rollout([4, 2], deployment(true)).at(150);
        let history = history.put("replicasets.apps", set_of("2", 1));
        assert!(resizes(history.at(155), MANAGER, 2, set_of("1", 3)).is_empty());
    }

    #[test]
    fn a_write_is_judged_by_what_was_when_it_was_asked_for() {
        let asks_at = |history: History, second: u64| asks(history.at(second), MANAGER, 2, "web-1");
        let is_done = |history: History, second: u64| {
            let history = history.at(second);
            history.put("replicasets.apps", set_of("1", 3)).broken()
        };
        let early = || {
            let history = asks_at(running([4, 1]), 99).at(100);
            history.put("deployments.apps", deployment(true))
        };
        let paused = || rollout([4, 1], deployment(true));
        assert_eq!(is_done(asks_at(paused(), 150), 250), ["P12"]);
        assert!(is_done(early(), 200).is_empty(), "before the pause");
        assert!(is_done(asks_at(paused(), 105), 200).is_empty(), "not seen yet");
        assert!(
            is_done(asks_at(early(), 150), 200).is_empty(),
            "it may be the first one"
        );
        // A fault held it up when it asked, and is forgotten when that is done.
        let held = paused().at(150).know(|cluster| {
            let (from, until) = (Duration::from_secs(100), Duration::from_secs(160));
            cluster.stall(Role::ControllerManager, from, until);
        });
        assert!(is_done(asks_at(held, 150), 900).is_empty());
        // Of another state of the set no write is on its way any more.
        let again = early().at(150).put("replicasets.apps", set_of("1", 4));
        let again = asks(again.at(200), MANAGER, 6, "web-1");
        assert_eq!(is_done(again, 200), ["P12"]);
        // Whoever asked cannot know how the other set was resized after that.
        let resized = asks_at(rollout([4, 2], deployment(true)), 150).at(155);
        let resized = resized.put("replicasets.apps", set_of("2", 1));
        assert!(is_done(resized, 250).is_empty());
    }

    /// Set 2 has a pod, and this label at these seconds. At second 150 the controller manager resizes set 1.
    fn beside(labels: &[(u64, &str)], from: i32, to: i32) -> Vec<&'static str> {
        let labelled = |set: Value, app: &str| with(set, "/metadata/labels", json!({"app": app}));
        let selector = json!({"matchLabels": {"app": "web"}});
        let mut history = History::of(|id| id == "P12")
            .put("replicasets.apps", labelled(set_of("1", from), "web"))
            .put("replicasets.apps", labelled(set_of("2", 1), "web"))
            .put("deployments.apps", with(deployment(true), "/spec/selector", selector));
        for (second, app) in labels {
            let set = labelled(set_of("2", 1), app);
            history = history.at(*second).put("replicasets.apps", set);
        }
        resizes(history.at(150), MANAGER, 2, labelled(set_of("1", to), "web"))
    }

    #[test]
    fn a_set_that_is_not_selected_does_not_count_as_another() {
        for (from, to) in [(4, 3), (0, 1)] {
            let beside = |labels: &[(u64, &str)]| beside(labels, from, to);
            assert_eq!(beside(&[]), ["P12"], "{from}");
            assert!(beside(&[(50, "other")]).is_empty(), "{from}");
            assert!(beside(&[(145, "other")]).is_empty(), "{from}");
            let back = [(50, "other"), (60, "web")];
            assert_eq!(beside(&back), ["P12"], "{from}");
            // It may still be taken for one that is not selected.
            let late = [(50, "other"), (145, "web")];
            assert!(beside(&late).is_empty(), "{from}");
        }
    }

    #[test]
    fn a_set_that_gets_its_first_size_in_a_pause_beside_another_breaks_p12() {
        let wakes = |old: i32| resizes(rollout([old, 0], deployment(true)).at(150), MANAGER, 3, set_of("2", 1));
        assert_eq!(wakes(4), ["P12"]);
        assert!(wakes(0).is_empty());
        let grows = resizes(rollout([2, 1], deployment(true)).at(150), MANAGER, 3, set_of("2", 3));
        assert!(grows.is_empty(), "both have a size");
    }

    /// A Deployment that is at this point of its rollout since second 100, and has 60 s.
    fn progressing(said: &str, paused: bool) -> Value {
        let since = Timestamp::from_second(100).unwrap().to_string();
        let condition = json!({"type": "Progressing", "status": "True", "reason": said, "lastUpdateTime": since});
        let deployment = with(deployment(paused), "/spec/progressDeadlineSeconds", json!(60));
        let status = json!({"observedGeneration": 1, "replicas": 5, "updatedReplicas": 1, "availableReplicas": 4,
            "conditions": [condition]});
        with(deployment, "/status", status)
    }

    #[test]
    fn a_rollout_that_is_given_up_before_its_deadline_breaks_p12() {
        let history = |said: &str, paused: bool| {
            let history = History::of(|id| id == "P12").at(100);
            history.put("deployments.apps", progressing(said, paused))
        };
        let given_up = |history: History, paused: bool| {
            let given_up = progressing(TIMED_OUT, paused);
            history.put("deployments.apps", given_up).broken()
        };
        let started = || history("ReplicaSetUpdated", false);
        assert_eq!(given_up(started().at(150), false), ["P12"]);
        assert!(given_up(started().at(160), false).is_empty());
        assert!(given_up(started().at(150).know(Cluster::clock_errs), false).is_empty());
        // A rollout that is over, or paused, has no deadline.
        assert_eq!(given_up(history(COMPLETE, false).at(500), false), ["P12"]);
        assert_eq!(given_up(history("DeploymentPaused", true).at(500), true), ["P12"]);
        // It has been given up before.
        assert!(given_up(history(TIMED_OUT, false).at(110), false).is_empty());
    }

    #[test]
    fn a_rollout_that_is_not_given_up_long_after_its_deadline_breaks_p12() {
        let noted = |set: Value, noted: &str| with(set, "/metadata/annotations", json!({DESIRED: noted}));
        let history = |said: &str, desired: &str| {
            let history = History::of(|id| id == "P12");
            history
                .put("replicasets.apps", noted(set_of("1", 4), "4"))
                .put("replicasets.apps", noted(set_of("2", 1), desired))
                .at(100)
                .put("deployments.apps", progressing(said, said == "DeploymentPaused"))
        };
        let lives = |history: History| {
            let config = json!({"metadata": {"name": "a", "namespace": "default", "uid": "uid-a"}});
            history.put("configmaps", config).broken()
        };
        assert_eq!(lives(history("ReplicaSetUpdated", "4").at(300)), ["P12"]);
        assert!(
            lives(history("ReplicaSetUpdated", "4").at(200)).is_empty(),
            "soon enough"
        );
        assert!(
            lives(history("ReplicaSetUpdated", "3").at(300)).is_empty(),
            "being scaled"
        );
        assert!(lives(history("ReplicaSetUpdated", "4").at(300).struck()).is_empty());
        for said in [TIMED_OUT, COMPLETE, "DeploymentPaused"] {
            assert!(lives(history(said, "4").at(300)).is_empty(), "{said}");
        }
    }
}
