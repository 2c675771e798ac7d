//! What several invariants ask of machines' kubelets: when their present lives began, and since when they are heard.

use std::collections::BTreeMap;
use std::time::Duration;

use super::kubelet_of;
use crate::model::{Cluster, Seen};
use crate::scenario::Role;

/// A kubelet that renews its lease less often is not heard: it does so every ten seconds.
const UNHEARD: Duration = Duration::from_secs(20);

/// The machine whose kubelet begins another life, if one does.
fn begins<'a>(seen: &Seen<'a>) -> Option<&'a str> {
    match seen {
        Seen::Started { process } => process.strip_prefix("kubelet/"),
        _ => None,
    }
}

/// When the present life of each machine's kubelet began.
#[derive(Default)]
pub(super) struct Lives(BTreeMap<String, Duration>);

impl Lives {
    /// Keeps up with what happens; to be called with all that is seen. Gives back the machine whose kubelet begins
    /// another life.
    pub fn observe<'a>(&mut self, seen: &Seen<'a>, now: Duration) -> Option<&'a str> {
        let machine = begins(seen)?;
        self.0.insert(machine.to_owned(), now);
        Some(machine)
    }

    /// When the present life of the machine's kubelet began; at zero if nobody saw it.
    pub fn began(&self, machine: &str) -> Duration {
        self.0.get(machine).copied().unwrap_or_default()
    }
}

/// Since when kubelets are heard, which renew their nodes' leases.
#[derive(Default)]
pub(super) struct Hearing {
    /// By machine: since when its kubelet has been heard without a pause, and when last.
    heard: BTreeMap<String, (Duration, Duration)>,
    /// When last a fault may have kept a kubelet from acting.
    stalled: Duration,
}

impl Hearing {
    /// Keeps up with what happens; to be called with all that is seen. Gives back the machine whose kubelet renews its
    /// node's lease, which shows that it lives.
    pub fn observe<'a>(&mut self, seen: &Seen<'a>, cluster: &Cluster) -> Option<&'a str> {
        if let Some(machine) = begins(seen) {
            self.hear(machine, cluster.now, true);
            return None;
        }
        let Seen::Change(change) = seen else { return None };
        let is_lease = &*change.id.resource == "leases.coordination.k8s.io" && change.id.namespace == "kube-node-lease";
        if !is_lease || change.after.is_none() {
            return None;
        }
        let machine = change.id.name.as_str();
        self.hear(machine, cluster.now, cluster.was_paused(&kubelet_of(machine)));
        if cluster.was_stalled(Role::Kubelet) {
            self.stalled = cluster.now;
        }
        Some(machine)
    }

    /// The kubelet of `machine` is heard, or begins.
    fn hear(&mut self, machine: &str, now: Duration, anew: bool) {
        let (since, last) = self.heard.entry(machine.to_owned()).or_insert((now, now));
        if anew || now > *last + UNHEARD {
            *since = now;
        }
        *last = now;
    }

    /// Since when the machine's kubelet has been heard without a pause; none if it never was.
    pub fn since(&self, machine: &str) -> Option<Duration> {
        self.heard.get(machine).map(|(since, _)| *since)
    }

    /// Since when that is so, and nothing has kept kubelets from acting either.
    pub fn undisturbed(&self, machine: &str) -> Option<Duration> {
        Some(self.since(machine)?.max(self.stalled))
    }
}
