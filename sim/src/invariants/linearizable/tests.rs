//! S1 fires on answers that no order of the store's history explains, and keeps silent beside them.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::invariants::tests::{History, POD, asked, pod};
use crate::model::{Answered, Asked, Seen};

const PODS: &str = "/api/v1/namespaces/default/pods";

fn history() -> History {
    // Revision 2, as the bootstrap would write it.
    History::of(|id| id == "S1").put("namespaces", namespace())
}

fn namespace() -> Value {
    json!({"metadata": {"name": "default", "uid": "uid-default"}})
}

fn answer(execution: u64, status: u16, revision: Option<u64>, body: &Value) -> Answered {
    Answered {
        execution,
        status,
        revision,
        name: "a".to_owned(),
        body: Bytes::from(body.to_string()),
        ..Answered::default()
    }
}

fn ask(method: Method, path: &str) -> Asked {
    Asked {
        named: (method == Method::POST && path == PODS).then(|| "a".to_owned()),
        floor: 2,
        ..asked("user", method, path)
    }
}

trait Told {
    fn begin(self, execution: u64, asked: &Asked) -> Self;
    fn end(self, asked: &Asked, answer: Answered) -> Self;
}

impl Told for History {
    fn begin(self, execution: u64, asked: &Asked) -> Self {
        self.see(&Seen::Begun { execution, asked })
    }

    fn end(self, asked: &Asked, answer: Answered) -> Self {
        self.see(&Seen::Answered(asked, &answer))
    }
}

/// A pod `a` is created at revision 3.
fn with_pod() -> History {
    let create = ask(Method::POST, PODS);
    let made = pod("a", "", "Pending");
    history()
        .begin(1, &create)
        .put("pods", made.clone())
        .end(&create, answer(1, 201, Some(3), &made))
}

/// Then it runs, by a change of revision 4.
fn with_running_pod() -> History {
    let put = Asked {
        base: Some(3),
        ..ask(Method::PUT, POD)
    };
    let running = pod("a", "", "Running");
    with_pod()
        .begin(2, &put)
        .put("pods", running.clone())
        .end(&put, answer(2, 200, Some(4), &running))
}

fn is_fine(history: History) -> bool {
    history.broken().is_empty()
}

#[test]
fn a_read_shows_a_state_that_was_there_between_its_request_and_its_answer() {
    let read = |floor| Asked {
        floor,
        ..ask(Method::GET, POD)
    };
    let old = answer(0, 200, Some(3), &pod("a", "", "Pending"));
    let new = answer(0, 200, Some(4), &pod("a", "", "Running"));
    assert!(is_fine(with_running_pod().end(&read(4), new.clone())));
    assert!(is_fine(with_running_pod().end(&read(3), new)));
    assert!(is_fine(with_running_pod().end(&read(3), old.clone())));
    assert_eq!(with_running_pod().end(&read(4), old).broken(), ["S1"]);
    let garbled = answer(0, 200, Some(4), &pod("a", "", "Failed"));
    assert_eq!(with_running_pod().end(&read(4), garbled).broken(), ["S1"]);
    let future = answer(0, 200, Some(9), &pod("a", "", "Running"));
    assert_eq!(with_running_pod().end(&read(4), future).broken(), ["S1"]);
}

#[test]
fn a_read_of_any_version_may_be_old_but_never_of_what_never_was() {
    let read = Asked {
        floor: 4,
        version_asked: Some("0".to_owned()),
        ..ask(Method::GET, POD)
    };
    let old = answer(0, 200, Some(3), &pod("a", "", "Pending"));
    assert!(is_fine(with_running_pod().end(&read, old)));
    let never = answer(0, 200, Some(3), &pod("a", "", "Failed"));
    assert_eq!(with_running_pod().end(&read, never).broken(), ["S1"]);
}

#[test]
fn a_refusal_was_due_at_some_moment() {
    let gone = |floor| {
        let read = Asked {
            floor,
            ..ask(Method::GET, POD)
        };
        with_pod().end(&read, answer(0, 404, None, &json!({}))).broken()
    };
    assert!(gone(2).is_empty());
    assert_eq!(gone(3), ["S1"]);
    let create_in_vain = |path: &str| {
        let create = ask(Method::POST, path);
        let gone = answer(7, 404, None, &json!({}));
        history().begin(7, &create).end(&create, gone).broken()
    };
    assert_eq!(create_in_vain(PODS), ["S1"]);
    for unserved in [
        "v1/namespaces/default/statefulsets",
        "v1beta1/namespaces/default/deployments",
    ] {
        assert!(
            create_in_vain(&format!("/apis/apps/{unserved}")).is_empty(),
            "{unserved}"
        );
    }
    let create = ask(Method::POST, PODS);
    let taken = answer(7, 409, None, &json!({"reason": "AlreadyExists"}));
    assert!(is_fine(with_pod().begin(7, &create).end(&create, taken.clone())));
    assert_eq!(history().begin(7, &create).end(&create, taken).broken(), ["S1"]);
    let put = |base| {
        let put = Asked {
            base: Some(base),
            ..ask(Method::PUT, POD)
        };
        let stale = answer(7, 409, None, &json!({"reason": "Conflict"}));
        with_running_pod().begin(7, &put).end(&put, stale).broken()
    };
    assert!(put(3).is_empty());
    assert_eq!(put(4), ["S1"]);
}

#[test]
fn nothing_is_found_where_nothing_is_served() {
    let made = pod("a", "", "Pending");
    let create = Asked {
        named: Some("a".to_owned()),
        ..ask(Method::POST, "/apis/apps/v1/namespaces/default/deployments")
    };
    // A pod and a deployment of this name are there.
    let both = || {
        with_pod()
            .begin(9, &create)
            .put("deployments.apps", made.clone())
            .end(&create, answer(9, 201, Some(4), &made))
    };
    let asked_in_vain = |method: Method, path: &str| {
        let asked = Asked {
            floor: 4,
            ..ask(method, path)
        };
        both().end(&asked, answer(0, 404, None, &json!({}))).broken()
    };
    assert!(is_fine(both()));
    let deployment = "namespaces/default/deployments/a";
    assert_eq!(
        asked_in_vain(Method::GET, &format!("/apis/apps/v1/{deployment}")),
        ["S1"]
    );
    assert_eq!(asked_in_vain(Method::PATCH, &format!("{POD}/status")), ["S1"]);
    for path in [
        format!("/apis/apps/v1beta1/{deployment}"),
        format!("/api/v1/{deployment}"),
        format!("/apis/apps/v1/{deployment}/binding"),
        format!("{POD}/attach"),
        format!("{POD}/status/more"),
    ] {
        for method in [Method::GET, Method::PATCH, Method::PUT, Method::DELETE] {
            assert!(asked_in_vain(method, &path).is_empty(), "{path}");
        }
    }
}

#[test]
fn an_acknowledged_write_took_effect_and_that_once() {
    let create = ask(Method::POST, PODS);
    let made = pod("a", "", "Pending");
    let told = || answer(1, 201, Some(3), &made);
    // Never done, done before it was asked for, and done for another.
    assert_eq!(history().begin(1, &create).end(&create, told()).broken(), ["S1"]);
    assert_eq!(
        with_pod()
            .begin(7, &create)
            .end(&create, answer(7, 201, Some(3), &made))
            .broken(),
        ["S1"]
    );
    let both = history()
        .begin(1, &create)
        .begin(2, &create)
        .put("pods", made.clone())
        .end(&create, told())
        .end(&create, answer(2, 201, Some(3), &made));
    assert_eq!(both.broken(), ["S1"]);
    // Done twice.
    let delete = ask(Method::DELETE, POD);
    let put = Asked {
        base: Some(3),
        ..ask(Method::PUT, POD)
    };
    let running = pod("a", "", "Running");
    let twice = with_pod()
        .begin(7, &put)
        .put("pods", running.clone())
        .put("pods", running.clone())
        .end(&put, answer(7, 200, Some(4), &running));
    assert_eq!(twice.broken(), ["S1"]);
    let deleted = with_pod()
        .begin(8, &delete)
        .delete("pods", &made)
        .end(&delete, answer(8, 200, None, &json!({"status": "Success"})));
    assert!(is_fine(deleted));
    let kept = with_pod()
        .begin(8, &delete)
        .end(&delete, answer(8, 200, None, &json!({"status": "Success"})));
    assert_eq!(kept.broken(), ["S1"]);
}

#[test]
fn a_pod_that_was_deleted_by_force_is_gone_unless_a_finalizer_holds_it() {
    let (delete, force) = (
        ask(Method::DELETE, POD),
        Asked {
            grace: Some(0),
            ..ask(Method::DELETE, POD)
        },
    );
    let mut going = pod("a", "", "Pending");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut held = going.clone();
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let marked = |asked: &Asked, state: &Value| {
        let begun = with_pod().begin(8, asked).put("pods", state.clone());
        begun.end(asked, answer(8, 200, Some(4), state))
    };
    assert!(is_fine(marked(&delete, &going)));
    assert_eq!(marked(&force, &going).broken(), ["S1"]);
    assert!(is_fine(marked(&force, &held)));
    let removed = with_pod().begin(8, &force).delete("pods", &going);
    assert!(is_fine(removed.end(&force, answer(8, 200, Some(4), &going))));
}

#[test]
fn a_refused_write_did_not_take_effect_and_one_whose_server_died_may_have() {
    let put = Asked {
        base: Some(3),
        ..ask(Method::PUT, POD)
    };
    let running = pod("a", "", "Running");
    let begun = || with_pod().begin(7, &put).put("pods", running.clone());
    for status in [400, 403, 409, 422, 429] {
        let refused = answer(7, status, None, &json!({}));
        assert_eq!(begun().end(&put, refused).broken(), ["S1"], "{status}");
    }
    assert!(is_fine(begun().end(&put, answer(7, 500, None, &json!({})))));
    assert!(is_fine(begun().see(&Seen::Lost { execution: 7 })));
    // It may still come to light a little later, but not out of the blue.
    let late = with_pod().begin(7, &put).see(&Seen::Lost { execution: 7 });
    assert!(is_fine(late.put("pods", running.clone())));
    assert_eq!(with_pod().put("pods", running.clone()).broken(), ["S1"]);
    let too_late = with_pod().begin(7, &put).see(&Seen::Lost { execution: 7 });
    assert_eq!(too_late.at(400).put("pods", running.clone()).broken(), ["S1"]);
}

#[test]
fn a_write_that_found_nothing_to_change_is_no_change() {
    let patch = ask(Method::PATCH, POD);
    let running = pod("a", "", "Running");
    let put = Asked {
        base: Some(3),
        ..ask(Method::PUT, POD)
    };
    // The patch finds what the update made, and is answered first.
    let history = with_pod()
        .begin(7, &put)
        .begin(8, &patch)
        .put("pods", running.clone())
        .end(&patch, answer(8, 200, Some(4), &running))
        .end(&put, answer(7, 200, Some(4), &running));
    assert!(is_fine(history));
    assert!(is_fine(
        with_running_pod()
            .begin(8, &patch)
            .end(&patch, answer(8, 200, Some(4), &running))
    ));
    let stale = with_running_pod()
        .begin(8, &patch)
        .end(&patch, answer(8, 200, Some(3), &pod("a", "", "Pending")));
    assert_eq!(stale.broken(), ["S1"]);
}

#[test]
fn a_request_that_is_carried_out_twice_is_judged_each_time() {
    let create = ask(Method::POST, PODS);
    let made = pod("a", "", "Pending");
    let history = history()
        .begin(1, &create)
        .begin(2, &create)
        .put("pods", made.clone())
        .end(&create, answer(2, 201, Some(3), &made))
        .end(&create, answer(1, 409, None, &json!({"reason": "AlreadyExists"})));
    assert!(is_fine(history));
}

#[test]
fn a_delete_that_was_held_up_removes_what_has_come_meanwhile() {
    let (delete, patch, create) = (
        ask(Method::DELETE, POD),
        ask(Method::PATCH, POD),
        ask(Method::POST, PODS),
    );
    let (first, mut second) = (pod("a", "", "Pending"), pod("a", "", "Pending"));
    second["metadata"]["uid"] = json!("uid-second");
    // A patch takes the last finalizer: its answer does not say that it was the patch which removed the pod.
    let history = with_pod()
        .begin(5, &delete)
        .begin(6, &patch)
        .delete("pods", &first)
        .end(&patch, answer(6, 200, Some(4), &first))
        .begin(7, &create)
        .put("pods", second.clone())
        .end(&create, answer(7, 201, Some(5), &second))
        .delete("pods", &second)
        .end(&delete, answer(5, 200, None, &json!({"kind": "Status"})));
    assert!(is_fine(history));
}

#[test]
fn a_patch_that_takes_back_what_another_wrote_breaks_s1() {
    let patch = Asked {
        patch: Some(Bytes::from_static(br#"{"metadata": {"labels": {"a": "b"}}}"#)),
        ..ask(Method::PATCH, POD)
    };
    let labelled = |phase: &str| {
        let mut pod = pod("a", "", phase);
        pod["metadata"]["labels"] = json!({"a": "b"});
        pod
    };
    let patched = |phase: &str| {
        let pod = labelled(phase);
        with_running_pod()
            .begin(3, &patch)
            .put("pods", pod.clone())
            .end(&patch, answer(3, 200, Some(5), &pod))
    };
    assert!(is_fine(patched("Running")));
    assert_eq!(patched("Pending").broken(), ["S1"]);
}

#[test]
fn what_no_patch_under_way_names_is_nobodys_change() {
    let patch = |body: &'static str| Asked {
        patch: Some(Bytes::from_static(body.as_bytes())),
        ..ask(Method::PATCH, POD)
    };
    let (label, note) = (
        patch(r#"{"metadata": {"labels": {"a": "b"}}}"#),
        patch(r#"{"metadata": {"annotations": {"c": "d"}}}"#),
    );
    let mut labelled = pod("a", "", "Running");
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let changed = |other: &Asked, after: Value| {
        with_running_pod()
            .begin(7, &label)
            .begin(8, other)
            .put("pods", after)
            .broken()
    };
    assert!(changed(&note, labelled).is_empty());
    assert_eq!(changed(&note, pod("a", "", "Pending")), ["S1"]);
    // A write of the whole object may change anything.
    assert!(changed(&ask(Method::PUT, POD), pod("a", "", "Pending")).is_empty());
}

#[test]
fn a_patch_that_is_acknowledged_and_not_done_breaks_s1() {
    let patch = Asked {
        patch: Some(Bytes::from_static(
            br#"{"metadata": {"labels": {"a": "b", "c": null}}}"#,
        )),
        ..ask(Method::PATCH, POD)
    };
    let labelled = |labels: Value| {
        let mut pod = pod("a", "", "Running");
        pod["metadata"]["labels"] = labels;
        pod
    };
    let made = |labels: Value| {
        let pod = labelled(labels);
        let begun = with_running_pod().begin(3, &patch).put("pods", pod.clone());
        begun.end(&patch, answer(3, 200, Some(5), &pod)).broken()
    };
    assert!(made(json!({"a": "b"})).is_empty());
    assert_eq!(made(json!({"c": "d"})), ["S1"]);
    // It says that there was nothing to change.
    let running = pod("a", "", "Running");
    let begun = with_running_pod().begin(3, &patch);
    let told = begun.end(&patch, answer(3, 200, Some(4), &running));
    assert_eq!(told.broken(), ["S1"]);
}

#[test]
fn a_binding_that_binds_a_namesake_of_its_pod_breaks_s1() {
    let bind = |uid: &str, status: u16| {
        let binding = Asked {
            uid: Some(uid.to_owned()),
            ..ask(Method::POST, &format!("{POD}/binding"))
        };
        let begun = with_pod().begin(3, &binding);
        let history = match status {
            201 => begun.put("pods", pod("a", "n", "Pending")),
            _ => begun,
        };
        let told = history.end(&binding, answer(3, status, None, &json!({"reason": "Conflict"})));
        told.broken()
    };
    assert!(bind("uid-a", 201).is_empty());
    assert_eq!(bind("uid-former", 201), ["S1"]);
    // It may be refused for other reasons than its uid.
    for uid in ["uid-a", "uid-former"] {
        assert!(bind(uid, 409).is_empty());
    }
}
