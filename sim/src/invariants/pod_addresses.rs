//! K4: pod IPs are unique, and the address that a pod's status shows is one that a sandbox of it really had; the list
//! of its addresses holds that one, and none beside it of the same family.
//!
//! Checked over the sandboxes that really are, when one becomes ready, and over every write of a pod's address; in the
//! end a pod that runs must show the address of the sandbox that it has. Not judged: a status that meanwhile still
//! shows the address of a sandbox that has died (the kubelet learns of it later), and pods in the host's network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Invariant, Missing, Report};
use crate::model::{Cluster, Item, Seen};

/// See the module.
#[derive(Default)]
pub struct PodAddresses {
    /// Which sandbox has an address now.
    holders: BTreeMap<IpAddr, (String, String)>,
    /// The address that a sandbox got.
    given: BTreeMap<String, IpAddr>,
    /// The addresses that the sandboxes of a pod ever had.
    ever: BTreeMap<String, Vec<IpAddr>>,
}

/// The address that a pod's status shows.
fn address(item: &Item) -> Option<String> {
    let ip = item.pod()?.status.as_ref()?.pod_ip.clone();
    ip.filter(|ip| !ip.is_empty())
}

/// What is wrong with the list of a pod's addresses beside its address.
///
/// See `podIPs` in the [API
/// reference](https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#PodStatus).
fn wrong_list(item: &Item) -> Option<String> {
    let status = item.pod()?.status.as_ref()?;
    let all: Vec<&str> = status.pod_ips.iter().flatten().map(|one| one.ip.as_str()).collect();
    let of_family = |six: bool| all.iter().filter(|ip| ip.contains(':') == six).count();
    let alike = of_family(true) > 1 || of_family(false) > 1;
    let differs = !all.is_empty() && all.first().copied() != status.pod_ip.as_deref().filter(|ip| !ip.is_empty());
    (alike || differs).then(|| format!("{all:?} beside {:?}", status.pod_ip.as_deref().unwrap_or_default()))
}

fn is_in_the_hosts_network(item: &Item) -> bool {
    let spec = item.pod().and_then(|pod| pod.spec.as_ref());
    spec.and_then(|spec| spec.host_network).unwrap_or(false)
}

impl Invariant for PodAddresses {
    fn id(&self) -> &'static str {
        "K4"
    }

    fn statement(&self) -> &'static str {
        "Pod IPs are unique, and those shown are those of the pod's own sandboxes."
    }

    fn observe(&mut self, seen: &Seen<'_>, _cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::SandboxReady {
                machine,
                pod_uid,
                sandbox,
                ip: Some(ip),
            } => {
                let holder = ((*sandbox).to_owned(), (*pod_uid).to_owned());
                if let Some((other, uid)) = self.holders.insert(*ip, holder) {
                    let message = format!(
                        "sandbox {sandbox} (pod uid {pod_uid}) on {machine} got {ip}, which {other} (pod uid {uid}) has"
                    );
                    report.broken(self.id(), message, &[&format!("runtime/{machine}")]);
                }
                self.given.insert((*sandbox).to_owned(), *ip);
                self.ever.entry((*pod_uid).to_owned()).or_default().push(*ip);
            }
            Seen::SandboxGone { sandbox } => {
                if let Some(ip) = self.given.remove(*sandbox)
                    && self.holders.get(&ip).is_some_and(|(holder, _)| holder == sandbox)
                {
                    self.holders.remove(&ip);
                }
            }
            Seen::Change(change) => {
                let Some(after) = &change.after else {
                    if let Some(before) = &change.before {
                        self.ever.remove(before.uid());
                    }
                    return;
                };
                if let Some(wrong) = wrong_list(after) {
                    let message = format!(
                        "{} shows the addresses {wrong} at revision {}",
                        change.id, change.revision
                    );
                    report.broken(self.id(), message, &[&format!("kubelet/{}", after.node_name())]);
                }
                let Some(shown) = address(after) else { return };
                let known = change.before.as_ref().and_then(|item| address(item));
                if is_in_the_hosts_network(after) || known.as_ref() == Some(&shown) {
                    return;
                }
                let own = shown
                    .parse()
                    .is_ok_and(|ip| self.ever.get(after.uid()).is_some_and(|ever| ever.contains(&ip)));
                if !own {
                    let message = format!(
                        "{} (uid {}) shows {shown} at revision {}, which no sandbox of it ever had",
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

    fn missing(&self, cluster: &Cluster, missing: &mut Missing) {
        let pods = cluster
            .all("pods")
            .filter(|pod| pod.is_live_pod() && pod.phase() == "Running");
        for pod in pods.filter(|pod| !is_in_the_hosts_network(pod)) {
            let Some(shown) = address(pod) else { continue };
            let holder = shown.parse().ok().and_then(|ip: IpAddr| self.holders.get(&ip));
            if holder.is_none_or(|(_, uid)| uid != pod.uid()) {
                let what = format!("K4: {} shows {shown}, which no sandbox of it has now", pod.id);
                missing.push_on(pod.node_name(), what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{History, pod};
    use super::*;

    #[test]
    fn a_list_of_addresses_that_holds_another_beside_the_pods_own_breaks_k4() {
        let broken = |own: &str, all: &[&str]| {
            let ready = |sandbox, last| Seen::SandboxReady {
                machine: "n",
                pod_uid: "uid-a",
                sandbox,
                ip: Some(IpAddr::from([10, 244, 1, last])),
            };
            let history = History::of(|id| id == "K4").see(&ready("s1", 2)).see(&ready("s2", 3));
            let mut shown = pod("a", "n", "Running");
            shown["status"]["podIP"] = json!(own);
            shown["status"]["podIPs"] = all.iter().map(|ip| json!({"ip": ip})).collect();
            history.put("pods", shown).broken()
        };
        for all in [&["10.244.1.3"][..], &["10.244.1.3", "fd00::3"], &[]] {
            assert!(broken("10.244.1.3", all).is_empty(), "{all:?}");
        }
        for all in [&["10.244.1.2"][..], &["10.244.1.3", "10.244.1.2"]] {
            assert_eq!(broken("10.244.1.3", all), ["K4"], "{all:?}");
        }
    }
}
