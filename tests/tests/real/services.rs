//! Services: addresses that stay, behind which pods come and go.

use std::collections::BTreeSet;

use orrery_tests::wait::{wait_for, wait_until};
use orrery_tests::{Session, http, machine, tests};
use serde_json::Value;

tests![
    a_service_reaches_every_replica_by_every_address,
    pods_reach_services_and_themselves_through_them,
    a_deleted_pod_is_replaced_with_another_name_and_ip_and_the_rules_follow,
    deleting_a_service_takes_its_rules_and_leaves_the_pods,
    a_service_without_pods_refuses_at_once,
    a_named_target_port_is_looked_up_in_each_pod,
    node_ports_are_taken_once,
    a_client_is_kept_to_one_pod_when_asked_for,
    a_headless_service_has_endpoints_and_no_rules,
];

fn names(pods: &[Value]) -> BTreeSet<String> {
    pods.iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
        .collect()
}

fn addresses(pods: &[Value]) -> BTreeSet<String> {
    pods.iter()
        .filter_map(|pod| pod["status"]["podIP"].as_str().map(str::to_owned))
        .collect()
}

/// Who answers at `address`, asked until as many as `wanted` have, or for too long.
fn who_answers(address: &str, wanted: usize) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    wait_for(&format!("{wanted} pods answer at {address}"), 30, || {
        for _ in 0..20 {
            let body = http::body(address, "/").map_err(|error| error.to_string())?;
            seen.extend(body.split_whitespace().next().map(str::to_owned));
        }
        if seen.len() >= wanted {
            Ok(())
        } else {
            Err(format!("only {seen:?} did"))
        }
    });
    seen
}

fn a_service_reaches_every_replica_by_every_address(session: &Session<'_>) {
    session.deploy("web", 3);
    assert_eq!(
        session.kubectl("expose deployment web --type=NodePort --port=8080 --target-port=80"),
        "service/web exposed\n"
    );
    let cluster_ip = session.field("service web", ".spec.clusterIP");
    let node_port = session.field("service web", ".spec.ports[0].nodePort");
    assert!(cluster_ip.starts_with("10.96."), "{cluster_ip}");
    assert!((30000..=32767).contains(&node_port.parse().unwrap_or(0)), "{node_port}");
    assert_eq!(
        session.field("service web", ".metadata.labels.app"),
        "web",
        "expose copies the labels"
    );
    let pods = names(&session.pods("web"));
    for address in [
        format!("{cluster_ip}:8080"),
        format!("10.244.0.1:{node_port}"),
        format!("127.0.0.1:{node_port}"),
    ] {
        assert_eq!(who_answers(&address, 3), pods, "{address}");
    }
    let rules = machine::rules_about(&format!("{}/web", session.namespace()));
    assert!(rules.iter().any(|rule| rule.contains("cluster IP")), "{rules:#?}");
    let slices = session.items("endpointslices -l kubernetes.io/service-name=web");
    assert_eq!(slices[0]["endpoints"].as_array().map(Vec::len), Some(3));
}

fn pods_reach_services_and_themselves_through_them(session: &Session<'_>) {
    session.deploy("web", 1);
    session.kubectl("expose deployment web --port=80");
    session.kubectl("run other --image=orrery-test/web:2");
    session.kubectl("wait pod other --for=condition=Ready --timeout=60s");
    let cluster_ip = session.field("service web", ".spec.clusterIP");
    let pod = session.pods("web").remove(0);
    let own = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
    let other = session.field("pod other", ".status.podIP");
    let answer = |from: &str, to: &str| session.web(&format!("{from}:80"), &format!("/fetch/{to}:80"));
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    assert_eq!(answer(&other, &own), format!("{name} 1\n"), "pod to pod");
    assert_eq!(answer(&other, &cluster_ip), format!("{name} 1\n"), "pod to service");
    assert_eq!(
        answer(&own, &cluster_ip),
        format!("{name} 1\n"),
        "pod to itself by its service"
    );
    // It must not depend on what this machine is set to for all bridges.
    let filtered = std::fs::read_to_string("/sys/class/net/orrery0/bridge/nf_call_iptables").unwrap_or_default();
    assert_eq!(filtered.trim(), "1", "answers on the pods' bridge pass the rules");
}

fn a_deleted_pod_is_replaced_with_another_name_and_ip_and_the_rules_follow(session: &Session<'_>) {
    session.deploy("web", 2);
    session.kubectl("expose deployment web --port=80");
    let before = session.pods("web");
    let gone = &before[0];
    let (name, address) = (
        gone["metadata"]["name"].as_str().unwrap_or_default(),
        gone["status"]["podIP"].as_str(),
    );
    let address = address.unwrap_or_default();
    let rules = || machine::rules_about(&format!("{}/web", session.namespace()));
    let speaks_of = |rules: &[String], address: &str| rules.iter().any(|rule| rule.contains(&format!("{address}:80")));
    wait_until("the rules name the pod", 20, || speaks_of(&rules(), address));
    session.kubectl(&format!("delete pod {name}"));
    session.rolled_out("web");
    let after = session.pods("web");
    assert_eq!(after.len(), 2);
    assert!(!names(&after).contains(name));
    assert!(
        !addresses(&after).contains(address),
        "the address of {name} was given out again at once"
    );
    wait_until("the rules follow", 20, || {
        let rules = rules();
        !speaks_of(&rules, address) && addresses(&after).iter().all(|address| speaks_of(&rules, address))
    });
    let cluster_ip = session.field("service web", ".spec.clusterIP");
    assert_eq!(who_answers(&format!("{cluster_ip}:80"), 2), names(&after));
}

fn deleting_a_service_takes_its_rules_and_leaves_the_pods(session: &Session<'_>) {
    session.deploy("web", 2);
    session.kubectl("expose deployment web --type=NodePort --port=80");
    let cluster_ip = session.field("service web", ".spec.clusterIP");
    who_answers(&format!("{cluster_ip}:80"), 2);
    let before = session.field("pods -l app=web", ".items[*].metadata.uid");
    let said = session.kubectl("delete service web");
    assert!(said.starts_with("service \"web\" deleted"), "{said}");
    wait_until("no rule speaks of it", 20, || {
        machine::rules_about(&format!("{}/web", session.namespace())).is_empty()
            && machine::rules_about(&format!("{cluster_ip}/32")).is_empty()
    });
    wait_until("its endpoints are gone", 20, || {
        session.items("endpoints,endpointslices").is_empty()
    });
    // Somebody else may answer there (a gateway that takes every address); a pod must not.
    assert!(http::body(&format!("{cluster_ip}:80"), "/").is_err());
    assert_eq!(session.field("pods -l app=web", ".items[*].metadata.uid"), before);
}

fn a_service_without_pods_refuses_at_once(session: &Session<'_>) {
    session.kubectl("create service clusterip empty --tcp=80");
    let cluster_ip = session.field("service empty", ".spec.clusterIP");
    wait_until("the connection is refused", 20, || {
        http::get(&format!("{cluster_ip}:80"), "/")
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
    assert!(session.kubectl("get endpoints empty").contains("<none>"));
}

fn a_named_target_port_is_looked_up_in_each_pod(session: &Session<'_>) {
    let manifest = "
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: web}}
spec:
  containers:
  - {name: web, image: 'orrery-test/web:1', env: [{name: PORT, value: '8001'}], ports: [{name: http, containerPort: 8001}]}
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: web}}
spec:
  containers:
  - {name: web, image: 'orrery-test/web:1', env: [{name: PORT, value: '8002'}], ports: [{name: http, containerPort: 8002}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
";
    session.kubectl_with("create -f -", manifest);
    session.kubectl("wait pods -l app=web --for=condition=Ready --timeout=60s");
    let cluster_ip = session.field("service web", ".spec.clusterIP");
    assert_eq!(
        who_answers(&format!("{cluster_ip}:80"), 2),
        ["one".to_owned(), "two".to_owned()].into()
    );
}

fn node_ports_are_taken_once(session: &Session<'_>) {
    session.kubectl("create service nodeport one --tcp=80");
    let port = session.field("service one", ".spec.ports[0].nodePort");
    let refused = session.refused(&format!("create service nodeport two --tcp=80 --node-port={port}"));
    assert!(refused.contains("provided port is already allocated"), "{refused}");
    let refused = session.refused("create service nodeport two --tcp=80 --node-port=80");
    assert!(refused.contains("The range of valid ports is 30000-32767"), "{refused}");
    session.kubectl("delete service one");
    session.kubectl(&format!("create service nodeport two --tcp=80 --node-port={port}"));
    let balancer = session.kubectl("create service loadbalancer three --tcp=80");
    assert_eq!(balancer, "service/three created\n");
    assert!(session.kubectl("get service three").contains("<pending>"));
}

fn a_client_is_kept_to_one_pod_when_asked_for(session: &Session<'_>) {
    session.deploy("web", 3);
    session.kubectl("expose deployment web --port=80 --session-affinity=ClientIP");
    let address = format!("{}:80", session.field("service web", ".spec.clusterIP"));
    let first = session.web(&address, "/");
    // The rules of pods that became ready together arrive together; what is kept from then on is what is tested.
    wait_until("the rules name every pod", 20, || {
        let rules = machine::rules_about(&format!("{}/web", session.namespace()));
        addresses(&session.pods("web"))
            .iter()
            .all(|pod| rules.iter().any(|rule| rule.contains(&format!("{pod}:80"))))
    });
    let first = session.try_web(&address, "/").unwrap_or(first);
    (0..20).for_each(|_| assert_eq!(session.web(&address, "/"), first));
}

fn a_headless_service_has_endpoints_and_no_rules(session: &Session<'_>) {
    session.deploy("web", 2);
    session.kubectl("expose deployment web --port=80 --cluster-ip=None");
    assert_eq!(session.field("service web", ".spec.clusterIP"), "None");
    wait_until("its endpoints are listed", 20, || {
        session
            .field("endpoints web", ".subsets[*].addresses[*].ip")
            .split_whitespace()
            .count()
            == 2
    });
    assert_eq!(
        machine::rules_about(&format!("{}/web", session.namespace())),
        Vec::<String>::new()
    );
}
