//! Nodes and their pods while answers do not come, and while somebody else writes.

use std::time::Duration;

use http::Method;
use k8s_openapi::api::core::v1::Pod;
use orrery_api::message::Request;
use orrery_api::meta::Object;
use orrery_api::status::ApiError;
use serde_json::json;
use tokio::time::sleep;

use crate::Options;
use crate::behaviour_tests::{LOST, lease, node, pod, renew, taint, taints};
use crate::fake::{Fate, Server, first};

fn is_put(request: &Request, path: &str) -> bool {
    request.method() == Method::PUT && request.uri().path() == path
}

fn pods(server: &Server) -> Vec<String> {
    server.list::<Pod>().iter().map(|pod| pod.name().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_mark_without_an_answer_does_not_make_healthy_nodes_look_silent() {
    let server = Server::default();
    for name in ["n1", "n2", "n3"] {
        node(&server, name);
    }
    let mut patient = pod(&server, 1, "n1");
    let key = "node.kubernetes.io/unreachable";
    patient["spec"]["tolerations"] = json!([{"key": key, "operator": "Exists", "tolerationSeconds": 100}]);
    server.put("pods", patient);
    let mut lasting = pod(&server, 2, "n2");
    lasting["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    server.put("pods", lasting);
    let mark = |request: &Request| is_put(request, "/api/v1/nodes/n2/status");
    let _running = server.run_over(Options::default(), first(mark, Fate::Unanswered));
    renew(&server, &["n1", "n2", "n3"], 30).await;
    renew(&server, &["n2", "n3"], 20).await;
    // The first node is given up; the mark of the second one hangs for half a minute.
    renew(&server, &["n3"], 90).await;
    assert_eq!(taints(&server, "n1"), LOST);
    assert_eq!(taints(&server, "n2"), LOST);
    let lasting = server.get("pods", "a", "web-2").expect("it tolerates all");
    assert_eq!(lasting["status"]["conditions"][0]["status"], "False");
    renew(&server, &["n3"], 50).await;
    assert_eq!(pods(&server), ["web-2"], "the patient pod has gone in time");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_somebody_else_writes_meanwhile_is_given_up_all_the_same() {
    let server = Server::default();
    node(&server, "n1");
    node(&server, "n2");
    let gives_up = |request: &Request| {
        is_put(request, "/api/v1/nodes/n2") && String::from_utf8_lossy(request.body()).contains("NoExecute")
    };
    let conflict = Fate::Refused(ApiError::stale("nodes", "n2"));
    let _running = server.run_over(Options::default(), first(gives_up, conflict));
    renew(&server, &["n1", "n2"], 30).await;
    for _ in 0..100 {
        if !taints(&server, "n2").is_empty() {
            break;
        }
        lease(&server, "kube-node-lease", "n1");
        sleep(Duration::from_secs(1)).await;
    }
    // The next look comes in five seconds, and the zone's rate would allow it after ten.
    sleep(Duration::from_secs(2)).await;
    assert_eq!(taints(&server, "n2"), LOST);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_without_an_answer_holds_up_no_other() {
    let server = Server::default();
    node(&server, "n1");
    pod(&server, 1, "n1");
    pod(&server, 2, "n1");
    let evicted = |request: &Request| is_put(request, "/api/v1/namespaces/a/pods/web-1/status");
    let _running = server.run_over(Options::default(), first(evicted, Fate::Unanswered));
    renew(&server, &["n1"], 10).await;
    taint(&server, &["example.com/gone"]);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(pods(&server), ["web-1"]);
}
