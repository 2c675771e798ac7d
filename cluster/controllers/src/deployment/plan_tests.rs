//! Whole plans: what is created, written and removed.

use serde_json::json;

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("a valid time")
}

fn deployment(image: &str, replicas: i32) -> Deployment {
    let deployment = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 2},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "progressDeadlineSeconds": 600,
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    });
    serde_json::from_value(deployment).expect("a valid deployment")
}

/// A set of `deployment`'s template that has settled with `size` available pods.
fn set(deployment: &Deployment, revision: i64, size: i32) -> Arc<ReplicaSet> {
    let mut set = template::new_set(deployment, revision, bounds(deployment), size);
    set.metadata.uid = Some(format!("set-{revision}"));
    set.metadata.generation = Some(1);
    set.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        Timestamp::from_second(revision).unwrap_or_default(),
    ));
    set.status = Some(k8s_openapi::api::apps::v1::ReplicaSetStatus {
        replicas: size,
        available_replicas: Some(size),
        ready_replicas: Some(size),
        observed_generation: Some(1),
        ..Default::default()
    });
    Arc::new(set)
}

fn plan_of(deployment: &Deployment, sets: &[&Arc<ReplicaSet>]) -> Plan {
    let sets = sets.iter().map(|set| (*set).clone()).collect();
    plan(Observed {
        deployment,
        sets,
        has_pods: &|_| false,
        now: now(),
    })
}

fn reason(plan: &Plan, kind: &str) -> String {
    let conditions = plan
        .status
        .clone()
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    conditions
        .into_iter()
        .find(|one| one.type_ == kind)
        .and_then(|one| one.reason)
        .unwrap_or_default()
}

#[test]
fn a_new_deployment_gets_a_replica_set_of_full_size_and_revision_1() {
    let plan = plan_of(&deployment("web:1", 3), &[]);
    let set = plan.create.as_ref().expect("a set is created");
    assert_eq!((size(set), revision_of(set), plan.revision), (3, 1, Some(1)));
    assert_eq!(reason(&plan, "Progressing"), "NewReplicaSetCreated");
    assert_eq!(reason(&plan, "Available"), "MinimumReplicasUnavailable");
}

#[test]
fn a_new_template_starts_with_the_surge() {
    let old = set(&deployment("web:1", 3), 1, 3);
    let plan = plan_of(&deployment("web:2", 3), &[&old]);
    let created = plan.create.expect("a set is created");
    assert_eq!((size(&created), revision_of(&created)), (1, 2));
    assert!(plan.updates.is_empty());
}

#[test]
fn when_the_new_pod_is_available_an_old_one_goes() {
    let (old, new) = (set(&deployment("web:1", 3), 1, 3), set(&deployment("web:2", 3), 2, 1));
    let plan = plan_of(&deployment("web:2", 3), &[&old, &new]);
    let [update] = plan.updates.as_slice() else {
        panic!("one set is scaled: {:?}", plan.updates)
    };
    assert_eq!((update.set.name(), update.from, update.to), (old.name(), 3, 2));
}

#[test]
fn a_rollback_uses_the_old_set_again_under_a_new_revision() {
    let (first, second) = (set(&deployment("web:1", 3), 1, 0), set(&deployment("web:2", 3), 2, 3));
    let plan = plan_of(&deployment("web:1", 3), &[&first, &second]);
    assert_eq!(plan.create, None);
    let [update] = plan.updates.as_slice() else {
        panic!("one set is written: {:?}", plan.updates)
    };
    assert_eq!(
        (update.set.name(), update.to, revision_of(&update.set)),
        (first.name(), 1, 3)
    );
    assert_eq!(update.set.annotation(template::REVISION_HISTORY), Some("1"));
    assert_eq!(plan.revision, Some(3));
}

#[test]
fn scaling_in_the_middle_of_a_rollout_waits_until_it_is_known_what_lives() {
    let (old, new) = (set(&deployment("web:1", 3), 1, 3), set(&deployment("web:2", 3), 2, 1));
    let mut unsettled = ReplicaSet::clone(&new);
    unsettled.metadata.generation = Some(2);
    let larger = deployment("web:2", 7);
    assert!(plan_of(&larger, &[&old, &Arc::new(unsettled)]).updates.is_empty());
    let plan = plan_of(&larger, &[&old, &new]);
    let noted = plan
        .updates
        .iter()
        .all(|update| number(&update.set, DESIRED) == Some(7));
    assert!(noted, "{:?}", plan.updates);
    assert_eq!(plan.updates.iter().map(|update| update.to).sum::<i32>(), 8);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll_out() {
    let old = set(&deployment("web:1", 3), 1, 3);
    let mut paused = deployment("web:2", 5);
    paused.spec.get_or_insert_default().paused = Some(true);
    let plan = plan_of(&paused, &[&old]);
    assert_eq!(plan.create, None);
    let [update] = plan.updates.as_slice() else {
        panic!("one set is scaled: {:?}", plan.updates)
    };
    assert_eq!((update.set.name(), update.to), (old.name(), 5));
    assert_eq!(reason(&plan, "Progressing"), "DeploymentPaused");
}

#[test]
fn recreate_starts_the_new_set_only_when_no_old_pod_runs() {
    let mut recreate = deployment("web:2", 2);
    recreate
        .spec
        .get_or_insert_default()
        .strategy
        .get_or_insert_default()
        .type_ = Some("Recreate".to_owned());
    let running = set(&deployment("web:1", 2), 1, 2);
    let plan = plan_of(&recreate, &[&running]);
    assert_eq!(plan.create, None);
    assert_eq!(plan.updates.iter().map(|update| update.to).collect::<Vec<_>>(), [0]);

    let empty = set(&deployment("web:1", 2), 1, 0);
    let sets = vec![empty.clone()];
    let waiting = super::plan(Observed {
        deployment: &recreate,
        sets,
        has_pods: &|_| true,
        now: now(),
    });
    assert_eq!(waiting.create, None);
    // It was resized before anybody had worked on it: its first pods may be on their way.
    let mut resized = ReplicaSet::clone(&empty);
    (resized.metadata.generation, resized.status) = (Some(2), None);
    assert_eq!(plan_of(&recreate, &[&Arc::new(resized)]).create, None);
    let started = plan_of(&recreate, &[&empty]).create.expect("a set is created");
    assert_eq!(size(&started), 2);
}

#[test]
fn a_pause_in_the_middle_of_a_recreation_starts_nothing_beside_old_pods() {
    let mut paused = deployment("web:2", 2);
    let spec = paused.spec.get_or_insert_default();
    spec.paused = Some(true);
    spec.strategy.get_or_insert_default().type_ = Some("Recreate".to_owned());
    let (old, new) = (set(&deployment("web:1", 2), 1, 0), set(&deployment("web:2", 2), 2, 0));
    let woken = |has_pods: &dyn Fn(&str) -> bool| {
        let plan = super::plan(Observed {
            deployment: &paused,
            sets: vec![old.clone(), new.clone()],
            has_pods,
            now: now(),
        });
        plan.updates.iter().map(|update| update.to).max().unwrap_or(0)
    };
    assert_eq!(woken(&|uid| uid == old.uid()), 0);
    assert_eq!(woken(&|_| false), 2);
}

#[test]
fn a_complete_rollout_keeps_only_the_history_that_is_wanted() {
    let mut wanted = deployment("web:3", 1);
    wanted.spec.get_or_insert_default().revision_history_limit = Some(1);
    let sets = [
        set(&deployment("web:1", 1), 1, 0),
        set(&deployment("web:2", 1), 2, 0),
        set(&wanted, 3, 1),
    ];
    let plan = plan_of(&wanted, &[&sets[0], &sets[1], &sets[2]]);
    assert_eq!(
        plan.deletes.iter().map(|set| set.name()).collect::<Vec<_>>(),
        [sets[0].name()]
    );
    assert_eq!(reason(&plan, "Progressing"), "NewReplicaSetAvailable");
}

#[test]
fn a_pause_in_the_middle_of_a_rollout_keeps_only_the_history_that_is_wanted() {
    let mut wanted = deployment("web:4", 3);
    wanted.spec.get_or_insert_default().revision_history_limit = Some(1);
    let sets = [
        set(&deployment("web:1", 3), 1, 0),
        set(&deployment("web:2", 3), 2, 0),
        set(&deployment("web:3", 3), 3, 3),
        set(&wanted, 4, 1),
    ];
    let deleted = |wanted: &Deployment| {
        let plan = plan_of(wanted, &[&sets[0], &sets[1], &sets[2], &sets[3]]);
        plan.deletes.iter().map(|set| set.uid().to_owned()).collect::<Vec<_>>()
    };
    assert!(deleted(&wanted).is_empty());
    wanted.spec.get_or_insert_default().paused = Some(true);
    assert_eq!(deleted(&wanted), ["set-1"]);
    // Where no set has the template yet, the last one is no history, even without a pod.
    let mut next = deployment("web:5", 0);
    let spec = next.spec.get_or_insert_default();
    (spec.revision_history_limit, spec.paused) = (Some(1), Some(true));
    let last = set(&deployment("web:2", 0), 2, 0);
    assert!(plan_of(&next, &[&sets[0], &last]).deletes.is_empty());
}

#[test]
fn a_rollout_that_stands_still_past_its_deadline_has_failed() {
    let mut late = deployment("web:1", 1);
    let stuck = set(&late, 1, 1);
    let stuck = {
        let mut set = (*stuck).clone();
        if let Some(status) = &mut set.status {
            (status.available_replicas, status.ready_replicas) = (Some(0), Some(0));
        }
        Arc::new(set)
    };
    let first = plan_of(&late, &[&stuck]);
    late.status = first.status;
    let sets = || vec![stuck.clone()];
    let at = |seconds: i64| Timestamp::from_second(now().as_second() + seconds).expect("a valid time");
    let still = super::plan(Observed {
        deployment: &late,
        sets: sets(),
        has_pods: &|_| true,
        now: at(300),
    });
    assert_eq!((still.status, still.look_again), (None, Some(Duration::from_secs(301))));
    let failed = super::plan(Observed {
        deployment: &late,
        sets: sets(),
        has_pods: &|_| true,
        now: at(601),
    });
    assert_eq!(reason(&failed, "Progressing"), "ProgressDeadlineExceeded");
}

#[test]
fn a_deployment_at_rest_needs_nothing() {
    let mut resting = deployment("web:1", 2);
    let set = set(&resting, 1, 2);
    let first = plan_of(&resting, &[&set]);
    resting.status = first.status;
    resting.metadata.annotations = Some([(REVISION.to_owned(), "1".to_owned())].into());
    let plan = plan_of(&resting, &[&set]);
    assert_eq!(
        plan,
        Plan {
            create: None,
            updates: vec![],
            deletes: vec![],
            status: None,
            revision: None,
            look_again: None
        }
    );
}
