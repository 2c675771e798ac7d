//! Replica sets and deployments against a server whose answers get lost and whose events come late.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::StatusCause;
use orrery_api::message::{Direct, Identity, Request, Response, Transport, TransportError};
use orrery_api::meta::{Object, controller_of};
use orrery_api::random::Random;
use orrery_api::status::ApiError;
use orrery_api::task::TaskGroup;
use orrery_client::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::Options;
use crate::fake::{Fate, Server, eventually};

/// Loses requests to create pods, or the answers to them, in turn with letting them through.
struct Lossy {
    server: Direct,
    creates: AtomicUsize,
}

#[async_trait]
impl Transport for Lossy {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let lost = || TransportError {
            message: "the answer was lost".to_owned(),
            sent: true,
        };
        if request.method() != Method::POST || !request.uri().path().ends_with("/pods") {
            return self.server.send(request).await;
        }
        match self.creates.fetch_add(1, Ordering::Relaxed) % 3 {
            0 => Err(lost()),
            1 => self.server.send(request).await.and_then(|_| Err(lost())),
            _ => self.server.send(request).await,
        }
    }
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}})
}

fn set(replicas: i32) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template("web:1")},
    })
}

fn pods(server: &Server) -> BTreeSet<String> {
    server.list::<Pod>().iter().map(|pod| pod.name().to_owned()).collect()
}

#[tokio::test]
async fn lost_answers_make_neither_too_many_pods_nor_too_few() {
    let server = Server::default();
    server.put("replicasets", set(5));
    let direct = Direct::new(Arc::new(server.clone()), Identity::new("test", &["system:masters"]));
    let client = Client::new(
        Arc::new(Lossy {
            server: direct,
            creates: AtomicUsize::new(0),
        }),
        "test",
    );
    let tasks = TaskGroup::new();
    tasks.spawn(crate::run(client, Options::default(), Random::from_number(1)));
    eventually("five pods", || {
        let count = pods(&server).len();
        assert!(count <= 5, "{count} pods");
        count == 5
    })
    .await;
    let made = pods(&server);
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(pods(&server), made, "what was made stays, and nothing is added");
}

#[tokio::test]
async fn a_cache_that_shows_nothing_does_not_make_a_second_set_of_pods() {
    let server = Server::default();
    server.hold("pods", true);
    server.put("replicasets", set(3));
    let _tasks = server.run(Options::default());
    eventually("three pods", || pods(&server).len() == 3).await;
    let mut touched = set(3);
    touched["metadata"]["annotations"] = json!({"touched": "yes"});
    touched["metadata"]["uid"] =
        server.get("replicasets", "default", "web").expect("the set")["metadata"]["uid"].clone();
    server.put("replicasets", touched);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(pods(&server).len(), 3);
    server.hold("pods", false);
    eventually("a status that counts them", || {
        server.list::<ReplicaSet>()[0]
            .status
            .as_ref()
            .is_some_and(|status| status.replicas == 3)
    })
    .await;
}

#[tokio::test]
async fn a_set_that_another_process_filled_unseen_is_counted_before_it_is_filled_again() {
    let server = Server::default();
    server.put("replicasets", set(2));
    let first = server.run(Options::default());
    eventually("two pods and a status", || {
        let told = server.list::<ReplicaSet>()[0]
            .status
            .as_ref()
            .is_some_and(|status| status.replicas == 2);
        told && pods(&server).len() == 2
    })
    .await;
    drop(first);
    let made = pods(&server);
    let _second = server.run(Options::default());
    sleep(Duration::from_millis(300)).await;
    assert_eq!(pods(&server), made);
}

#[tokio::test]
async fn a_deleted_pod_is_replaced_under_another_name_and_a_smaller_set_loses_pods() {
    let server = Server::default();
    server.put("replicasets", set(2));
    let _tasks = server.run(Options::default());
    eventually("two pods", || pods(&server).len() == 2).await;
    let before = pods(&server);
    let victim = before.first().expect("a pod");
    server.remove("pods", "default", victim);
    eventually("a replacement", || {
        let now = pods(&server);
        now.len() == 2 && !now.contains(victim)
    })
    .await;
    let mut smaller = server.get("replicasets", "default", "web").expect("the set");
    smaller["spec"]["replicas"] = json!(1);
    server.put("replicasets", smaller);
    eventually("one pod", || pods(&server).len() == 1).await;
}

/// Three replicas, of which one more may live.
fn deployment(uid: &str, image: &str) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default", "uid": uid},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
            "template": template(image),
        },
    })
}

#[tokio::test]
async fn a_rolling_update_never_has_too_many_pods_and_ends_with_the_new_template() {
    let server = Server::default();
    server.put("deployments", deployment("first", "web:1"));
    let _tasks = server.run(Options::default());
    let image = |pod: &Pod| {
        pod.spec
            .as_ref()
            .and_then(|spec| spec.containers[0].image.clone())
            .unwrap_or_default()
    };
    for wanted in ["web:1", "web:2"] {
        server.put("deployments", deployment("first", wanted));
        eventually(wanted, || {
            let live = server.list::<Pod>();
            assert!(live.len() <= 4, "{} pods", live.len());
            // The node's part: whatever is there becomes ready.
            for pod in live.iter().filter(|pod| pod.status.is_none()) {
                let mut pod = serde_json::to_value(pod).expect("a pod is JSON");
                let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
                pod["status"] = json!({"phase": "Running", "conditions": ready});
                server.put("pods", pod);
            }
            live.len() == 3 && live.iter().all(|pod| image(pod) == wanted && pod.status.is_some())
        })
        .await;
    }
    let sets = server.list::<ReplicaSet>();
    let revisions: BTreeSet<_> = sets
        .iter()
        .filter_map(|set| set.annotation("deployment.kubernetes.io/revision"))
        .collect();
    assert_eq!(revisions, BTreeSet::from(["1", "2"]));
}

/// How many replicas all sets want together.
fn wanted(server: &Server) -> i32 {
    let sets = server.list::<ReplicaSet>();
    sets.iter().filter_map(|set| set.spec.as_ref()?.replicas).sum()
}

#[tokio::test]
async fn a_set_that_the_cache_cannot_show_counts_though_an_older_namesake_is_shown() {
    let server = Server::default();
    server.put("deployments", deployment("first", "web:1"));
    let _tasks = server.run(Options::default());
    eventually("three pods", || pods(&server).len() == 3).await;
    sleep(Duration::from_millis(300)).await;
    server.hold("replicasets", true);
    let old = server.list::<ReplicaSet>().remove(0);
    server.remove("deployments", "default", "web");
    server.remove("replicasets", "default", old.name());
    server.put("deployments", deployment("second", "web:1"));
    eventually("a new set", || wanted(&server) == 3).await;
    sleep(Duration::from_millis(300)).await;
    server.put("deployments", deployment("second", "web:2"));
    sleep(Duration::from_millis(1500)).await;
    assert!(wanted(&server) <= 4, "{} replicas", wanted(&server));
}

/// How long the answer to the second create stays away: less than the client's patience.
const LATE: Duration = Duration::from_secs(20);

/// Loses the first request to create a pod at once, and answers the second one late.
struct Silent {
    server: Direct,
    creates: AtomicUsize,
}

#[async_trait]
impl Transport for Silent {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let creates = request.method() == Method::POST && request.uri().path().ends_with("/pods");
        match if creates {
            self.creates.fetch_add(1, Ordering::Relaxed)
        } else {
            2
        } {
            0 => Err(TransportError {
                message: "the request was lost".to_owned(),
                sent: true,
            }),
            1 => {
                let answer = self.server.send(request).await;
                sleep(LATE).await;
                answer
            }
            _ => self.server.send(request).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_changed_while_an_answer_was_waited_for_is_heeded() {
    let server = Server::default();
    let stored = server.put("replicasets", set(3));
    let direct = Direct::new(Arc::new(server.clone()), Identity::new("test", &["system:masters"]));
    let client = Client::new(
        Arc::new(Silent {
            server: direct,
            creates: AtomicUsize::new(0),
        }),
        "test",
    );
    let tasks = TaskGroup::new();
    tasks.spawn(crate::run(client, Options::default(), Random::from_number(1)));
    for _ in 0..100 {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        pods(&server).len(),
        1,
        "the second request is carried out, and its answer is waited for"
    );
    let mut smaller = set(1);
    smaller["metadata"]["uid"] = stored["metadata"]["uid"].clone();
    server.put("replicasets", smaller);
    for _ in 0..600 {
        sleep(Duration::from_millis(100)).await;
    }
    let creates = |call: &String| call.starts_with("POST") && call.ends_with("/pods");
    let writes: Vec<_> = server.writes().into_iter().filter(creates).collect();
    assert_eq!(writes.len(), 1, "no pod was made for the old wish: {writes:?}");
    assert_eq!(pods(&server).len(), 1);
}

/// Refuses to let anybody adopt or release a pod, for as long as it is told to.
struct Contended {
    server: Direct,
    refuses: AtomicBool,
}

#[async_trait]
impl Transport for Contended {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        if request.method() == Method::PATCH && self.refuses.load(Ordering::Relaxed) {
            return Ok(ApiError::stale("pods", "web").into_response());
        }
        self.server.send(request).await
    }
}

/// A server behind such a link, with the controllers at work.
fn contended(server: &Server) -> (Arc<Contended>, TaskGroup) {
    let link = Arc::new(Contended {
        server: Direct::new(Arc::new(server.clone()), Identity::new("test", &["system:masters"])),
        refuses: AtomicBool::new(true),
    });
    let tasks = TaskGroup::new();
    let client = Client::new(link.clone(), "test");
    tasks.spawn(crate::run(client, Options::default(), Random::from_number(1)));
    (link, tasks)
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_replaced_only_when_it_has_been_let_go() {
    let server = Server::default();
    server.put("replicasets", set(1));
    let (link, _tasks) = contended(&server);
    eventually("a pod", || pods(&server).len() == 1).await;
    let name = pods(&server).pop_first().expect("a pod");
    let mut relabelled = server.get("pods", "default", &name).expect("the pod");
    relabelled["metadata"]["labels"] = json!({"app": "debugged"});
    server.put("pods", relabelled);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(pods(&server).len(), 1);
    link.refuses.store(false, Ordering::Relaxed);
    let mut controlled = Vec::new();
    eventually("a replacement", || {
        controlled = server.list::<Pod>();
        controlled.retain(|pod| controller_of(&pod.metadata).is_some());
        pods(&server).len() == 2 && controlled.len() == 1
    })
    .await;
    assert_ne!(controlled[0].name(), name);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_may_be_adopted_still_is_not_doubled() {
    let server = Server::default();
    let labels = json!({"app": "web"});
    server.put(
        "pods",
        json!({"metadata": {"name": "orphan", "namespace": "default", "labels": labels}, "spec": {"containers": []}}),
    );
    server.put("replicasets", set(1));
    let (link, _tasks) = contended(&server);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(pods(&server), BTreeSet::from(["orphan".to_owned()]));
    link.refuses.store(false, Ordering::Relaxed);
    eventually("an owner", || {
        server
            .list::<Pod>()
            .iter()
            .all(|pod| controller_of(&pod.metadata).is_some())
    })
    .await;
    assert_eq!(pods(&server), BTreeSet::from(["orphan".to_owned()]));
}

/// Loses the answer to the first create of a pod, and refuses the second one.
struct Busy {
    server: Direct,
    creates: AtomicUsize,
}

#[async_trait]
impl Transport for Busy {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        if request.method() != Method::POST || !request.uri().path().ends_with("/pods") {
            return self.server.send(request).await;
        }
        match self.creates.fetch_add(1, Ordering::Relaxed) {
            0 => {
                self.server.send(request).await?;
                Err(TransportError {
                    message: "the answer was lost".to_owned(),
                    sent: true,
                })
            }
            1 => Ok(ApiError::too_many_requests("too many requests", 1).into_response()),
            _ => self.server.send(request).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_repetition_is_refused_may_have_happened_all_the_same() {
    let server = Server::default();
    server.hold("pods", true);
    server.put("replicasets", set(1));
    let direct = Direct::new(Arc::new(server.clone()), Identity::new("test", &["system:masters"]));
    let busy = Arc::new(Busy {
        server: direct,
        creates: AtomicUsize::new(0),
    });
    let tasks = TaskGroup::new();
    let client = Client::new(busy.clone(), "test");
    tasks.spawn(crate::run(client, Options::default(), Random::from_number(1)));
    for _ in 0..200 {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(busy.creates.load(Ordering::Relaxed) >= 2, "the create was repeated");
    assert_eq!(pods(&server).len(), 1);
}

/// The refusal of what is to be made in a namespace that is being terminated.
fn terminating() -> ApiError {
    let why = "unable to create new content in namespace default because it is being terminated";
    let mut error = ApiError::forbidden("pods", "", why);
    let cause = StatusCause {
        reason: Some("NamespaceTerminating".to_owned()),
        ..StatusCause::default()
    };
    error.0.details.get_or_insert_default().causes = Some(vec![cause]);
    error
}

#[tokio::test(start_paused = true)]
async fn a_set_whose_namespace_is_terminated_does_not_ask_for_ever() {
    let server = Server::default();
    server.put("replicasets", set(3));
    let creates = Arc::new(AtomicUsize::new(0));
    let counted = creates.clone();
    let _tasks = server.run_over(Options::default(), move |request| {
        if request.method() != Method::POST || !request.uri().path().ends_with("/pods") {
            return Fate::Arrives;
        }
        match counted.fetch_add(1, Ordering::Relaxed) {
            // It may have happened: its name is asked for once more.
            0 => Fate::Refused(ApiError::timeout("nobody knows")),
            _ => Fate::Refused(terminating()),
        }
    });
    for _ in 0..600 {
        sleep(Duration::from_millis(100)).await;
    }
    let asked = creates.load(Ordering::Relaxed);
    assert!((2..10).contains(&asked), "{asked} pods were asked for");
}

#[tokio::test(start_paused = true)]
async fn a_create_is_given_up_by_its_last_request_and_not_by_its_first() {
    let server = Server::default();
    server.put("replicasets", set(1));
    let names: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let (asked, began, refused) = (names.clone(), Instant::now(), AtomicBool::new(false));
    let _tasks = server.run_over(Options::default(), move |request| {
        if request.method() != Method::POST || !request.uri().path().ends_with("/pods") {
            return Fate::Arrives;
        }
        let pod: Pod = serde_json::from_slice(request.body()).expect("a pod");
        asked.lock().expect("not poisoned").insert(pod.name().to_owned());
        // By then the first request will surely not be carried out any more, and the last one may be.
        if began.elapsed() < Duration::from_secs(46) {
            Fate::Refused(ApiError::timeout("nobody knows"))
        } else if !refused.swap(true, Ordering::Relaxed) {
            Fate::Refused(ApiError::too_many_requests("too many requests", 1))
        } else {
            Fate::Arrives
        }
    });
    for _ in 0..600 {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(*names.lock().expect("not poisoned"), pods(&server));
    assert_eq!(pods(&server).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_came_and_went_while_nothing_was_heard_is_soon_replaced() {
    let server = Server::default();
    server.hold("pods", true);
    server.put("replicasets", set(1));
    let _tasks = server.run(Options::default());
    eventually("a pod", || pods(&server).len() == 1).await;
    let first = pods(&server).pop_first().expect("a pod");
    server.remove("pods", "default", &first);
    server.expire("pods");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(pods(&server).len(), 1, "another one is there");
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_refused_are_one_event_that_is_counted_and_names_none_of_them() {
    let server = Server::default();
    server.put("replicasets", set(1));
    let _tasks = server.run_over(Options::default(), |request| {
        if request.method() != Method::POST || !request.uri().path().ends_with("/pods") {
            return Fate::Arrives;
        }
        let pod: Pod = serde_json::from_slice(request.body()).expect("a pod");
        Fate::Refused(ApiError::forbidden("pods", pod.name(), "there is no such account"))
    });
    let told = || {
        let mut events = server.list::<Event>();
        events.retain(|event| event.reason.as_deref() == Some("FailedCreate"));
        events
    };
    eventually("an event that is counted", || {
        told().iter().any(|event| event.count > Some(2))
    })
    .await;
    let messages: Vec<_> = told().into_iter().filter_map(|event| event.message).collect();
    let why = "pods \"web-\" is forbidden: there is no such account";
    assert_eq!(messages, [format!("Error creating: {why}")]);
    let web = server.get("replicasets", "default", "web").expect("the set");
    assert_eq!(web["status"]["conditions"][0]["message"], why);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_whose_set_is_refused_says_why_in_the_servers_words() {
    let server = Server::default();
    server.put("deployments", deployment("first", "web:1"));
    let _tasks = server.run_over(Options::default(), |request| {
        if request.method() != Method::POST || !request.uri().path().ends_with("/replicasets") {
            return Fate::Arrives;
        }
        Fate::Refused(ApiError::forbidden("replicasets.apps", "web", "there are enough"))
    });
    let refusal = "replicasets.apps \"web\" is forbidden: there are enough";
    let told =
        |message: &str| message.starts_with("Failed to create new replica set \"web-") && message.ends_with(refusal);
    eventually("a condition", || {
        let web = server.get("deployments", "default", "web").expect("the deployment");
        let conditions = web["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let mut failures = conditions.iter().filter(|own| own["reason"] == "ReplicaSetCreateError");
        failures.any(|own| own["message"].as_str().is_some_and(told))
    })
    .await;
    eventually("an event", || {
        let events = server.list::<Event>();
        events.iter().any(|event| event.message.as_deref().is_some_and(told))
    })
    .await;
}
