//! What a service's `Endpoints` object should hold.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};
use orrery_api::meta::Object;
use orrery_api::mutant;

use crate::{backends, pods};

/// More addresses than this are cut off: Kubernetes' limit since 1.22.
const LIMIT: usize = 1000;

/// The label that names who keeps the object, as of Kubernetes 1.33.
pub(super) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// This controller, as [`MANAGED_BY`] has it.
pub(super) const MANAGER: &str = "endpoint-controller";
/// The annotation that tells of addresses cut off.
pub(super) const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// A port in an order: name, number, protocol, application protocol.
type Port = (String, i32, String, Option<String>);

/// The subsets, and whether addresses were cut off.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Content {
    /// The addresses, grouped by the ports they answer on.
    pub subsets: Vec<EndpointSubset>,
    /// Whether there were more than fit.
    pub truncated: bool,
}

/// The endpoints of `service`, of the pods it has `selected`.
pub(super) fn content<'a>(service: &Service, selected: impl IntoIterator<Item = &'a Pod>) -> Content {
    let publish_all = backends::publishes_not_ready(service);
    let mut groups: BTreeMap<Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    for pod in selected {
        if pods::is_finished(pod) || (pod.is_terminating() && !publish_all) {
            continue;
        }
        if !publish_all && !pods::is_ready(pod) && mutant::active("O140") {
            continue;
        }
        let (Some(ip), Some(ports)) = (backends::address(pod), ports(service, pod)) else {
            continue;
        };
        let address = EndpointAddress {
            ip: ip.to_owned(),
            hostname: backends::hostname(service, pod),
            node_name: pods::node_name(pod).map(str::to_owned),
            target_ref: Some(backends::target(pod)),
        };
        let group = groups.entry(ports).or_default();
        if publish_all || pods::is_ready(pod) {
            &mut group.0
        } else {
            &mut group.1
        }
        .push(address);
    }
    let total: usize = groups
        .values()
        .map(|(ready, not_ready)| ready.len() + not_ready.len())
        .sum();
    let mut room = LIMIT;
    // Ready addresses are kept before others are.
    for (ready, _) in groups.values_mut() {
        cut(ready, &mut room);
    }
    for (_, not_ready) in groups.values_mut() {
        cut(not_ready, &mut room);
    }
    let subsets = groups
        .into_iter()
        .filter(|(_, (ready, not_ready))| !ready.is_empty() || !not_ready.is_empty());
    let subsets = subsets.map(|(ports, (ready, not_ready))| EndpointSubset {
        addresses: (!ready.is_empty()).then_some(ready),
        not_ready_addresses: (!not_ready.is_empty()).then_some(not_ready),
        ports: (!ports.is_empty()).then(|| ports.into_iter().map(write_port).collect()),
    });
    Content {
        subsets: subsets.collect(),
        truncated: total > LIMIT,
    }
}

/// `content` without the addresses that `current` has on another node. An address may not change its node in one write:
/// it has to leave before it comes back.
pub(super) fn without_moved(mut content: Content, current: &Endpoints) -> Content {
    let nodes: BTreeMap<&str, &str> = current
        .subsets
        .iter()
        .flatten()
        .flat_map(|subset| subset.addresses.iter().chain(&subset.not_ready_addresses).flatten())
        .filter_map(|address| Some((address.ip.as_str(), address.node_name.as_deref()?)))
        .collect();
    let stays = |address: &EndpointAddress| {
        let before = nodes.get(address.ip.as_str());
        before.is_none_or(|before| address.node_name.as_deref().is_none_or(|node| node == *before))
    };
    for subset in &mut content.subsets {
        for addresses in [&mut subset.addresses, &mut subset.not_ready_addresses] {
            *addresses = addresses
                .take()
                .map(|list| list.into_iter().filter(stays).collect::<Vec<_>>());
            if addresses.as_ref().is_some_and(Vec::is_empty) {
                *addresses = None;
            }
        }
    }
    content
        .subsets
        .retain(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some());
    content
}

fn cut(addresses: &mut Vec<EndpointAddress>, room: &mut usize) {
    addresses.sort_by(|a, b| order(a).cmp(&order(b)));
    addresses.truncate(*room);
    *room -= addresses.len();
}

fn order(address: &EndpointAddress) -> (Option<std::net::Ipv4Addr>, Option<&str>) {
    (
        address.ip.parse().ok(),
        address.target_ref.as_ref().and_then(|target| target.uid.as_deref()),
    )
}

/// The ports on which the pod answers for the service; `None` when it answers on none of those there are.
fn ports(service: &Service, pod: &Pod) -> Option<Vec<Port>> {
    let wanted = service.spec.as_ref()?.ports.as_deref().unwrap_or_default();
    if wanted.is_empty() {
        // Only a headless service may go without ports.
        return backends::is_headless(service).then(Vec::new);
    }
    let spec = pod.spec.as_ref()?;
    let mut ports: Vec<Port> = wanted
        .iter()
        .filter_map(|port| {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            let number = backends::port_number(spec, port)?;
            Some((
                port.name.clone().unwrap_or_default(),
                number,
                protocol,
                port.app_protocol.clone(),
            ))
        })
        .collect();
    ports.sort();
    ports.dedup();
    (!ports.is_empty()).then_some(ports)
}

fn write_port((name, port, protocol, app_protocol): Port) -> EndpointPort {
    EndpointPort {
        name: (!name.is_empty()).then_some(name),
        port,
        protocol: Some(protocol),
        app_protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(number: usize, ready: bool) -> Pod {
        let pod = json!({
            "metadata": {"namespace": "a", "name": format!("p{number}"), "uid": format!("u{number}")},
            "spec": {"nodeName": "n", "containers": []},
            "status": {
                "podIP": format!("10.0.{}.{}", number / 250, number % 250 + 1),
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]
            }
        });
        serde_json::from_value(pod).expect("a pod")
    }

    fn service() -> Service {
        let service = json!({
            "metadata": {"namespace": "a", "name": "s"},
            "spec": {"selector": {"app": "x"}, "clusterIP": "10.96.0.1", "ports": [{"port": 80, "targetPort": 8080}]}
        });
        serde_json::from_value(service).expect("a service")
    }

    #[test]
    fn addresses_are_grouped_by_readiness_under_their_ports() {
        let pods = [pod(2, true), pod(1, false), pod(0, true)];
        let content = content(&service(), &pods);
        let subsets = serde_json::to_value(&content.subsets).expect("subsets");
        let target =
            |n: usize| json!({"kind": "Pod", "namespace": "a", "name": format!("p{n}"), "uid": format!("u{n}")});
        assert_eq!(
            subsets,
            json!([{
                "addresses": [
                    {"ip": "10.0.0.1", "nodeName": "n", "targetRef": target(0)},
                    {"ip": "10.0.0.3", "nodeName": "n", "targetRef": target(2)}
                ],
                "notReadyAddresses": [{"ip": "10.0.0.2", "nodeName": "n", "targetRef": target(1)}],
                "ports": [{"port": 8080, "protocol": "TCP"}]
            }])
        );
    }

    #[test]
    fn addresses_over_a_thousand_are_cut_the_unready_ones_first() {
        let pods: Vec<Pod> = (0..1200).map(|number| pod(number, number % 2 == 0)).collect();
        let content = content(&service(), &pods);
        assert!(content.truncated);
        let subset = &content.subsets[0];
        assert_eq!(subset.addresses.as_ref().map(Vec::len), Some(600));
        assert_eq!(subset.not_ready_addresses.as_ref().map(Vec::len), Some(400));
    }

    #[test]
    fn terminating_pods_count_only_for_services_that_publish_all() {
        let mut pod = pod(1, false);
        pod.metadata.deletion_timestamp = Some(orrery_api::clock::now_time());
        assert!(content(&service(), [&pod]).subsets.is_empty());
        let mut open = service();
        open.spec.get_or_insert_default().publish_not_ready_addresses = Some(true);
        assert_eq!(
            content(&open, [&pod]).subsets[0].addresses.as_ref().map(Vec::len),
            Some(1)
        );
    }

    #[test]
    fn an_address_that_moved_to_another_node_leaves_before_it_comes_back() {
        let before = content(&service(), [&pod(1, true), &pod(2, true)]);
        let current = Endpoints {
            subsets: Some(before.subsets),
            ..Endpoints::default()
        };
        let mut moved = pod(1, true);
        moved.spec.get_or_insert_default().node_name = Some("other".into());
        let step = without_moved(content(&service(), [&moved, &pod(2, true)]), &current);
        let left: Vec<_> = step.subsets[0]
            .addresses
            .iter()
            .flatten()
            .map(|address| address.ip.as_str())
            .collect();
        assert_eq!(left, ["10.0.0.3"]);
        let gone = Endpoints {
            subsets: Some(step.subsets),
            ..Endpoints::default()
        };
        let last = without_moved(content(&service(), [&moved, &pod(2, true)]), &gone);
        assert_eq!(last.subsets[0].addresses.as_ref().map(Vec::len), Some(2));
    }
}
