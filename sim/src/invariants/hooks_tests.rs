//! The tests of the invariants about hooks and the thresholds of probes: K18, and of K5, K15 and K16 what counts.

use serde_json::{Value, json};

use super::contract_tests::with;
use super::kubelet_tests::{UID, ends, seconds, starts};
use super::tests::{History, pod};
use crate::model::Seen;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// A pod whose container says hello and goodbye.
fn polite() -> Value {
    let say = |what: &str| json!({"exec": {"command": ["say", what]}});
    let hooks = json!({"postStart": say("hello"), "preStop": say("goodbye")});
    with(pod("a", "n", "Pending"), "/spec/containers/0/lifecycle", hooks)
}

/// The same without the first of them.
fn parting() -> Value {
    let mut pod = polite();
    pod["spec"]["containers"][0]["lifecycle"]["postStart"] = Value::Null;
    pod
}

/// The pod as it is when it is being deleted.
fn going(mut pod: Value, grace: u64) -> Value {
    pod["metadata"]["deletionTimestamp"] = json!("1970-01-01T01:00:00Z");
    pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
    pod
}

fn shown_running(mut pod: Value) -> Value {
    pod["status"]["containerStatuses"] = json!([{"name": "c", "image": "", "imageID": "", "ready": true,
        "restartCount": 0, "containerID": "simulated://c1", "state": {"running": {}}}]);
    pod
}

/// Its container is asked for and runs at second 100.
fn began(pod: Value) -> History {
    let history = History::of(|id| id == "K18").put("pods", pod).at(100);
    history.see(&starts("s1", "c1", "c", 100))
}

fn asks(history: History, command: &str) -> History {
    history.see(&Seen::CommandAsked {
        machine: "n",
        container: "c1",
        command: &words(command),
        timeout: seconds(30),
    })
}

fn answers(history: History, command: &str, code: Option<i32>) -> History {
    history.see(&Seen::CommandAnswered {
        container: "c1",
        command: &words(command),
        code,
    })
}

const fn stops(grace: u64) -> Seen<'static> {
    Seen::ContainerStopping {
        machine: "n",
        pod_uid: UID,
        container: "c1",
        grace: seconds(grace),
    }
}

const RESTARTED: Seen<'static> = Seen::Started { process: "kubelet/n" };

fn lease() -> Value {
    json!({"metadata": {"name": "n", "namespace": "kube-node-lease", "uid": "uid-lease"}})
}

/// What is broken when the kubelet has renewed its lease until second 240.
fn renewed(mut history: History) -> Vec<&'static str> {
    for second in (110..250).step_by(10) {
        history = history.at(second).put("leases.coordination.k8s.io", lease());
    }
    history.broken()
}

/// The pod with another container beside its own.
fn with_another(mut pod: Value) -> Value {
    pod["spec"]["containers"] = json!([pod["spec"]["containers"][0], {"name": "d"}]);
    pod
}

#[test]
fn a_container_that_is_asked_to_end_without_its_hook_breaks_k18() {
    assert_eq!(began(parting()).at(110).see(&stops(30)).broken(), ["K18"]);
    assert_eq!(
        asks(began(parting()).at(110), "say hello").see(&stops(30)).broken(),
        ["K18"],
        "that is no hook of its"
    );
    let run = answers(asks(began(parting()).at(110), "say goodbye"), "say goodbye", Some(1));
    assert!(run.at(111).see(&stops(29)).broken().is_empty(), "whatever comes of it");
    // It goes with its sandbox, or is forced, or nobody knows its pod.
    assert!(began(parting()).at(110).see(&stops(0)).broken().is_empty());
    let forced = began(parting()).put("pods", going(parting(), 0));
    assert!(forced.at(110).see(&stops(1)).broken().is_empty());
    let unknown = began(parting()).delete("pods", &parting());
    assert!(unknown.at(110).see(&stops(1)).broken().is_empty());
    // What cannot be told apart from a probe is not judged.
    let probed = with(
        parting(),
        "/spec/containers/0/livenessProbe",
        json!({"exec": {"command": ["say", "goodbye"]}}),
    );
    assert!(began(probed).at(110).see(&stops(30)).broken().is_empty());
}

#[test]
fn a_container_that_is_asked_to_end_while_its_hook_runs_breaks_k18() {
    let asked = |pod| asks(began(pod).at(110), "say goodbye");
    assert_eq!(asked(parting()).at(115).see(&stops(25)).broken(), ["K18"]);
    assert!(
        asked(parting()).at(140).see(&stops(2)).broken().is_empty(),
        "its time is up"
    );
    let deleted = || began(parting()).at(109).put("pods", going(parting(), 30)).at(110);
    assert_eq!(asks(deleted(), "say goodbye").at(115).see(&stops(25)).broken(), ["K18"]);
    // The kubelet hears meanwhile that the pod is being deleted, or is to go sooner.
    let later = asked(parting()).at(112).put("pods", going(parting(), 30));
    assert!(later.at(115).see(&stops(30)).broken().is_empty());
    let hurried = asks(deleted().put("pods", going(parting(), 5)), "say goodbye");
    assert!(hurried.at(115).see(&stops(5)).broken().is_empty());
    let restarted = asked(parting()).at(112).see(&RESTARTED);
    assert!(restarted.at(115).see(&stops(30)).broken().is_empty());
    assert!(
        asked(parting())
            .struck_on("n")
            .at(115)
            .see(&stops(25))
            .broken()
            .is_empty()
    );
}

#[test]
fn a_deletion_that_comes_when_a_sidecars_pod_is_over_may_cut_its_hook_off() {
    let deleted = |pod: Value| began(pod.clone()).at(109).put("pods", going(pod, 30)).at(110);
    let cut_off = |pod| asks(deleted(pod), "say goodbye").at(115).see(&stops(25)).broken();
    let once = || with(parting(), "/spec/restartPolicy", json!("Never"));
    assert_eq!(cut_off(once()), ["K18"]);
    // Its kubelet asks for the hook of a sidecar when the main container has ended, and hears of the deletion then.
    let mut beside = once();
    beside["spec"]["initContainers"] = json!([beside["spec"]["containers"][0]]);
    beside["spec"]["initContainers"][0]["restartPolicy"] = json!("Always");
    beside["spec"]["containers"] = json!([{"name": "main"}]);
    assert!(cut_off(beside).is_empty());
}

#[test]
fn a_container_that_has_its_grace_again_after_its_hook_breaks_k18() {
    let run = || {
        let asked = asks(began(parting()).at(110), "say goodbye");
        answers(asked.at(120), "say goodbye", Some(0))
    };
    assert_eq!(run().see(&stops(30)).broken(), ["K18"]);
    assert!(run().see(&stops(20)).broken().is_empty());
    // Two seconds are left in any case.
    assert!(run().at(140).see(&stops(2)).broken().is_empty());
    // It may have been told of the deletion just then, for which there is another grace period.
    assert!(
        run()
            .put("pods", going(parting(), 30))
            .see(&stops(30))
            .broken()
            .is_empty()
    );
    assert!(run().struck_on("n").see(&stops(30)).broken().is_empty());
    // One that was deleted long before has been heard of.
    let deleted = began(parting()).put("pods", going(parting(), 30)).at(110);
    let deleted = answers(asks(deleted, "say goodbye").at(120), "say goodbye", Some(0));
    assert_eq!(deleted.see(&stops(30)).broken(), ["K18"]);
}

#[test]
fn a_container_that_is_shown_to_run_before_its_first_hook_is_over_breaks_k18() {
    let shown = |history: History| history.at(120).put("pods", shown_running(polite())).broken();
    assert_eq!(shown(began(polite())), ["K18"], "it was not run at all");
    let asked = || asks(began(polite()), "say hello");
    assert_eq!(shown(asked()), ["K18"]);
    assert!(shown(answers(asked(), "say hello", Some(0))).is_empty());
    // Another life of the kubelet finds it running.
    assert!(shown(asked().at(110).see(&RESTARTED)).is_empty());
    assert!(shown(began(polite()).at(110).see(&RESTARTED)).is_empty());
    // The start may have failed as far as the kubelet knows.
    assert!(shown(began(polite()).struck_on("n")).is_empty());
    // It does not wait any longer.
    let gone = asked().at(120).put("pods", shown_running(going(polite(), 30)));
    assert!(gone.broken().is_empty());
}

#[test]
fn a_container_that_runs_on_though_its_first_hook_has_failed_breaks_k18() {
    let failed = |pod| answers(asks(began(pod), "say hello"), "say hello", Some(1));
    assert_eq!(renewed(failed(polite())).first(), Some(&"K18"));
    assert!(renewed(answers(asks(began(polite()), "say hello"), "say hello", Some(0))).is_empty());
    assert!(
        renewed(answers(asks(began(polite()), "say hello"), "say hello", None)).is_empty(),
        "nobody knows"
    );
    assert!(renewed(failed(polite()).see(&ends("c1", 0))).is_empty());
    let stopped = answers(asks(failed(polite()), "say goodbye"), "say goodbye", Some(0));
    assert!(renewed(stopped.see(&stops(30))).is_empty());
    assert!(renewed(failed(polite()).see(&RESTARTED)).is_empty());
    assert!(renewed(failed(polite()).put("pods", going(polite(), 30))).is_empty());
    let two = with_another(polite());
    assert!(renewed(failed(two)).is_empty(), "the other one may come first");
    // Nobody hears of the kubelet.
    let unheard = failed(polite()).at(110).put("leases.coordination.k8s.io", lease());
    assert!(
        unheard
            .at(240)
            .put("leases.coordination.k8s.io", lease())
            .broken()
            .is_empty()
    );
}

#[test]
fn a_container_that_is_ready_after_too_few_successes_breaks_k5() {
    let probed = |probe: Value| with(pod("a", "n", "Running"), "/spec/containers/0/readinessProbe", probe);
    let ready = |second: u64, probe: &Value| {
        let history = History::of(|id| id == "K5").put("pods", probed(probe.clone())).at(100);
        let history = history.see(&starts("s1", "c1", "c", 100)).at(second);
        history.put("pods", shown_running(probed(probe.clone()))).broken()
    };
    // It answers from second 105 on.
    let thrice = json!({"httpGet": {"port": 80}, "periodSeconds": 2, "successThreshold": 3});
    assert_eq!(ready(108, &thrice), ["K5"]);
    assert!(ready(109, &thrice).is_empty());
    let once = json!({"httpGet": {"port": 80}, "periodSeconds": 2});
    assert!(ready(105, &once).is_empty());
    let command = json!({"exec": {"command": ["check"]}, "periodSeconds": 2, "successThreshold": 3});
    assert!(ready(105, &command).is_empty(), "it may have waited for its answer");
}

#[test]
fn another_one_that_may_answer_in_its_place_does_not_break_k5() {
    let probe = json!({"httpGet": {"port": 80}, "periodSeconds": 2, "successThreshold": 3});
    let probed = || {
        with(
            pod("a", "n", "Running"),
            "/spec/containers/0/readinessProbe",
            probe.clone(),
        )
    };
    // It answers from second 105 on.
    let ready = |pod: Value| {
        let history = History::of(|id| id == "K5").put("pods", pod.clone()).at(100);
        let history = history.see(&starts("s1", "c1", "c", 100)).at(106);
        history.put("pods", shown_running(pod)).broken()
    };
    assert_eq!(ready(probed()), ["K5"]);
    assert!(ready(with_another(probed())).is_empty());
    assert!(ready(with(probed(), "/spec/hostNetwork", json!(true))).is_empty());
}

#[test]
fn a_probe_whose_grace_is_longer_than_its_pods_does_not_break_k15() {
    let left_alone = |kind: &str, grace: Value| {
        let probe = json!({"httpGet": {"port": 80}, "periodSeconds": 2, "terminationGracePeriodSeconds": grace});
        let probed = with(pod("a", "n", "Running"), &format!("/spec/containers/0/{kind}"), probe);
        let history = History::of(|id| id == "K15").put("pods", probed).at(100);
        let history = history.see(&starts("s1", "c1", "c", 100));
        renewed(history.see(&Seen::ContainerSilent {
            container: "c1",
            silent: true,
        }))
    };
    for kind in ["livenessProbe", "startupProbe"] {
        assert_eq!(left_alone(kind, Value::Null).first(), Some(&"K15"), "{kind}");
        assert!(
            left_alone(kind, json!(120)).is_empty(),
            "its hook before the end may take so long: {kind}"
        );
    }
}

#[test]
fn a_container_that_never_begins_and_is_left_alone_breaks_k15() {
    let probe = json!({"httpGet": {"port": 80}, "periodSeconds": 2, "failureThreshold": 5});
    let probed = || {
        with(
            pod("a", "n", "Pending"),
            "/spec/containers/0/startupProbe",
            probe.clone(),
        )
    };
    let silent = |silent| Seen::ContainerSilent {
        container: "c1",
        silent,
    };
    let began = |pod| {
        let history = History::of(|id| id == "K15").put("pods", pod).at(100);
        history.see(&starts("s1", "c1", "c", 100))
    };
    assert_eq!(renewed(began(probed()).see(&silent(true))).first(), Some(&"K15"));
    assert!(renewed(began(probed())).is_empty());
    // It has answered before it fell silent, or in between.
    assert!(renewed(began(probed()).at(107).see(&silent(true))).is_empty());
    let between = began(probed()).see(&silent(true)).at(107).see(&silent(false));
    assert!(renewed(between.at(109).see(&silent(true))).is_empty());
    assert!(renewed(began(probed()).see(&silent(true)).see(&stops(30))).is_empty());
    assert!(renewed(began(probed()).see(&silent(true)).put("pods", going(probed(), 30))).is_empty());
    let host = || with(probed(), "/spec/hostNetwork", json!(true));
    assert!(
        renewed(began(host()).see(&silent(true))).is_empty(),
        "others may answer"
    );
}

#[test]
fn a_container_that_is_killed_after_too_few_failures_breaks_k16() {
    let probe = json!({"httpGet": {"port": 80}, "periodSeconds": 2, "failureThreshold": 10});
    let probed = || {
        with(
            pod("a", "n", "Running"),
            "/spec/containers/0/livenessProbe",
            probe.clone(),
        )
    };
    let ready = Seen::SandboxReady {
        machine: "n",
        pod_uid: UID,
        sandbox: "s1",
        ip: None,
    };
    let silent = |silent| Seen::ContainerSilent {
        container: "c1",
        silent,
    };
    let began = |pod| {
        let history = History::of(|id| id == "K16").put("pods", pod).see(&ready);
        history.at(100).see(&starts("s1", "c1", "c", 100))
    };
    // Ten failures take eighteen seconds.
    assert_eq!(began(probed()).at(106).see(&stops(30)).broken(), ["K16"]);
    let fell_silent = || began(probed()).at(200).see(&silent(true));
    assert!(
        fell_silent().at(215).see(&stops(30)).broken().is_empty(),
        "a fault has made it so, which may have made its probes fail before"
    );
    assert!(fell_silent().at(218).see(&stops(30)).broken().is_empty());
    let at_once = began(probed()).at(103).see(&silent(true));
    assert!(at_once.at(118).see(&stops(30)).broken().is_empty(), "it never answered");
    let again = fell_silent().at(220).see(&silent(false)).at(221).see(&silent(true));
    assert!(again.at(225).see(&stops(30)).broken().is_empty(), "that comes late");
    assert!(
        began(with_another(probed()))
            .at(106)
            .see(&stops(30))
            .broken()
            .is_empty(),
        "the other one may be meant"
    );
    assert!(fell_silent().struck_on("n").at(215).see(&stops(30)).broken().is_empty());
    // Four failures take three seconds, and it takes five to begin.
    let quick = json!({"httpGet": {"port": 80}, "periodSeconds": 1, "failureThreshold": 4});
    let hasty = || {
        began(with(
            pod("a", "n", "Running"),
            "/spec/containers/0/livenessProbe",
            quick.clone(),
        ))
    };
    assert_eq!(hasty().at(102).see(&stops(30)).broken(), ["K16"]);
    assert!(hasty().at(103).see(&stops(30)).broken().is_empty());
}

#[test]
fn a_deadline_that_comes_too_soon_breaks_k16() {
    let limited = || {
        let pod = with(pod("a", "n", "Running"), "/spec/activeDeadlineSeconds", json!(60));
        with(pod, "/status/startTime", json!("1970-01-01T00:01:40Z"))
    };
    let began = |pod| {
        let ready = Seen::SandboxReady {
            machine: "n",
            pod_uid: UID,
            sandbox: "s1",
            ip: None,
        };
        let history = History::of(|id| id == "K16").put("pods", pod).see(&ready);
        history.at(101).see(&starts("s1", "c1", "c", 101))
    };
    assert_eq!(began(limited()).at(150).see(&stops(30)).broken(), ["K16"]);
    assert!(began(limited()).at(160).see(&stops(30)).broken().is_empty());
    let wrong = began(limited()).know(crate::model::Cluster::clock_errs);
    assert!(wrong.at(150).see(&stops(30)).broken().is_empty());
    let mut unstarted = limited();
    unstarted["status"]["startTime"] = Value::Null;
    assert!(began(unstarted).at(150).see(&stops(30)).broken().is_empty());
    let late = || with(limited(), "/status/reason", json!("DeadlineExceeded"));
    assert_eq!(began(limited()).at(150).put("pods", late()).broken(), ["K16"]);
    assert!(began(limited()).at(160).put("pods", late()).broken().is_empty());
    let again = began(limited()).at(160).put("pods", late()).put("pods", late());
    assert!(again.broken().is_empty());
}
