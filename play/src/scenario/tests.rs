//! A scenario that is wrong is refused with the place and, where one is near, the word that was meant.

use super::{FaultAction, FaultKind, Heal, InvariantChoice, Moment, Span, StepAction, read};

fn wrong(source: &str) -> String {
    read("a.yaml", source, |_| Err("no such file".to_owned()))
        .unwrap_err()
        .to_string()
}

const RIGHT: &str = "
name: a
topology: { nodes: 2 }
network: { latency: 1ms..10ms }
images:
  web:1: { pull: 200ms..2s, crash: 0.02, listen: [80] }
workload:
  - at: 5s
    apply: { apiVersion: v1, kind: Namespace, metadata: { name: x } }
faults:
  - between: 0s..4m
    swarm: all
expect: { invariants: [S3, P2], converge: 90s }
duration: 5m
";

/// What is wrong, without the list of what is known, which grows.
fn wrong_key(text: &str) -> String {
    let told = wrong(text);
    told.split(" (known").next().unwrap_or_default().to_owned()
}

#[test]
fn a_right_scenario_is_understood() {
    let scenario = read("a.yaml", RIGHT, |_| Err(String::new())).unwrap();
    assert_eq!(scenario.topology.nodes.len(), 2);
    assert_eq!(scenario.network.latency, Span::millis(1, 10));
    assert!(matches!(&scenario.workload[0].action, StepAction::Apply(_)));
    assert!(matches!(&scenario.faults[0].action, FaultAction::Swarm(spec) if spec.kinds.len() == FaultKind::ALL.len()));
    assert!(matches!(&scenario.faults[0].moment, Moment::Between(_)));
    assert_eq!(
        scenario.expect.invariants,
        InvariantChoice::These(vec!["S3".into(), "P2".into()])
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest_one() {
    insta::assert_snapshot!(wrong("name: a\nworkloads: []\nduration: 1s\n"), @r#"a.yaml:2:1: unknown key "workloads"; did you mean "workload"? (known: name, about, seed, topology, network, images, workload, faults, heal, expect, duration)"#);
    insta::assert_snapshot!(wrong("name: a\nduration: 1s\ntopology:\n  nodes: 2\n  schedulrs: 1\n"), @r#"a.yaml:5:3: topology: unknown key "schedulrs"; did you mean "schedulers"? (known: apiservers, schedulers, controllerManagers, components, nodes, zones, node, store)"#);
}

#[test]
fn ends_are_compared_only_where_users_draw_nothing_and_all_is_healed() {
    let compared = |healed: &str, step: &str| {
        format!(
            "name: a\nduration: 9s\n{healed}workload:\n  - at: 1s\n    {step}\nexpect:\n  end-state: fault-free\n  creates-and-deletes: fault-free\n"
        )
    };
    let drawn = compared("heal: all\n", "delete-pod: { count: 2 }");
    insta::assert_snapshot!(wrong(&drawn), @"a.yaml:6:5: the end is compared with that of runs without faults, so what users do, and when, may not be drawn by the seed");
    insta::assert_snapshot!(wrong(&compared("", "delete-pod: { nth: 2 }")), @"a.yaml:6:1: the end is compared with that of runs without faults, so everything has to be healed: `heal: all`");
    let right = read("a.yaml", &compared("heal: all\n", "delete-pod: { nth: 2 }"), |_| {
        Err(String::new())
    })
    .unwrap();
    assert!(right.expect.compares_ends());
    assert_eq!(read("a.yaml", &right.to_yaml(), |_| Err(String::new())).unwrap(), right);
}

#[test]
fn a_value_that_cannot_be_read_is_refused_with_its_place() {
    insta::assert_snapshot!(wrong("name: a\nduration: 5x\n"), @r#"a.yaml:2:11: duration: "5x" is not a duration: write it like 250ms, 10s, 1m30s or 2h"#);
    insta::assert_snapshot!(wrong("name: a\nduration: 1s\nnetwork:\n  latency: 9ms..1ms\n"), @r#"a.yaml:4:12: network.latency: the range "9ms..1ms" ends before it begins"#);
    insta::assert_snapshot!(wrong("name: a\nduration: 1s\nexpect:\n  invariants: [S3, P3]\n"), @r#"a.yaml:4:20: expect: no invariant "P3" is built; did you mean "S3"? (known: S1, S2, S3, S4, W, Q1, Q2, Q3, P2, K1, K2, K3, K4, E1, E2, G1, S8, S5, S6, G4, S7, Q4, Q5, Q7, Q6, P8, P7, G3, E3, K5, K7, K8, K9, K10, K11, P9, E6, E7, N1, N2, N3, N4, L1, C1, C2, K6, E5, E8, E9, P10, K12, R1, P11, P12, K13, K14, K15, K16, K17, K18, A1)"#);
    insta::assert_snapshot!(wrong("name: a\nduration: 1s\nexpect:\n  invariants: [S3, E4]\n"), @r#"a.yaml:4:20: expect: "E4" is judged in the end of every run"#);
}

#[test]
fn what_was_expected_is_told_in_words_of_the_format() {
    let part = |text: &str| wrong(&format!("name: a\nduration: 1s\n{text}\n"));
    insta::assert_snapshot!(wrong("just text"), @r#"a.yaml:1:1: invalid type: string "just text", expected a scenario, with `name` and `duration`"#);
    insta::assert_snapshot!(part("network: fast"), @r#"a.yaml:3:10: network: invalid type: string "fast", expected keys and values"#);
    insta::assert_snapshot!(part("faults: 3"), @"a.yaml:3:9: faults: invalid type: integer `3`, expected a list");
    insta::assert_snapshot!(part("seed: -1"), @"a.yaml:3:7: seed: invalid type: integer `-1`, expected a whole number from 0 to 18446744073709551615");
    insta::assert_snapshot!(part("heal: some"), @r#"a.yaml:3:7: heal: invalid value: string "some", expected `core`, `all`, or `{ all-but: [node-1] }`"#);
    insta::assert_snapshot!(part("heal: { all-butt: [node-1] }"), @r#"a.yaml:3:9: heal: unknown key "all-butt"; did you mean "all-but"? (known: all-but)"#);
    insta::assert_snapshot!(part("topology: { components: { website: 2 } }"), @r#"a.yaml:3:27: this program has no component "website": it has none of a user's own"#);
}

#[test]
fn all_but_the_machine_of_the_store_may_stay_broken() {
    let text = |servers: u32, machine: &str| {
        format!(
            "name: a\nduration: 1s\ntopology: {{ apiservers: {servers} }}\nheal: {{ all-but: [node-1, {machine}] }}\n"
        )
    };
    let right = read("a.yaml", &text(2, "control-plane-2"), |_| Err(String::new())).unwrap();
    let left = ["node-1", "control-plane-2"].map(str::to_owned);
    assert_eq!(right.heal, Heal::AllBut(left.to_vec()));
    assert_eq!(read("a.yaml", &right.to_yaml(), |_| Err(String::new())).unwrap(), right);
    for (servers, machine, why) in [
        (2, "control-plane", "control-plane has the store: it is always healed"),
        (1, "control-plane-2", "no machine \"control-plane-2\""),
        (2, "control-plan-2", "did you mean \"control-plane-2\"?"),
    ] {
        let error = wrong(&text(servers, machine));
        assert!(
            error.starts_with("a.yaml:4:") && error.contains(why),
            "{machine}: {error}"
        );
    }
}

#[test]
fn a_fault_is_one_fault_with_one_moment() {
    insta::assert_snapshot!(wrong("name: a\nduration: 1s\nfaults:\n  - crash: { node: any }\n"), @"a.yaml:4:5: faults[0]: say when: one of `at`, `between` and `when` is needed");
    insta::assert_snapshot!(wrong_key("name: a\nduration: 1s\nfaults:\n  - at: 1s\n    crsh: { node: any }\n"), @r#"a.yaml:5:5: faults[0]: unknown key "crsh"; did you mean "crash"?"#);
    insta::assert_snapshot!(wrong_key("name: a\nduration: 1s\nfaults:\n  - between: 1s..2s\n    swarm: [crash, puase]\n"), @r#"a.yaml:5:20: faults[0]: unknown value "puase"; did you mean "pause"?"#);
    insta::assert_snapshot!(wrong("name: a\nduration: 1s\nfaults:\n  - at: 1s\n    swarm: all\n"), @"a.yaml:4:5: faults[0]: a swarm needs `between`: how long it may strike");
}

#[test]
fn a_trigger_is_read_with_the_same_care() {
    let when = |text: &str| {
        wrong(&format!(
            "name: a\nduration: 1s\nfaults:\n  - restart: scheduler\n    when: {text}\n"
        ))
    };
    for (text, at, why) in [
        (
            "{ updat: Pod/a }",
            "a.yaml:5:13",
            "unknown key \"updat\"; did you mean \"update\"?",
        ),
        (
            "{ call: { client: scheduler, verb: creat } }",
            "a.yaml:5:46",
            "unknown value \"creat\"; did you mean \"create\"?",
        ),
        (
            "{ call: { resource: podz/binding } }",
            "a.yaml:5:31",
            "no resource \"podz\" is served; did you mean \"pods\"?",
        ),
        (
            "{ create: Pdo/default/* }",
            "a.yaml:5:21",
            "no kind \"Pdo\" is served; did you mean \"Pod\"?",
        ),
        (
            "{ any: [{ update: Pod/a, observed-by: kubelet/nod-1 }] }",
            "a.yaml:5:",
            "no machine \"nod-1\"; did you mean",
        ),
    ] {
        let error = when(text);
        assert!(error.starts_with(at) && error.contains(why), "{text}: {error}");
    }
}

#[test]
fn what_is_not_built_is_refused_and_not_passed_over() {
    insta::assert_snapshot!(wrong("name: a\nduration: 1s\ntopology: { apiservers: 7 }\n"), @"a.yaml:3:13: apiservers: 7: there must be 1 to 5");
    insta::assert_snapshot!(wrong("name: a\nduration: 1s\nfaults:\n  - at: 1s\n    crash: { node: nod-1 }\n"), @r#"a.yaml:5:20: no machine "nod-1"; did you mean "node-1"? (known: control-plane, node-1, node-2, node-3)"#);
    insta::assert_snapshot!(wrong("name: a\nduration: 1s\nworkload:\n  - at: 1s\n    apply: b.yaml\n"), @"a.yaml:5:12: no such file");
}

#[test]
fn what_no_server_serves_is_refused_and_not_waited_for_in_vain() {
    let step = |text: &str| wrong_key(&format!("name: a\nduration: 1s\nworkload:\n  - at: 1s\n    {text}\n"));
    let object = |version: &str, kind: &str| {
        step(&format!(
            "apply: {{ apiVersion: {version}, kind: {kind}, metadata: {{ name: web }} }}"
        ))
    };
    insta::assert_snapshot!(object("apps/v1", "Deploymnt"), @r#"a.yaml:5:41: no kind "Deploymnt" is served; did you mean "Deployment"?"#);
    insta::assert_snapshot!(object("apps/v1", "deployment"), @r#"a.yaml:5:41: no kind "deployment" is served; did you mean "Deployment"?"#);
    insta::assert_snapshot!(object("apps/v1beta1", "Deployment"), @r#"a.yaml:5:46: no Deployment is served as "apps/v1beta1": its apiVersion is apps/v1"#);
    insta::assert_snapshot!(step("delete: pdo/web"), @r#"a.yaml:5:13: workload[0]: no kind "pdo" is served; did you mean "Pod"?"#);
    insta::assert_snapshot!(step("delete: web"), @r#"a.yaml:5:13: workload[0]: "web" names no object: write Kind/namespace/name"#);
    insta::assert_snapshot!(step("delete: { object: pod/web, propagaton: Orphan }"), @r#"a.yaml:5:32: workload[0]: unknown key "propagaton"; did you mean "propagation"?"#);
    insta::assert_snapshot!(step("own: { object: cm/a, owners: [servic/b] }"), @r#"a.yaml:5:35: workload[0]: no kind "servic" is served; did you mean "Service"?"#);
    let manifest = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: { name: web }\n";
    let source = "name: a\nduration: 1s\nworkload:\n  - at: 1s\n    apply: b.yaml\n";
    let told = read("a.yaml", source, |_| Ok(manifest.to_owned()))
        .unwrap_err()
        .to_string();
    assert!(
        told.starts_with("a.yaml:5:12: in b.yaml: no kind \"StatefulSet\" is served"),
        "{told}"
    );
    let state = "name: a\nduration: 1s\nexpect: { state: [{ deploymnt/web: { spec.replicas: 1 } }] }\n";
    insta::assert_snapshot!(wrong_key(state), @r#"a.yaml:3:21: no kind "deploymnt" is served; did you mean "Deployment"?"#);
}

#[test]
fn a_node_that_would_never_be_registered_is_refused() {
    let nodes = |text: &str| {
        wrong_key(&format!(
            "name: a\nduration: 1s\ntopology:\n  nodes:\n    - {{ name: one, {text} }}\n"
        ))
    };
    insta::assert_snapshot!(nodes("taints: [{ key: a, effect: NoScheduel }]"), @r#"a.yaml:5:47: no effect "NoScheduel" of a taint; did you mean "NoSchedule"?"#);
    insta::assert_snapshot!(nodes("capacity: { cpu: lots }"), @r#"a.yaml:5:37: cpu: "lots" is no quantity: write it like "4", 500m or 8Gi"#);
    let named = wrong("name: a\nduration: 1s\ntopology: { nodes: [{ name: Node_1 }] }\n");
    assert!(
        named.starts_with("a.yaml:3:29: the node \"Node_1\": a lowercase RFC 1123 subdomain"),
        "{named}"
    );
}

#[test]
fn what_is_wrong_is_told_with_the_entry_that_it_is_in() {
    let told = |entries: &str| {
        wrong(&format!(
            "name: a\nabout: what node-9 does, and {{ crash }} apply\nduration: 1m\n{entries}"
        ))
    };
    let right = "{ apiVersion: v1, kind: ConfigMap, metadata: { name: node-9 } }";
    let steps = |second: &str| {
        told(&format!(
            "workload:\n- at: 1s\n  apply: {right}\n- at: 2s\n  {second}\n"
        ))
    };
    insta::assert_snapshot!(steps("apply: { apiVersion: v1, kind: ConfigMap, metadata: {} }"), @"a.yaml:8:45: an object to apply has no metadata.name");
    insta::assert_snapshot!(steps("apply: { apiVersion: v1, metadata: { name: a } }"), @"a.yaml:8:10: an object to apply has no kind");
    insta::assert_snapshot!(steps(&format!("apply:\n  - {right}\n  - {{ apiVersion: v1, kind: ConfigMap, metadata: {{}} }}")), @"a.yaml:10:40: an object to apply has no metadata.name");
    insta::assert_snapshot!(steps("cordon: { node: node-9 }"), @r#"a.yaml:8:19: no machine "node-9"; did you mean "node-1"? (known: node-1, node-2, node-3)"#);
    insta::assert_snapshot!(steps("cordon: { node: \"\" }"), @r#"a.yaml:8:19: no machine "" (known: node-1, node-2, node-3)"#);
    insta::assert_snapshot!(steps("delete: web"), @r#"a.yaml:8:11: workload[1]: "web" names no object: write Kind/namespace/name"#);
    insta::assert_snapshot!(steps("churn: { every: 1s, ops: [] }"), @"a.yaml:8:23: workload[1]: `ops` is empty: name at least one operation");
    insta::assert_snapshot!(steps("apply: b.yaml"), @"a.yaml:8:10: no such file");
    let faults = |second: &str| {
        told(&format!(
            "faults:\n  - {{ at: 1s, crash: {{ node: node-1 }} }}\n  - {second}\n"
        ))
    };
    insta::assert_snapshot!(faults("{ at: 1s, crash: { node: node-9 } }"), @r#"a.yaml:6:30: no machine "node-9"; did you mean "node-1"? (known: control-plane, node-1, node-2, node-3)"#);
    insta::assert_snapshot!(faults("{ at: 1s, crash: { node: node-1, component: proxy } }"), @"a.yaml:6:24: faults[1]: one of `node` and `component` is needed");
    insta::assert_snapshot!(faults("{ crash: { node: node-1 } }"), @"a.yaml:6:5: faults[1]: say when: one of `at`, `between` and `when` is needed");
    insta::assert_snapshot!(faults("at: 1s\n    swarm: all"), @"a.yaml:6:5: faults[1]: a swarm needs `between`: how long it may strike");
    insta::assert_snapshot!(faults("{ when: { create: Pod/*, observed-by: kubelet/node-9 }, restart: proxy }"), @r#"a.yaml:6:51: no machine "node-9"; did you mean "node-1"? (known: node-1, node-2, node-3)"#);
    let json = r#"{"name": "node-9", "duration": "1m", "faults": [{"at": "1s", "crash": {"node": "node-1"}}, {"at": "1s", "crash": {"node": "node-9"}}]}"#;
    insta::assert_snapshot!(wrong_key(json), @r#"a.yaml:1:124: no machine "node-9"; did you mean "node-1"?"#);
    insta::assert_snapshot!(told("topology: { nodes: [{ name: a }, { name: b }, { name: a }] }\n"), @r#"a.yaml:4:55: two machines are called "a""#);
}

#[test]
fn a_key_that_is_there_twice_is_refused_and_not_passed_over() {
    let part = |text: &str| wrong(&format!("name: a\nduration: 1s\n{text}\n"));
    let step = |text: &str| part(&format!("workload:\n  - at: 1s\n    {text}"));
    insta::assert_snapshot!(part("images:\n  web:1: { ready: 1s }\n  web:1: { ready: 2h }"), @r#"a.yaml:5:3: images: the key "web:1" is there twice"#);
    insta::assert_snapshot!(part("topology: { node: { cpu: '4', memory: 1Gi, cpu: '1' } }"), @r#"a.yaml:3:44: topology.node: the key "cpu" is there twice"#);
    insta::assert_snapshot!(part("topology: { nodes: [{ name: a, labels: { a: b, a: c } }] }"), @r#"a.yaml:3:48: topology.nodes[0].labels: the key "a" is there twice"#);
    insta::assert_snapshot!(part("expect:\n  state:\n    - configmap/a: { data.k: a, data.k: b }"), @r#"a.yaml:5:33: expect.state[0].configmap/a: the key "data.k" is there twice"#);
    insta::assert_snapshot!(part("duration: 2s"), @"a.yaml:1:1: duplicate field `duration`");
    insta::assert_snapshot!(step("apply: { apiVersion: v1, kind: ConfigMap, metadata: { name: a }, data: { k: a, k: b } }"), @r#"a.yaml:5:84: workload[0].apply.data: the key "k" is there twice"#);
    insta::assert_snapshot!(step("edit: { object: cm/a, patch: { data: { k: a, k: b } } }"), @r#"a.yaml:5:50: workload[0].edit.patch.data: the key "k" is there twice"#);
    insta::assert_snapshot!(step("churn: { every: 1s, ops: { scale: 1, drain: 1, scale: 2 } }"), @r#"a.yaml:5:52: workload[0].churn.ops: the key "scale" is there twice"#);
    insta::assert_snapshot!(step("delete: { object: cm/a, object: cm/b }"), @r#"a.yaml:5:29: workload[0].delete: the key "object" is there twice"#);
    let source = "name: a\nduration: 1s\nworkload:\n  - at: 1s\n    apply: b.yaml\n";
    let manifest = "kind: ConfigMap\ndata:\n  k: a\n  k: b\n";
    let told = read("a.yaml", source, |_| Ok(manifest.to_owned())).unwrap_err();
    insta::assert_snapshot!(told.to_string(), @r#"a.yaml:5:12: in b.yaml: data: the key "k" is there twice at line 4 column 3"#);
}

#[test]
fn what_no_world_can_do_anything_with_is_refused() {
    let part = |text: &str| wrong(&format!("name: a\nduration: 1s\n{text}\n"));
    let step = |text: &str| part(&format!("workload:\n  - at: 1s\n    {text}"));
    let topology = |text: &str| part(&format!("topology: {{ {text} }}"));
    insta::assert_snapshot!(wrong("name: ''\nduration: 1s\n"), @"a.yaml:1:7: the name is empty: reports call the scenario by it");
    insta::assert_snapshot!(wrong("name: a\nduration: 0s\n"), @"a.yaml:2:11: `duration` is how long the chaos lasts: more than nothing");
    insta::assert_snapshot!(topology("zones: 0"), @"a.yaml:3:13: zones: 0: there must be at least 1");
    insta::assert_snapshot!(topology("store: { segment: 0 }"), @"a.yaml:3:22: segment: 0: there must be at least 1");
    insta::assert_snapshot!(topology("node: { cpu: '-1' }"), @r#"a.yaml:3:27: cpu: "-1" is less than nothing"#);
    insta::assert_snapshot!(topology("nodes: [{ name: a, capacity: { cpu: '1.5', pods: '1.5' } }]"), @r#"a.yaml:3:50: pods: "1.5" is no whole number"#);
    insta::assert_snapshot!(topology("nodes: [{ name: a, taints: [{ key: 'a b', effect: NoSchedule }] }]"), @r#"a.yaml:3:49: the key "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#);
    insta::assert_snapshot!(topology("nodes: [{ name: a, labels: { a: 'b c' } }]"), @r#"a.yaml:3:46: the value "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#);
    insta::assert_snapshot!(part("images:\n  web:1: { exit: 1 }\n  web:2: { exit: 300 }"), @"a.yaml:5:12: web:2: a container ends with a code from 0 to 255, not 300");
    insta::assert_snapshot!(part("images: { web:1: { exit: -1 } }"), @"a.yaml:3:20: web:1: a container ends with a code from 0 to 255, not -1");
    insta::assert_snapshot!(part("images: { web:1: { listen: [80, 0] } }"), @"a.yaml:3:20: web:1: nothing listens on port 0");
    insta::assert_snapshot!(step("delete-pod: { count: 0 }"), @"a.yaml:5:19: workload[0]: `count` is how many pods are deleted: at least 1");
    insta::assert_snapshot!(step("delete-pod: { labels: '=x' }"), @r#"a.yaml:5:28: workload[0]: "=x" are no labels: found '=', expected: !, identifier, or 'end of string'"#);
    insta::assert_snapshot!(step("label-pod: { set: { 'a b': c } }"), @r#"a.yaml:5:26: workload[0]: the key "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#);
    insta::assert_snapshot!(step("scale: { deployment: web, replicas: -2 }"), @"a.yaml:5:31: workload[0]: `replicas` is how many there are: -2 cannot be");
    insta::assert_snapshot!(step("taint: { node: any, key: 'a b', effect: NoSchedule }"), @r#"a.yaml:5:31: workload[0]: the key "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#);
    insta::assert_snapshot!(part("faults:\n  - at: 1s\n    packets: { node: any, times: 0 }"), @"a.yaml:5:27: faults[0]: `times` is how many changes fail: at least 1");
}
