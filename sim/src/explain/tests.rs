//! The walk over recordings made by hand.

mod claims;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::recording::{Ending, Event, ProcessState, Recording, Request, Verb, Written, object_named};

/// Makes a recording, event by event.
pub(crate) struct Tape {
    events: Vec<Event>,
    now: Duration,
    requests: u64,
    revision: u64,
}

impl Tape {
    /// A cluster whose processes have begun and watch what they need.
    pub(crate) fn begin() -> Self {
        let mut tape = Tape {
            events: Vec::new(),
            now: Duration::ZERO,
            requests: 0,
            revision: 1,
        };
        for (name, machine) in [
            ("apiserver/1", "control-plane"),
            ("controller-manager/1", "control-plane"),
            ("kubelet/node-1", "node-1"),
        ] {
            tape.process(name, machine, ProcessState::Started(1));
        }
        for (stream, resource) in (1..).zip(["replicasets.apps", "pods", "nodes"]) {
            tape.add(What::WatchOpened {
                stream,
                client: "controller-manager/1".to_owned(),
                resource: resource.to_owned(),
                namespace: String::new(),
                from: Some(1),
            });
        }
        tape
    }

    fn add(&mut self, what: What) -> usize {
        self.events.push(Event { at: self.now, what });
        self.events.len() - 1
    }

    pub(crate) fn at(&mut self, milliseconds: u64) -> &mut Self {
        self.now = Duration::from_millis(milliseconds);
        self
    }

    pub(crate) fn process(&mut self, name: &str, machine: &str, state: ProcessState) {
        let (name, machine) = (name.to_owned(), machine.to_owned());
        self.add(What::Process { name, machine, state });
    }

    pub(crate) fn ask(&mut self, client: &str, method: &str, uri: &str, named: &str) -> u64 {
        self.requests += 1;
        self.add(What::Asked(Request {
            number: self.requests,
            client: client.to_owned(),
            method: method.to_owned(),
            uri: uri.to_owned(),
            named: named.to_owned(),
            ..Request::default()
        }));
        self.requests
    }

    /// A request that is refused, and rests on a revision of its object.
    fn refused(&mut self, client: &str, uri: &str, base: u64) {
        self.requests += 1;
        let request = self.requests;
        self.add(What::Asked(Request {
            number: request,
            client: client.to_owned(),
            method: "PUT".to_owned(),
            uri: uri.to_owned(),
            base: Some(base),
            ..Request::default()
        }));
        self.add(What::Received { request, status: 409 });
    }

    pub(crate) fn write(&mut self, verb: Verb, object: &str, value: &Value) -> u64 {
        self.revision += 1;
        self.add(What::Written(Written {
            revision: self.revision,
            object: object_named(object).unwrap(),
            verb,
            value: value.to_string(),
        }));
        self.revision
    }

    pub(crate) fn answer(&mut self, request: u64, revision: Option<u64>) {
        self.add(What::Answered {
            request,
            status: 200,
            revision,
        });
        self.now += Duration::from_millis(2);
        self.add(What::Received { request, status: 200 });
    }

    /// A request that writes, and is answered with the write's revision.
    pub(crate) fn done(&mut self, client: &str, ask: (&str, &str), verb: Verb, object: &str, value: &Value) -> u64 {
        let name = object.rsplit('/').next().unwrap();
        let request = self.ask(client, ask.0, ask.1, name);
        self.now += Duration::from_millis(2);
        let revision = self.write(verb, object, value);
        self.answer(request, Some(revision));
        revision
    }

    pub(crate) fn unanswered(&mut self, request: u64, why: &str) {
        let why = why.to_owned();
        self.add(What::Unanswered { request, why });
    }

    pub(crate) fn show(&mut self, stream: u64, kind: &str, object: &str, revision: u64) {
        let id = object_named(object).unwrap();
        self.add(What::Shown {
            stream,
            kind: kind.to_owned(),
            revision,
            namespace: id.namespace,
            name: id.name,
        });
    }

    pub(crate) fn fault(&mut self, text: &str) {
        self.fault_called("a fault", text);
    }

    pub(crate) fn fault_called(&mut self, kind: &str, text: &str) {
        self.add(What::FaultBegins {
            fault: 1,
            kind: kind.to_owned(),
            text: text.to_owned(),
        });
    }

    pub(crate) fn fault_over(&mut self) {
        self.add(What::FaultEnds { fault: 1 });
    }

    pub(crate) fn healed_but(&mut self, machine: &str) {
        let left = vec![machine.to_owned()];
        self.add(What::Healed { left });
    }

    pub(crate) fn broken(&mut self, message: &str) {
        self.add(What::Broken {
            invariant: "P2".to_owned(),
            statement: "Never too many pods.".to_owned(),
            message: message.to_owned(),
        });
    }

    pub(crate) fn end(self, ending: Ending) -> Recording {
        Recording {
            scenario: "made.yaml".to_owned(),
            seed: 1,
            ending,
            hash: String::new(),
            lasted: self.now,
            events: self.events,
        }
    }
}

pub(crate) fn set(replicas: u32) -> Value {
    json!({"metadata": {"name": "web", "namespace": "default", "uid": "set"}, "spec": {"replicas": replicas}})
}

pub(crate) fn pod(name: &str) -> Value {
    let owner = json!({"kind": "ReplicaSet", "name": "web", "uid": "set", "controller": true});
    json!({"metadata": {"name": name, "namespace": "default", "uid": name, "ownerReferences": [owner]}})
}

/// The end of a run of which this is missing.
fn not_converged(missing: &str) -> Ending {
    Ending::NotConverged {
        missing: vec![missing.to_owned()],
        left: vec![],
        named: false,
    }
}

const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SET: &str = "replicasets.apps/default/web";
const MANAGER: &str = "controller-manager/1";

/// A user makes a set of one pod; the manager is shown it and makes the pod.
pub(crate) fn one_pod() -> Tape {
    let mut tape = Tape::begin();
    tape.at(5_000);
    let revision = tape.done("user", ("POST", SETS), Verb::Create, SET, &set(1));
    tape.at(5_010).show(1, "ADDED", SET, revision);
    tape.at(5_012).done(
        MANAGER,
        ("POST", PODS),
        Verb::Create,
        "pods/default/web-a",
        &pod("web-a"),
    );
    tape
}

fn lines(recording: &Recording) -> String {
    let index = Index::new(recording);
    let explanation = explain(&index).unwrap();
    let mut lines = explanation.finding.clone();
    lines.extend(explanation.lines(&index));
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_pod_too_many_is_led_back_to_the_user_and_to_what_the_manager_did_not_know() {
    let mut tape = one_pod();
    tape.at(6_000)
        .fault("what controller-manager watches is 8s late, for 20s");
    let revision = tape
        .at(9_000)
        .done("user", ("PATCH", &format!("{SETS}/web")), Verb::Update, SET, &set(2));
    tape.at(9_004).show(1, "MODIFIED", SET, revision);
    // The manager hears nothing of the pod that it makes, is not shown it, and makes another.
    let request = tape.at(9_010).ask(MANAGER, "POST", PODS, "web-b");
    tape.at(9_012).write(Verb::Create, "pods/default/web-b", &pod("web-b"));
    tape.at(9_020).unanswered(request, "answer lost");
    tape.at(9_400).done(
        MANAGER,
        ("POST", PODS),
        Verb::Create,
        "pods/default/web-c",
        &pod("web-c"),
    );
    tape.broken(
        "pods/default/web-c (uid web-c) created at revision 6 makes 3 live pods of replicasets.apps/default/web",
    );
    insta::assert_snapshot!(lines(&tape.end(Ending::Violated)), @r"
    P2 is broken at 9.404000 s: Never too many pods.
      pods/default/web-c (uid web-c) created at revision 6 makes 3 live pods of replicasets.apps/default/web
    how it came to that:
       9.000000 s  user scales replicasets.apps/default/web from 1 to 2 (revision 4)
       9.400000 s  controller-manager/1, shown revision 4 396 ms before, creates pods/default/web-c for ReplicaSet web (revision 6)
                     ! it had not been shown pods/default/web-b, written as revision 5 388 ms before by itself (creates pods/default/web-b for ReplicaSet web)
                     ! meanwhile, since 6.000 s: what controller-manager watches is 8s late, for 20s
    ");
}

#[test]
fn what_was_written_but_not_shown_is_a_stale_read() {
    let mut tape = one_pod();
    let revision = tape
        .at(7_000)
        .done("user", ("PATCH", &format!("{SETS}/web")), Verb::Update, SET, &set(0));
    tape.at(9_000).done(
        MANAGER,
        ("POST", PODS),
        Verb::Create,
        "pods/default/web-b",
        &pod("web-b"),
    );
    let recording = tape.end(Ending::Violated);
    let index = Index::new(&recording);
    let asked = index.all_writes().last().and_then(|write| index.author(write)).unwrap();
    let stale = stale::stale(&index, asked, false);
    assert_eq!(stale.len(), 1);
    assert_eq!(stale[0].known, Some(2));
    assert_eq!(index.written(stale[0].write).unwrap().revision, revision);
}

#[test]
fn a_node_that_fell_silent_is_led_back_to_the_fault() {
    let mut tape = Tape::begin();
    let node = |ready: &str| json!({"metadata": {"name": "node-1", "uid": "n"}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
    let path = "/api/v1/nodes/node-1/status";
    let revision = tape.at(1_000).done(
        "kubelet/node-1",
        ("PUT", path),
        Verb::Create,
        "nodes/node-1",
        &node("True"),
    );
    tape.at(1_010).show(3, "ADDED", "nodes/node-1", revision);
    tape.at(10_000).fault("node-1 crashes for 90s");
    tape.at(51_000)
        .done(MANAGER, ("PUT", path), Verb::Update, "nodes/node-1", &node("Unknown"));
    tape.broken("nodes/node-1 given up at revision 3");
    insta::assert_snapshot!(lines(&tape.end(Ending::Violated)), @r"
    P2 is broken at 51.004000 s: Never too many pods.
      nodes/node-1 given up at revision 3
    how it came to that:
      10.000000 s  fault: node-1 crashes for 90s
      51.002000 s  controller-manager/1 changes nodes/node-1: status.conditions[Ready].status True → Unknown (revision 3), having heard nothing of it since
    ");
}

#[test]
fn what_is_missing_comes_with_what_was_last_done_and_who_does_not_know() {
    let mut tape = one_pod();
    let bound = json!({"metadata": pod("web-a")["metadata"], "spec": {"nodeName": "node-1"}});
    tape.at(5_100).done(
        "user",
        ("POST", &format!("{PODS}/web-a/binding")),
        Verb::Update,
        "pods/default/web-a",
        &bound,
    );
    tape.at(60_000);
    let missing = "pods/default/web-a on node-1 is Pending and not ready";
    let recording = tape.end(not_converged(missing));
    insta::assert_snapshot!(lines(&recording), @r"
    the cluster did not converge within the bound
    missing: pods/default/web-a on node-1 is Pending and not ready
      the last that was done about it:
           5.014000 s  controller-manager/1 creates pods/default/web-a for ReplicaSet web (revision 3)
           5.102000 s  user binds pods/default/web-a to node-1 (revision 4)
      and nothing for the 54.9 s until the end
      ! controller-manager/1 had been shown revision 3; the newest is revision 4 of 5.102 s (binds pods/default/web-a to node-1)
    how it came to that:
       5.100000 s  user binds pods/default/web-a to node-1 (revision 4)
    ");
}

#[test]
fn a_run_that_holds_has_nothing_to_explain() {
    let recording = one_pod().end(Ending::Held);
    assert!(explain(&Index::new(&recording)).is_none());
}

#[test]
fn a_write_is_its_requests_by_the_revision_of_the_answer_or_by_its_object() {
    let mut tape = Tape::begin();
    let first = tape.ask("user", "POST", PODS, "a");
    let second = tape.ask(MANAGER, "POST", PODS, "b");
    let revision = tape.write(Verb::Create, "pods/default/b", &pod("b"));
    tape.write(Verb::Create, "pods/default/a", &pod("a"));
    tape.answer(second, Some(revision));
    // An answer that shows no revision.
    tape.answer(first, None);
    let recording = tape.end(Ending::Held);
    let index = Index::new(&recording);
    let authors: Vec<&str> = index
        .all_writes()
        .map(|write| index.request_at(index.author(write).unwrap()).unwrap().client.as_str())
        .collect();
    assert_eq!(authors, [MANAGER, "user"]);
}

#[test]
fn a_restart_takes_what_a_client_knew() {
    let mut tape = one_pod();
    let id = object_named(SET).unwrap();
    let known = |tape: Tape| {
        let recording = tape.end(Ending::Held);
        Index::new(&recording)
            .known(MANAGER, &id, recording.events.len())
            .map(|known| known.revision)
    };
    tape.process(MANAGER, "control-plane", ProcessState::Started(2));
    assert_eq!(known(tape), None);
    assert_eq!(known(one_pod()), Some(2));
}

#[test]
fn the_parting_is_the_first_decision_that_the_other_run_does_not_take() {
    let mut failing = one_pod();
    failing.at(6_000).done(
        MANAGER,
        ("POST", PODS),
        Verb::Create,
        "pods/default/web-x",
        &pod("web-x"),
    );
    let mut passing = one_pod();
    passing
        .at(6_000)
        .done(MANAGER, ("PUT", SETS), Verb::Update, SET, &set(3));
    let (failing, passing) = (failing.end(Ending::Violated), passing.end(Ending::Held));
    let (one, other) = (Index::new(&failing), Index::new(&passing));
    let steps: Vec<Step> = one.all_writes().map(|place| Step { place, link: None }).collect();
    let parting = compare::parting(&one, &steps, &other).unwrap();
    let told = compare::describe(&one, &parting, &other, "seed 2");
    insta::assert_snapshot!(told.join("\n"), @r"
    the first decision on the way that seed 2 does not take:
      here      6.002000 s  controller-manager/1 creates pods/default/web-x for ReplicaSet web (revision 4)
      there  nothing of the kind happens
    ");
}

#[test]
fn the_states_of_two_runs_are_compared_without_what_they_draw() {
    let (one, other) = (one_pod().end(Ending::Held), {
        let mut tape = Tape::begin();
        let revision = tape.at(5_000).done("user", ("POST", SETS), Verb::Create, SET, &set(2));
        tape.show(1, "ADDED", SET, revision);
        tape.done(
            MANAGER,
            ("POST", PODS),
            Verb::Create,
            "pods/default/web-z",
            &pod("web-z"),
        );
        tape.end(Ending::Held)
    });
    let end = Duration::from_secs(60);
    let states = compare::states(&Index::new(&one), end, &Index::new(&other), end);
    let lines: Vec<String> = states
        .iter()
        .map(|(about, fields)| {
            format!(
                "{about}: {}",
                fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @"replicasets.apps/default/web: spec.replicas 1 → 2");
}
