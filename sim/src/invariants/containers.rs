//! K2: containers on a node belong to pods bound there; after the final delete none of them runs.
//!
//! Checked when a container starts (its pod must have been bound to that node at some time) and when a kubelet asks to
//! remove a pod for good (grace 0): no container of that pod may run there then, and once the pod is gone the kubelet
//! may have none started, as long as it does not begin anew. A delete that somebody else forces is not the kubelet's
//! doing and not judged; a kubelet that does not know of it yet may still start containers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Invariant, Report};
use crate::model::{Asked, Change, Cluster, Seen};

/// A machine and a pod's uid.
type Place = (String, String);

/// See the module.
#[derive(Default)]
pub struct Containers {
    /// Running containers by machine and the pod's uid: their names.
    running: BTreeMap<Place, BTreeMap<String, String>>,
    /// Where each of them runs.
    places: BTreeMap<String, Place>,
    /// The pods that kubelets have asked to remove for good since they began.
    parting: BTreeSet<Place>,
    /// When those of them went that are gone.
    gone: BTreeMap<Place, Duration>,
}

impl Invariant for Containers {
    fn id(&self) -> &'static str {
        "K2"
    }

    fn statement(&self) -> &'static str {
        "Containers on a node belong to pods bound there; after the final delete none of them runs."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::ContainerStarted {
                machine,
                pod_uid,
                container,
                name,
                asked,
                ..
            } => {
                let place = ((*machine).to_owned(), (*pod_uid).to_owned());
                if let Some(at) = self.gone.get(&place).filter(|at| *asked > **at) {
                    let message = format!(
                        "container {name} ({container}) of the pod with uid {pod_uid} was started on {machine}, whose kubelet had it removed for good at {at:?}"
                    );
                    report.broken(
                        self.id(),
                        message,
                        &[&format!("kubelet/{machine}"), &format!("runtime/{machine}")],
                    );
                }
                let running = self.running.entry(place.clone()).or_default();
                running.insert((*container).to_owned(), (*name).to_owned());
                self.places.insert((*container).to_owned(), place);
                if cluster.node_of(pod_uid) != Some(*machine) {
                    let message = format!(
                        "container {name} ({container}) started on {machine} for the pod with uid {pod_uid}, which is bound to {}",
                        cluster.node_of(pod_uid).unwrap_or("no node")
                    );
                    report.broken(self.id(), message, &[&format!("kubelet/{machine}"), "scheduler"]);
                }
            }
            Seen::ContainerEnded { container, .. } => {
                let Some(place) = self.places.remove(*container) else {
                    return;
                };
                if let Some(running) = self.running.get_mut(&place) {
                    running.remove(*container);
                    if running.is_empty() {
                        self.running.remove(&place);
                    }
                }
            }
            Seen::Asked(asked) => self.part(asked, cluster, report),
            Seen::Change(change) => self.go(change, cluster),
            Seen::Started { process } => {
                if let Some(machine) = process.strip_prefix("kubelet/") {
                    self.parting.retain(|(own, _)| own != machine);
                    self.gone.retain(|(own, _), _| own != machine);
                }
            }
            _ => {}
        }
    }
}

impl Containers {
    /// A kubelet may have asked to remove a pod for good.
    fn part(&mut self, asked: &Asked, cluster: &Cluster, report: &mut Report) {
        let Some(machine) = asked.client.strip_prefix("kubelet/") else {
            return;
        };
        let Some(path) = &asked.path else { return };
        let last = asked.method == http::Method::DELETE && asked.grace == Some(0);
        if !last || &*path.resource != "pods" || !path.subresource.is_empty() {
            return;
        }
        let pod = cluster.get(&path.id());
        let Some(uid) = asked.uid.as_deref().or(pod.map(|pod| pod.uid())) else {
            return;
        };
        let place = (machine.to_owned(), uid.to_owned());
        let left = self.running.get(&place);
        let left: Vec<&str> = left.into_iter().flatten().map(|(_, name)| name.as_str()).collect();
        if !left.is_empty() {
            let message = format!(
                "{} removes {} (uid {uid}) for good while {} still runs",
                asked.client,
                path.id(),
                left.join(", ")
            );
            report.broken(self.id(), message, &[&asked.client, &format!("runtime/{machine}")]);
        }
        self.parting.insert(place);
    }

    /// A pod may be gone.
    fn go(&mut self, change: &Change, cluster: &Cluster) {
        let (Some(before), None) = (&change.before, &change.after) else {
            return;
        };
        let place = (before.node_name().to_owned(), before.uid().to_owned());
        if before.pod().is_some() && self.parting.remove(&place) {
            self.gone.insert(place, cluster.now);
        }
    }
}
