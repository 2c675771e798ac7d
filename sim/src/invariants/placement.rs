//! Q4: a pod is bound to a node that its selector allows and whose taints it tolerates.
//!
//! Checked at the write that binds: the labels that the pod's `nodeSelector` asks for, taints that keep pods away, and
//! cordons. What has stood for no longer than the scheduler's lag is not held against it. Not judged: affinity, and
//! pods that are created with a node.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

use super::{Invariant, Report};
use crate::model::{Cluster, Item, Seen};
use crate::scenario::Role;

/// What a cordon amounts to.
const CORDON: &str = "node.kubernetes.io/unschedulable";

/// See the module.
#[derive(Default)]
pub struct Placement {
    /// By node: what keeps pods away, and since when.
    obstacles: BTreeMap<String, Vec<(Taint, Duration)>>,
    /// When a node's labels last changed.
    relabelled: BTreeMap<String, Duration>,
}

/// Whether `toleration` covers `taint`.
pub(super) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    (effect.is_empty() || effect == taint.effect)
        && (key == taint.key || (key.is_empty() && exists))
        && (exists || text(&toleration.value) == text(&taint.value))
}

fn tolerations(pod: &Pod) -> impl Iterator<Item = &Toleration> {
    pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten())
}

fn obstacles(node: &Item) -> Vec<Taint> {
    let spec = node.node().and_then(|node| node.spec.as_ref());
    let taints = spec.into_iter().flat_map(|spec| spec.taints.iter().flatten());
    let hard = taints.filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    let cordon = spec
        .and_then(|spec| spec.unschedulable)
        .unwrap_or(false)
        .then(|| Taint {
            key: CORDON.to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        });
    hard.cloned()
        .map(|taint| Taint {
            time_added: None,
            ..taint
        })
        .chain(cordon)
        .collect()
}

impl Invariant for Placement {
    fn id(&self) -> &'static str {
        "Q4"
    }

    fn statement(&self) -> &'static str {
        "A pod is bound to a node that its selector allows and whose taints it tolerates."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        if &*change.id.resource == "nodes" {
            let known = self.obstacles.remove(&change.id.name).unwrap_or_default();
            let Some(after) = &change.after else { return };
            let since = |taint: &Taint| known.iter().find(|(own, _)| own == taint).map(|(_, since)| *since);
            let now = obstacles(after).into_iter().map(|taint| {
                let since = since(&taint).unwrap_or(cluster.now);
                (taint, since)
            });
            self.obstacles.insert(change.id.name.clone(), now.collect());
            if change
                .before
                .as_ref()
                .is_none_or(|before| before.meta.labels != after.meta.labels)
            {
                self.relabelled.insert(change.id.name.clone(), cluster.now);
            }
        }
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return;
        };
        let Some(pod) = after.pod().filter(|_| before.node_name().is_empty()) else {
            return;
        };
        let Some(node) = cluster.find("nodes", "", after.node_name()) else {
            return;
        };
        let lag = cluster.lag(Role::Scheduler);
        let old = |since: Duration| since + lag < cluster.now;
        let mut wrong = None;
        if self.relabelled.get(&node.id.name).is_none_or(|at| old(*at)) {
            let selector = pod.spec.iter().flat_map(|spec| spec.node_selector.iter().flatten());
            wrong = selector
                .filter(|(key, value)| node.meta.labels.as_ref().and_then(|labels| labels.get(*key)) != Some(*value))
                .map(|(key, value)| format!("which has no label {key}={value}"))
                .next();
        }
        let obstacle = self
            .obstacles
            .get(&node.id.name)
            .into_iter()
            .flatten()
            .find(|(taint, since)| old(*since) && !tolerations(pod).any(|toleration| tolerates(toleration, taint)));
        let wrong = wrong.or(obstacle
            .map(|(taint, since)| format!("which has the taint {}:{} since {since:?}", taint.key, taint.effect)));
        if let Some(wrong) = wrong {
            let message = format!(
                "{} (uid {}) was bound at revision {} to {}, {wrong}",
                change.id,
                after.uid(),
                change.revision,
                node.id.name
            );
            report.broken(self.id(), message, &["scheduler"]);
        }
    }
}
