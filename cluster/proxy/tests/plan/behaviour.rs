//! Where the rules lead, and where they do not.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Service, ServiceStatus};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orrery_proxy::plan::{ServiceRules, plan};
use orrery_proxy::ruleset::{Protocol, Ruleset};
use orrery_proxy::{Frontends, StaleFlows};

use crate::objects::{draining, options, ready, service, slice, unready};

fn endpoints(rules: &Ruleset) -> BTreeSet<String> {
    rules.endpoints().map(|at| at.to_string()).collect()
}

fn set<const N: usize>(items: [&str; N]) -> BTreeSet<String> {
    items.iter().map(|item| item.to_string()).collect()
}

fn web() -> Service {
    service("web", "ClusterIP", "10.96.0.7", &[("", "TCP", 80, 0)])
}

fn web_slice(endpoints: Vec<k8s_openapi::api::discovery::v1::Endpoint>) -> EndpointSlice {
    slice("web", ("", "TCP", 80), endpoints)
}

#[test]
fn only_ready_endpoints_get_connections() {
    let slices = [web_slice(vec![
        ready("10.244.0.5", "here"),
        unready("10.244.0.6", "here"),
        draining("10.244.0.7", "here"),
    ])];
    assert_eq!(endpoints(&plan(&[web()], &slices, &options())), set(["10.244.0.5:80"]));
}

#[test]
fn endpoints_that_all_go_away_get_connections_until_they_are_gone() {
    let slices = [web_slice(vec![
        unready("10.244.0.6", "here"),
        draining("10.244.0.7", "here"),
    ])];
    assert_eq!(endpoints(&plan(&[web()], &slices, &options())), set(["10.244.0.7:80"]));
}

#[test]
fn an_endpoint_in_two_slices_counts_once() {
    let mut second = web_slice(vec![ready("10.244.0.5", "here")]);
    second.metadata.name = Some("web-other".into());
    let rules = plan(
        &[web()],
        &[web_slice(vec![ready("10.244.0.5", "here")]), second],
        &options(),
    );
    assert!(!rules.to_string().contains("statistic"));
}

#[test]
fn headless_external_and_other_proxies_services_have_no_rules() {
    let slices = [web_slice(vec![ready("10.244.0.5", "here")])];
    let mut headless = web();
    headless.spec.as_mut().unwrap().cluster_ip = Some("None".into());
    let mut external = web();
    external.spec.as_mut().unwrap().type_ = Some("ExternalName".into());
    let mut other = web();
    other.metadata.labels = Some([("service.kubernetes.io/service-proxy-name".into(), "x".into())].into());
    for service in [headless, external, other] {
        assert_eq!(
            plan(&[service], &slices, &options()),
            plan::<Service, EndpointSlice>(&[], &[], &options())
        );
    }
}

#[test]
fn an_internal_policy_local_stays_on_the_node() {
    let mut web = web();
    web.spec.as_mut().unwrap().internal_traffic_policy = Some("Local".into());
    let slices = [web_slice(vec![
        ready("10.244.0.5", "here"),
        ready("10.244.1.5", "there"),
    ])];
    assert_eq!(
        endpoints(&plan(&[web.clone()], &slices, &options())),
        set(["10.244.0.5:80"])
    );
    let far = plan(&[web], &[web_slice(vec![ready("10.244.1.5", "there")])], &options());
    assert_eq!(endpoints(&far), set([]));
    assert!(
        far.filter
            .to_string()
            .contains("\"default/web has no local endpoints\" -m tcp --dport 80 -j DROP"),
        "{far}"
    );
}

#[test]
fn an_external_policy_local_keeps_the_callers_address_and_drops_where_nobody_lives() {
    let mut web = service("web", "NodePort", "10.96.0.7", &[("", "TCP", 80, 30080)]);
    web.spec.as_mut().unwrap().external_traffic_policy = Some("Local".into());
    let near = plan(
        &[web.clone()],
        &[web_slice(vec![ready("10.244.0.5", "here")])],
        &options(),
    );
    let external = near
        .nat
        .chains
        .iter()
        .find(|(name, _)| name.starts_with("KUBE-EXT-"))
        .unwrap()
        .1;
    assert!(external.last().unwrap().jumps_to().unwrap().starts_with("KUBE-SVL-"));
    assert!(
        external
            .iter()
            .all(|rule| rule.jumps_to() != Some("KUBE-MARK-MASQ") || rule.to_string().contains("LOCAL"))
    );
    let far = plan(&[web], &[web_slice(vec![ready("10.244.1.5", "there")])], &options());
    assert!(far.filter.to_string().contains("has no local endpoints"), "{far}");
}

#[test]
fn a_load_balancer_admits_its_source_ranges_only() {
    let mut web = service("web", "LoadBalancer", "10.96.0.7", &[("", "TCP", 80, 30080)]);
    web.spec.as_mut().unwrap().load_balancer_source_ranges = Some(vec!["192.0.2.0/24".into()]);
    let ingress = LoadBalancerIngress {
        ip: Some("203.0.113.9".into()),
        ..LoadBalancerIngress::default()
    };
    let balancer = LoadBalancerStatus {
        ingress: Some(vec![ingress]),
    };
    web.status = Some(ServiceStatus {
        load_balancer: Some(balancer),
        ..ServiceStatus::default()
    });
    let rules = plan(&[web], &[web_slice(vec![ready("10.244.0.5", "here")])], &options());
    let admission = rules
        .nat
        .chains
        .iter()
        .find(|(name, _)| name.starts_with("KUBE-FW-"))
        .unwrap()
        .1;
    assert_eq!(admission.len(), 1);
    assert!(
        rules.filter.chain("KUBE-PROXY-FIREWALL")[0]
            .to_string()
            .contains("-d 203.0.113.9/32")
    );
}

#[test]
fn node_ports_answer_at_the_nodes_own_addresses_only() {
    let web = service("web", "NodePort", "10.96.0.7", &[("", "TCP", 80, 30080)]);
    let rules = plan(&[web], &[web_slice(vec![ready("10.244.0.5", "here")])], &options());
    let leads = rules
        .nat
        .chain("KUBE-SERVICES")
        .iter()
        .filter(|rule| rule.jumps_to() == Some("KUBE-NODEPORTS"));
    let leads: Vec<_> = leads.map(|rule| rule.to_string()).collect();
    assert_eq!(leads.len(), 2);
    assert!(
        leads[0].contains("-d 172.18.0.1/32") && leads[1].contains("-d 127.0.0.0/8"),
        "{leads:?}"
    );
}

#[test]
fn a_slices_port_of_another_name_or_protocol_is_not_the_services() {
    let web = service("web", "ClusterIP", "10.96.0.7", &[("http", "TCP", 80, 0)]);
    let slices = [
        slice("web", ("https", "TCP", 443), vec![ready("10.244.0.5", "here")]),
        slice("web", ("http", "UDP", 80), vec![ready("10.244.0.5", "here")]),
    ];
    assert_eq!(endpoints(&plan(&[web], &slices, &options())), set([]));
}

#[test]
fn a_tcp_and_a_udp_port_of_one_number_are_two_ports() {
    let dns = service(
        "dns",
        "ClusterIP",
        "10.96.0.10",
        &[("dns", "UDP", 53, 0), ("dns-tcp", "TCP", 53, 0)],
    );
    let slices = [
        slice("dns", ("dns", "UDP", 53), vec![ready("10.244.0.5", "here")]),
        slice("dns", ("dns-tcp", "TCP", 5353), vec![ready("10.244.0.6", "here")]),
    ];
    assert_eq!(
        endpoints(&plan(&[dns], &slices, &options())),
        set(["10.244.0.5:53", "10.244.0.6:5353"])
    );
}

fn frontends(endpoints: Vec<k8s_openapi::api::discovery::v1::Endpoint>) -> Frontends {
    let dns = service(
        "dns",
        "NodePort",
        "10.96.0.10",
        &[("dns", "UDP", 53, 30053), ("tcp", "TCP", 53, 0)],
    );
    let slices = [slice("dns", ("dns", "UDP", 53), endpoints)];
    Frontends::of([ServiceRules::plan(&dns, &slices, &options())].iter())
}

fn is_stale(flows: &[StaleFlows], endpoint: &str) -> bool {
    let original = "10.96.0.10:53".parse().unwrap();
    flows
        .iter()
        .any(|flows| flows.names(Protocol::Udp, original, endpoint.parse().unwrap()))
}

#[test]
fn udp_flows_to_an_endpoint_that_is_gone_are_stale_also_when_it_was_the_last() {
    let before = frontends(vec![ready("10.244.0.5", "here"), ready("10.244.0.6", "here")]);
    let fewer = frontends(vec![ready("10.244.0.6", "here")]);
    let stale = fewer.stale_since(&before);
    assert!(is_stale(&stale, "10.244.0.5:53") && !is_stale(&stale, "10.244.0.6:53"));
    let stale = frontends(vec![]).stale_since(&fewer);
    assert!(is_stale(&stale, "10.244.0.6:53"));
}

#[test]
fn udp_flows_that_led_nowhere_are_stale_once_there_is_an_endpoint() {
    let stale = frontends(vec![ready("10.244.0.5", "here")]).stale_since(&frontends(vec![]));
    assert!(is_stale(&stale, "10.96.0.10:53") && !is_stale(&stale, "10.244.0.5:53"));
}

#[test]
fn udp_flows_to_a_service_that_is_gone_are_stale_at_each_of_its_addresses() {
    let stale = Frontends::default().stale_since(&frontends(vec![ready("10.244.0.5", "here")]));
    // The cluster IP, and the node port at the node's address and on loopback.
    assert_eq!(stale.len(), 3);
    assert!(
        stale
            .iter()
            .all(|flows| flows.keep.is_empty() && flows.protocol == Protocol::Udp)
    );
}

#[test]
fn udp_flows_to_an_endpoint_that_goes_away_but_answers_are_left_alone() {
    let before = frontends(vec![ready("10.244.0.5", "here")]);
    let after = frontends(vec![draining("10.244.0.5", "here"), ready("10.244.0.6", "here")]);
    assert!(!is_stale(&after.stale_since(&before), "10.244.0.5:53"));
}

#[test]
fn a_proxy_that_starts_forgets_flows_to_services_that_vanished_meanwhile() {
    let stale = frontends(vec![ready("10.244.0.5", "here")]).stale_since_ever(Some("10.96.0.0/12".parse().unwrap()));
    let vanished = "10.96.0.99:53".parse().unwrap();
    assert!(
        stale
            .iter()
            .any(|flows| flows.names(Protocol::Udp, vanished, "10.244.0.9:53".parse().unwrap()))
    );
}
