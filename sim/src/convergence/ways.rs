//! E4 at rest: the rules of a node lead to the endpoints of the services, each where it is called.
//!
//! At each port of a service's cluster IP they must have just the endpoints that calls may get to ([`backends`]), those
//! of the node alone with an internal traffic policy `Local`; at the node's own port and at external IPs also those
//! that an external one keeps on the node. Callers of a service with session affinity are remembered for as long as it
//! says, and others not. And no rule may lead to what is no endpoint, or from where no service is. A load balancer's
//! addresses are not judged by themselves, nor are external IPs at a port that several services share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use orrery_proxy::ruleset::Protocol;

use crate::invariants::backends::backends;
use crate::model::{Cluster, Item};
use crate::netfilter::{Front, SimPacketFilter};

/// The affinity of a service that does not say how long. Source: the API's documentation of `ClientIPConfig`.
const DEFAULT_AFFINITY: i32 = 10_800;

/// What becomes of calls.
struct Way {
    /// Whom they may get to.
    led: BTreeSet<SocketAddrV4>,
    /// For how many seconds a caller keeps its endpoint, if it does.
    remembered: Option<u32>,
}

/// What the rules of a node should do.
#[derive(Default)]
struct Wanted {
    /// By where a call goes: what becomes of it.
    ways: BTreeMap<Front, Way>,
    /// The same for external IPs; none where several services have one.
    external: BTreeMap<Front, Option<Way>>,
    /// The endpoints of all services.
    endpoints: BTreeSet<SocketAddrV4>,
    /// The addresses that services have from beyond the cluster.
    outside: BTreeSet<Ipv4Addr>,
}

/// What is served of a service, and its cluster IP; none if that is nothing, or another proxy's.
fn served(item: &Item) -> Option<(&ServiceSpec, Ipv4Addr)> {
    let spec = item.service()?.spec.as_ref()?;
    if item.is_another_proxys() {
        return None;
    }
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    Some((spec, item.cluster_ip()?))
}

/// The addresses of a service from beyond the cluster: users', and a load balancer's.
fn outside(service: &Service) -> impl Iterator<Item = Ipv4Addr> {
    let given = service.spec.iter().flat_map(|spec| spec.external_ips.iter().flatten());
    let balancer = service.status.iter().filter_map(|status| status.load_balancer.as_ref());
    let balancer = balancer.flat_map(|balancer| balancer.ingress.iter().flatten());
    let all = given.chain(balancer.filter_map(|ingress| ingress.ip.as_ref()));
    all.filter_map(|ip| ip.parse::<Ipv4Addr>().ok())
}

/// For how many seconds callers of a service keep their endpoints, if they do.
fn remembered(spec: &ServiceSpec) -> Option<u32> {
    spec.session_affinity.as_deref().filter(|kind| *kind == "ClientIP")?;
    let config = spec.session_affinity_config.as_ref();
    let seconds = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    u32::try_from(seconds.unwrap_or(DEFAULT_AFFINITY)).ok()
}

impl Wanted {
    fn of(cluster: &Cluster, (node, address): (&str, Ipv4Addr)) -> Self {
        let mut wanted = Wanted::default();
        for item in cluster.all("services") {
            let Some(service) = item.service() else { continue };
            let Some((spec, ip)) = served(item) else { continue };
            wanted.add(item, (spec, ip), cluster, (node, address));
            wanted.outside.extend(outside(service));
        }
        for (front, way) in std::mem::take(&mut wanted.external) {
            if let Some(way) = way {
                wanted.ways.entry(front).or_insert(way);
            }
        }
        wanted
    }

    fn add(
        &mut self,
        service: &Item,
        (spec, ip): (&ServiceSpec, Ipv4Addr),
        cluster: &Cluster,
        (node, address): (&str, Ipv4Addr),
    ) {
        let is_local = |policy: Option<&str>| policy == Some("Local");
        let has_node_ports = matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"));
        let external = spec.external_ips.iter().flatten();
        let external: BTreeSet<Ipv4Addr> = external.filter_map(|ip| ip.parse().ok()).collect();
        let remembered = remembered(spec);
        for port in spec.ports.iter().flatten() {
            let number = |number: i32| u16::try_from(number).ok().filter(|number| *number != 0);
            let (Some(protocol), Some(own)) = (Protocol::of(port.protocol.as_deref()), number(port.port)) else {
                continue;
            };
            let name = port.name.as_deref().unwrap_or_default();
            let everywhere = backends(service, name, None, cluster);
            let here = backends(service, name, Some(node), cluster);
            let all: BTreeSet<SocketAddrV4> = everywhere.union(&here).copied().collect();
            let keeps = is_local(spec.external_traffic_policy.as_deref());
            let from_outside = || Way {
                led: if keeps { all.clone() } else { everywhere.clone() },
                remembered,
            };
            if let Some(number) = port.node_port.and_then(number).filter(|_| has_node_ports) {
                self.ways
                    .insert((protocol, SocketAddrV4::new(address, number)), from_outside());
            }
            for ip in &external {
                let known = self.external.entry((protocol, SocketAddrV4::new(*ip, own)));
                known
                    .and_modify(|shared| *shared = None)
                    .or_insert_with(|| Some(from_outside()));
            }
            self.endpoints.extend(&all);
            let stays = is_local(spec.internal_traffic_policy.as_deref());
            let led = if stays { here } else { everywhere };
            self.ways
                .insert((protocol, SocketAddrV4::new(ip, own)), Way { led, remembered });
        }
    }
}

fn list(endpoints: &BTreeSet<SocketAddrV4>) -> String {
    let all: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    all.join(" ")
}

/// Where the rules of a node do not lead as they should.
pub fn missing(
    (machine, address): (&str, Ipv4Addr),
    filter: &SimPacketFilter,
    cluster: &Cluster,
    missing: &mut Vec<String>,
) {
    let wanted = Wanted::of(cluster, (machine, address));
    for ((protocol, front), Way { led, remembered }) in &wanted.ways {
        let leads = filter.leads((*protocol, *front));
        let remembers = filter.remembers((*protocol, *front));
        let seconds: BTreeSet<u32> = remembered.filter(|_| !led.is_empty()).into_iter().collect();
        if leads == *led && remembers != seconds {
            missing.push(format!(
                "the packet rules of {machine} remember callers of {protocol} {front} for {remembers:?} seconds, not \
                 for {seconds:?}"
            ));
        }
        if leads != *led {
            missing.push(format!(
                "the packet rules of {machine} lead {protocol} {front} to [{}], and its endpoints are [{}]",
                list(&leads),
                list(led)
            ));
        }
    }
    let fronts = filter.fronts();
    let foreign = |(_, to): &Front| wanted.outside.contains(to.ip());
    for (protocol, to) in fronts
        .iter()
        .filter(|&front| !wanted.ways.contains_key(front) && !foreign(front))
    {
        missing.push(format!(
            "the packet rules of {machine} lead {protocol} {to} on, where no service is"
        ));
    }
    let lost: BTreeSet<SocketAddrV4> = filter.endpoints().difference(&wanted.endpoints).copied().collect();
    if !lost.is_empty() {
        missing.push(format!(
            "the packet rules of {machine} lead to no endpoints: {}",
            list(&lost)
        ));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use orrery_api::random::Random;
    use orrery_proxy::plan::plan;
    use orrery_proxy::{Options, PacketFilter};
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use crate::in_simulation;
    use crate::model::ObjectId;

    const NODE: (&str, Ipv4Addr) = ("node-1", Ipv4Addr::new(192, 168, 0, 1));

    /// A service whose only endpoint is on a node.
    struct Served {
        name: &'static str,
        ip: &'static str,
        endpoint: &'static str,
        node: &'static str,
        spec: Value,
    }

    impl Served {
        fn service(&self) -> Value {
            let mut spec = json!({"type": "ClusterIP", "clusterIP": self.ip, "ports": [{"port": 80}]});
            for (key, value) in self.spec.as_object().into_iter().flatten() {
                spec[key] = value.clone();
            }
            json!({"metadata": {"name": self.name, "namespace": "default", "uid": self.name}, "spec": spec})
        }

        fn slice(&self) -> Value {
            let labels = json!({"kubernetes.io/service-name": self.name});
            json!({"metadata": {"name": self.name, "namespace": "default", "uid": self.name, "labels": labels},
                "addressType": "IPv4", "ports": [{"port": 8080, "protocol": "TCP"}],
                "endpoints": [{"addresses": [self.endpoint], "nodeName": self.node}]})
        }
    }

    fn read<K: DeserializeOwned>(object: Value) -> K {
        serde_json::from_value(object).expect("an object")
    }

    /// What is missing where the rules are those of the services `stand`, and there are those of `there`.
    fn told(stand: Vec<Served>, there: Vec<Served>) -> Vec<String> {
        in_simulation(1, move || async move {
            let services: Vec<Service> = stand.iter().map(|one| read(one.service())).collect();
            let slices: Vec<EndpointSlice> = stand.iter().map(|one| read(one.slice())).collect();
            let options = Options::new(NODE.0, vec![NODE.1], "10.244.0.0/16".parse().expect("a network"));
            let filter = SimPacketFilter::new(vec![NODE.1], Random::from_number(1));
            filter
                .apply(&plan(&services, &slices, &options))
                .await
                .expect("no fault");
            let mut cluster = Cluster::default();
            for (revision, one) in (1..).step_by(2).zip(&there) {
                let id = |resource: &str| ObjectId {
                    resource: resource.into(),
                    namespace: "default".to_owned(),
                    name: one.name.to_owned(),
                };
                let bytes = |value: Value| Some(value.to_string().into_bytes().into());
                cluster.apply(id("services"), revision, bytes(one.service()));
                let slice = bytes(one.slice());
                cluster.apply(id("endpointslices.discovery.k8s.io"), revision + 1, slice);
            }
            let mut found = Vec::new();
            missing(NODE, &filter, &cluster, &mut found);
            found
        })
    }

    fn served(name: &'static str, ip: &'static str, endpoint: &'static str) -> Served {
        Served {
            name,
            ip,
            endpoint,
            node: "node-1",
            spec: json!({}),
        }
    }

    fn both(first: &'static str, second: &'static str) -> Vec<Served> {
        vec![served("one", "10.96.0.1", first), served("two", "10.96.0.2", second)]
    }

    #[test]
    fn services_whose_endpoints_are_each_others_are_found() {
        let right = || both("10.244.0.5", "10.244.0.6");
        assert_eq!(told(right(), right()), [""; 0]);
        assert_eq!(
            told(both("10.244.0.6", "10.244.0.5"), right()),
            [
                "the packet rules of node-1 lead tcp 10.96.0.1:80 to [10.244.0.6:8080], and its endpoints are [10.244.0.5:8080]",
                "the packet rules of node-1 lead tcp 10.96.0.2:80 to [10.244.0.5:8080], and its endpoints are [10.244.0.6:8080]",
            ]
        );
    }

    #[test]
    fn what_is_left_of_a_service_and_an_endpoint_that_are_gone_is_found() {
        let twins = || both("10.244.0.5", "10.244.0.5");
        let one = || vec![served("one", "10.96.0.1", "10.244.0.5")];
        let left = "the packet rules of node-1 lead tcp 10.96.0.2:80 on, where no service is";
        assert_eq!(told(twins(), one()), [left]);
        let lost = "the packet rules of node-1 lead to no endpoints: 10.244.0.6:8080";
        assert_eq!(told(both("10.244.0.5", "10.244.0.6"), one()), [left, lost]);
    }

    #[test]
    fn policies_say_which_nodes_endpoints_there_are() {
        let with = |node: &'static str, spec: Value| {
            let mut one = served("one", "10.96.0.1", "10.244.0.5");
            (one.node, one.spec) = (node, spec);
            vec![one]
        };
        let open = |ports: i32| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": ports}]});
        let local = || json!({"internalTrafficPolicy": "Local"});
        for node in ["node-1", "node-2"] {
            for spec in [open(30080), local(), json!({"externalIPs": ["192.0.2.1"]})] {
                assert_eq!(told(with(node, spec.clone()), with(node, spec)), [""; 0], "{node}");
            }
        }
        assert_eq!(
            told(with("node-2", json!({})), with("node-2", local())),
            ["the packet rules of node-1 lead tcp 10.96.0.1:80 to [10.244.0.5:8080], and its endpoints are []"]
        );
        assert_eq!(
            told(with("node-1", open(30080)), with("node-1", open(30081))),
            [
                "the packet rules of node-1 lead tcp 192.168.0.1:30081 to [], and its endpoints are [10.244.0.5:8080]",
                "the packet rules of node-1 lead tcp 192.168.0.1:30080 on, where no service is",
            ]
        );
    }

    fn alone(spec: Value) -> Vec<Served> {
        let mut one = served("one", "10.96.0.1", "10.244.0.5");
        one.spec = spec;
        vec![one]
    }

    #[test]
    fn an_external_address_that_leads_nowhere_is_found_where_one_service_has_it() {
        let external = |policy: &str| json!({"externalIPs": ["192.0.2.1"], "externalTrafficPolicy": policy});
        for policy in ["Cluster", "Local"] {
            let right = told(alone(external(policy)), alone(external(policy)));
            assert_eq!(right, [""; 0], "{policy}");
            assert_eq!(
                told(alone(json!({})), alone(external(policy))),
                ["the packet rules of node-1 lead tcp 192.0.2.1:80 to [], and its endpoints are [10.244.0.5:8080]"]
            );
        }
        let shared = || {
            let mut two = both("10.244.0.5", "10.244.0.6");
            for one in &mut two {
                one.spec = external("Cluster");
            }
            two
        };
        assert_eq!(told(shared(), shared()), [""; 0]);
        assert_eq!(told(both("10.244.0.5", "10.244.0.6"), shared()), [""; 0]);
    }

    #[test]
    fn callers_that_are_remembered_for_another_time_than_the_service_says_are_found() {
        let sticky = |seconds: Value| {
            let config = json!({"clientIP": {"timeoutSeconds": seconds}});
            alone(json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}))
        };
        let found =
            |seconds: &str| format!("the packet rules of node-1 remember callers of tcp 10.96.0.1:80 for {seconds}");
        for seconds in [json!(30), json!(null)] {
            assert_eq!(told(sticky(seconds.clone()), sticky(seconds)), [""; 0]);
        }
        assert_eq!(
            told(sticky(json!(null)), sticky(json!(30))),
            [found("{10800} seconds, not for {30}")]
        );
        assert_eq!(
            told(alone(json!({})), sticky(json!(30))),
            [found("{} seconds, not for {30}")]
        );
        assert_eq!(
            told(sticky(json!(30)), alone(json!({}))),
            [found("{30} seconds, not for {}")]
        );
    }
}
