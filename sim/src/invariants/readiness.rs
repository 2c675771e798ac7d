//! K5: a container is shown ready no sooner than it answers. K7: it is not killed before its grace period, unless forced.
//!
//! K5 is judged when a pod's status begins to show a container with a readiness probe as ready: it must have come so far
//! that it answers. K7 is judged when a kubelet asks the runtime to stop a container: it must leave it the pod's grace
//! period, or two seconds when a hook or an earlier try has used that up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Invariant, Report};
use crate::model::{Cluster, Item, Seen};

/// So long every container is left that is not forced.
const LEAST: Duration = Duration::from_secs(2);

/// K5; see the module.
#[derive(Default)]
pub struct Readiness {
    /// When containers answer, by id.
    answers: BTreeMap<String, Duration>,
}

/// K7; see the module.
pub struct Grace;

/// The ids of the containers that the status shows as ready, though they have to be probed.
fn ready(item: &Item) -> impl Iterator<Item = &str> {
    let pod = item.pod();
    let probed = move |name: &str| {
        let spec = pod.and_then(|pod| pod.spec.as_ref());
        spec.into_iter()
            .flat_map(|spec| &spec.containers)
            .any(|container| container.name == name && container.readiness_probe.is_some())
    };
    let status = pod.and_then(|pod| pod.status.as_ref());
    let statuses = status
        .into_iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    statuses
        .filter(move |status| status.ready && probed(&status.name))
        .filter_map(|status| Some(status.container_id.as_deref()?.split_once("://")?.1))
}

impl Invariant for Readiness {
    fn id(&self) -> &'static str {
        "K5"
    }

    fn statement(&self) -> &'static str {
        "A container is shown ready no sooner than it answers."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::ContainerStarted { container, answers, .. } => {
                self.answers.insert((*container).to_owned(), cluster.now + *answers);
            }
            Seen::Change(change) => {
                let Some(after) = change.after.as_ref().filter(|item| item.pod().is_some()) else {
                    return;
                };
                let early =
                    ready(after).find_map(|id| Some((id, *self.answers.get(id)?)).filter(|(_, at)| *at > cluster.now));
                if let Some((id, at)) = early {
                    let message = format!(
                        "{} (uid {}) shows container {id} ready at revision {}, which answers only from {at:?} on",
                        change.id,
                        after.uid(),
                        change.revision
                    );
                    report.broken(self.id(), message, &[&format!("kubelet/{}", after.node_name())]);
                }
            }
            _ => {}
        }
    }
}

impl Invariant for Grace {
    fn id(&self) -> &'static str {
        "K7"
    }

    fn statement(&self) -> &'static str {
        "No container is killed before its grace period, unless forced."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::ContainerStopping {
            machine,
            pod_uid,
            container,
            grace,
        } = seen
        else {
            return;
        };
        let Some(item) = cluster.by_uid(pod_uid) else { return };
        let Some(spec) = item.pod().and_then(|pod| pod.spec.as_ref()) else {
            return;
        };
        let own = spec.termination_grace_period_seconds.unwrap_or(30);
        let seconds = item
            .meta
            .deletion_grace_period_seconds
            .map_or(own, |seconds| seconds.min(own));
        let least = Duration::from_secs(seconds.max(0) as u64).min(LEAST);
        if *grace < least {
            let message = format!(
                "the kubelet leaves container {container} of {} (uid {pod_uid}) on {machine} {grace:?} to end, not {least:?}",
                item.id
            );
            report.broken(
                self.id(),
                message,
                &[&format!("kubelet/{machine}"), &format!("runtime/{machine}")],
            );
        }
    }
}
