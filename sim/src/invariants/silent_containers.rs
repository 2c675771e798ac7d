//! K15: a container that answers nobody is soon shown not ready, if it has a readiness probe over the network.
//!
//! Judged whenever its kubelet renews the node's lease, which shows that it lives and is heard: by then the probe may
//! have failed as often as its threshold says, each time after its whole timeout, the kubelet may have lagged, and its
//! write may have been lost and tried again. That lets pass kubelets that were away meanwhile (they began anew, stood
//! still, or did not renew the lease), pods on their way out, and containers that answer again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::statuses::{probing, runs, statuses};
use super::{Invariant, Report, UNANSWERED};
use crate::model::{Cluster, Item, Seen};
use crate::scenario::Role;

/// A kubelet that renews its lease less often is not heard: it does so every ten seconds.
const UNHEARD: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Default)]
pub struct SilentContainers {
    /// Containers that run, by id.
    running: BTreeMap<String, Running>,
    /// Since when containers answer nobody, by id.
    silent: BTreeMap<String, Duration>,
    /// By machine: since when its kubelet has been heard without a pause, and when last.
    heard: BTreeMap<String, (Duration, Duration)>,
}

struct Running {
    machine: String,
    pod_uid: String,
    name: String,
}

/// How long a kubelet may probe a container until it knows that it answers nobody; none if it is not asked over the
/// network.
fn longest(pod: &Item, name: &str) -> Option<Duration> {
    let probing = probing(pod, name)?;
    Some((probing.period + probing.timeout) * probing.threshold)
}

impl SilentContainers {
    /// The kubelet of `machine` is heard, or begins.
    fn hear(&mut self, machine: &str, now: Duration, anew: bool) {
        let (since, last) = self.heard.entry(machine.to_owned()).or_insert((now, now));
        if anew || now > *last + UNHEARD {
            *since = now;
        }
        *last = now;
    }

    /// What is still shown ready on `machine`, and has been silent for too long.
    fn wrong(&self, machine: &str, cluster: &Cluster) -> Option<String> {
        let (heard, _) = self.heard.get(machine)?;
        self.silent.iter().find_map(|(id, since)| {
            let running = self.running.get(id).filter(|running| running.machine == machine)?;
            let pod = cluster.by_uid(&running.pod_uid).filter(|pod| pod.is_live_pod())?;
            let limit = longest(pod, &running.name)? + cluster.lag(Role::Kubelet) + UNANSWERED;
            let own = statuses(pod).find(|own| own.name == running.name)?;
            let is_shown = runs(own).is_some_and(|(shown, _, ready)| shown == id && ready);
            let from = *since.max(heard);
            (is_shown && from + limit < cluster.now).then(|| {
                format!(
                    "{} (uid {}) shows {} ready, which as {id} has answered nobody since {since:?}",
                    pod.id, running.pod_uid, running.name
                )
            })
        })
    }
}

impl Invariant for SilentContainers {
    fn id(&self) -> &'static str {
        "K15"
    }

    fn statement(&self) -> &'static str {
        "A container that answers nobody is soon shown not ready, if its readiness is probed."
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
                let running = Running {
                    machine: (*machine).to_owned(),
                    pod_uid: (*pod_uid).to_owned(),
                    name: (*name).to_owned(),
                };
                self.running.insert((*container).to_owned(), running);
            }
            Seen::ContainerSilent {
                container,
                silent: true,
            } => {
                self.silent.entry((*container).to_owned()).or_insert(cluster.now);
            }
            Seen::ContainerSilent {
                container,
                silent: false,
            } => drop(self.silent.remove(*container)),
            Seen::ContainerEnded { container, .. } => {
                self.silent.remove(*container);
                self.running.remove(*container);
            }
            Seen::Started { process } => {
                if let Some(machine) = process.strip_prefix("kubelet/") {
                    self.hear(machine, cluster.now, true);
                }
            }
            Seen::Change(change) if &*change.id.resource == "leases.coordination.k8s.io" => {
                if change.id.namespace != "kube-node-lease" || change.after.is_none() {
                    return;
                }
                let machine = &change.id.name;
                let stood = cluster.was_paused(Role::Kubelet);
                self.hear(machine, cluster.now, stood);
                if let Some(wrong) = self.wrong(machine, cluster) {
                    report.broken(self.id(), wrong, &[&format!("kubelet/{machine}")]);
                }
            }
            _ => {}
        }
    }
}
