//! The real packet filter, in a network namespace of its own: the machine's rules are not touched. Without iptables or
//! the right to make a namespace the tests say so and pass; with ORRERY_REQUIRE_IPTABLES=1 they fail.

#![allow(clippy::disallowed_methods, reason = "it drives the real packet filter from outside")]

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orrery_proxy::iptables::Iptables;
use orrery_proxy::plan::{ServiceRules, plan};
use orrery_proxy::{FilterError, Frontends, PacketFilter, Ruleset};

#[path = "plan/objects.rs"]
#[allow(dead_code, reason = "shared with the tests of the plan")]
mod objects;

use objects::{options, ready, service, slice};

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "ORRERY_TEST_INSIDE_NAMESPACE";

/// Runs the test of this name again, inside a new network namespace. False there, where the test has to go on.
fn is_outside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let possible = Command::new("unshare").args(["--net", "iptables-save"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("ORRERY_REQUIRE_IPTABLES").is_none(),
            "iptables in a network namespace is impossible here"
        );
        eprintln!("skipped: {name}: needs root, unshare (util-linux) and iptables");
        return true;
    }
    let this = std::env::current_exe().expect("a running program has a path");
    let inside = Command::new("unshare")
        .arg("--net")
        .arg(this)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare has just run");
    assert!(inside.success(), "{name} failed inside the namespace");
    true
}

fn system(command: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", command])
        .output()
        .expect("there is a shell");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn saved() -> String {
    // Counters and comments differ from call to call.
    let text = system("iptables-save -t nat; iptables-save -t filter");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn web(endpoints: &[&str]) -> Ruleset {
    let web = service("web", "NodePort", "10.96.0.7", &[("", "TCP", 80, 30080)]);
    let endpoints = endpoints.iter().map(|address| ready(address, "here")).collect();
    plan(&[web], &[slice("web", ("", "TCP", 8080), endpoints)], &options())
}

fn nothing() -> Ruleset {
    plan::<Service, EndpointSlice>(&[], &[], &options())
}

#[tokio::test]
async fn rules_stand_are_replaced_and_vanish() {
    if is_outside("rules_stand_are_replaced_and_vanish") {
        return;
    }
    system(
        "iptables -N DOCKER-USER && iptables -A DOCKER-USER -j RETURN && iptables -t nat -A PREROUTING -p tcp -j ACCEPT",
    );
    let untouched = saved();
    let filter = Iptables::new(vec!["lo".to_string()]);
    assert_eq!(filter.check().await, Ok(()));

    filter.apply(&web(&["10.244.0.5", "10.244.0.6"])).await.unwrap();
    let two = saved();
    assert!(
        two.contains("\"default/web cluster IP\"") && two.contains("-j DNAT --to-destination 10.244.0.6:8080"),
        "{two}"
    );
    assert_eq!(two.matches("-j KUBE-FORWARD\n").count(), 2, "{two}");

    // Less, by the way of differences; and the same by the way of repair, from a filter that knows nothing.
    filter.apply(&web(&["10.244.0.5"])).await.unwrap();
    let one = saved();
    assert!(
        !one.contains("10.244.0.6") && one.matches(":KUBE-SEP-").count() == 1,
        "{one}"
    );
    Iptables::new(Vec::new()).apply(&web(&["10.244.0.5"])).await.unwrap();
    assert_eq!(saved(), one);

    // What others broke is repaired by the same rules again.
    system("iptables -t nat -F && iptables -t nat -X && iptables -D INPUT -j KUBE-FIREWALL");
    filter.apply(&web(&["10.244.0.5"])).await.unwrap();
    let repaired = saved();
    for line in one.lines().filter(|line| line.contains("KUBE")) {
        assert!(repaired.contains(line), "{line} is missing in\n{repaired}");
    }

    // A service that vanishes leaves nothing.
    filter.apply(&nothing()).await.unwrap();
    assert!(!saved().contains("web") && !saved().contains("KUBE-SEP"), "{}", saved());

    system("iptables -t nat -A PREROUTING -p tcp -j ACCEPT");
    filter.clear().await.unwrap();
    assert_eq!(saved(), untouched);
    filter.clear().await.unwrap();
}

#[tokio::test]
async fn hooks_read_back_as_they_were_written() {
    if is_outside("hooks_read_back_as_they_were_written") {
        return;
    }
    let filter = Iptables::new(Vec::new());
    filter.apply(&nothing()).await.unwrap();
    let standing = saved();
    for (_, table) in nothing().tables() {
        for hook in table.hooks.iter().filter(|hook| !hook.optional) {
            let line = format!("-A {} {}\n", hook.chain, hook.rule);
            assert!(standing.contains(&line), "{line} is not in\n{standing}");
        }
    }
}

#[tokio::test]
async fn rules_of_another_kubernetes_are_left_alone() {
    if is_outside("rules_of_another_kubernetes_are_left_alone") {
        return;
    }
    system("iptables -t nat -N KUBE-SERVICES && iptables -t nat -A PREROUTING -j KUBE-SERVICES");
    let untouched = saved();
    let filter = Iptables::new(Vec::new());
    assert!(matches!(filter.check().await, Err(FilterError::Foreign { .. })));
    assert!(matches!(
        filter.apply(&nothing()).await,
        Err(FilterError::Foreign { .. })
    ));
    filter.clear().await.unwrap();
    assert_eq!(saved(), untouched);
}

/// Whether a connection to `address` ends at the listener.
fn reaches(listener: &TcpListener, address: &str) -> bool {
    let address: SocketAddr = address.parse().unwrap();
    let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) else {
        return false;
    };
    let (_, peer) = listener.accept().expect("somebody has just connected");
    drop((stream, peer));
    true
}

/// Makes the namespace like a node.
fn make_node() {
    // One machine that has all addresses itself; cluster IPs need some route, as on any node, here to an empty wire.
    system(
        "ip link set lo up && ip addr add 10.244.0.5/32 dev lo && ip addr add 172.18.0.1/32 dev lo \
         && ip link add wire type veth peer name end && ip link set wire up && ip link set end up \
         && ip addr add 192.168.9.1/24 dev wire && ip route add default via 192.168.9.2",
    );
}

#[tokio::test]
async fn connections_go_where_the_rules_say() {
    if is_outside("connections_go_where_the_rules_say") {
        return;
    }
    make_node();
    let listener = TcpListener::bind("10.244.0.5:8080").unwrap();
    let filter = Iptables::new(vec!["lo".to_string()]);
    filter.apply(&web(&["10.244.0.5"])).await.unwrap();
    for address in ["10.96.0.7:80", "172.18.0.1:30080", "127.0.0.1:30080"] {
        assert!(
            reaches(&listener, address),
            "{address} does not lead to the endpoint\n{}",
            saved()
        );
    }

    // Without endpoints callers are told at once.
    filter.apply(&web(&[])).await.unwrap();
    let started = Instant::now();
    for address in ["10.96.0.7:80", "172.18.0.1:30080", "127.0.0.1:30080"] {
        assert!(TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(5)).is_err());
    }
    assert!(started.elapsed() < Duration::from_secs(4));

    filter.clear().await.unwrap();
    assert!(TcpStream::connect_timeout(&"127.0.0.1:30080".parse().unwrap(), Duration::from_secs(1)).is_err());
}

#[tokio::test]
async fn a_udp_flow_leaves_an_endpoint_that_is_gone() {
    if is_outside("a_udp_flow_leaves_an_endpoint_that_is_gone") {
        return;
    }
    if Command::new("conntrack").arg("--version").output().is_err() {
        eprintln!("skipped: a_udp_flow_leaves_an_endpoint_that_is_gone: needs the conntrack tool");
        return;
    }
    make_node();
    let dns = service("dns", "ClusterIP", "10.96.0.10", &[("dns", "UDP", 53, 0)]);
    let slices = |addresses: &[&str]| {
        let endpoints = addresses.iter().map(|address| ready(address, "here")).collect();
        [slice("dns", ("dns", "UDP", 5353), endpoints)]
    };
    let frontends = |slices: &[EndpointSlice]| Frontends::of([ServiceRules::plan(&dns, slices, &options())].iter());
    let before = slices(&["10.244.0.5"]);
    let after = slices(&[]);

    let endpoint = UdpSocket::bind("10.244.0.5:5353").unwrap();
    endpoint.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let client = UdpSocket::bind("192.168.9.1:0").unwrap();
    let received = || {
        // A refusal of the packet before is told at the next; it is not this packet's.
        let _ = client
            .send_to(b"?", "10.96.0.10:53")
            .or_else(|_| client.send_to(b"?", "10.96.0.10:53"));
        endpoint.recv(&mut [0; 8]).is_ok()
    };
    let filter = Iptables::new(Vec::new());
    filter.apply(&plan(&[&dns], &before, &options())).await.unwrap();
    assert!(received());
    filter.apply(&plan(&[&dns], &after, &options())).await.unwrap();
    assert!(
        received(),
        "the kernel no longer pins flows: this test and flushing are needless"
    );
    filter
        .flush_conntrack(&frontends(&after).stale_since(&frontends(&before)))
        .await
        .unwrap();
    assert!(!received());
    // To forget what is forgotten does no harm.
    filter
        .flush_conntrack(&frontends(&after).stale_since(&frontends(&before)))
        .await
        .unwrap();
}
