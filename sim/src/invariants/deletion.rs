//! S6: deletionTimestamp is never taken back or put off; an object with finalizers does not vanish, and loses none of
//! them by itself; a pod on a node does not vanish before its grace is over. G4: nothing lives in a namespace that is
//! gone, and nothing is made, and no pod bound, in one that is going.
//!
//! The moment by which an object is to be gone (`deletionTimestamp`) lies its grace after the deletion: not before the
//! oldest one under way began to be carried out, and not after now. A shorter grace brings it forward by as much. That
//! is not judged while a clock is wrong.
//!
//! Judged at every write. An object may vanish by the very write that takes its last finalizers away, so that what had
//! some just before may only go if somebody asked to change it since a minute; the same holds for what loses some. A
//! later deletion may name a shorter grace, which brings the moment forward, and another propagation, which takes the
//! finalizers of the first one's away. A pod's grace is over when somebody deletes it without any: its kubelet, when
//! nothing of it runs, the pod collector, or a user by force. A patch of a controller that names the finalizers of the
//! object as it is in the store may leave out those of a deletion only. Events are not judged by G4. The namespace
//! controller deletes nothing else while a pod is in the namespace (KEP-5080); one that stood still may come too late
//! to know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{AFTERLIFE, Invariant, MEMORY, Report};
use crate::model::{Asked, Change, Cluster, Item, ObjectId, Seen};
use crate::sweep::Sweep;

/// So old may the request be that took the finalizers away.
const ASKED: Duration = Duration::from_secs(60);

/// The finalizers by which a deletion says what becomes of dependents: the next deletion may change its mind.
const PROPAGATION: [&str; 2] = ["foregroundDeletion", "orphan"];

/// Moments are written in whole seconds.
const SECOND: i64 = 1000;
/// No grace that anybody means is longer, in seconds: the moment would be beyond all time.
const ENDLESS: i64 = 1_000_000_000;

/// S6; see the module.
#[derive(Default)]
pub struct Deletion {
    /// When somebody last asked to change an object.
    asked: BTreeMap<ObjectId, Duration>,
    sweep: Sweep,
    /// When somebody last asked to delete a pod, or all of a namespace, without grace.
    forced: BTreeMap<ObjectId, Duration>,
    /// Deletions and evictions that are being carried out.
    deletes: BTreeMap<u64, Delete>,
}

/// A deletion that is being carried out.
struct Delete {
    /// Of what: an object, or a collection (whose name is empty).
    of: ObjectId,
    begun: Duration,
    /// When its server died over it.
    lost: Option<Duration>,
}

impl Delete {
    /// What `asked` deletes, if it does.
    fn of(asked: &Asked, now: Duration) -> Option<Self> {
        let path = asked.path.as_ref()?;
        let deletes = match asked.method {
            Method::DELETE => path.subresource.is_empty(),
            Method::POST => path.subresource == "eviction",
            _ => false,
        };
        deletes.then(|| Delete {
            of: path.id(),
            begun: now,
            lost: None,
        })
    }

    fn is_of(&self, id: &ObjectId) -> bool {
        let is_named = self.of == *id;
        let is_all = self.of.name.is_empty() && self.of.resource == id.resource;
        is_named || (is_all && (self.of.namespace.is_empty() || self.of.namespace == id.namespace))
    }
}

/// How whoever empties namespaces calls itself.
const EMPTIER: &str = "/namespace-controller";

/// The finalizers of others that a controller takes away knowingly.
fn taken(asked: &Asked, cluster: &Cluster) -> Option<String> {
    let path = asked.path.as_ref().filter(|path| path.subresource.is_empty())?;
    let item = cluster
        .get(&path.id())
        .filter(|item| asked.base == Some(item.revision))?;
    if asked.method != Method::PATCH || asked.strategic || !asked.client.starts_with("controller-manager") {
        return None;
    }
    let patch: Value = serde_json::from_slice(asked.patch.as_ref()?).ok()?;
    let named = patch.pointer("/metadata/finalizers")?.as_array();
    let is_kept = |own: &String| named.into_iter().flatten().any(|named| named == own.as_str());
    let own = item.meta.finalizers.iter().flatten();
    let taken: Vec<&str> = own
        .filter(|own| !PROPAGATION.contains(&own.as_str()) && !is_kept(own))
        .map(String::as_str)
        .collect();
    (!taken.is_empty()).then(|| format!("{} takes {} from {}", asked.client, taken.join(", "), path.id()))
}

/// G4; see the module.
pub struct Namespaces;

/// The finalizers in the metadata; a namespace has its own in its spec.
fn finalizers(item: &Item) -> Vec<String> {
    let own = item.meta.finalizers.iter().flatten();
    let inside = item.as_namespace().and_then(|namespace| namespace.spec.as_ref());
    let inside = inside.into_iter().flat_map(|spec| spec.finalizers.iter().flatten());
    own.chain(inside).cloned().collect()
}

/// The finalizers that an object had and has no more, but for those of a deletion.
fn lost(before: &Item, after: &Item) -> Vec<String> {
    let left = finalizers(after);
    finalizers(before)
        .into_iter()
        .filter(|one| !left.contains(one) && !PROPAGATION.contains(&one.as_str()))
        .collect()
}

/// The seconds that a pod has yet to be stopped in; none if nothing of it need be stopped.
fn grace(before: &Item) -> Option<i64> {
    let pod = before
        .pod()
        .filter(|_| !before.node_name().is_empty() && !before.is_finished())?;
    let whole = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let left = pod.metadata.deletion_grace_period_seconds.or(whole).unwrap_or(0);
    (left > 0).then_some(left)
}

/// When a deletion began by what it has left in the metadata, in milliseconds since the beginning of the run.
fn beginning(meta: &ObjectMeta, moment: impl Fn(Timestamp) -> Duration) -> Option<i64> {
    let grace = meta.deletion_grace_period_seconds.filter(|grace| *grace < ENDLESS)?;
    let until = moment(meta.deletion_timestamp.as_ref()?.0);
    Some(until.as_millis() as i64 - grace * SECOND)
}

impl Deletion {
    /// What is wrong with the moment by which an object is to be gone.
    fn moment(&self, change: &Change, before: &Item, after: &Item, cluster: &Cluster) -> Option<String> {
        let beginning = |item: &Item| beginning(&item.meta, |stamp| cluster.moment(stamp));
        let is = beginning(after).filter(|_| !cluster.is_clock_wrong(MEMORY))?;
        if before.is_terminating() {
            let was = beginning(before).filter(|was| *was != is)?;
            return Some(format!(
                "is to be gone its grace after {} s, and was to be so after {} s",
                is / SECOND,
                was / SECOND
            ));
        }
        let begun = self.deletes.values().filter(|delete| delete.is_of(&change.id));
        let begun = begun.map(|delete| delete.begun).min()?;
        let [first, now] = [begun, cluster.now].map(|at| at.as_millis() as i64);
        (is < first - SECOND || is > now + SECOND).then(|| {
            format!(
                "is to be gone its grace after {} s, and its deletion began at {} s or later",
                is / SECOND,
                first / SECOND
            )
        })
    }

    /// What is wrong with a write of an object that was there before.
    fn wrong(&self, change: &Change, before: &Item, cluster: &Cluster) -> Option<String> {
        let now = cluster.now;
        let was_asked = self.asked.get(&change.id).is_some_and(|at| *at + ASKED >= now);
        let Some(after) = &change.after else {
            let held = finalizers(before);
            if !was_asked && !held.is_empty() {
                return Some(format!("is gone though {} held it", held.join(", ")));
            }
            let everyone = ObjectId {
                name: String::new(),
                ..change.id.clone()
            };
            let mut forced = [&change.id, &everyone].into_iter().filter_map(|id| self.forced.get(id));
            let was_forced = forced.any(|at| *at + ASKED >= now);
            let grace = grace(before).filter(|_| !was_forced)?;
            return Some(format!("is gone before its {grace} s were over"));
        };
        if after.uid() != before.uid() {
            return None;
        }
        if let Some(wrong) = self.moment(change, before, after, cluster) {
            return Some(wrong);
        }
        let (was, is) = (&before.meta.deletion_timestamp, &after.meta.deletion_timestamp);
        match (was, is) {
            (Some(_), None) => return Some("is not being deleted any more".to_owned()),
            (Some(was), Some(is)) if is.0 > was.0 => {
                return Some(format!("is to end at {}, and no longer at {}", is.0, was.0));
            }
            _ => {}
        }
        let lost = lost(before, after);
        (!was_asked && !lost.is_empty()).then(|| format!("lost {}, which nobody took away", lost.join(", ")))
    }
}

impl Invariant for Deletion {
    fn id(&self) -> &'static str {
        "S6"
    }

    fn statement(&self) -> &'static str {
        "deletionTimestamp is a grace after the deletion, and never taken back or put off; nothing vanishes or loses its finalizers by itself, and no pod before its grace is over."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Asked(asked) => {
                if let Some(message) = taken(asked, cluster) {
                    report.broken(self.id(), message, &[&asked.client]);
                }
                let Some(path) = &asked.path else { return };
                let is_forced = asked.grace == Some(0) && &*path.resource == "pods";
                if is_forced && Delete::of(asked, cluster.now).is_some() {
                    self.forced.retain(|_, at| *at + ASKED > cluster.now);
                    self.forced.insert(path.id(), cluster.now);
                }
                let change = asked.method == Method::PUT || asked.method == Method::PATCH;
                if !change {
                    return;
                }
                if path.subresource.is_empty() || path.subresource == "finalize" {
                    self.asked.insert(path.id(), cluster.now);
                    if self.sweep.is_due(self.asked.len()) {
                        self.asked.retain(|_, at| *at + ASKED > cluster.now);
                        self.sweep.left(self.asked.len());
                    }
                }
            }
            Seen::Change(change) => {
                let Some(before) = &change.before else { return };
                let Some(what) = self.wrong(change, before, cluster) else {
                    return;
                };
                let message = format!(
                    "{} (uid {}) {what} at revision {}",
                    change.id,
                    before.uid(),
                    change.revision
                );
                report.broken(self.id(), message, &["apiserver", "controller-manager"]);
            }
            Seen::Begun { execution, asked } => {
                self.deletes
                    .retain(|_, delete| delete.lost.is_none_or(|at| cluster.now < at + AFTERLIFE));
                let delete = Delete::of(asked, cluster.now);
                self.deletes.extend(delete.map(|delete| (*execution, delete)));
            }
            Seen::Answered(_, answer) => {
                self.deletes.remove(&answer.execution);
            }
            Seen::Lost { execution } => {
                if let Some(delete) = self.deletes.get_mut(execution) {
                    delete.lost = Some(cluster.now);
                }
            }
            _ => {}
        }
    }
}

impl Namespaces {
    fn judge(&self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let is_event = |id: &ObjectId| id.resource.starts_with("events");
        if &*change.id.resource == "namespaces" && change.after.is_none() {
            let left = cluster
                .everything()
                .find(|item| item.id.namespace == change.id.name && !is_event(&item.id));
            if let Some(left) = left {
                let message = format!(
                    "{} is gone at revision {} while {} lives in it",
                    change.id, change.revision, left.id
                );
                report.broken(self.id(), message, &["controller-manager", "apiserver"]);
            }
        }
        // A binding is something new, too: the transaction that binds compares the namespace, as that of a create does.
        let node = |item: &Option<Arc<Item>>| item.as_ref().is_some_and(|item| !item.node_name().is_empty());
        let is_bound = change.before.is_some() && !node(&change.before) && node(&change.after);
        let did = if is_bound { "bound" } else { "made" };
        let is_new = change.is_create() || is_bound;
        let inside = is_new && !change.id.namespace.is_empty() && !is_event(&change.id);
        let known = cluster.history("namespaces").is_some();
        let open = cluster
            .find("namespaces", "", &change.id.namespace)
            .is_some_and(|namespace| !namespace.is_terminating());
        if inside && known && !open {
            let message = format!(
                "{} was {did} at revision {} in a namespace that is gone or going",
                change.id, change.revision
            );
            report.broken(self.id(), message, &["apiserver"]);
        }
    }
}

/// The kinds that have to wait for the pods of their namespace.
fn judge_order(asked: &Asked, cluster: &Cluster) -> Option<String> {
    let path = asked.path.as_ref()?;
    let deletes = asked.method == Method::DELETE && asked.user_agent.ends_with(EMPTIER);
    if !deletes || &*path.resource == "pods" {
        return None;
    }
    // Another object, or another namespace, of its name is not what it means.
    let is_meant = cluster
        .get(&path.id())
        .is_some_and(|item| asked.uid.as_deref() == Some(item.uid()));
    let namespace = cluster.find("namespaces", "", &path.namespace)?;
    if !is_meant || !namespace.is_terminating() || cluster.was_paused(&asked.client) {
        return None;
    }
    let pod = cluster.all("pods").find(|pod| pod.id.namespace == path.namespace)?;
    Some(format!(
        "{} deletes {} while {} is there",
        asked.client,
        path.id(),
        pod.id
    ))
}

impl Invariant for Namespaces {
    fn id(&self) -> &'static str {
        "G4"
    }

    fn statement(&self) -> &'static str {
        "Nothing lives in a namespace that is gone, or is made or bound in one that is going."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) => self.judge(change, cluster, report),
            Seen::Asked(asked) => {
                if let Some(message) = judge_order(asked, cluster) {
                    report.broken(self.id(), message, &[&asked.client]);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::contract_tests::{namespace, with};
    use super::super::tests::{History, POD, asked, pod};
    use super::*;
    use crate::model::Answered;

    /// A pod that is to be gone at a second, after a grace.
    fn going(at: i64, grace: i64) -> Value {
        let until = Timestamp::from_second(at).unwrap().to_string();
        let pod = with(
            pod("a", "n", "Running"),
            "/metadata/deletionGracePeriodSeconds",
            json!(grace),
        );
        with(pod, "/metadata/deletionTimestamp", json!(until))
    }

    /// A deletion of a path begins at second 100.
    fn begun(method: Method, path: &str) -> History {
        let delete = asked("user", method, path);
        History::of(|id| id == "S6")
            .put("pods", pod("a", "n", "Running"))
            .at(100)
            .see(&Seen::Begun {
                execution: 7,
                asked: &delete,
            })
    }

    #[test]
    fn a_moment_that_is_no_grace_after_the_deletion_breaks_s6() {
        let marked = |at: i64| begun(Method::DELETE, POD).at(103).put("pods", going(at, 30)).broken();
        for at in [99, 100, 135] {
            assert_eq!(marked(at), ["S6"], "{at}");
        }
        for at in [129, 130, 133] {
            assert!(marked(at).is_empty(), "{at}");
        }
        let eviction = format!("{POD}/eviction");
        for (method, path) in [
            (Method::POST, eviction.as_str()),
            (Method::DELETE, "/api/v1/namespaces/default/pods"),
        ] {
            let marked = |at: i64| begun(method.clone(), path).put("pods", going(at, 30)).broken();
            assert_eq!(marked(100), ["S6"]);
            assert!(marked(130).is_empty());
        }
    }

    #[test]
    fn a_pod_that_is_gone_before_its_grace_breaks_s6_unless_somebody_asked_for_none() {
        let gone = |method: Method, path: &str, grace: Option<i64>| {
            let delete = Asked {
                grace,
                ..asked("user", method, path)
            };
            let bound = pod("a", "n", "Running");
            let there = History::of(|id| id == "S6").at(100).put(
                "pods",
                with(bound.clone(), "/spec/terminationGracePeriodSeconds", json!(30)),
            );
            there.see(&Seen::Asked(&delete)).delete("pods", &bound).broken()
        };
        let eviction = format!("{POD}/eviction");
        for (method, path) in [(Method::DELETE, POD), (Method::POST, eviction.as_str())] {
            assert_eq!(gone(method.clone(), path, None), ["S6"]);
            assert!(gone(method, path, Some(0)).is_empty());
        }
    }

    #[test]
    fn a_deletion_that_is_not_known_or_whose_clock_may_be_wrong_is_not_judged() {
        let answered = Answered {
            execution: 7,
            status: 200,
            ..Answered::default()
        };
        let delete = asked("user", Method::DELETE, POD);
        let over = begun(Method::DELETE, POD).see(&Seen::Answered(&delete, &answered));
        assert!(over.put("pods", going(100, 30)).broken().is_empty());
        let other = begun(Method::DELETE, "/api/v1/namespaces/default/pods/b");
        assert!(other.put("pods", going(100, 30)).broken().is_empty());
        let wrong = begun(Method::DELETE, POD).know(Cluster::clock_errs);
        assert!(wrong.put("pods", going(100, 30)).broken().is_empty());
        // Its server died, and it comes to light later.
        let lost = begun(Method::DELETE, POD).see(&Seen::Lost { execution: 7 }).at(150);
        assert!(lost.put("pods", going(130, 30)).broken().is_empty());
    }

    #[test]
    fn a_shorter_grace_counts_from_the_first_deletion() {
        let shortened = |at: i64, grace: i64| {
            let history = begun(Method::DELETE, POD).put("pods", going(130, 30));
            history.at(110).put("pods", going(at, grace)).broken()
        };
        assert!(shortened(105, 5).is_empty());
        assert_eq!(shortened(115, 5), ["S6"]);
        assert_eq!(shortened(100, 5), ["S6"]);
    }

    #[test]
    fn a_controller_that_takes_the_finalizers_of_others_away_breaks_s6() {
        let takes = |client: &str, base: u64, left: Value| {
            let finalizers = json!(["example.com/a", "orphan"]);
            let held = with(pod("a", "n", "Running"), "/metadata/finalizers", finalizers);
            let patch = json!({"metadata": {"finalizers": left}}).to_string();
            let patch = Asked {
                base: Some(base),
                patch: Some(patch.into_bytes().into()),
                ..asked(client, Method::PATCH, POD)
            };
            let history = History::of(|id| id == "S6").put("pods", held);
            history.see(&Seen::Asked(&patch)).broken()
        };
        assert_eq!(takes("controller-manager/1", 2, json!([])), ["S6"]);
        assert_eq!(takes("controller-manager/1", 2, json!(null)), ["S6"]);
        assert!(takes("controller-manager/1", 2, json!(["example.com/a"])).is_empty());
        assert!(takes("controller-manager/1", 7, json!([])).is_empty(), "another state");
        assert!(takes("user", 2, json!([])).is_empty());
    }

    #[test]
    fn what_goes_from_a_namespace_before_its_pods_breaks_g4() {
        let going = with(
            namespace(),
            "/metadata/deletionTimestamp",
            json!("2026-01-01T00:00:00Z"),
        );
        let config = json!({"metadata": {"name": "a", "namespace": "default", "uid": "uid-config"}});
        let deletes = |agent: &str, uid: &str, pods: &[Value]| {
            let delete = Asked {
                user_agent: format!("kube-controller-manager/{agent}"),
                uid: Some(uid.to_owned()),
                ..asked(
                    "controller-manager/1",
                    Method::DELETE,
                    "/api/v1/namespaces/default/configmaps/a",
                )
            };
            let mut history = History::of(|id| id == "G4").put("namespaces", namespace());
            history = history.put("configmaps", config.clone());
            for pod in pods {
                history = history.put("pods", pod.clone());
            }
            let history = history.put("namespaces", going.clone());
            history.see(&Seen::Asked(&delete)).broken()
        };
        let pods = [pod("a", "n", "Running")];
        assert_eq!(deletes("namespace-controller", "uid-config", &pods), ["G4"]);
        assert!(deletes("namespace-controller", "uid-config", &[]).is_empty());
        assert!(deletes("namespace-controller", "uid-another", &pods).is_empty());
        assert!(deletes("generic-garbage-collector", "uid-config", &pods).is_empty());
    }

    #[test]
    fn a_pod_that_is_bound_in_a_namespace_that_goes_breaks_g4() {
        let bound = |namespace: Value| {
            History::of(|id| id == "G4")
                .put("namespaces", self::namespace())
                .put("pods", pod("a", "", "Pending"))
                .put("namespaces", namespace)
                .put("pods", pod("a", "n", "Pending"))
                .put("pods", pod("a", "n", "Running"))
                .broken()
        };
        let going = with(
            namespace(),
            "/metadata/deletionTimestamp",
            json!("2026-01-01T00:00:00Z"),
        );
        assert_eq!(bound(going), ["G4"]);
        assert!(bound(namespace()).is_empty());
    }
}
