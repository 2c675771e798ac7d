//! The tests of the invariants that look at placement, rollouts, leaders, deletion, and answers.

use std::time::Duration;

use serde_json::{Value, json};

use super::tests::{History, POD, asked, node, owned, pod, set};
use crate::model::{Answered, Asked, Entry, Seen, Selection};

/// Applies JSON merges to an object: `path` to value.
pub(super) fn with(mut object: Value, path: &str, value: Value) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = if parent.is_empty() {
        &mut object
    } else {
        if object.pointer(parent).is_none() {
            object = with(object, parent, json!({}));
        }
        object.pointer_mut(parent).unwrap()
    };
    parent[key] = value;
    object
}

fn bound_to(node: Value, pod_with: impl Fn(Value) -> Value) -> Vec<&'static str> {
    History::new()
        .put("nodes", node)
        .at(100)
        .put("pods", pod_with(pod("a", "", "Pending")))
        .put("pods", pod_with(pod("a", "n", "Pending")))
        .broken()
}

#[test]
fn a_pod_on_a_node_without_the_label_it_asks_for_breaks_q4() {
    let selects = |pod| with(pod, "/spec/nodeSelector", json!({"disk": "ssd"}));
    assert_eq!(bound_to(node("n"), selects), ["Q4"]);
    let labelled = with(node("n"), "/metadata/labels", json!({"disk": "ssd"}));
    assert!(bound_to(labelled, selects).is_empty());
}

#[test]
fn a_pod_on_a_node_whose_taint_it_does_not_tolerate_breaks_q4() {
    let tainted = || with(node("n"), "/spec/taints", json!([{"key": "k", "effect": "NoSchedule"}]));
    assert_eq!(bound_to(tainted(), |pod| pod), ["Q4"]);
    let tolerates = |pod| with(pod, "/spec/tolerations", json!([{"key": "k", "operator": "Exists"}]));
    assert!(bound_to(tainted(), tolerates).is_empty());
    assert_eq!(
        bound_to(with(node("n"), "/spec/unschedulable", json!(true)), |pod| pod),
        ["Q4"]
    );
}

fn deployment(name: &str, replicas: i32) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "generation": 1},
        "spec": {"replicas": replicas, "selector": {}, "template": {},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}}})
}

fn set_of(name: &str, replicas: i32, image: &str) -> Value {
    let template = json!({"metadata": {"labels": {"pod-template-hash": name}},
        "spec": {"containers": [{"name": "c", "image": image}]}});
    with(
        owned(set(name, replicas), "Deployment", "web"),
        "/spec/template",
        template,
    )
}

pub(super) fn namespace() -> Value {
    json!({"metadata": {"name": "default", "uid": "uid-default"}})
}

#[test]
fn a_second_set_of_one_template_and_one_of_a_paused_deployment_break_p8() {
    let history = |deployment| {
        History::new()
            .put("namespaces", namespace())
            .put("deployments.apps", deployment)
            .put("replicasets.apps", set_of("one", 1, "1"))
    };
    let rolling = || history(deployment("web", 1));
    assert_eq!(
        rolling().put("replicasets.apps", set_of("two", 1, "1")).broken(),
        ["P8"]
    );
    assert!(
        rolling()
            .put("replicasets.apps", set_of("two", 1, "2"))
            .broken()
            .is_empty()
    );
    let paused = with(deployment("web", 1), "/spec/paused", json!(true));
    assert_eq!(history(paused).broken(), ["P8"]);
}

#[test]
fn a_set_that_is_taken_out_of_the_history_too_early_breaks_p8() {
    let delete = |base| {
        let path = "/apis/apps/v1/namespaces/default/replicasets/old";
        let mut delete = asked("controller-manager/1", http::Method::DELETE, path);
        delete.base = base;
        delete
    };
    let history = |limit: i32, base| {
        History::new()
            .put("namespaces", namespace())
            .put(
                "deployments.apps",
                with(deployment("web", 1), "/spec/revisionHistoryLimit", json!(limit)),
            )
            .put("replicasets.apps", set_of("old", 0, "1"))
            .put("replicasets.apps", set_of("new", 1, "2"))
            .see(&Seen::Asked(&delete(base)))
            .broken()
    };
    assert_eq!(history(1, None), ["P8"]);
    assert!(history(0, None).is_empty());
    assert_eq!(history(1, Some(4)), ["P8"]);
    assert!(history(1, Some(3)).is_empty(), "it is refused");
}

#[test]
fn an_orphan_that_is_adopted_by_a_set_that_does_not_select_it_breaks_p7() {
    let history = |labels: Value| {
        let labelled = |pod| with(pod, "/metadata/labels", labels.clone());
        History::new()
            .put("namespaces", namespace())
            .put(
                "replicasets.apps",
                with(set("web", 9), "/spec/selector/matchLabels", json!({"app": "web"})),
            )
            .put("pods", labelled(pod("a", "", "Pending")))
            .put("pods", labelled(owned(pod("a", "", "Pending"), "ReplicaSet", "web")))
            .broken()
    };
    assert_eq!(history(json!({"app": "other"})), ["P7"]);
    assert!(history(json!({"app": "web"})).is_empty());
}

#[test]
fn an_orphan_that_was_relabelled_just_now_may_still_be_adopted_but_not_long_after() {
    let pod = |app: &str| with(pod("a", "", "Pending"), "/metadata/labels", json!({"app": app}));
    let selector = json!({"matchLabels": {"app": "web"}});
    let adopted = |seconds| {
        History::new()
            .put("namespaces", namespace())
            .put(
                "replicasets.apps",
                with(set("web", 1), "/spec/selector", selector.clone()),
            )
            .put("pods", pod("web"))
            .put("pods", pod("released"))
            .put("pods", pod("looked-into"))
            .at(seconds)
            .put("pods", owned(pod("looked-into"), "ReplicaSet", "web"))
            .broken()
    };
    assert!(adopted(3).is_empty());
    assert_eq!(adopted(30), ["P7"]);
}

#[test]
fn a_pod_that_its_set_selects_no_more_is_no_replica_for_p2() {
    let pod = |name: &str, app: &str| {
        let pod = with(pod(name, "", "Pending"), "/metadata/labels", json!({"app": app}));
        owned(pod, "ReplicaSet", "web")
    };
    let selector = json!({"matchLabels": {"app": "web"}});
    let history = |app| {
        History::new()
            .put("namespaces", namespace())
            .put(
                "replicasets.apps",
                with(set("web", 1), "/spec/selector", selector.clone()),
            )
            .put("pods", pod("a", "web"))
            .put("pods", pod("a", app))
            .put("pods", pod("b", "web"))
            .broken()
    };
    assert!(history("released").is_empty());
    assert_eq!(history("web"), ["P2"]);
}

#[test]
fn a_pod_that_a_former_controller_manager_asked_for_is_not_one_too_many_for_p2() {
    let pod = |name: &str| owned(pod(name, "", "Pending"), "ReplicaSet", "web");
    let create = |number, name: &str, at| {
        let asked = Asked {
            at: Duration::from_secs(at),
            named: Some(name.to_owned()),
            ..asked(
                "controller-manager/1",
                http::Method::POST,
                "/api/v1/namespaces/default/pods",
            )
        };
        (number, asked)
    };
    // The first create left before the process began anew; the second one at second `at`.
    let history = |first| {
        let ((one, late), (two, next)) = (create(1, "late", first), create(2, "next", 11));
        History::of(|id| id == "P2")
            .put("namespaces", namespace())
            .put("replicasets.apps", set("web", 1))
            .at(10)
            .see(&Seen::Leads {
                process: "controller-manager/1",
            })
            .at(12)
            .see(&Seen::Begun {
                execution: one,
                asked: &late,
            })
            .see(&Seen::Begun {
                execution: two,
                asked: &next,
            })
            .put("pods", pod("late"))
            .put("pods", pod("next"))
            .broken()
    };
    assert!(history(9).is_empty());
    assert_eq!(history(11), ["P2"]);
}

#[test]
fn a_size_that_a_former_controller_manager_asked_for_does_not_break_p2() {
    let deployment = json!({"metadata": {"name": "d", "namespace": "default", "uid": "uid-d"},
        "spec": {"replicas": 1, "strategy": {"rollingUpdate": {"maxSurge": 1}}, "selector": {}, "template": {}}});
    let sized = |name, size| owned(set(name, size), "Deployment", "d");
    // The write left at this second; whoever is in charge took over in the 10th.
    let history = |left| {
        let late = Asked {
            at: Duration::from_secs(left),
            ..asked(
                "controller-manager/1",
                http::Method::PUT,
                "/apis/apps/v1/namespaces/default/replicasets/new",
            )
        };
        History::of(|id| id == "P2")
            .put("deployments.apps", deployment.clone())
            .put("replicasets.apps", sized("old", 1))
            .put("replicasets.apps", sized("new", 0))
            .at(10)
            .see(&Seen::Leads {
                process: "controller-manager/2",
            })
            .at(12)
            .see(&Seen::Begun {
                execution: 1,
                asked: &late,
            })
            .put("replicasets.apps", sized("new", 2))
            .broken()
    };
    assert!(history(9).is_empty());
    assert_eq!(history(11), ["P2"]);
}

#[test]
fn a_uid_that_comes_back_and_a_delete_of_another_uid_break_s5() {
    let one = pod("a", "", "Pending");
    let again = History::new()
        .put("namespaces", namespace())
        .put("pods", one.clone())
        .delete("pods", &one);
    assert_eq!(again.put("pods", one.clone()).broken(), ["S5"]);
    let delete = |uid: &str| Asked {
        uid: Some(uid.to_owned()),
        ..asked("kubelet/n", http::Method::DELETE, POD)
    };
    let answered = Answered {
        status: 200,
        ..Answered::default()
    };
    let deleted = || {
        History::new()
            .put("namespaces", namespace())
            .put("pods", one.clone())
            .delete("pods", &one)
    };
    assert_eq!(
        deleted().see(&Seen::Answered(&delete("another"), &answered)).broken(),
        ["S5"]
    );
    assert!(
        deleted()
            .see(&Seen::Answered(&delete("uid-a"), &answered))
            .broken()
            .is_empty()
    );
    // The object is there, but the answer is about another one.
    let told = |body: Value| Answered {
        body: body.to_string().into(),
        ..answered.clone()
    };
    for other in [
        json!({"metadata": {"uid": "another"}}),
        json!({"details": {"uid": "another"}}),
    ] {
        let history = deleted();
        assert_eq!(
            history.see(&Seen::Answered(&delete("uid-a"), &told(other))).broken(),
            ["S5"]
        );
    }
    let own = told(json!({"kind": "Status", "details": {"uid": "uid-a"}}));
    assert!(
        deleted()
            .see(&Seen::Answered(&delete("uid-a"), &own))
            .broken()
            .is_empty()
    );
}

#[test]
fn a_delete_of_another_state_than_the_one_that_was_judged_breaks_s4() {
    let one = pod("a", "", "Pending");
    // Made at 3, changed at 4, removed at 5.
    let deleted = || {
        History::new()
            .put("namespaces", namespace())
            .put("pods", one.clone())
            .put("pods", with(one.clone(), "/metadata/labels", json!({"a": "b"})))
            .delete("pods", &one)
    };
    let delete = |base: u64| Asked {
        base: Some(base),
        ..asked("controller-manager/1", http::Method::DELETE, POD)
    };
    let answered = |revision: Option<u64>| Answered {
        status: 200,
        revision,
        body: json!({"details": {"uid": "uid-a"}}).to_string().into(),
        ..Answered::default()
    };
    for revision in [Some(5), None] {
        let broken = |base| {
            deleted()
                .see(&Seen::Answered(&delete(base), &answered(revision)))
                .broken()
        };
        assert!(broken(4).is_empty());
        assert_eq!(broken(3), ["S4"]);
    }
}

#[test]
fn an_object_that_vanishes_with_finalizers_or_is_taken_back_breaks_s6() {
    let held = with(
        pod("a", "", "Pending"),
        "/metadata/finalizers",
        json!(["example.com/hold"]),
    );
    let gone = |history: History| history.delete("pods", &held).broken();
    let history = || History::new().put("namespaces", namespace()).put("pods", held.clone());
    assert_eq!(gone(history()), ["S6"]);
    assert!(gone(history().see(&Seen::Asked(&asked("user", http::Method::PATCH, POD)))).is_empty());
    let going = with(
        held.clone(),
        "/metadata/deletionTimestamp",
        json!("2026-01-01T00:00:00Z"),
    );
    assert_eq!(history().put("pods", going).put("pods", held.clone()).broken(), ["S6"]);
}

#[test]
fn a_pod_on_a_node_that_is_gone_before_its_grace_is_over_breaks_s6() {
    let running = |left: i64| {
        let pod = with(
            pod("a", "node-1", "Running"),
            "/spec/terminationGracePeriodSeconds",
            json!(20),
        );
        with(pod, "/metadata/deletionGracePeriodSeconds", json!(left))
    };
    let history = |left: i64| History::of(|id| id == "S6").put("pods", running(left));
    let gone = |history: History, left: i64| history.delete("pods", &running(left)).broken();
    assert_eq!(gone(history(20), 20), ["S6"]);
    assert!(gone(history(0), 0).is_empty());
    let delete = |grace: Option<i64>| Asked {
        grace,
        ..asked("kubelet/node-1", http::Method::DELETE, POD)
    };
    assert!(gone(history(20).see(&Seen::Asked(&delete(Some(0)))), 20).is_empty());
    assert_eq!(gone(history(20).see(&Seen::Asked(&delete(None))), 20), ["S6"]);
}

#[test]
fn a_deletion_that_is_put_off_breaks_s6_and_one_that_comes_sooner_does_not() {
    let until = |moment: &str| with(pod("a", "", "Pending"), "/metadata/deletionTimestamp", json!(moment));
    let [sooner, later] = ["2026-01-01T00:00:10Z", "2026-01-01T00:00:30Z"].map(until);
    let history = || History::new().put("namespaces", namespace());
    let shortened = history().put("pods", later.clone()).put("pods", sooner.clone());
    assert!(shortened.broken().is_empty());
    assert_eq!(history().put("pods", sooner).put("pods", later).broken(), ["S6"]);
}

#[test]
fn a_finalizer_that_goes_unasked_breaks_s6_but_for_those_of_the_deletion() {
    let held = |by: &[&str]| with(pod("a", "", "Pending"), "/metadata/finalizers", json!(by));
    let history = || History::new().put("namespaces", namespace());
    let both = || history().put("pods", held(&["example.com/hold", "orphan"]));
    assert_eq!(both().put("pods", held(&["orphan"])).broken(), ["S6"]);
    assert!(both().put("pods", held(&["example.com/hold"])).broken().is_empty());
    let asked = both().see(&Seen::Asked(&asked("user", http::Method::PATCH, POD)));
    assert!(asked.put("pods", held(&["orphan"])).broken().is_empty());
}

#[test]
fn a_namespace_that_goes_before_what_is_in_it_breaks_g4() {
    let full = History::new()
        .put("namespaces", namespace())
        .put("pods", pod("a", "", "Pending"));
    assert_eq!(full.delete("namespaces", &namespace()).broken(), ["G4"]);
    let gone = History::new()
        .put("namespaces", namespace())
        .delete("namespaces", &namespace());
    assert_eq!(gone.put("pods", pod("a", "", "Pending")).broken(), ["G4"]);
}

#[test]
fn a_foreground_owner_that_goes_first_breaks_g3() {
    let history = |finalizer: &str| {
        let owner = with(set("web", 1), "/metadata/finalizers", json!([finalizer]));
        let mut child = owned(pod("a", "", "Pending"), "ReplicaSet", "web");
        child["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = json!(true);
        let put = asked(
            "controller-manager/1",
            http::Method::PATCH,
            "/apis/apps/v1/namespaces/default/replicasets/web",
        );
        let history = History::new()
            .put("namespaces", namespace())
            .put("replicasets.apps", owner.clone());
        let history = history.put("pods", child).at(60).see(&Seen::Asked(&put));
        history.delete("replicasets.apps", &owner).broken()
    };
    assert_eq!(history("foregroundDeletion"), ["G3"]);
    assert_eq!(history("orphan"), ["G3"]);
}

#[test]
fn who_names_an_owner_too_late_for_it_to_wait_does_not_break_g3() {
    let adopted = |at: u64| {
        let owner = with(set("web", 1), "/metadata/finalizers", json!(["orphan"]));
        let history = History::of(|id| id == "G3").put("replicasets.apps", owner.clone());
        let history = history.put("pods", pod("a", "", "Pending")).at(at);
        let history = history.put("pods", owned(pod("a", "", "Pending"), "ReplicaSet", "web"));
        history.at(60).delete("replicasets.apps", &owner).broken()
    };
    assert_eq!(adopted(1), ["G3"]);
    assert!(adopted(60).is_empty());
}

#[test]
fn a_spec_that_changes_without_its_generation_breaks_s7() {
    let history = |generation| {
        let changed = with(deployment("web", 2), "/metadata/generation", json!(generation));
        let history = History::new()
            .put("namespaces", namespace())
            .put("deployments.apps", deployment("web", 1));
        history.put("deployments.apps", changed).broken()
    };
    assert_eq!(history(1), ["S7"]);
    assert!(history(2).is_empty());
}

#[test]
fn a_pod_in_two_slices_of_a_service_breaks_e3() {
    let slice = |name: &str, uid: &str, service: &str| {
        let labels = json!({"kubernetes.io/service-name": service,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
        let object = json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"),
                "labels": labels},
            "addressType": "IPv4", "endpoints": [{"addresses": [], "conditions": {"ready": false},
                "targetRef": {"kind": "Pod", "uid": uid}}]});
        owned(object, "Service", "web")
    };
    let history = |uid, service| {
        let history = History::new().put("namespaces", namespace());
        let history = history.put("endpointslices.discovery.k8s.io", slice("one", "uid-a", service));
        history
            .put("endpointslices.discovery.k8s.io", slice("two", uid, "web"))
            .broken()
    };
    assert_eq!(history("uid-a", "web"), ["E3"]);
    assert!(history("uid-b", "web").is_empty());
    // A user has taken the first one from the service.
    assert!(history("uid-a", "mine").is_empty());
}

#[test]
fn in_the_end_the_set_in_force_is_the_newest_and_the_deployment_says_so_or_p8_misses_it() {
    let at = |object, revision: &str| {
        let annotations = json!({"deployment.kubernetes.io/revision": revision});
        with(object, "/metadata/annotations", annotations)
    };
    let missing = |deployment_at, first_at, second_at| {
        let template = json!({"spec": {"containers": [{"name": "c", "image": "one"}]}});
        let web = with(deployment("web", 1), "/spec/template", template);
        let web = with(web, "/spec/template/metadata", json!({"labels": {}}));
        let history = History::of(|id| id == "P8")
            .put("namespaces", namespace())
            .put("deployments.apps", at(web, deployment_at))
            .put("replicasets.apps", at(set_of("first", 1, "one"), first_at))
            .put("replicasets.apps", at(set_of("second", 0, "two"), second_at));
        history.missing().join("; ")
    };
    assert_eq!(missing("3", "3", "2"), "");
    let older = missing("2", "1", "2");
    assert!(older.contains("first is at revision 1, though"), "{older}");
    assert!(older.contains("second at 2"), "{older}");
    let silent = missing("1", "3", "2");
    assert!(silent.contains("web says that it is at revision 1"), "{silent}");
    assert!(silent.contains("first is at 3"), "{silent}");
}

/// A kubelet leaves a container of pod `a` so many seconds to end.
#[test]
fn an_answer_before_its_write_is_durable_breaks_s2_and_a_list_that_lacks_an_object_s8() {
    let answer = |revision, items: Option<&[(&str, u64)]>| {
        let entry = |(name, revision): &(&str, u64)| Entry {
            namespace: "default".to_owned(),
            name: (*name).to_owned(),
            revision: *revision,
        };
        Answered {
            status: 200,
            revision: Some(revision),
            items: items.map(|items| items.iter().map(entry).collect()),
            ..Answered::default()
        }
    };
    let history = || {
        History::new()
            .put("namespaces", namespace())
            .put("pods", pod("a", "", "Pending"))
            .put("pods", pod("b", "", "Pending"))
    };
    let post = asked("user", http::Method::POST, "/api/v1/namespaces/default/pods");
    assert_eq!(history().see(&Seen::Answered(&post, &answer(5, None))).broken(), ["S2"]);
    assert!(
        history()
            .see(&Seen::Answered(&post, &answer(3, None)))
            .broken()
            .is_empty()
    );
    let list = Asked {
        selection: Some(Selection {
            resource: "pods".into(),
            namespace: String::new(),
            labels: None,
            fields: None,
        }),
        ..asked("user", http::Method::GET, "/api/v1/pods")
    };
    let broken = |list: &Asked, revision, items| {
        history()
            .see(&Seen::Answered(list, &answer(revision, Some(items))))
            .broken()
    };
    assert!(broken(&list, 4, &[("a", 3), ("b", 4)]).is_empty());
    // One of the past is a snapshot, too.
    assert!(broken(&list, 3, &[("a", 3)]).is_empty());
    assert_eq!(broken(&list, 4, &[("a", 3)]), ["S8"]);
    assert_eq!(broken(&list, 3, &[("a", 3), ("b", 4)]), ["S8"]);
    assert_eq!(broken(&list, 4, &[("a", 2), ("b", 4)]), ["S8"]);
    assert_eq!(broken(&list, 4, &[("a", 3), ("a", 3), ("b", 4)]), ["S8"]);
    let page = Asked { paged: true, ..list };
    let first = |items: &[(&str, u64)]| {
        let answer = Answered {
            next: Some("more".to_owned()),
            ..answer(4, Some(items))
        };
        history().see(&Seen::Answered(&page, &answer)).broken()
    };
    assert!(first(&[("a", 3)]).is_empty());
    assert_eq!(first(&[("c", 3)]), ["S8"]);
}
