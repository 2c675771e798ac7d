//! What is said of a cause is so: since when, of whom, and after what.

use super::*;

/// The links to the causes of each event that is `meant`.
fn links(recording: &Recording, meant: impl Fn(&What) -> bool) -> Vec<Vec<Link>> {
    let index = Index::new(recording);
    let events = recording.events.iter().enumerate();
    let places = events.filter(|(_, event)| meant(&event.what));
    places
        .map(|(place, _)| {
            let causes = causes::causes(&index, place, &[]);
            causes.into_iter().map(|cause| cause.link).collect()
        })
        .collect()
}

/// The same put of a pod's status once more.
fn put(tape: &mut Tape, at: u64) -> u64 {
    let uri = format!("{PODS}/web-a/status");
    tape.at(at).ask(MANAGER, "PUT", &uri, "")
}

#[test]
fn a_fault_is_no_cause_when_it_has_long_been_over() {
    let mut tape = one_pod();
    tape.at(10_000)
        .fault("answers to writes of everybody are lost, 0.5 of them, for 5s");
    let early = put(&mut tape, 12_000);
    tape.at(12_010).unanswered(early, "answer lost");
    tape.at(15_000).fault_over();
    let late = put(&mut tape, 90_700);
    tape.at(90_710).unanswered(late, "answer lost");
    let links = links(&tape.end(Ending::Held), |what| matches!(what, What::Unanswered { .. }));
    assert_eq!(links, [vec![Link::Struck, Link::AskedFor], vec![Link::AskedFor]]);
}

#[test]
fn a_node_may_be_given_up_for_a_fault_that_is_over_but_not_for_one_of_long_ago() {
    let node = |ready: &str| json!({"metadata": {"name": "node-1", "uid": "n"}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
    let path = "/api/v1/nodes/node-1/status";
    let is_silenced = |at: u64| {
        let mut tape = Tape::begin();
        tape.at(1_000).done(
            "kubelet/node-1",
            ("PUT", path),
            Verb::Create,
            "nodes/node-1",
            &node("True"),
        );
        tape.at(10_000).fault("node-1 is cut off for 30s");
        tape.at(40_000).fault_over();
        tape.at(at)
            .done(MANAGER, ("PUT", path), Verb::Update, "nodes/node-1", &node("Unknown"));
        let links = links(&tape.end(Ending::Held), |what| matches!(what, What::Written(_)));
        links[1].contains(&Link::Silenced)
    };
    assert!(is_silenced(51_000));
    assert!(!is_silenced(200_000));
}

#[test]
fn only_the_next_of_the_same_requests_tries_again() {
    let mut tape = one_pod();
    let lost = put(&mut tape, 90_000);
    tape.at(90_010).unanswered(lost, "answer lost");
    let next = put(&mut tape, 90_500);
    tape.answer(next, None);
    put(&mut tape, 126_500);
    let puts = links(
        &tape.end(Ending::Held),
        |what| matches!(what, What::Asked(request) if request.method == "PUT"),
    );
    let tries_again: Vec<bool> = puts.iter().map(|links| links.contains(&Link::Unheard)).collect();
    assert_eq!(tries_again, [false, true, false]);
}

#[test]
fn a_process_has_just_begun_only_for_a_while() {
    let mut tape = Tape::begin();
    for at in [5_000, 62_000] {
        tape.at(at)
            .ask("kubelet/node-1", "PUT", "/api/v1/nodes/node-1/status", "");
    }
    let asked = links(&tape.end(Ending::Held), |what| matches!(what, What::Asked(_)));
    assert_eq!(asked, [vec![Link::Began], vec![]]);
}

#[test]
fn a_request_rests_on_its_own_base() {
    let mut tape = one_pod();
    let mut scaled = set(1);
    scaled["status"] = json!({"replicas": 1});
    let status = format!("{SETS}/web/status");
    let base = tape
        .at(6_000)
        .done(MANAGER, ("PUT", &status), Verb::Update, SET, &scaled);
    tape.at(7_000).refused(MANAGER, &status, base);
    let recording = tape.end(not_converged("replicasets.apps/default/web wants 1"));
    let told = lines(&recording);
    assert!(
        told.ends_with(
            "
   5.000000 s  user creates replicasets.apps/default/web (revision 2)
   7.000000 s  controller-manager/1, resting on revision 4, asks: PUT /apis/apps/v1/namespaces/default/replicasets/web/status; answered 409"
        ),
        "{told}"
    );
}

#[test]
fn who_has_started_since_was_not_shown_anything_before() {
    let mut tape = one_pod();
    tape.at(40_000)
        .process(MANAGER, "control-plane", ProcessState::Started(2));
    tape.at(40_100).show(2, "ADDED", "pods/default/web-a", 3);
    tape.at(60_000);
    let told = lines(&tape.end(not_converged("pods/default/web-a is bound to no node")));
    let line = "! it is not news that is lacking: controller-manager/1 had been shown the newest state of all this 19.9 s before";
    assert!(told.contains(line), "{told}");
}

#[test]
fn signs_of_life_are_not_nothing() {
    let lease = |time: &str| json!({"metadata": {"name": "node-1", "namespace": "kube-node-lease", "uid": "l"}, "spec": {"renewTime": time}});
    let object = "leases.coordination.k8s.io/kube-node-lease/node-1";
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let mut tape = Tape::begin();
    let kubelet = "kubelet/node-1";
    tape.at(5_000)
        .done(kubelet, ("POST", path), Verb::Create, object, &lease("a"));
    let own = format!("{path}/node-1");
    tape.at(30_000)
        .done(kubelet, ("PUT", &own), Verb::Update, object, &lease("b"));
    tape.at(60_000);
    let told = lines(&tape.end(not_converged(&format!("{object} belongs to nobody any more"))));
    assert!(
        told.contains("and nothing but signs of life for the 55.0 s until the end"),
        "{told}"
    );
}

#[test]
fn what_waits_for_a_finalizer_is_led_back_to_who_put_it_there() {
    let mut tape = one_pod();
    let mut held = set(1);
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let own = format!("{SETS}/web");
    tape.at(6_000).done("user", ("PATCH", &own), Verb::Update, SET, &held);
    held["metadata"]["deletionTimestamp"] = json!("2022-09-01T00:00:07Z");
    tape.at(7_000).done("user", ("DELETE", &own), Verb::Update, SET, &held);
    tape.at(60_000);
    let missing = format!("{SET} is still being deleted, and waits for the finalizer example.com/hold");
    let told = lines(&tape.end(not_converged(&missing)));
    assert!(
        told.ends_with(
            "how it came to that:
   6.000000 s  user changes replicasets.apps/default/web: metadata.finalizers[0] (none) → example.com/hold (revision 4)"
        ),
        "{told}"
    );
}

#[test]
fn a_condition_that_does_not_hold_says_why() {
    let pod = |conditions: Value| json!({"status": {"phase": "Pending", "conditions": conditions}});
    let failed = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/2 nodes are available: 2 Insufficient cpu."}]);
    let bound = json!([{"type": "PodScheduled", "status": "True"}]);
    let told = |before: &Value, after: &Value| {
        words::list(&crate::recording::differences(
            &pod(before.clone()),
            &pod(after.clone()),
            false,
        ))
    };
    assert_eq!(
        told(&json!([]), &failed),
        "status.conditions[PodScheduled].status (none) → False (Unschedulable: 0/2 nodes are available: 2 Insufficient cpu.)"
    );
    assert_eq!(
        told(&failed, &bound),
        "status.conditions[PodScheduled].status False → True"
    );
}

#[test]
fn what_each_run_stamps_does_not_part_two_runs() {
    let restarted = |at: &str, pod: &str, address: &str| {
        let mut tape = one_pod();
        let mut value = set(1);
        value["spec"]["template"] = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": at}}});
        value["spec"]["example"] = json!({"pod": pod, "at": address});
        tape.at(6_000)
            .done("user", ("PATCH", &format!("{SETS}/web")), Verb::Update, SET, &value);
        tape.end(Ending::Held)
    };
    let one = restarted("2022-09-01T00:00:06Z", "web-7ffbb744bf-c2wks", "10.244.1.2:80");
    let other = restarted("2022-09-01T00:00:09Z", "web-7ffbb744bf-nczcz", "10.244.3.4:80");
    let (one, other) = (Index::new(&one), Index::new(&other));
    let subjects = [object_named(SET).unwrap()];
    assert_eq!(compare::never_taken(&one, &subjects, &other), None);
    let end = Duration::from_secs(60);
    let states = compare::states(&one, end, &other, end);
    assert!(states.is_empty(), "{states:?}");
}

#[test]
fn a_run_that_ends_otherwise_than_without_faults_is_told_so() {
    let told = lines(&one_pod().end(not_converged("X4: spec.replicas of replicasets.apps/default/web is 1")));
    assert!(told.starts_with("the cluster did not end as without faults"), "{told}");
}

#[test]
fn who_sends_an_old_state_acts_on_it_though_it_was_shown_a_newer_one() {
    let mut tape = one_pod();
    let revision = tape
        .at(6_000)
        .done("user", ("PATCH", &format!("{SETS}/web")), Verb::Update, SET, &set(2));
    tape.at(6_010).show(1, "MODIFIED", SET, revision);
    tape.at(7_000).refused(MANAGER, &format!("{SETS}/web/status"), 2);
    let told = lines(&tape.end(not_converged("replicasets.apps/default/web wants 2")));
    let note = "! it acted on revision 2 of replicasets.apps/default/web; revision 4 had been written 998 ms before by user (scales replicasets.apps/default/web from 1 to 2)";
    assert!(told.contains(note), "{told}");
}
