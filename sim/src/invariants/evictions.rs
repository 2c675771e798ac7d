//! N2: a taint eviction had an untolerated taint in force for the whole toleration time.
//!
//! Judged when the taint eviction asks to delete a pod in the very state it saw: the pod must say that this disrupts it
//! (KEP-3329), and some taint of the pod's node that evicts must have stood for as long as the pod tolerates it,
//! counted from the pod's arrival if that was later, and stand now or until within the controller's lag. The taint of a
//! node that says nothing and that of one that is not ready go for each other when the node's word changes: what one
//! has begun goes on under the other. Others delete pods for reasons of their own.
//!
//! In the end no pod may be left on a node with a taint that it has borne for longer than it tolerates, if that is a
//! minute or less: of more patient ones the run's end is not waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Taint};

use super::placement::tolerates;
use super::{Invariant, MEMORY, Missing, Report};
use crate::model::{Cluster, Seen};
use crate::scenario::Role;

/// How the evictor's requests end their sender's name.
const EVICTOR: &str = "/taint-eviction-controller";

/// Times in objects are whole seconds.
const ROUNDING: Duration = Duration::from_secs(1);

/// The taints of nodes that are given up: one stands for the other when what is known of the node changes.
pub(super) const GIVEN_UP: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// For longer than this the end of a run does not wait for a pod to go.
const PATIENCE: Duration = Duration::from_secs(60);

struct Stood {
    taint: Taint,
    since: Duration,
    /// Since when it, or what it stands for, has been there without a gap.
    begun: Duration,
    until: Option<Duration>,
}

/// Since when there has been what a taint that comes stands for; none if it stands for itself. A gap within the
/// controller's lag may have been none to it.
fn goes_on_from(taint: &Taint, known: &[Stood], cluster: &Cluster) -> Option<Duration> {
    let is_given_up = |taint: &Taint| GIVEN_UP.contains(&taint.key.as_str());
    let lag = cluster.lag(Role::ControllerManager);
    let others = known
        .iter()
        .filter(|own| is_given_up(taint) && is_given_up(&own.taint) && own.taint.key != taint.key);
    let lasting = others.filter(|own| own.until.is_none_or(|until| until + lag >= cluster.now));
    lasting.map(|own| own.begun).min()
}

/// See the module.
#[derive(Default)]
pub struct Evictions {
    taints: BTreeMap<String, Vec<Stood>>,
    /// When pods were bound, by uid.
    bound: BTreeMap<String, Duration>,
}

/// How long the pod tolerates the taint, by the first toleration that covers it; none if for ever.
fn tolerance(pod: &Pod, taint: &Taint) -> Option<Duration> {
    let mut tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let Some(covering) = tolerations.find(|toleration| tolerates(toleration, taint)) else {
        return Some(Duration::ZERO);
    };
    Some(Duration::from_secs(covering.toleration_seconds?.max(0) as u64))
}

fn is_marked(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .filter(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")
        .any(|condition| condition.reason.as_deref() == Some("DeletionByTaintManager"))
}

impl Invariant for Evictions {
    fn id(&self) -> &'static str {
        "N2"
    }

    fn statement(&self) -> &'static str {
        "A taint eviction had an untolerated taint in force for the whole toleration time."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let now = cluster.now;
        match seen {
            Seen::Change(change) if &*change.id.resource == "nodes" => {
                let node = change.after.as_ref().and_then(|node| node.node()?.spec.as_ref());
                let there = node.into_iter().flat_map(|spec| spec.taints.iter().flatten());
                let there: Vec<&Taint> = there.filter(|taint| taint.effect == "NoExecute").collect();
                let same = |one: &Taint, other: &Taint| one.key == other.key && one.value == other.value;
                let known = self.taints.entry(change.id.name.clone()).or_default();
                known.retain(|own| own.until.is_none_or(|until| until + MEMORY > now));
                for own in known.iter_mut().filter(|own| own.until.is_none()) {
                    if !there.iter().any(|taint| same(taint, &own.taint)) {
                        own.until = Some(now);
                    }
                }
                for taint in there {
                    if !known.iter().any(|own| own.until.is_none() && same(taint, &own.taint)) {
                        let begun = goes_on_from(taint, known, cluster).unwrap_or(now);
                        known.push(Stood {
                            taint: taint.clone(),
                            since: now,
                            begun,
                            until: None,
                        });
                    }
                }
            }
            Seen::Change(change) if &*change.id.resource == "pods" => match (&change.before, &change.after) {
                (_, Some(pod)) if !pod.node_name().is_empty() => {
                    self.bound.entry(pod.uid().to_owned()).or_insert(now);
                }
                (Some(pod), None) => {
                    self.bound.remove(pod.uid());
                }
                _ => {}
            },
            Seen::Asked(asked) => {
                let Some(path) = &asked.path else { return };
                let delete = asked.method == http::Method::DELETE && &*path.resource == "pods" && asked.base.is_some();
                if !delete || !asked.user_agent.ends_with(EVICTOR) {
                    return;
                }
                let Some(item) = cluster.get(&path.id()).filter(|item| !item.is_terminating()) else {
                    return;
                };
                let Some(pod) = item.pod() else { return };
                if asked.base == Some(item.revision) && !is_marked(pod) {
                    let (client, uid) = (&asked.client, item.uid());
                    let message = format!("{client} evicts {} (uid {uid}), which does not say why", item.id);
                    report.broken(self.id(), message, &[client]);
                }
                let lag = cluster.lag(Role::ControllerManager);
                let arrived = self.bound.get(item.uid()).copied().unwrap_or_default();
                let stood = self.taints.get(item.node_name()).into_iter().flatten();
                let due = stood
                    .filter(|own| own.until.is_none_or(|until| until + lag > now))
                    .any(|own| {
                        let time = own.until.unwrap_or(now).saturating_sub(own.begun.max(arrived)) + ROUNDING;
                        tolerance(pod, &own.taint).is_some_and(|tolerated| time >= tolerated)
                    });
                let gone = cluster.find("nodes", "", item.node_name()).is_none();
                if !due && !gone {
                    let message = format!(
                        "{} evicts {} (uid {}) from {}, whose taints it still tolerates",
                        asked.client,
                        item.id,
                        item.uid(),
                        item.node_name()
                    );
                    report.broken(self.id(), message, &[&asked.client]);
                }
            }
            _ => {}
        }
    }

    fn missing(&self, cluster: &Cluster, missing: &mut Missing) {
        for (node, taints) in &self.taints {
            for item in cluster.pods_on(node).filter(|item| item.is_live_pod()) {
                let Some(pod) = item.pod() else { continue };
                let came = self.bound.get(item.uid()).copied().unwrap_or(cluster.now);
                let mut standing = taints.iter().filter(|own| own.until.is_none());
                let over = standing.find(|own| {
                    let borne = cluster.now.saturating_sub(own.since.max(came));
                    let tolerated = tolerance(pod, &own.taint).filter(|tolerated| *tolerated <= PATIENCE);
                    tolerated.is_some_and(|tolerated| tolerated < borne)
                });
                if let Some(own) = over {
                    let key = &own.taint.key;
                    let what = format!(
                        "N2: {} is still on {node}, whose taint {key} it tolerates no longer",
                        item.id
                    );
                    missing.push_on(node, what);
                }
            }
        }
    }
}
