//! The whole scheduler against a small API server in memory: lists, watches, gets, bindings and the condition's patch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http::Method;
use orrery_api::message::{Body, Request, Response, Transport, TransportError};
use orrery_api::random::Random;
use orrery_api::status::ApiError;
use orrery_api::task::TaskGroup;
use orrery_client::Client;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::Options;

#[derive(Default)]
struct Objects {
    /// By resource and name.
    objects: BTreeMap<(String, String), Value>,
    /// Resource and line; the revision is the length.
    events: Vec<(String, String)>,
    /// Resources whose events are held back.
    held: BTreeSet<String>,
    /// How many more bindings get no answer, and whether they take effect.
    lose_bindings: usize,
    lost_take_effect: bool,
    /// How many more reads of a node get no answer; the node is cordoned meanwhile.
    lose_reads: usize,
    /// Whether reads of a node wait for their answers, and how many there were.
    hold_reads: bool,
    reads: usize,
    /// Whether patches wait on their way to the server, how many there were, and how many of them have come.
    hold_patches: bool,
    patches: usize,
    patches_come: usize,
    bindings: usize,
    told: Vec<String>,
}

impl Objects {
    fn write(&mut self, resource: &str, mut object: Value) -> Value {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = (resource.to_owned(), name);
        object["metadata"]["resourceVersion"] = json!((self.events.len() + 1).to_string());
        let kind = if self.objects.insert(key, object.clone()).is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        self.events.push((
            resource.to_owned(),
            format!("{}\n", json!({"type": kind, "object": object})),
        ));
        object
    }
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Objects>>);

impl Server {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, name: &str, cpu: &str) {
        let status = json!({"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}});
        let labels = json!({"kubernetes.io/hostname": name});
        self.objects().write(
            "nodes",
            json!({"metadata": {"name": name, "uid": format!("node-{name}"), "labels": labels}, "status": status}),
        );
    }

    fn pod(&self, name: &str, cpu: &str) {
        let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        let metadata = json!({"name": name, "namespace": "default", "uid": format!("pod-{name}")});
        self.objects().write(
            "pods",
            json!({"metadata": metadata, "spec": {"containers": [container]}}),
        );
    }

    /// A pod of the application `web`, with `more` in its spec.
    fn web(&self, name: &str, namespace: &str, more: &Value) {
        let mut spec = json!({"containers": [{"name": "c"}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let labels = json!({"app": "web"});
        let metadata = json!({"name": name, "namespace": namespace, "uid": format!("pod-{name}"), "labels": labels});
        self.objects()
            .write("pods", json!({"metadata": metadata, "spec": spec}));
    }

    fn change(&self, resource: &str, name: &str, how: impl FnOnce(&mut Value)) {
        let mut objects = self.objects();
        let key = (resource.to_owned(), name.to_owned());
        if let Some(mut object) = objects.objects.get(&key).cloned() {
            how(&mut object);
            objects.write(resource, object);
        }
    }

    fn delete(&self, resource: &str, name: &str) {
        let mut objects = self.objects();
        if let Some(mut object) = objects.objects.remove(&(resource.to_owned(), name.to_owned())) {
            object["metadata"]["resourceVersion"] = json!((objects.events.len() + 1).to_string());
            let line = format!("{}\n", json!({"type": "DELETED", "object": object}));
            objects.events.push((resource.to_owned(), line));
        }
    }

    /// Marks an object for deletion; it is there until it is gone.
    fn terminate(&self, resource: &str, name: &str) {
        self.change(resource, name, |object| {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        });
    }

    fn node_of(&self, pod: &str) -> Option<String> {
        let objects = self.objects();
        let pod = objects.objects.get(&("pods".to_owned(), pod.to_owned()))?;
        pod["spec"]["nodeName"].as_str().map(str::to_owned)
    }

    fn condition(&self, pod: &str) -> Option<String> {
        let objects = self.objects();
        let pod = objects.objects.get(&("pods".to_owned(), pod.to_owned()))?;
        pod["status"]["conditions"][0]["message"].as_str().map(str::to_owned)
    }

    fn run(&self) -> TaskGroup {
        let tasks = TaskGroup::new();
        let client = Client::new(Arc::new(self.clone()), "test");
        tasks.spawn(crate::run(client, Options::default(), Random::from_number(1)));
        tasks
    }

    fn watch(&self, resource: String, from: usize) -> Body {
        Body::stream(stream::unfold(
            (self.clone(), resource, from),
            |(server, resource, mut at)| async move {
                loop {
                    let line = {
                        let objects = server.objects();
                        let next = (at..objects.events.len()).find(|next| objects.events[*next].0 == resource);
                        next.filter(|_| !objects.held.contains(&resource)).map(|next| {
                            at = next + 1;
                            Bytes::from(objects.events[next].1.clone())
                        })
                    };
                    match line {
                        Some(line) => return Some((Ok(line), (server, resource, at))),
                        None => sleep(Duration::from_millis(10)).await,
                    }
                }
            },
        ))
    }

    fn answer(&self, request: &Request, parts: &[&str]) -> Result<Option<Value>, ApiError> {
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let mut objects = self.objects();
        let resource = parts.first().copied().unwrap_or_default();
        let Some(name) = parts.get(1) else {
            if request.method() == Method::POST {
                objects.told.push(
                    body["message"]
                        .as_str()
                        .or(body["note"].as_str())
                        .unwrap_or_default()
                        .to_owned(),
                );
                return Ok(Some(body));
            }
            let items: Vec<&Value> = objects
                .objects
                .iter()
                .filter(|((kind, _), _)| kind == resource)
                .map(|(_, object)| object)
                .collect();
            let revision = objects.events.len().to_string();
            return Ok(Some(json!({"metadata": {"resourceVersion": revision}, "items": items})));
        };
        let key = (resource.to_owned(), (*name).to_owned());
        let mut object = objects
            .objects
            .get(&key)
            .cloned()
            .ok_or_else(|| ApiError::not_found(resource, name))?;
        match (request.method(), parts.get(2).copied()) {
            (&Method::POST, Some("binding")) => {
                let lost = objects.lose_bindings > 0;
                objects.lose_bindings = objects.lose_bindings.saturating_sub(1);
                if lost && !objects.lost_take_effect {
                    return Ok(None);
                }
                if object["metadata"]["uid"] != body["metadata"]["uid"] || !object["spec"]["nodeName"].is_null() {
                    return Err(ApiError::conflict(
                        "pods/binding",
                        name,
                        "the pod is another one or already assigned",
                    ));
                }
                object["spec"]["nodeName"] = body["target"]["name"].clone();
                objects.bindings += 1;
                let object = objects.write(resource, object);
                Ok((!lost).then_some(object))
            }
            (&Method::PATCH, Some("status")) => {
                let base = &body["metadata"]["resourceVersion"];
                if base.is_string() && *base != object["metadata"]["resourceVersion"] {
                    return Err(ApiError::stale(resource, name));
                }
                object["status"] = body["status"].clone();
                Ok(Some(objects.write(resource, object)))
            }
            (&Method::GET, None) if resource == "nodes" && objects.lose_reads > 0 => {
                objects.lose_reads -= 1;
                object["spec"]["unschedulable"] = json!(true);
                objects.write(resource, object);
                Ok(None)
            }
            (&Method::GET, None) => Ok(Some(object)),
            _ => Err(ApiError::method_not_allowed()),
        }
    }
}

#[async_trait]
impl Transport for Server {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let path = request.uri().path().to_owned();
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let prefix = if parts.first() == Some(&"api") { 2 } else { 3 };
        parts.drain(..prefix);
        if parts.first() == Some(&"namespaces") && parts.len() > 1 {
            parts.drain(..2);
        }
        if request.method() == Method::GET && parts.first() == Some(&"nodes") && parts.len() > 1 {
            self.objects().reads += 1;
            while self.objects().hold_reads {
                sleep(Duration::from_millis(10)).await;
            }
        }
        if request.method() == Method::PATCH {
            self.objects().patches += 1;
            while self.objects().hold_patches {
                sleep(Duration::from_millis(10)).await;
            }
            self.objects().patches_come += 1;
        }
        let query = request.uri().query().unwrap_or_default();
        if query.contains("watch=true") {
            let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
            let from = from.and_then(|from| from.parse().ok()).unwrap_or(0);
            return Ok(http::Response::new(self.watch(parts[0].to_owned(), from)));
        }
        match self.answer(&request, &parts) {
            Ok(Some(value)) => Ok(http::Response::new(Body::Full(Bytes::from(value.to_string())))),
            Ok(None) => Err(TransportError {
                message: "the answer was lost".to_owned(),
                sent: true,
            }),
            Err(error) => Ok(error.into_response()),
        }
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn a_pod_is_bound_and_its_assignment_is_told() {
    let server = Server::default();
    server.node("n1", "4");
    server.pod("web", "1");
    let _tasks = server.run();
    eventually("the pod has a node", || server.node_of("web").as_deref() == Some("n1")).await;
    let told = || {
        server
            .objects()
            .told
            .iter()
            .any(|told| told == "Successfully assigned default/web to n1")
    };
    eventually("an event", told).await;
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_says_why_and_is_bound_when_a_node_comes() {
    let server = Server::default();
    server.node("n1", "1");
    server.pod("big", "2");
    let _tasks = server.run();
    let why = "0/1 nodes are available: 1 Insufficient cpu. \
               preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    eventually("a condition", || server.condition("big").as_deref() == Some(why)).await;
    server.node("n2", "4");
    eventually("the pod has a node", || server.node_of("big").as_deref() == Some("n2")).await;
}

/// A pod is too big for the only node, and its condition does not get to the server.
async fn with_a_condition_on_its_way() -> (Server, TaskGroup) {
    let server = Server::default();
    server.objects().hold_patches = true;
    server.node("n1", "1");
    server.pod("big", "2");
    let tasks = server.run();
    eventually("the condition is on its way", || server.objects().patches == 1).await;
    (server, tasks)
}

#[tokio::test]
async fn why_a_pod_fitted_nowhere_is_not_written_on_one_that_has_a_node() {
    let (server, _tasks) = with_a_condition_on_its_way().await;
    server.node("n2", "4");
    eventually("the pod has a node", || server.node_of("big").as_deref() == Some("n2")).await;
    server.objects().hold_patches = false;
    eventually("the late one comes", || server.objects().patches_come == 1).await;
    assert_eq!(server.condition("big"), None);
}

#[tokio::test]
async fn of_why_a_pod_fits_nowhere_the_newest_is_written_last() {
    let (server, _tasks) = with_a_condition_on_its_way().await;
    server.node("n2", "1");
    let newest = |message: &str| message.starts_with("0/2 nodes are available");
    let told = || server.objects().told.iter().any(|message| newest(message));
    eventually("an event tells of both nodes", told).await;
    assert_eq!(server.objects().patches, 1, "the other one waits for its turn");
    server.objects().hold_patches = false;
    let says = || server.condition("big").is_some_and(|message| newest(&message));
    eventually("the condition tells of both nodes", says).await;
}

#[tokio::test]
async fn a_pod_that_leaves_makes_room_for_one_that_waits() {
    let server = Server::default();
    server.node("n1", "1");
    server.pod("first", "800m");
    let _tasks = server.run();
    eventually("the first has the node", || server.node_of("first").is_some()).await;
    server.pod("second", "800m");
    eventually("the second waits", || server.condition("second").is_some()).await;
    assert_eq!(server.node_of("second"), None);
    server.delete("pods", "first");
    eventually("the second has the node", || server.node_of("second").is_some()).await;
}

#[tokio::test]
async fn a_lost_answer_to_a_binding_binds_once_and_no_node_gets_too_much() {
    for take_effect in [true, false] {
        let server = Server::default();
        server.objects().lose_bindings = 3;
        server.objects().lost_take_effect = take_effect;
        // The cache never shows the bindings, so all rests on what is assumed.
        server.node("n1", "2");
        server.node("n2", "2");
        for name in ["a", "b", "c", "d", "e"] {
            server.pod(name, "1");
        }
        server.objects().held.insert("pods".to_owned());
        let _tasks = server.run();
        eventually("four pods have nodes", || server.objects().bindings == 4).await;
        sleep(Duration::from_millis(300)).await;
        let nodes: Vec<_> = ["a", "b", "c", "d", "e"]
            .iter()
            .filter_map(|pod| server.node_of(pod))
            .collect();
        for node in ["n1", "n2"] {
            assert_eq!(nodes.iter().filter(|on| *on == node).count(), 2);
        }
    }
}

#[tokio::test]
async fn a_node_that_is_gone_is_not_chosen_though_the_cache_still_shows_it() {
    let server = Server::default();
    server.node("ghost", "8");
    server.node("small", "1");
    let _tasks = server.run();
    server.pod("probe", "100m");
    eventually("the caches are filled", || server.node_of("probe").is_some()).await;
    server.objects().held.insert("nodes".to_owned());
    server.delete("nodes", "ghost");
    server.pod("web", "4");
    sleep(Duration::from_millis(500)).await;
    assert_eq!(server.node_of("web"), None);
    server.objects().held.clear();
    eventually("the pod says that nothing fits", || server.condition("web").is_some()).await;
    assert_eq!(server.node_of("web"), None);
}

#[tokio::test]
async fn a_choice_that_could_not_be_checked_is_made_anew() {
    let server = Server::default();
    server.node("n1", "4");
    server.pod("web", "1");
    server.objects().lose_reads = 1;
    let _tasks = server.run();
    eventually("the answer is lost", || server.objects().lose_reads == 0).await;
    server.node("n2", "4");
    eventually("the pod has a node", || server.node_of("web").is_some()).await;
    assert_eq!(
        server.node_of("web").as_deref(),
        Some("n2"),
        "n1 was cordoned meanwhile"
    );
}

#[tokio::test]
async fn a_pod_whose_binding_was_not_heard_of_keeps_its_room_while_it_is_being_deleted() {
    let server = Server::default();
    server.objects().lose_bindings = 1;
    server.objects().lost_take_effect = true;
    server.node("n1", "1");
    server.pod("first", "800m");
    let _tasks = server.run();
    eventually("the first is bound", || server.node_of("first").is_some()).await;
    server.terminate("pods", "first");
    server.pod("second", "800m");
    eventually("the second waits", || server.condition("second").is_some()).await;
    // Longer than it takes to ask what became of the binding.
    sleep(Duration::from_millis(600)).await;
    assert_eq!(server.node_of("second"), None);
    server.delete("pods", "first");
    eventually("the second has the node", || server.node_of("second").is_some()).await;
}

#[tokio::test]
async fn a_pod_that_somebody_else_bound_meanwhile_keeps_its_room_there() {
    let server = Server::default();
    server.node("n1", "1");
    server.pod("first", "800m");
    server.objects().hold_reads = true;
    server.objects().lose_reads = 1;
    let _tasks = server.run();
    eventually("the choice is checked", || server.objects().reads > 0).await;
    // The binding of a leader of before comes late.
    server.node("n2", "1");
    server.change("pods", "first", |pod| pod["spec"]["nodeName"] = json!("n2"));
    sleep(Duration::from_millis(200)).await;
    server.objects().hold_reads = false;
    let given_up = || {
        server
            .objects()
            .told
            .iter()
            .any(|told| told.starts_with("binding rejected"))
    };
    eventually("the binding is given up", given_up).await;
    // By then the cache shows that n1 is cordoned.
    sleep(Duration::from_millis(200)).await;
    server.pod("second", "800m");
    eventually("the second waits", || server.condition("second").is_some()).await;
    assert_eq!(server.node_of("second"), None);
}

#[tokio::test]
async fn a_node_that_goes_no_longer_makes_the_others_look_crowded() {
    let even = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }]});
    for is_gone in [true, false] {
        let server = Server::default();
        server.node("n1", "4");
        server.node("n2", "4");
        server.change("nodes", "n2", |node| node["spec"]["unschedulable"] = json!(true));
        server.web("first", "default", &json!({"nodeName": "n1"}));
        server.web("second", "default", &even);
        let _tasks = server.run();
        eventually("the second waits", || server.condition("second").is_some()).await;
        assert_eq!(server.node_of("second"), None);
        if is_gone {
            server.delete("nodes", "n2");
        } else {
            server.terminate("nodes", "n2");
        }
        eventually("the second has a node", || server.node_of("second").is_some()).await;
        assert_eq!(server.node_of("second").as_deref(), Some("n1"));
    }
}

#[tokio::test]
async fn pods_are_kept_away_from_those_of_namespaces_with_a_label_for_as_long_as_these_have_it() {
    let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
        "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}},
        "namespaceSelector": {"matchLabels": {"tier": "db"}},
    }]}}});
    let team = |labels: Value| json!({"metadata": {"name": "team", "uid": "team", "labels": labels}});
    let server = Server::default();
    server.objects().write("namespaces", team(json!({"tier": "db"})));
    server.node("n1", "4");
    server.web("first", "team", &json!({"nodeName": "n1"}));
    server.web("second", "default", &apart);
    let _tasks = server.run();
    eventually("the second waits", || server.condition("second").is_some()).await;
    assert_eq!(server.node_of("second"), None);
    server.objects().write("namespaces", team(json!({"tier": "web"})));
    eventually("the second has a node", || server.node_of("second").is_some()).await;
}
