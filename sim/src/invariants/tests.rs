//! Each invariant fires on a history that breaks it, and keeps silent on the lawful one beside it.

use std::time::Duration;

use serde_json::{Value, json};

use super::Monitor;
use super::sandbox_tests::sandbox;
use crate::model::{Answered, Asked, ObjectId, Path, Reach, Seen, Selection, WatchEventKind};

/// A history in the making.
pub(super) struct History {
    monitor: Monitor,
    revision: u64,
}

impl History {
    /// Judged by every invariant but S1, which has tests of its own: it wants every write to be asked for.
    pub(super) fn new() -> Self {
        History::of(|id| id != "S1")
    }

    /// Judged by the invariants that are `wanted`.
    pub(super) fn of(wanted: impl Fn(&str) -> bool) -> Self {
        History {
            monitor: Monitor::new(wanted),
            revision: 1,
        }
    }

    pub(super) fn at(mut self, seconds: u64) -> Self {
        self.monitor.cluster.now = Duration::from_secs(seconds);
        self
    }

    /// Writes an object; its resource is `plural.group`.
    pub(super) fn put(mut self, resource: &str, object: Value) -> Self {
        self.revision += 1;
        let id = id(resource, &object);
        self.monitor
            .write(id, self.revision, Some(object.to_string().into_bytes().into()));
        self
    }

    pub(super) fn delete(mut self, resource: &str, object: &Value) -> Self {
        self.revision += 1;
        self.monitor.write(id(resource, object), self.revision, None);
        self
    }

    pub(super) fn see(mut self, seen: &Seen<'_>) -> Self {
        self.monitor.observe(seen);
        self
    }

    /// Changes what is known beside the store.
    pub(super) fn know(mut self, change: impl FnOnce(&mut crate::model::Cluster)) -> Self {
        change(&mut self.monitor.cluster);
        self
    }

    /// A fault strikes that may disturb everybody.
    pub(super) fn struck(self) -> Self {
        self.know(|cluster| cluster.fault_begins(&Reach::Everywhere))
    }

    /// A fault strikes a machine alone.
    pub(super) fn struck_on(self, machine: &str) -> Self {
        let reach = Reach::Machines([machine.to_owned()].into());
        self.know(|cluster| cluster.fault_begins(&reach))
    }

    /// Writes a key by which a service holds something.
    pub(super) fn claim(mut self, key: &str) -> Self {
        self.revision += 1;
        self.monitor.cluster.take_other(key, true, self.revision);
        self
    }

    /// What is missing in the end.
    pub(super) fn missing(self) -> Vec<String> {
        self.missing_without(&[])
    }

    /// The same, if these machines and processes stay broken.
    pub(super) fn missing_without(self, left: &[&str]) -> Vec<String> {
        let left: Vec<String> = left.iter().map(|name| (*name).to_owned()).collect();
        self.monitor.missing().without(&left)
    }

    /// The ids of what is broken.
    pub(super) fn broken(mut self) -> Vec<&'static str> {
        self.monitor
            .findings()
            .iter()
            .map(|finding| finding.invariant)
            .collect()
    }

    /// What is said of it.
    pub(super) fn messages(mut self) -> Vec<String> {
        let findings = self.monitor.findings();
        findings.iter().map(|finding| finding.message.clone()).collect()
    }
}

fn id(resource: &str, object: &Value) -> ObjectId {
    let text = |path: &str| {
        object
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    ObjectId {
        resource: resource.into(),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
    }
}

pub(super) fn pod(name: &str, node: &str, phase: &str) -> Value {
    let is_bound = !node.is_empty();
    let conditions: &[Value] = &[json!({"type": "PodScheduled", "status": "True"})];
    let conditions = if is_bound { conditions } else { &[] };
    json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
        "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": "600m"}}}]},
        "status": {"phase": phase, "conditions": conditions}})
}

pub(super) fn owned(mut object: Value, kind: &str, owner: &str) -> Value {
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": format!("uid-{owner}"), "controller": true}]);
    object
}

pub(super) fn set(name: &str, replicas: i32) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
        "spec": {"replicas": replicas, "selector": {}}})
}

pub(super) fn node(name: &str) -> Value {
    json!({"metadata": {"name": name, "uid": format!("uid-{name}")},
        "status": {"allocatable": {"cpu": "1", "pods": "10"}, "conditions": [{"type": "Ready", "status": "True"}]}})
}

pub(crate) fn asked(client: &str, method: http::Method, path: &str) -> Asked {
    Asked {
        number: 0,
        client: client.to_owned(),
        user_agent: String::new(),
        method,
        path: Path::parse(path),
        version_asked: None,
        selection: None,
        paged: false,
        continues: None,
        named: None,
        base: None,
        uid: None,
        grace: None,
        patch: None,
        strategic: false,
        floor: 0,
        at: Duration::ZERO,
    }
}

pub(super) fn started<'a>(machine: &'a str, pod_uid: &'a str) -> Seen<'a> {
    Seen::ContainerStarted {
        machine,
        pod_uid,
        sandbox: "s1",
        container: "c1",
        name: "c",
        image: "",
        answers: Duration::from_secs(5),
        asked: Duration::ZERO,
    }
}

pub(super) const POD: &str = "/api/v1/namespaces/default/pods/a";

#[test]
fn a_store_that_comes_back_without_a_write_breaks_s2() {
    let differences = ["pods/default/a of revision 2 is gone".to_owned()];
    let history = History::new().put("pods", pod("a", "", "Pending"));
    assert_eq!(
        history
            .see(&Seen::Reopened {
                revision: 2,
                differences: &differences
            })
            .broken(),
        ["S2"]
    );
    assert!(
        History::new()
            .see(&Seen::Reopened {
                revision: 2,
                differences: &[]
            })
            .broken()
            .is_empty()
    );
}

#[test]
fn a_revision_that_falls_breaks_s3() {
    let mut history = History::new().put("pods", pod("a", "", "Pending"));
    history.revision = 0;
    assert_eq!(history.put("pods", pod("b", "", "Pending")).broken(), ["S3"]);
    let history = History::new().put("pods", pod("a", "", "Pending"));
    assert_eq!(
        history
            .see(&Seen::Reopened {
                revision: 1,
                differences: &[]
            })
            .broken(),
        ["S3"]
    );
}

#[test]
fn a_list_older_than_what_was_durable_breaks_s3() {
    let list = Asked {
        floor: 9,
        ..asked("scheduler/1", http::Method::GET, "/api/v1/pods")
    };
    let answer = |revision| Answered {
        status: 200,
        revision: Some(revision),
        ..Answered::default()
    };
    assert_eq!(History::new().see(&Seen::Answered(&list, &answer(8))).broken(), ["S3"]);
    assert!(
        History::new()
            .see(&Seen::Answered(&list, &answer(9)))
            .broken()
            .is_empty()
    );
}

#[test]
fn an_update_from_another_base_breaks_s4() {
    let history = || {
        History::new()
            .put("pods", pod("a", "", "Pending"))
            .put("pods", pod("a", "", "Running"))
    };
    let by = |method, base| Asked {
        base: Some(base),
        ..asked("kubelet/n", method, POD)
    };
    let put = |base| by(http::Method::PUT, base);
    let answer = Answered {
        status: 200,
        revision: Some(3),
        ..Answered::default()
    };
    for method in [http::Method::PUT, http::Method::PATCH] {
        let on = |base| {
            history()
                .see(&Seen::Answered(&by(method.clone(), base), &answer))
                .broken()
        };
        assert_eq!(on(1), ["S4"]);
        assert!(on(2).is_empty());
    }
    // The same base cannot win twice.
    let twice = history()
        .see(&Seen::Answered(&put(2), &answer))
        .see(&Seen::Answered(&put(2), &answer));
    assert_eq!(twice.broken(), ["S4"]);
}

fn watched(kind: WatchEventKind, revision: u64, name: &str) -> Seen<'_> {
    Seen::Watched {
        stream: 1,
        kind,
        revision,
        namespace: "default",
        name,
    }
}

fn watching(from: u64) -> History {
    let selection = Selection {
        resource: "pods".into(),
        namespace: String::new(),
        labels: None,
        fields: None,
    };
    let history = History::new()
        .put("pods", pod("a", "", "Pending"))
        .put("pods", pod("b", "", "Pending"));
    let history = history.put("pods", pod("a", "", "Running"));
    history.see(&Seen::WatchOpened {
        stream: 1,
        client: "scheduler/1",
        selection: &selection,
        from: Some(from),
        asked: Duration::ZERO,
    })
}

#[test]
fn a_watch_that_shows_every_change_once_and_in_order_is_right() {
    let history = watching(2)
        .see(&watched(WatchEventKind::Added, 3, "b"))
        .see(&watched(WatchEventKind::Modified, 4, "a"))
        .see(&watched(WatchEventKind::Bookmark, 4, ""));
    assert!(history.broken().is_empty());
}

#[test]
fn a_gap_a_duplicate_and_an_early_bookmark_break_w() {
    assert_eq!(
        watching(2).see(&watched(WatchEventKind::Modified, 4, "a")).broken(),
        ["W"]
    );
    let twice = watching(2)
        .see(&watched(WatchEventKind::Added, 3, "b"))
        .see(&watched(WatchEventKind::Added, 3, "b"));
    assert_eq!(twice.broken(), ["W"]);
    assert_eq!(
        watching(2).see(&watched(WatchEventKind::Bookmark, 4, "")).broken(),
        ["W"]
    );
    // kubernetes#24004: the event at the very revision that the watch resumes from.
    assert_eq!(watching(3).see(&watched(WatchEventKind::Added, 3, "b")).broken(), ["W"]);
    assert_eq!(watching(3).see(&watched(WatchEventKind::Added, 4, "a")).broken(), ["W"]);
}

#[test]
fn a_pod_bound_twice_breaks_q1() {
    let history = History::new().put("nodes", node("n")).put("nodes", node("m"));
    let history = history
        .put("pods", pod("a", "", "Pending"))
        .put("pods", pod("a", "n", "Pending"));
    assert_eq!(history.put("pods", pod("a", "m", "Pending")).broken(), ["Q1"]);
}

#[test]
fn a_pod_that_does_not_say_that_it_was_bound_breaks_q1() {
    let mut silent = pod("a", "n", "Pending");
    silent["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False"}]);
    let history = || History::new().put("nodes", node("n"));
    let broken = history()
        .put("pods", pod("a", "", "Pending"))
        .put("pods", silent.clone());
    assert_eq!(broken.broken(), ["Q1"]);
    // Made there: nobody has bound it.
    assert!(history().put("pods", silent).broken().is_empty());
}

#[test]
fn a_pod_that_is_bound_while_it_is_being_deleted_breaks_q1() {
    let going = |node: &str| {
        let mut pod = pod("a", node, "Pending");
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
        pod
    };
    let history = |before: Value, after: Value| {
        let history = History::of(|id| id == "Q1").put("pods", before);
        history.put("pods", after).broken()
    };
    assert_eq!(history(going(""), going("n")), ["Q1"]);
    assert!(history(pod("a", "n", "Pending"), going("n")).is_empty());
}

#[test]
fn a_pod_bound_to_a_ghost_breaks_q2() {
    let bind = |history: History| {
        history
            .put("pods", pod("a", "", "Pending"))
            .put("pods", pod("a", "n", "Pending"))
    };
    assert_eq!(bind(History::new()).broken(), ["Q2"]);
    assert!(bind(History::new().put("nodes", node("n"))).broken().is_empty());
    let gone = History::new().put("nodes", node("n")).delete("nodes", &node("n"));
    assert_eq!(bind(gone).broken(), ["Q2"]);
}

#[test]
fn one_pod_too_many_breaks_p2() {
    let history = || History::new().put("replicasets.apps", set("rs", 1));
    let pod_of = |name| owned(pod(name, "", "Pending"), "ReplicaSet", "rs");
    assert!(history().put("pods", pod_of("a")).broken().is_empty());
    assert_eq!(
        history().put("pods", pod_of("a")).put("pods", pod_of("b")).broken(),
        ["P2"]
    );
    // A set that wanted two until just now: its controller may not know yet.
    let scaled = |seconds| {
        History::new()
            .put("replicasets.apps", set("rs", 2))
            .put("pods", pod_of("a"))
            .put("replicasets.apps", set("rs", 1))
            .at(seconds)
    };
    assert!(scaled(1).put("pods", pod_of("b")).broken().is_empty());
    assert_eq!(scaled(100).put("pods", pod_of("b")).broken(), ["P2"]);
}

#[test]
fn pods_that_still_live_count_for_their_deployment_though_their_set_was_told_to_shrink() {
    let deployment = json!({"metadata": {"name": "d", "namespace": "default", "uid": "uid-d"},
        "spec": {"replicas": 2, "strategy": {"rollingUpdate": {"maxSurge": 1}}, "selector": {}, "template": {}}});
    let sized = |name, size| owned(set(name, size), "Deployment", "d");
    let pod_of = |name, set| owned(pod(name, "", "Pending"), "ReplicaSet", set);
    // Of three that may live, two are old and one is new.
    let surged = || {
        let history = History::of(|id| id == "P2").put("deployments.apps", deployment.clone());
        let history = history.put("replicasets.apps", sized("old", 2));
        let history = history.put("pods", pod_of("a", "old")).put("pods", pod_of("b", "old"));
        let history = history.put("replicasets.apps", sized("new", 1));
        let history = history.put("pods", pod_of("c", "new"));
        let history = history.put("replicasets.apps", sized("old", 1));
        history.put("replicasets.apps", sized("new", 2)).at(20)
    };
    let fourth = |history: History| history.put("pods", pod_of("e", "new")).broken();
    assert_eq!(fourth(surged()), ["P2"]);
    assert!(fourth(surged().delete("pods", &pod_of("b", "old"))).is_empty());
    let finished = owned(pod("b", "", "Failed"), "ReplicaSet", "old");
    assert!(fourth(surged().put("pods", finished)).is_empty());
    // What was lawful until lately, and what nobody created.
    let mut larger = deployment.clone();
    larger["spec"]["replicas"] = json!(3);
    let shrunk = surged()
        .put("deployments.apps", larger)
        .put("deployments.apps", deployment.clone());
    assert!(fourth(shrunk).is_empty());
    let orphan = surged().put("pods", pod("b", "", "Pending"));
    assert!(fourth(orphan.put("pods", pod_of("b", "old"))).is_empty());
    assert!(fourth(surged().struck()).is_empty());
}

#[test]
fn more_replicas_than_the_surge_allows_break_p2() {
    let deployment = json!({"metadata": {"name": "d", "namespace": "default", "uid": "uid-d"},
        "spec": {"replicas": 2, "strategy": {"rollingUpdate": {"maxSurge": 1}}, "selector": {}, "template": {}}});
    let history = History::new().put("deployments.apps", deployment);
    let history = history.put("replicasets.apps", owned(set("old", 2), "Deployment", "d"));
    let surged = history.put("replicasets.apps", owned(set("new", 1), "Deployment", "d"));
    assert_eq!(
        surged
            .put("replicasets.apps", owned(set("new", 2), "Deployment", "d"))
            .broken(),
        ["P2"]
    );
}

#[test]
fn an_address_of_two_services_breaks_e1() {
    let service = |name: &str, ip: &str, port: i32| {
        json!({"metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"clusterIP": ip, "ports": [{"port": 80, "nodePort": port}]}})
    };
    let history = || History::new().put("services", service("a", "10.96.0.2", 30000));
    assert_eq!(
        history().put("services", service("b", "10.96.0.2", 30001)).broken(),
        ["E1"]
    );
    assert_eq!(
        history().put("services", service("b", "10.96.0.3", 30000)).broken(),
        ["E1"]
    );
    assert!(
        history()
            .put("services", service("b", "10.96.0.3", 30001))
            .broken()
            .is_empty()
    );
}

#[test]
fn a_ready_endpoint_without_a_ready_pod_breaks_e2() {
    let target = json!({"kind": "Pod", "name": "a", "namespace": "default", "uid": "uid-a"});
    let slice = json!({"metadata": {"name": "s", "namespace": "default", "uid": "uid-s"}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.1.2"], "conditions": {"ready": true}, "targetRef": target}]});
    let object = json!({"metadata": {"name": "s", "namespace": "default", "uid": "uid-o"},
        "subsets": [{"addresses": [{"ip": "10.244.1.2", "targetRef": target}], "ports": [{"port": 80}]}]});
    let mut ready = pod("a", "n", "Running");
    ready["status"]["podIP"] = json!("10.244.1.2");
    ready["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    let history = || {
        History::new()
            .see(&sandbox("s1", "uid-a", 2))
            .put("pods", ready.clone())
    };
    for (resource, endpoints) in [("endpointslices.discovery.k8s.io", slice), ("endpoints", object)] {
        assert_eq!(History::new().put(resource, endpoints.clone()).broken(), ["E2"]);
        assert!(history().put(resource, endpoints.clone()).broken().is_empty());
        let gone = |seconds| {
            let history = history().at(10).delete("pods", &ready).at(seconds);
            history.put(resource, endpoints.clone()).broken()
        };
        assert!(gone(12).is_empty(), "the controller cannot know yet");
        assert_eq!(gone(100), ["E2"]);
    }
}

#[test]
fn collecting_what_has_a_living_owner_breaks_g1() {
    let mut config = json!({"metadata": {"name": "a", "namespace": "default", "uid": "uid-config"}});
    config = owned(config, "ReplicaSet", "rs");
    let namespace = json!({"metadata": {"name": "default", "uid": "uid-default"}});
    let history = || {
        History::new()
            .put("namespaces", namespace.clone())
            .put("replicasets.apps", set("rs", 1))
    };
    let collect = asked(
        "controller-manager/1",
        http::Method::DELETE,
        "/api/v1/namespaces/default/configmaps/a",
    );
    assert_eq!(
        history()
            .put("configmaps", config.clone())
            .see(&Seen::Asked(&collect))
            .broken(),
        ["G1"]
    );
    let orphan = history()
        .put("configmaps", config)
        .delete("replicasets.apps", &set("rs", 1));
    assert!(orphan.see(&Seen::Asked(&collect)).broken().is_empty());
    // A set that deletes a healthy pod though it has no pod too many.
    let pod = owned(pod("a", "n", "Running"), "ReplicaSet", "rs");
    let needed = history().put("nodes", node("n")).put("pods", pod);
    let delete = asked("controller-manager/1", http::Method::DELETE, POD);
    assert_eq!(needed.see(&Seen::Asked(&delete)).broken(), ["G1"]);
}

#[test]
fn scenarios_may_choose_from_what_is_there() {
    assert_eq!(super::ids(), orrery_play::INVARIANTS);
}
