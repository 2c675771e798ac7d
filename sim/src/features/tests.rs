use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::model::{Answered, Asked, ObjectId, Path, Selection, WatchEventKind};

/// What is seen, one after the other.
#[derive(Default)]
struct Play {
    cluster: Cluster,
    features: Features,
    told: usize,
}

impl Play {
    fn see(&mut self, seen: &Seen<'_>) {
        self.features.observe(seen, &self.cluster);
    }

    fn write(&mut self, key: &str, object: Option<Value>) {
        let id = ObjectId::of_key(&format!("/registry/{key}")).unwrap();
        let bytes = object.map(|object| Bytes::from(object.to_string()));
        let revision = self.cluster.revision + 1;
        let change = self.cluster.apply(id, revision, bytes);
        self.see(&Seen::Change(&change));
    }

    fn ask(&mut self, client: &str, method: Method, path: &str) {
        let asked = Asked {
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
            at: self.cluster.now,
        };
        self.see(&Seen::Asked(&asked));
        let answered = Answered {
            status: 200,
            ..Answered::default()
        };
        self.see(&Seen::Answered(&asked, &answered));
    }

    fn watch(&mut self, stream: u64, client: &str) {
        let selection = Selection {
            resource: Arc::from("pods"),
            namespace: String::new(),
            labels: None,
            fields: None,
        };
        self.see(&Seen::WatchOpened {
            stream,
            client,
            selection: &selection,
            from: None,
            asked: Duration::ZERO,
        });
    }

    fn send(&mut self, stream: u64, kind: WatchEventKind) {
        self.see(&Seen::Watched {
            stream,
            kind,
            revision: 1,
            namespace: "default",
            name: "web",
        });
    }

    fn wait(&mut self, millis: u64) {
        self.cluster.now += Duration::from_millis(millis);
    }

    /// What is new since the last call.
    fn fresh(&mut self) -> Vec<String> {
        let new = self.features.found.names[self.told..].to_vec();
        self.told += new.len();
        new
    }
}

fn pod(phase: &str, ready: &str) -> Option<Value> {
    Some(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "u"},
        "spec": {"nodeName": "node-1", "containers": []},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
    }))
}

#[test]
fn a_pods_way_is_a_chain_of_steps() {
    let mut play = Play::default();
    play.write("pods/default/web", pod("Pending", "False"));
    play.write("pods/default/web", pod("Running", "True"));
    play.write("pods/default/web", pod("Running", "True"));
    play.write("pods/default/web", None);
    play.write("pods/default/other", pod("Pending", "False"));
    insta::assert_snapshot!(play.fresh().join("\n"), @r"
    pods: none > Pending bound
    pods: Pending bound > Running bound ready
    pods: Running bound ready > none
    ");
}

#[test]
fn of_a_rollout_only_what_changes_is_told() {
    let mut play = Play::default();
    let mut roll = |wanted: i32, available: i32, observed: i64| {
        let metadata = json!({"name": "web", "namespace": "default", "generation": 2});
        let status = json!({"replicas": wanted, "availableReplicas": available, "observedGeneration": observed});
        let deployment = json!({"metadata": metadata, "spec": {"replicas": wanted}, "status": status});
        play.write("deployments.apps/default/web", Some(deployment));
    };
    roll(3, 1, 1);
    roll(3, 2, 2);
    roll(3, 3, 2);
    roll(8, 3, 2);
    insta::assert_snapshot!(play.fresh().join("\n"), @r"
    deployments.apps: none > there
    deployments.apps: observed no > yes
    deployments.apps: available few > all
    deployments.apps: wanted 2-3 > 8+ available all > few
    ");
}

#[test]
fn a_lease_tells_who_takes_it_and_after_how_long() {
    let mut play = Play::default();
    let hold = |play: &mut Play, holder: &str, after: u64| {
        play.wait(after * 1000);
        let lease = json!({"metadata": {"name": "kube-scheduler"}, "spec": {"holderIdentity": holder}});
        play.write("leases.coordination.k8s.io/kube-system/kube-scheduler", Some(lease));
    };
    hold(&mut play, "scheduler/1_1", 1);
    hold(&mut play, "scheduler/1_1", 2);
    hold(&mut play, "scheduler/1_2", 2);
    hold(&mut play, "scheduler/2_1", 20);
    hold(&mut play, "", 2);
    insta::assert_snapshot!(play.fresh().join("\n"), @r"
    lease kube-scheduler: taken, never written before
    lease kube-scheduler: renewed, fresh
    lease kube-scheduler: taken by its next life, fresh
    lease kube-scheduler: taken by another, late
    lease kube-scheduler: given up, fresh
    ");
}

#[test]
fn a_write_tells_how_old_its_writers_picture_was() {
    let mut play = Play::default();
    let path = "/api/v1/namespaces/default/pods/web";
    play.watch(1, "scheduler/1");
    play.send(1, WatchEventKind::Added);
    play.see(&Seen::Delivered { stream: 1, events: 1 });
    play.ask("scheduler/1", Method::PATCH, path);
    play.send(1, WatchEventKind::Modified);
    play.send(1, WatchEventKind::Deleted);
    play.wait(4000);
    play.ask("scheduler/1", Method::PATCH, path);
    play.see(&Seen::Delivered { stream: 1, events: 3 });
    play.ask("scheduler/1", Method::DELETE, path);
    play.see(&Seen::WatchClosed { stream: 1 });
    play.wait(60_000);
    play.ask("scheduler/1", Method::DELETE, path);
    insta::assert_snapshot!(play.fresh().join("\n"), @r"
    view: scheduler patch pods after ADDED, 0 behind, current
    api: scheduler patch pods 200
    view: scheduler patch pods after ADDED, 2-3 behind, ten seconds old
    view: scheduler patch pods while its pods are ten seconds old
    view: scheduler delete pods after DELETED, 0 behind, current
    api: scheduler delete pods 200
    view: scheduler delete pods after DELETED, 0 behind, a minute old
    view: scheduler delete pods while its pods are a minute old
    ");
}

#[test]
fn a_watch_that_was_followed_by_another_changes_nothing_any_more() {
    let mut play = Play::default();
    play.watch(1, "scheduler/1");
    play.watch(2, "scheduler/1");
    play.see(&Seen::WatchClosed { stream: 1 });
    play.send(1, WatchEventKind::Added);
    play.wait(60_000);
    play.ask("scheduler/1", Method::PATCH, "/api/v1/namespaces/default/pods/web");
    assert_eq!(
        play.fresh(),
        [
            "view: scheduler patch pods after no event, 0 behind, current",
            "api: scheduler patch pods 200"
        ]
    );
}
