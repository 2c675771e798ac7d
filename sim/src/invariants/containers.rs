//! K2: containers on a node belong to pods bound there; after the final delete none of them runs.
//!
//! Checked when a container starts (its pod must have been bound to that node at some time) and when a kubelet asks to
//! remove a pod for good (grace 0): no container of that pod may run there then. A delete that somebody else forces is
//! not the kubelet's doing and not judged; a kubelet that does not know of it yet may still start containers.

use std::collections::BTreeMap;

use super::{Invariant, Report};
use crate::model::{Cluster, Seen};

/// A machine and a pod's uid.
type Place = (String, String);

/// See the module.
#[derive(Default)]
pub struct Containers {
    /// Running containers by machine and the pod's uid: their names.
    running: BTreeMap<Place, BTreeMap<String, String>>,
    /// Where each of them runs.
    places: BTreeMap<String, Place>,
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
                ..
            } => {
                let place = ((*machine).to_owned(), (*pod_uid).to_owned());
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
            Seen::Asked(asked) => {
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
                let left = self.running.get(&(machine.to_owned(), uid.to_owned()));
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
            }
            _ => {}
        }
    }
}
