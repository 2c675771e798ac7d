//! The rules as people see them with iptables-save.

use orrery_proxy::plan::plan;
use orrery_proxy::ruleset::Table;

use crate::objects::{options, ready, service, slice};

/// The lines of a table that say something of services.
fn lines_of(table: &Table, word: &str) -> String {
    let lines: Vec<_> = table
        .to_string()
        .lines()
        .filter(|line| line.contains(word))
        .map(str::to_string)
        .collect();
    lines.join("\n")
}

#[test]
fn a_node_port_service_reads_as_kube_proxy_writes_it() {
    let web = service("web", "NodePort", "10.96.0.7", &[("", "TCP", 80, 30080)]);
    let endpoints = slice(
        "web",
        ("", "TCP", 8080),
        vec![ready("10.244.0.5", "here"), ready("10.244.1.5", "there")],
    );
    let rules = plan(&[web], &[endpoints], &options());
    insta::assert_snapshot!(lines_of(&rules.nat, "default/web"), @"");
}

#[test]
fn a_named_port_is_named_and_a_service_without_endpoints_rejects() {
    let web = service("web", "NodePort", "10.96.0.7", &[("http", "TCP", 80, 30080)]);
    let rules = plan(&[web], &[slice("web", ("http", "TCP", 8080), vec![])], &options());
    assert_eq!(lines_of(&rules.nat, "default/web"), "");
    insta::assert_snapshot!(lines_of(&rules.filter, "default/web"), @"");
}

#[test]
fn client_ip_affinity_remembers_clients() {
    let mut dns = service("dns", "ClusterIP", "10.96.0.10", &[("dns", "UDP", 53, 0)]);
    dns.spec.as_mut().unwrap().session_affinity = Some("ClientIP".into());
    let endpoints = slice("dns", ("dns", "UDP", 53), vec![ready("10.244.0.5", "here")]);
    let rules = plan(&[dns], &[endpoints], &options());
    insta::assert_snapshot!(lines_of(&rules.nat, "default/dns"), @"");
}

#[test]
fn a_cluster_without_services_has_the_chains_that_all_others_hang_on() {
    insta::assert_snapshot!(plan::<k8s_openapi::api::core::v1::Service, k8s_openapi::api::discovery::v1::EndpointSlice>(&[], &[], &options()), @"");
}
