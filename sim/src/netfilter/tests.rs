//! The rules that the proxy plans, met by packets.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_proxy::plan::{ServiceRules, plan};
use orrery_proxy::ruleset::Protocol;
use orrery_proxy::{Frontends, Options};

use super::*;
use crate::in_simulation;

const NOW: Duration = Duration::from_secs(1000);

fn options() -> Options {
    Options::new("here", vec![ip("192.168.0.1")], "10.244.0.0/16".parse().unwrap())
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// A service default/web on 10.96.0.7:80 and node port 30080.
fn web(protocol: &str) -> Service {
    Service {
        metadata: ObjectMeta {
            namespace: Some("default".into()),
            name: Some("web".into()),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            type_: Some("NodePort".into()),
            cluster_ip: Some("10.96.0.7".into()),
            ports: Some(vec![ServicePort {
                port: 80,
                node_port: Some(30080),
                protocol: Some(protocol.into()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn slice(protocol: &str, addresses: &[&str]) -> EndpointSlice {
    let endpoint = |address: &&str| Endpoint {
        addresses: vec![address.to_string()],
        ..Endpoint::default()
    };
    EndpointSlice {
        address_type: "IPv4".into(),
        metadata: ObjectMeta {
            namespace: Some("default".into()),
            name: Some("web-1".into()),
            labels: Some([("kubernetes.io/service-name".to_string(), "web".to_string())].into()),
            ..ObjectMeta::default()
        },
        endpoints: addresses.iter().map(endpoint).collect(),
        ports: Some(vec![EndpointPort {
            port: Some(8080),
            protocol: Some(protocol.into()),
            ..EndpointPort::default()
        }]),
    }
}

fn node(rules: Ruleset) -> Netfilter {
    let mut filter = Netfilter::new(vec![ip("192.168.0.1")]);
    filter.set_nat(rules.nat);
    filter.set_filter(rules.filter);
    filter
}

fn with(protocol: &str, addresses: &[&str]) -> Ruleset {
    plan(&[web(protocol)], &[slice(protocol, addresses)], &options())
}

fn packet(src: &str, dst: &str, dport: u16, from: Origin) -> Packet {
    Packet {
        src: ip(src),
        dst: ip(dst),
        protocol: Protocol::Tcp,
        sport: 40000,
        dport,
        from,
    }
}

fn chance() -> impl FnMut(u32) -> bool {
    let random = Random::from_number(1);
    move |count| random.below(u64::from(count)) == 0
}

/// Where 3000 new connections go.
fn spread(filter: &mut Netfilter, packet: Packet) -> BTreeMap<Ipv4Addr, u32> {
    let mut chance = chance();
    let mut spread = BTreeMap::new();
    for sport in 1..=3000 {
        match filter.evaluate(&Packet { sport, ..packet }, NOW, &mut chance) {
            Verdict::Delivered { ip, port: 8080, .. } => *spread.entry(ip).or_default() += 1,
            verdict => panic!("{packet:?} was {verdict:?}"),
        }
    }
    spread
}

#[test]
fn every_ready_endpoint_is_reached_about_as_often_from_everywhere() {
    let callers = [
        packet("10.244.0.9", "10.96.0.7", 80, Origin::Pod),
        packet("192.168.0.1", "10.96.0.7", 80, Origin::Host),
        packet("10.244.0.9", "192.168.0.1", 30080, Origin::Pod),
        packet("192.168.0.1", "192.168.0.1", 30080, Origin::Host),
        packet("127.0.0.1", "127.0.0.1", 30080, Origin::Host),
    ];
    for caller in callers {
        let spread = spread(
            &mut node(with("TCP", &["10.244.0.5", "10.244.1.6", "10.244.2.7"])),
            caller,
        );
        assert_eq!(spread.len(), 3, "{caller:?}: {spread:?}");
        assert!(
            spread.values().all(|count| (850..1150).contains(count)),
            "{caller:?}: {spread:?}"
        );
    }
}

#[test]
fn callers_from_beyond_the_machine_reach_services_only_if_they_are_admitted() {
    let stranger = packet("203.0.113.5", "192.168.0.1", 30080, Origin::Outside);
    let mut filter = node(with("TCP", &["10.244.0.5"]));
    assert_eq!(filter.evaluate(&stranger, NOW, &mut chance()), Verdict::NoRule);
    let open = Options {
        admit_outside: true,
        ..options()
    };
    let mut filter = node(plan(&[web("TCP")], &[slice("TCP", &["10.244.0.5"])], &open));
    let verdict = filter.evaluate(&stranger, NOW, &mut chance());
    assert_eq!(
        verdict,
        Verdict::Delivered {
            ip: ip("10.244.0.5"),
            port: 8080,
            snat: true
        }
    );
}

#[test]
fn without_endpoints_callers_are_refused_and_no_flow_is_tracked() {
    let mut filter = node(with("TCP", &[]));
    for caller in [
        packet("10.244.0.9", "10.96.0.7", 80, Origin::Pod),
        packet("192.168.0.1", "10.96.0.7", 80, Origin::Host),
        packet("10.244.0.9", "192.168.0.1", 30080, Origin::Pod),
    ] {
        assert_eq!(filter.evaluate(&caller, NOW, &mut chance()), Verdict::Rejected);
    }
    assert!(filter.flows(NOW).is_empty());
}

#[test]
fn the_rules_lead_to_all_that_packets_may_get_to_and_nowhere_else() {
    let at = |text: &str| text.parse::<SocketAddrV4>().unwrap();
    let addresses = ["10.244.0.5", "10.244.1.6", "10.244.2.7"];
    let filter = node(with("TCP", &addresses));
    let endpoints = BTreeSet::from(addresses.map(|ip| at(&format!("{ip}:8080"))));
    for front in ["10.96.0.7:80", "192.168.0.1:30080", "127.0.0.1:30080"] {
        assert_eq!(filter.leads((Protocol::Tcp, at(front))), endpoints, "{front}");
    }
    for front in ["10.96.0.7:81", "10.96.0.8:80", "192.168.0.2:30080"] {
        assert!(filter.leads((Protocol::Tcp, at(front))).is_empty(), "{front}");
    }
    assert!(filter.leads((Protocol::Udp, at("10.96.0.7:80"))).is_empty());
}

#[test]
fn a_pod_that_calls_itself_and_the_node_are_masqueraded_and_other_pods_are_not() {
    let mut filter = node(with("TCP", &["10.244.0.5"]));
    let mut snat = |packet| match filter.evaluate(&packet, NOW, &mut chance()) {
        Verdict::Delivered { snat, .. } => snat,
        verdict => panic!("{verdict:?}"),
    };
    assert!(snat(packet("10.244.0.5", "10.96.0.7", 80, Origin::Pod)));
    assert!(!snat(packet("10.244.0.9", "10.96.0.7", 80, Origin::Pod)));
    assert!(snat(packet("192.168.0.1", "10.96.0.7", 80, Origin::Host)));
    assert!(snat(packet("10.244.0.9", "192.168.0.1", 30080, Origin::Pod)));
}

#[test]
fn a_packet_to_no_service_meets_no_rule() {
    let mut filter = node(with("TCP", &["10.244.0.5"]));
    for dst in ["10.96.0.8", "10.244.0.5", "8.8.8.8"] {
        assert_eq!(
            filter.evaluate(&packet("10.244.0.9", dst, 80, Origin::Pod), NOW, &mut chance()),
            Verdict::NoRule
        );
    }
}

#[test]
fn loopback_is_closed_to_neighbours() {
    let mut filter = node(with("TCP", &["10.244.0.5"]));
    let caller = packet("10.244.0.9", "127.0.0.1", 10250, Origin::Pod);
    assert_eq!(filter.evaluate(&caller, NOW, &mut chance()), Verdict::Dropped);
}

#[test]
fn a_client_with_affinity_keeps_its_endpoint_until_it_is_long_silent() {
    let mut service = web("TCP");
    service.spec.as_mut().unwrap().session_affinity = Some("ClientIP".into());
    let addresses = ["10.244.0.5", "10.244.0.6", "10.244.0.7", "10.244.0.8"];
    let mut filter = node(plan(&[service], &[slice("TCP", &addresses)], &options()));
    let client = packet("10.244.0.9", "10.96.0.7", 80, Origin::Pod);
    assert_eq!(spread(&mut filter, client).len(), 1);
    let late = NOW + Duration::from_secs(10_801);
    let mut chance = chance();
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..40u32 {
        let now = late + Duration::from_secs(10_801) * round;
        if let Verdict::Delivered { ip, .. } = filter.evaluate(&Packet { sport: 5000, ..client }, now, &mut chance) {
            seen.insert(ip);
        }
        // The flow itself is forgotten, or it would go on to the same endpoint.
        filter.flows(now + Duration::from_secs(400));
    }
    assert!(seen.len() > 1);
}

fn frontends(addresses: &[&str]) -> Frontends {
    Frontends::of([ServiceRules::plan(&web("UDP"), &[slice("UDP", addresses)], &options())].iter())
}

#[test]
fn a_udp_flow_stays_with_an_endpoint_that_is_gone_until_it_is_forgotten() {
    let mut filter = node(with("UDP", &["10.244.0.5"]));
    let sender = Packet {
        protocol: Protocol::Udp,
        ..packet("10.244.0.9", "10.96.0.7", 80, Origin::Pod)
    };
    let pinned = Verdict::Delivered {
        ip: ip("10.244.0.5"),
        port: 8080,
        snat: false,
    };
    assert_eq!(filter.evaluate(&sender, NOW, &mut chance()), pinned);

    // Scaled to zero: the refusal is for the cluster IP, but the flow is translated before it is asked.
    let none = with("UDP", &[]);
    filter.set_nat(none.nat);
    filter.set_filter(none.filter);
    for seconds in [10, 35, 60, 85] {
        assert_eq!(
            filter.evaluate(&sender, NOW + Duration::from_secs(seconds), &mut chance()),
            pinned
        );
    }
    filter.forget(&frontends(&[]).stale_since(&frontends(&["10.244.0.5"])));
    assert_eq!(
        filter.evaluate(&sender, NOW + Duration::from_secs(90), &mut chance()),
        Verdict::Rejected
    );
}

#[test]
fn a_udp_flow_that_led_nowhere_does_so_until_it_is_forgotten() {
    // Before any rule stands, a packet passes untranslated, and is tracked so.
    let mut filter = node(Ruleset::default());
    let sender = Packet {
        protocol: Protocol::Udp,
        ..packet("10.244.0.9", "10.96.0.7", 80, Origin::Pod)
    };
    assert_eq!(filter.evaluate(&sender, NOW, &mut chance()), Verdict::NoRule);
    let rules = with("UDP", &["10.244.0.5"]);
    filter.set_nat(rules.nat);
    filter.set_filter(rules.filter);
    assert_eq!(filter.evaluate(&sender, NOW, &mut chance()), Verdict::NoRule);
    filter.forget(&frontends(&["10.244.0.5"]).stale_since(&frontends(&[])));
    assert!(matches!(
        filter.evaluate(&sender, NOW, &mut chance()),
        Verdict::Delivered { .. }
    ));
}

#[test]
fn a_silent_flow_ends_unless_flows_linger() {
    let mut filter = node(with("UDP", &["10.244.0.5"]));
    let sender = Packet {
        protocol: Protocol::Udp,
        ..packet("10.244.0.9", "10.96.0.7", 80, Origin::Pod)
    };
    filter.evaluate(&sender, NOW, &mut chance());
    let (victims, count) = Victims::counted();
    filter.linger(1, victims, NOW);
    filter.linger(2, Victims::default(), NOW);
    assert_eq!(filter.flows(NOW + Duration::from_secs(30)).len(), 1);
    assert_eq!(count(), 0, "its time is not over");
    let late = NOW + Duration::from_secs(31);
    assert_eq!(filter.flows(late).len(), 1);
    assert_eq!(count(), 1);
    filter.end_linger(1, late);
    assert_eq!(filter.flows(late).len(), 1, "another fault keeps it");
    filter.end_linger(2, late);
    assert!(filter.flows(late).is_empty());
}

#[test]
fn an_established_connection_keeps_its_endpoint_when_others_come() {
    let mut filter = node(with("TCP", &["10.244.0.5"]));
    let client = packet("10.244.0.9", "10.96.0.7", 80, Origin::Pod);
    let first = filter.evaluate(&client, NOW, &mut chance());
    filter.answered(&client, NOW);
    let rules = with("TCP", &["10.244.0.6"]);
    filter.set_nat(rules.nat);
    assert_eq!(filter.evaluate(&client, NOW, &mut chance()), first);
}

#[test]
fn a_change_of_the_rules_takes_its_time_and_a_slow_one_more() {
    let (plain, slow) = in_simulation(1, || async {
        let filter = SimPacketFilter::new(vec![ip("192.168.0.1")], Random::from_number(1));
        let rules = with("TCP", &["10.244.1.2"]);
        let began = Instant::now();
        filter.apply(&rules).await.unwrap();
        let plain = began.elapsed();
        assert_eq!(filter.endpoints().len(), 1);
        filter.slow(Span::seconds(2, 2), Victims::default());
        let began = Instant::now();
        filter.apply(&with("TCP", &[])).await.unwrap();
        assert!(filter.endpoints().is_empty());
        (plain, began.elapsed())
    });
    assert!(
        plain >= WRITE.0 && plain < WRITE.1 + Duration::from_millis(10),
        "{plain:?}"
    );
    assert!(slow >= Duration::from_secs(2) + WRITE.0, "{slow:?}");
}

#[test]
fn as_many_changes_fail_as_shall_and_the_first_of_them_is_applied_by_half() {
    in_simulation(1, || async {
        let (old, new) = (with("TCP", &[]), with("TCP", &["10.244.1.2"]));
        assert!(old.nat != new.nat && old.filter != new.filter);
        for half in [HalfApplied::None, HalfApplied::Nat, HalfApplied::Filter] {
            let filter = SimPacketFilter::new(vec![ip("192.168.0.1")], Random::from_number(1));
            filter.apply(&old).await.unwrap();
            let (victims, count) = Victims::counted();
            let done = filter.fail_applies(2, half, victims);
            let (nat, passes) = match half {
                HalfApplied::None => (&old.nat, &old.filter),
                HalfApplied::Nat => (&new.nat, &old.filter),
                HalfApplied::Filter => (&old.nat, &new.filter),
            };
            for struck in 1..=2 {
                assert!(done.notified().now_or_never().is_none());
                assert!(filter.apply(&new).await.is_err());
                assert_eq!(count(), struck);
                let rules = filter.rules();
                assert_eq!((&rules.nat, &rules.filter), (nat, passes), "{half:?}, number {struck}");
                assert_eq!(filter.is_whole(), half == HalfApplied::None);
            }
            assert!(done.notified().now_or_never().is_some());
            filter.apply(&new).await.unwrap();
            assert!(filter.rules() == new && filter.is_whole());
        }
    });
}

#[test]
fn faults_that_overlap_count_for_themselves() {
    in_simulation(1, || async {
        let filter = SimPacketFilter::new(vec![ip("192.168.0.1")], Random::from_number(1));
        filter.fail_applies(1, HalfApplied::None, Victims::default());
        filter.fail_applies(2, HalfApplied::None, Victims::default());
        let rules = with("TCP", &["10.244.1.2"]);
        assert!(filter.apply(&rules).await.is_err());
        assert!(filter.apply(&rules).await.is_err());
        filter.apply(&rules).await.unwrap();
        let [short, long] = [2, 100].map(|by| filter.slow(Span::seconds(by, by), Victims::default()));
        filter.hasten(short);
        let began = Instant::now();
        filter.apply(&rules).await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(100));
        filter.hasten(long);
        let began = Instant::now();
        filter.apply(&rules).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1));
    });
}
