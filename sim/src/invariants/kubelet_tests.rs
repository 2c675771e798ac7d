//! The tests of the invariants about what a kubelet does with containers, and says of them: K5, K7 to K10, K12.

use std::time::Duration;

use serde_json::{Value, json};

use super::contract_tests::with;
use super::tests::{History, POD, asked, pod, started};
use crate::model::{Asked, Seen, Selection, WatchEventKind};

pub(super) const UID: &str = "uid-a";

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Only the kubelet's invariants: these histories have no nodes.
pub(super) fn history(spec: Value) -> History {
    let mut pod = pod("a", "n", "Pending");
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    History::of(|id| ["K8", "K9", "K10"].contains(&id))
        .see(&Seen::Started { process: "kubelet/n" })
        .put("pods", pod)
}

/// The container `id` of `name` is asked for at `asked` and starts now in `sandbox`; it answers five seconds later.
pub(super) fn starts<'a>(sandbox: &'a str, id: &'a str, name: &'a str, asked: u64) -> Seen<'a> {
    starts_of("", sandbox, id, name, asked)
}

/// The same, of an image.
pub(super) fn starts_of<'a>(image: &'a str, sandbox: &'a str, id: &'a str, name: &'a str, asked: u64) -> Seen<'a> {
    Seen::ContainerStarted {
        machine: "n",
        pod_uid: UID,
        sandbox,
        container: id,
        name,
        image,
        answers: seconds(5),
        asked: seconds(asked),
    }
}

pub(super) const fn ends(container: &str, code: i32) -> Seen<'_> {
    Seen::ContainerEnded { container, code }
}

fn initialised() -> History {
    history(json!({"initContainers": [{"name": "one"}, {"name": "two"}]}))
}

#[test]
fn an_init_container_that_does_not_wait_for_the_one_before_it_breaks_k8() {
    let early = initialised().at(1).see(&starts("s1", "i1", "one", 1));
    assert_eq!(early.at(2).see(&starts("s1", "i2", "two", 2)).broken(), ["K8"]);
    let failed = initialised()
        .at(1)
        .see(&starts("s1", "i1", "one", 1))
        .see(&ends("i1", 1));
    assert_eq!(failed.at(2).see(&starts("s1", "i2", "two", 2)).broken(), ["K8"]);
}

#[test]
fn a_container_that_does_not_wait_for_the_init_containers_breaks_k8() {
    assert_eq!(initialised().at(1).see(&starts("s1", "c1", "c", 1)).broken(), ["K8"]);
    let done = || {
        let one = initialised()
            .at(1)
            .see(&starts("s1", "i1", "one", 1))
            .see(&ends("i1", 0));
        one.at(3).see(&starts("s1", "i2", "two", 2)).at(4).see(&ends("i2", 0))
    };
    assert!(done().at(6).see(&starts("s1", "c1", "c", 5)).broken().is_empty());
    // It was asked for too soon, and only came late.
    assert_eq!(done().at(6).see(&starts("s1", "c1", "c", 3)).broken(), ["K8"]);
    // A new sandbox has to be prepared anew.
    assert_eq!(done().at(6).see(&starts("s2", "c1", "c", 5)).broken(), ["K8"]);
    // It may crash and come back without them.
    let again = done().at(6).see(&starts("s1", "c1", "c", 5)).see(&ends("c1", 1));
    assert!(again.at(8).see(&starts("s1", "c2", "c", 8)).broken().is_empty());
}

#[test]
fn what_does_not_wait_for_a_sidecars_startup_probe_breaks_k8() {
    let sidecar = |probe: Value| {
        let sidecar = json!({"name": "side", "restartPolicy": "Always", "startupProbe": probe});
        history(json!({"initContainers": [sidecar]}))
    };
    let probed = || {
        let probed = sidecar(json!({"exec": {"command": ["true"]}}));
        probed.at(1).see(&starts("s1", "s", "side", 1))
    };
    assert_eq!(probed().at(5).see(&starts("s1", "c1", "c", 5)).broken(), ["K8"]);
    assert!(probed().at(7).see(&starts("s1", "c1", "c", 6)).broken().is_empty());
    // It ended before it ever answered.
    let ended = probed().at(3).see(&ends("s", 1)).at(10);
    assert_eq!(ended.see(&starts("s1", "c1", "c", 10)).broken(), ["K8"]);
    // It answered, and ended later.
    let crashed = probed().at(8).see(&ends("s", 1)).at(10);
    assert!(crashed.see(&starts("s1", "c1", "c", 10)).broken().is_empty());
    let plain = sidecar(Value::Null).at(1).see(&starts("s1", "s", "side", 1));
    assert!(plain.at(2).see(&starts("s1", "c1", "c", 1)).broken().is_empty());
    assert_eq!(sidecar(Value::Null).see(&starts("s1", "c1", "c", 1)).broken(), ["K8"]);
}

/// A container that ended with a code, and is started again in a sandbox.
fn again(policy: &str, code: i32, sandbox: &str) -> Vec<&'static str> {
    history(json!({"restartPolicy": policy}))
        .at(1)
        .see(&starts("s1", "c1", "c", 1))
        .at(2)
        .see(&ends("c1", code))
        .at(4)
        .see(&starts(sandbox, "c2", "c", 3))
        .broken()
}

#[test]
fn a_restart_that_the_policy_does_not_want_breaks_k9() {
    assert_eq!(again("Never", 1, "s1"), ["K9"]);
    assert_eq!(again("Never", 255, "s2"), ["K9"]);
    assert_eq!(again("OnFailure", 0, "s1"), ["K9"]);
    assert!(again("OnFailure", 1, "s1").is_empty());
    assert!(again("Always", 0, "s1").is_empty());
}

#[test]
fn what_the_runtime_no_longer_has_may_be_started_again() {
    let replaced = history(json!({"restartPolicy": "Never"}))
        .at(1)
        .see(&starts("s1", "c1", "c", 1))
        .see(&ends("c1", 255))
        .see(&Seen::ContainerRemoved { container: "c1" });
    assert!(replaced.at(2).see(&starts("s2", "c2", "c", 2)).broken().is_empty());
}

#[test]
fn an_init_container_that_succeeded_runs_again_only_in_another_sandbox() {
    let init = |sandbox| {
        let done = initialised()
            .at(1)
            .see(&starts("s1", "i1", "one", 1))
            .see(&ends("i1", 0));
        done.at(2).see(&starts(sandbox, "i2", "one", 2)).broken()
    };
    assert_eq!(init("s1"), ["K9"]);
    assert!(init("s2").is_empty());
}

/// A pod that never restarts, and whose container has this image.
fn of_image(image: &str) -> Value {
    let mut pod = pod("a", "n", "Running");
    pod["spec"]["restartPolicy"] = json!("Never");
    pod["spec"]["containers"][0]["image"] = json!(image);
    pod
}

#[test]
fn a_container_is_replaced_only_if_its_image_was_changed_while_it_ran() {
    let ran = || {
        let start = starts_of("1", "s1", "c1", "c", 1);
        history(json!({})).put("pods", of_image("1")).at(1).see(&start)
    };
    let again = |history: History, image| history.at(100).see(&starts_of(image, "s1", "c2", "c", 100)).broken();
    let while_it_ran = || ran().put("pods", of_image("2")).at(50).see(&ends("c1", 143));
    assert!(again(while_it_ran(), "2").is_empty(), "even if the pull takes its time");
    // The pod went back to its first image meanwhile.
    assert!(again(while_it_ran().at(80).put("pods", of_image("1")), "1").is_empty());
    let afterwards = || ran().at(5).see(&ends("c1", 0)).at(50).put("pods", of_image("2"));
    assert_eq!(again(afterwards(), "2"), ["K9"]);
    // The kubelet has not heard of the end yet.
    let just_then = || ran().at(50).see(&ends("c1", 0)).at(51).put("pods", of_image("2"));
    assert!(again(just_then(), "2").is_empty());
    // It was started with the pod's image of a while ago.
    let old = history(json!({})).put("pods", of_image("2")).at(1);
    let old = old
        .see(&starts_of("1", "s1", "c1", "c", 1))
        .at(50)
        .see(&ends("c1", 143));
    assert!(again(old, "2").is_empty());
}

#[test]
fn no_change_of_its_image_gives_an_init_container_a_second_life() {
    let image = |image: &str| {
        let mut pod = pod("a", "n", "Pending");
        pod["spec"]["initContainers"] = json!([{"name": "one", "image": image}]);
        pod
    };
    let changed = history(json!({})).put("pods", image("1")).at(1);
    let changed = changed
        .see(&starts_of("1", "s1", "i1", "one", 1))
        .put("pods", image("2"));
    let done = changed.at(2).see(&ends("i1", 0)).at(3);
    assert_eq!(done.see(&starts_of("2", "s1", "i2", "one", 3)).broken(), ["K9"]);
}

/// A container that crashed at 2 s and was started again at 3 s, which crashed at 4 s.
fn crashing() -> History {
    history(json!({}))
        .at(1)
        .see(&starts("s1", "c1", "c", 1))
        .at(2)
        .see(&ends("c1", 1))
        .at(3)
        .see(&starts("s1", "c2", "c", 3))
        .at(4)
        .see(&ends("c2", 1))
}

#[test]
fn a_restart_before_its_back_off_breaks_k9() {
    assert_eq!(crashing().at(13).see(&starts("s1", "c3", "c", 13)).broken(), ["K9"]);
    // Asked for too soon, whenever it comes.
    assert_eq!(crashing().at(60).see(&starts("s1", "c3", "c", 13)).broken(), ["K9"]);
    let third = || {
        crashing()
            .at(14)
            .see(&starts("s1", "c3", "c", 14))
            .at(15)
            .see(&ends("c3", 1))
    };
    assert!(third().broken().is_empty());
    assert_eq!(third().at(34).see(&starts("s1", "c4", "c", 34)).broken(), ["K9"]);
    assert!(third().at(35).see(&starts("s1", "c4", "c", 35)).broken().is_empty());
}

#[test]
fn a_kubelet_that_starts_again_has_forgotten_back_offs() {
    let reborn = || crashing().at(5).see(&Seen::Started { process: "kubelet/n" });
    let once = || {
        reborn()
            .at(6)
            .see(&starts("s1", "c3", "c", 6))
            .at(7)
            .see(&ends("c3", 1))
    };
    assert!(once().broken().is_empty());
    assert_eq!(once().at(16).see(&starts("s1", "c4", "c", 16)).broken(), ["K9"]);
    assert!(once().at(17).see(&starts("s1", "c4", "c", 17)).broken().is_empty());
    // A start that its former life asked for is nothing that this one has counted.
    let late = crashing().at(15).see(&Seen::Started { process: "kubelet/n" });
    let late = late.at(20).see(&starts("s1", "c3", "c", 14)).at(21).see(&ends("c3", 1));
    assert!(late.at(22).see(&starts("s1", "c4", "c", 22)).broken().is_empty());
}

#[test]
fn eight_minutes_may_forgive() {
    let long = crashing().at(500).see(&starts("s1", "c3", "c", 500));
    let long = long.at(1000).see(&ends("c3", 1)).at(1001);
    assert!(long.see(&starts("s1", "c4", "c", 1001)).broken().is_empty());
}

#[test]
fn a_sidecar_that_is_started_long_after_its_pod_was_over_breaks_k9() {
    let over = |after| {
        let sidecar = json!({"name": "side", "restartPolicy": "Always"});
        history(json!({"restartPolicy": "Never", "initContainers": [sidecar]}))
            .at(1)
            .see(&starts("s1", "s", "side", 1))
            .at(2)
            .see(&starts("s1", "c1", "c", 2))
            .at(3)
            .see(&ends("c1", 1))
            .see(&ends("s", 0))
            .at(after)
            .see(&starts("s1", "s2", "side", after))
            .broken()
    };
    assert_eq!(over(60), ["K9"]);
    assert!(over(4).is_empty());
}

#[test]
fn a_container_that_is_started_long_after_the_kubelet_was_told_that_its_pod_goes_breaks_k9() {
    let selection = Selection {
        resource: "pods".into(),
        namespace: String::new(),
        labels: None,
        fields: None,
    };
    let opened = Seen::WatchOpened {
        stream: 1,
        client: "kubelet/n",
        selection: &selection,
        from: Some(2),
        asked: Duration::ZERO,
    };
    let told = Seen::Watched {
        stream: 1,
        kind: WatchEventKind::Modified,
        revision: 3,
        namespace: "default",
        name: "a",
    };
    let mut going = pod("a", "n", "Pending");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let history = || {
        history(json!({}))
            .see(&opened)
            .at(1)
            .put("pods", going.clone())
            .see(&told)
    };
    let delivered = || history().see(&Seen::Delivered { stream: 1, events: 1 });
    assert_eq!(delivered().at(60).see(&starts("s1", "c1", "c", 60)).broken(), ["K9"]);
    assert!(delivered().at(60).see(&starts("s1", "c1", "c", 2)).broken().is_empty());
    // What was said and has not arrived is not known; nor is it to a new life.
    assert!(history().at(60).see(&starts("s1", "c1", "c", 60)).broken().is_empty());
    let reborn = delivered().at(50).see(&Seen::Started { process: "kubelet/n" });
    assert!(reborn.at(60).see(&starts("s1", "c1", "c", 60)).broken().is_empty());
}

#[test]
fn a_container_that_is_shown_ready_before_it_answers_breaks_k5() {
    let history = |at| {
        let mut shown = with(
            pod("a", "n", "Running"),
            "/status/containerStatuses",
            json!([
                {"name": "c", "ready": true, "restartCount": 0, "image": "", "imageID": "", "containerID": "docker://c1"}
            ]),
        );
        shown["spec"]["containers"][0]["readinessProbe"] = json!({"periodSeconds": 1});
        tended(pod("a", "n", "Running"))
            .see(&started("n", "uid-a"))
            .at(at)
            .put("pods", shown)
            .broken()
    };
    assert_eq!(history(4), ["K5"]);
    assert!(history(5).is_empty());
}

#[test]
fn whom_a_probe_asks_is_judged_by_k5() {
    let history = |probe: Value, ports: Value| {
        let mut shown = with(
            pod("a", "n", "Running"),
            "/status/containerStatuses",
            json!([
                {"name": "c", "ready": true, "restartCount": 0, "image": "", "imageID": "", "containerID": "docker://c1"}
            ]),
        );
        shown["spec"]["containers"][0]["readinessProbe"] = probe;
        let proxy = json!({"name": "proxy", "image": "proxy:1", "ports": ports});
        shown["spec"]["containers"].as_array_mut().unwrap().push(proxy);
        let history = tended(pod("a", "n", "Running")).see(&started("n", "uid-a"));
        history.at(4).put("pods", shown).broken()
    };
    let tcp = |port: Value| json!({"tcpSocket": {"port": port}});
    let declared = json!([{"containerPort": 15020}]);
    assert_eq!(history(tcp(json!(80)), declared.clone()), ["K5"]);
    assert!(history(tcp(json!(15020)), declared.clone()).is_empty());
    let elsewhere = json!({"httpGet": {"port": 80, "host": "10.0.0.9"}});
    assert!(history(elsewhere, json!([])).is_empty());
    // The container's own port of that name.
    assert_eq!(history(tcp(json!("web")), declared), ["K5"]);
}

const fn stopping(grace: u64) -> Seen<'static> {
    Seen::ContainerStopping {
        machine: "n",
        pod_uid: UID,
        container: "c1",
        grace: seconds(grace),
    }
}

/// A pod that is judged by all invariants.
fn tended(pod: Value) -> History {
    let namespace = json!({"metadata": {"name": "default", "uid": "uid-default"}});
    History::new().put("namespaces", namespace).put("pods", pod)
}

#[test]
fn a_container_that_is_left_less_than_its_grace_period_breaks_k7() {
    let stopped = |pod, grace| tended(pod).see(&stopping(grace)).broken();
    let own = || pod("a", "n", "Running");
    assert_eq!(stopped(own(), 0), ["K7"]);
    assert_eq!(stopped(own(), 29), ["K7"]);
    assert!(stopped(own(), 30).is_empty());
    let hasty = || with(own(), "/metadata/deletionGracePeriodSeconds", json!(5));
    assert_eq!(stopped(hasty(), 4), ["K7"]);
    assert!(stopped(hasty(), 5).is_empty());
    assert!(stopped(with(own(), "/metadata/deletionGracePeriodSeconds", json!(0)), 0).is_empty());
}

#[test]
fn a_container_that_is_killed_with_its_sandbox_breaks_k7_unless_it_was_new() {
    let killed = |seconds| {
        let ran = tended(pod("a", "n", "Running")).see(&started("n", UID));
        ran.at(seconds).see(&stopping(0)).broken()
    };
    assert_eq!(killed(60), ["K7"]);
    assert!(killed(2).is_empty(), "its kubelet may not have seen it start");
}

#[test]
fn a_second_try_a_hook_and_a_probe_may_leave_a_container_less() {
    let again = |seconds: u64, grace: u64| {
        let history = tended(pod("a", "n", "Running")).at(10).see(&stopping(30));
        history.at(10 + seconds).see(&stopping(grace)).broken()
    };
    assert_eq!(again(12, 2), ["K7"]);
    assert!(again(12, 18).is_empty());
    assert_eq!(again(40, 1), ["K7"]);
    assert!(again(40, 2).is_empty());
    let stopped = |key: &str, value: Value, grace| {
        let mut pod = pod("a", "n", "Running");
        pod["spec"]["containers"][0][key] = value;
        tended(pod).see(&stopping(grace)).broken()
    };
    let hook = json!({"preStop": {"exec": {"command": ["sleep", "20"]}}});
    assert_eq!(stopped("lifecycle", hook.clone(), 1), ["K7"]);
    assert!(stopped("lifecycle", hook, 2).is_empty());
    let probe = json!({"terminationGracePeriodSeconds": 4});
    assert_eq!(stopped("livenessProbe", probe.clone(), 3), ["K7"]);
    assert!(stopped("livenessProbe", probe, 4).is_empty());
}

/// A pod on a node, of which a sandbox is up and a container runs since second 1.
fn up() -> History {
    let sandbox = Seen::SandboxReady {
        machine: "n",
        pod_uid: UID,
        sandbox: "s1",
        ip: None,
    };
    let bound = History::of(|id| id == "K12").put("pods", pod("a", "n", "Running"));
    bound.at(1).see(&sandbox).see(&starts("s1", "c1", "c", 1))
}

/// The kubelet of a node tells a phase of the pod.
fn tells(client: &str, phase: &str) -> Asked {
    let patch = json!({"metadata": {"uid": UID}, "status": {"phase": phase}});
    Asked {
        patch: Some(patch.to_string().into_bytes().into()),
        ..asked(client, http::Method::PATCH, &format!("{POD}/status"))
    }
}

#[test]
fn a_pod_that_is_said_to_have_ended_while_a_container_runs_breaks_k12() {
    let told = |history: History, client, phase| history.see(&Seen::Asked(&tells(client, phase))).broken();
    assert_eq!(told(up().at(60), "kubelet/n", "Failed"), ["K12"]);
    assert_eq!(told(up().at(60), "kubelet/n", "Succeeded"), ["K12"]);
    assert!(told(up().at(60), "kubelet/n", "Running").is_empty());
    assert!(told(up().see(&ends("c1", 0)).at(60), "kubelet/n", "Succeeded").is_empty());
    // It may not have seen the container start; it knows nothing of other machines; others give pods up.
    assert!(told(up().at(2), "kubelet/n", "Failed").is_empty());
    assert!(told(up().at(60), "kubelet/other", "Failed").is_empty());
    assert!(told(up().at(60), "controller-manager/1", "Failed").is_empty());
    let given_up = up().at(60).put("pods", pod("a", "n", "Failed"));
    assert!(told(given_up, "kubelet/n", "Failed").is_empty(), "it is no news");
}

#[test]
fn a_pod_that_goes_for_good_while_its_sandbox_is_up_breaks_k12() {
    let goes = |history: History, grace| {
        let delete = Asked {
            grace: Some(grace),
            uid: Some(UID.to_owned()),
            ..asked("kubelet/n", http::Method::DELETE, POD)
        };
        let ended = history.put("pods", pod("a", "n", "Failed"));
        ended.see(&Seen::Asked(&delete)).broken()
    };
    assert_eq!(goes(up().at(60), 0), ["K12"]);
    assert!(goes(up().at(60), 30).is_empty());
    assert!(goes(up().at(60).see(&Seen::SandboxGone { sandbox: "s1" }), 0).is_empty());
    // A runtime that hung has made it just now, for a kubelet that had given it up.
    assert!(goes(up().at(2), 0).is_empty());
}

#[test]
fn an_end_that_the_restart_policy_does_not_know_breaks_k12() {
    let told = |policy: &str, phase: &str, path: &str, value: Value| {
        let pod = with(pod("a", "n", "Running"), "/spec/restartPolicy", json!(policy));
        let history = History::of(|id| id == "K12").put("pods", with(pod, path, value));
        history.see(&Seen::Asked(&tells("kubelet/n", phase))).broken()
    };
    let plainly = |policy: &str, phase: &str| told(policy, phase, "/spec/hostNetwork", json!(false));
    assert_eq!(plainly("Always", "Succeeded"), ["K12"]);
    assert_eq!(plainly("Always", "Failed"), ["K12"]);
    assert_eq!(plainly("OnFailure", "Failed"), ["K12"]);
    assert!(plainly("OnFailure", "Succeeded").is_empty());
    assert!(plainly("Never", "Failed").is_empty());
    assert!(plainly("Always", "Running").is_empty());
    // What ends it is not its containers' end.
    let going = json!("2026-01-01T00:00:00Z");
    assert!(told("Always", "Failed", "/metadata/deletionTimestamp", going).is_empty());
    assert!(told("Always", "Failed", "/spec/activeDeadlineSeconds", json!(5)).is_empty());
    assert!(told("Always", "Failed", "/status/reason", json!("Evicted")).is_empty());
    assert!(told("Always", "Failed", "/spec/containers/0/restartPolicy", json!("Never")).is_empty());
}

#[test]
fn a_pod_that_goes_for_good_and_never_had_ended_breaks_k12() {
    let delete = Asked {
        grace: Some(0),
        uid: Some(UID.to_owned()),
        ..asked("kubelet/n", http::Method::DELETE, POD)
    };
    let goes = |history: History| history.see(&Seen::Asked(&delete)).broken();
    let running = || pod("a", "n", "Running");
    let history = || History::of(|id| id == "K12").put("pods", running());
    assert_eq!(goes(history()), ["K12"]);
    let ended = || history().put("pods", pod("a", "n", "Failed"));
    assert!(goes(ended()).is_empty());
    assert!(
        goes(ended().put("pods", running())).is_empty(),
        "a late write has taken it back"
    );
    assert!(
        goes(history().delete("pods", &running())).is_empty(),
        "it is gone already"
    );
}
