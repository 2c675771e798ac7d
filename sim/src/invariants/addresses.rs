//! E1: cluster IPs and node ports are unique, and allocated exactly to the services that hold them.
//!
//! Checked at every write of a service against all services there are; and whenever something else than a write is
//! seen, so that no transaction is seen by half, the allocator's records against what the services hold.

use std::collections::BTreeSet;

use super::{Invariant, Report};
use crate::model::{Cluster, Item, Seen};

/// See the module.
pub struct ServiceAddresses;

fn cluster_ips(item: &Item) -> Vec<&str> {
    let spec = item.service().and_then(|service| service.spec.as_ref());
    let one = spec.and_then(|spec| spec.cluster_ip.as_deref());
    let all = spec
        .into_iter()
        .flat_map(|spec| spec.cluster_ips.iter().flatten())
        .map(String::as_str);
    let mut ips: Vec<&str> = all.chain(one).filter(|ip| !ip.is_empty() && *ip != "None").collect();
    ips.sort_unstable();
    ips.dedup();
    ips
}

fn node_ports(item: &Item) -> Vec<(&str, i32)> {
    let spec = item.service().and_then(|service| service.spec.as_ref());
    let ports = spec.into_iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some((
                port.protocol.as_deref().unwrap_or("TCP"),
                port.node_port.filter(|port| *port != 0)?,
            ))
        })
        .collect()
}

impl Invariant for ServiceAddresses {
    fn id(&self) -> &'static str {
        "E1"
    }

    fn statement(&self) -> &'static str {
        "Cluster IPs and node ports are unique."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        if &*change.id.resource != "services" {
            return;
        }
        let Some(after) = &change.after else { return };
        for other in cluster.all("services").filter(|other| other.id != after.id) {
            let ips = cluster_ips(other);
            let ports = node_ports(other);
            let shared = cluster_ips(after)
                .into_iter()
                .find(|ip| ips.contains(ip))
                .map(|ip| format!("the address {ip}"));
            let shared = shared.or_else(|| {
                let port = node_ports(after).into_iter().find(|port| ports.contains(port));
                port.map(|(protocol, port)| format!("the node port {port}/{protocol}"))
            });
            if let Some(shared) = shared {
                let message = format!(
                    "{} has {shared} at revision {}, which {} has too",
                    after.id, change.revision, other.id
                );
                report.broken(self.id(), message, &["apiserver", "user"]);
            }
        }
    }
}

/// The second part of E1.
#[derive(Default)]
pub struct Claims {
    /// The revision of the last check.
    checked: u64,
}

/// The keys by which a service holds its addresses and ports.
fn claims_of(item: &Item) -> Vec<String> {
    let ips = cluster_ips(item)
        .into_iter()
        .map(|ip| format!("/ranges/serviceips/{ip}"));
    let spec = item.service().and_then(|service| service.spec.as_ref());
    let health = spec
        .and_then(|spec| spec.health_check_node_port)
        .filter(|port| *port != 0);
    let ports = node_ports(item).into_iter().map(|(_, port)| port).chain(health);
    ips.chain(ports.map(|port| format!("/ranges/servicenodeports/{port}")))
        .collect()
}

impl Invariant for Claims {
    fn id(&self) -> &'static str {
        "E1"
    }

    fn statement(&self) -> &'static str {
        "Cluster IPs and node ports are allocated exactly to the services that hold them."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        if matches!(seen, Seen::Change(_)) || cluster.claimed_at() == self.checked {
            return;
        }
        self.checked = cluster.claimed_at();
        let held: BTreeSet<String> = cluster.all("services").flat_map(|item| claims_of(item)).collect();
        if let Some(claim) = held.symmetric_difference(cluster.claims()).next() {
            let whose = cluster.all("services").find(|item| claims_of(item).contains(claim));
            let message = match whose {
                Some(service) => format!(
                    "{} holds {claim} at revision {}, which is free",
                    service.id, cluster.revision
                ),
                None => format!(
                    "{claim} is allocated at revision {}, and no service holds it",
                    cluster.revision
                ),
            };
            report.broken(self.id(), message, &["apiserver", "user"]);
        }
    }
}
