//! The rules as people see them with iptables-save.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orrery_proxy::plan::plan;
use orrery_proxy::ruleset::Table;

use crate::objects::{options, ready, service, slice};

/// The lines of a table that bear the word in their comment, and those that lead on from external addresses, which have
/// no comment.
fn lines_of(table: &Table, word: &str) -> String {
    let lines: Vec<_> = table
        .to_string()
        .lines()
        .filter(|line| line.contains(word) || line.starts_with("-A KUBE-EXT-"))
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
    insta::assert_snapshot!(lines_of(&rules.nat, "default/web"), @r#"
    -A KUBE-EXT-LOLE4ISW44XBNF3G -m comment --comment "masquerade traffic for default/web external destinations" -j KUBE-MARK-MASQ
    -A KUBE-EXT-LOLE4ISW44XBNF3G -j KUBE-SVC-LOLE4ISW44XBNF3G
    -A KUBE-NODEPORTS -p tcp -m comment --comment "default/web" -m tcp --dport 30080 -j KUBE-EXT-LOLE4ISW44XBNF3G
    -A KUBE-SEP-5ORQWIE3QG6L2KWO -s 10.244.0.5/32 -m comment --comment "default/web" -j KUBE-MARK-MASQ
    -A KUBE-SEP-5ORQWIE3QG6L2KWO -p tcp -m comment --comment "default/web" -j DNAT --to-destination 10.244.0.5:8080
    -A KUBE-SEP-XQWD6PXGZUTOOIVQ -s 10.244.1.5/32 -m comment --comment "default/web" -j KUBE-MARK-MASQ
    -A KUBE-SEP-XQWD6PXGZUTOOIVQ -p tcp -m comment --comment "default/web" -j DNAT --to-destination 10.244.1.5:8080
    -A KUBE-SERVICES -d 10.96.0.7/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-SVC-LOLE4ISW44XBNF3G
    -A KUBE-SVC-LOLE4ISW44XBNF3G ! -s 10.244.0.0/16 -d 10.96.0.7/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
    -A KUBE-SVC-LOLE4ISW44XBNF3G -m comment --comment "default/web -> 10.244.0.5:8080" -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-5ORQWIE3QG6L2KWO
    -A KUBE-SVC-LOLE4ISW44XBNF3G -m comment --comment "default/web -> 10.244.1.5:8080" -j KUBE-SEP-XQWD6PXGZUTOOIVQ
    "#);
}

#[test]
fn a_named_port_is_named_and_a_service_without_endpoints_rejects() {
    let web = service("web", "NodePort", "10.96.0.7", &[("http", "TCP", 80, 30080)]);
    let rules = plan(&[web], &[slice("web", ("http", "TCP", 8080), vec![])], &options());
    assert_eq!(lines_of(&rules.nat, "default/web"), "");
    insta::assert_snapshot!(lines_of(&rules.filter, "default/web"), @r#"
    -A KUBE-EXTERNAL-SERVICES -d 172.18.0.1/32 -p tcp -m comment --comment "default/web:http has no endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j REJECT
    -A KUBE-EXTERNAL-SERVICES -d 127.0.0.0/8 -p tcp -m comment --comment "default/web:http has no endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j REJECT
    -A KUBE-SERVICES -d 10.96.0.7/32 -p tcp -m comment --comment "default/web:http has no endpoints" -m tcp --dport 80 -j REJECT
    "#);
}

#[test]
fn client_ip_affinity_remembers_clients() {
    let mut dns = service("dns", "ClusterIP", "10.96.0.10", &[("dns", "UDP", 53, 0)]);
    dns.spec.as_mut().unwrap().session_affinity = Some("ClientIP".into());
    let endpoints = slice("dns", ("dns", "UDP", 53), vec![ready("10.244.0.5", "here")]);
    let rules = plan(&[dns], &[endpoints], &options());
    insta::assert_snapshot!(lines_of(&rules.nat, "default/dns"), @r#"
    -A KUBE-SEP-EERBJ2SY4274I3J3 -s 10.244.0.5/32 -m comment --comment "default/dns:dns" -j KUBE-MARK-MASQ
    -A KUBE-SEP-EERBJ2SY4274I3J3 -p udp -m comment --comment "default/dns:dns" -m recent --set --name KUBE-SEP-EERBJ2SY4274I3J3 --rsource -j DNAT --to-destination 10.244.0.5:53
    -A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment "default/dns:dns cluster IP" -m udp --dport 53 -j KUBE-SVC-2MBSHUE5GJKPO227
    -A KUBE-SVC-2MBSHUE5GJKPO227 ! -s 10.244.0.0/16 -d 10.96.0.10/32 -p udp -m comment --comment "default/dns:dns cluster IP" -m udp --dport 53 -j KUBE-MARK-MASQ
    -A KUBE-SVC-2MBSHUE5GJKPO227 -m comment --comment "default/dns:dns -> 10.244.0.5:53" -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-EERBJ2SY4274I3J3 --rsource -j KUBE-SEP-EERBJ2SY4274I3J3
    -A KUBE-SVC-2MBSHUE5GJKPO227 -m comment --comment "default/dns:dns -> 10.244.0.5:53" -j KUBE-SEP-EERBJ2SY4274I3J3
    "#);
}

#[test]
fn a_cluster_without_services_has_the_chains_that_all_others_hang_on() {
    insta::assert_snapshot!(plan::<Service, EndpointSlice>(&[], &[], &options()), @r#"
    *filter
    :KUBE-EXTERNAL-SERVICES - [0:0]
    :KUBE-FIREWALL - [0:0]
    :KUBE-FORWARD - [0:0]
    :KUBE-PROXY-FIREWALL - [0:0]
    :KUBE-SERVICES - [0:0]
    :ORRERY-PROXY - [0:0]
    -A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
    -A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
    -A INPUT -j KUBE-FIREWALL
    -A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
    -A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
    -A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
    -A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
    -A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
    -A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
    -A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
    -A OUTPUT -j KUBE-FIREWALL
    -A DOCKER-USER -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
    -A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
    -A KUBE-FORWARD -s 10.244.0.0/16 -m conntrack --ctstate INVALID -j DROP
    -A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
    -A KUBE-FORWARD -s 10.244.0.0/16 -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    -A KUBE-FORWARD -d 10.244.0.0/16 -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    -A KUBE-FORWARD -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment "orrery: pods reach pods" -j ACCEPT
    COMMIT
    *nat
    :KUBE-MARK-MASQ - [0:0]
    :KUBE-NODEPORTS - [0:0]
    :KUBE-POSTROUTING - [0:0]
    :KUBE-SERVICES - [0:0]
    :ORRERY-PROXY - [0:0]
    -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
    -A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
    -A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
    -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
    -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
    -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
    -A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
    -A KUBE-SERVICES ! -s 10.244.0.0/16 -m comment --comment "orrery: services answer pods and this machine only" -m addrtype ! --src-type LOCAL -j RETURN
    -A KUBE-SERVICES -d 172.18.0.1/32 -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
    -A KUBE-SERVICES -d 127.0.0.0/8 -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
    COMMIT
    "#);
}
