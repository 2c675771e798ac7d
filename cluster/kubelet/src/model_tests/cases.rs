//! Single cases: what the plan does with this pod, step by step.

use super::*;

#[test]
fn a_pod_gets_a_sandbox_and_its_containers() {
    let mut world = World::new(one("Always"));
    let done = world.settle();
    assert_eq!(
        done,
        [
            Action::CreateSandbox { attempt: 0 },
            Action::StartContainer {
                name: "web".to_owned(),
                attempt: 0,
                sandbox: "s1".to_owned()
            }
        ]
    );
    let status = world.status();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.0.0.1"));
    let ready = |status: &PodStatus| {
        let all = status.conditions.iter().flatten();
        all.filter(|own| own.status == "True")
            .map(|own| own.type_.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ready(status),
        [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled"
        ]
    );
}

#[test]
fn an_init_container_that_runs_anew_shows_its_former_end_where_the_api_takes_none_back() {
    let task = |name| serde_json::json!({"name": name, "image": "image"});
    let mut world = World::new(serde_json::json!({"restartPolicy": "OnFailure",
        "initContainers": [task("first")], "containers": [task("then")]}));
    world.settle();
    world.exit("c2", 0);
    world.settle();
    assert_eq!(world.names_running(), ["then"]);
    world.kill_sandbox("s1");
    world.settle();
    assert_eq!(world.names_running(), ["first"]);
    let first = api_status(&world.pod, "first").expect("a status");
    assert!(first.state.as_ref().is_some_and(|state| state.terminated.is_some()));
}

#[test]
fn the_last_words_of_a_pods_containers_share_twelve_kibibytes() {
    let containers = ["a", "b", "c", "d"].map(|name| serde_json::json!({"name": name, "image": "image"}));
    let mut world = World::new(serde_json::json!({"restartPolicy": "Never", "containers": containers}));
    world.settle();
    for id in world.running() {
        world.exit(&id, 1);
    }
    for container in &mut world.sandboxes[0].containers {
        if let ContainerState::Exited(exit) = &mut container.state {
            exit.message = format!("x{}", "ü".repeat(2000));
        }
    }
    world.settle();
    let ended = world.status().container_statuses.iter().flatten();
    let messages = ended.filter_map(|own| own.state.as_ref()?.terminated.as_ref()?.message.as_ref());
    let lengths: Vec<usize> = messages.map(String::len).collect();
    assert_eq!(lengths, [3071; 4], "a quarter each, and no half letters");
}

#[test]
fn a_restarted_kubelet_takes_over_what_runs() {
    let mut world = World::new(one("Always"));
    world.settle();
    world.restart_kubelet();
    assert_eq!(world.settle(), []);
}

#[test]
fn a_crashing_container_waits_ever_longer() {
    let mut world = World::new(one("Always"));
    world.settle();
    let id = world.running()[0].clone();
    world.exit(&id, 1);
    assert_eq!(world.settle().len(), 1, "the first restart is at once");
    world.now += Duration::from_secs(1);
    let id = world.running()[0].clone();
    world.exit(&id, 1);
    let plan = world.plan();
    assert_eq!(plan.actions, []);
    assert_eq!(plan.wake, Some(Duration::from_secs(10)));
    world.settle();
    let status = &world.status().container_statuses.as_ref().expect("statuses")[0];
    let waiting = status
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref())
        .expect("waiting");
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(
        waiting.message.as_deref(),
        Some("back-off 10s restarting failed container=web pod=web_default(u)")
    );
    let last = status
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref())
        .expect("a last state");
    assert_eq!(
        (last.exit_code, last.reason.as_deref(), status.restart_count),
        (1, Some("Error"), 1)
    );
    world.now += Duration::from_secs(10);
    world.settle();
    assert_eq!(world.starts["web"], 3);
}

#[test]
fn a_running_container_with_another_image_is_replaced_whatever_the_policy() {
    for policy in ["Always", "OnFailure", "Never"] {
        let mut world = World::new(one(policy));
        world.settle();
        world.set_image("web", "another");
        let done = world.settle();
        assert!(
            matches!(
                done.as_slice(),
                [Action::StopContainers(_), Action::StartContainer { attempt: 1, .. }]
            ),
            "{policy}: {done:?}"
        );
        assert_eq!(world.status().phase.as_deref(), Some("Running"), "{policy}");
        // The new one is as any other.
        let id = world.running()[0].clone();
        world.exit(&id, 1);
        world.settle();
        world.now += Duration::from_secs(10);
        world.settle();
        assert_eq!(world.running().is_empty(), policy == "Never", "{policy}");
    }
}

#[test]
fn a_container_that_is_being_replaced_when_its_sandbox_dies_comes_back() {
    let mut world = World::new(one("Never"));
    world.settle();
    world.set_image("web", "another");
    assert!(matches!(world.step(), Some(Action::StopContainers(_))));
    world.kill_sandbox("s1");
    world.settle();
    assert_eq!(world.names_running(), ["web"]);
}

#[test]
fn a_container_that_has_ended_is_left_to_its_policy_whatever_its_image() {
    for (policy, code) in [("Never", 1), ("Never", 0), ("OnFailure", 0)] {
        let containers = serde_json::json!([{"name": "web", "image": "image"}, {"name": "other"}]);
        let mut world = World::new(serde_json::json!({"restartPolicy": policy, "containers": containers}));
        world.settle();
        let id = world.running()[0].clone();
        world.exit(&id, code);
        world.settle();
        world.set_image("web", "another");
        assert_eq!(world.settle(), [], "{policy}");
        assert_eq!(world.names_running(), ["other"]);
    }
}

#[test]
fn another_image_does_not_wait_for_what_the_old_one_did() {
    let mut world = World::new(one("Always"));
    world.settle();
    for _ in 0..2 {
        let id = world.running()[0].clone();
        world.exit(&id, 1);
        world.settle();
    }
    assert!(world.running().is_empty(), "it waits");
    world.set_image("web", "another");
    world.settle();
    assert_eq!(world.names_running(), ["web"]);
    let id = world.running()[0].clone();
    world.exit(&id, 1);
    assert_eq!(
        world.plan().wake,
        Some(Duration::from_secs(10)),
        "that was a restart, too"
    );
}

#[test]
fn another_image_does_not_wait_until_the_old_one_is_pulled_again() {
    let mut world = World::new(one("Always"));
    world.settle_sandbox();
    let trouble = Trouble {
        waiting: Waiting {
            reason: "ImagePullBackOff".to_owned(),
            message: String::new(),
        },
        retry_at: world.now + Duration::from_secs(300),
    };
    world.tries("web", Some(trouble));
    assert_eq!(world.settle(), [], "it waits");
    world.set_image("web", "another");
    world.settle();
    assert_eq!(world.names_running(), ["web"]);
    assert_eq!(world.plan().waiting, BTreeMap::new());
    // What hindered a spec that the pod no longer has is forgotten with the next try.
    world.tries("web", None);
    world.set_image("web", "image");
    world.settle();
    assert_eq!(world.names_running(), ["web"]);
}

#[test]
fn an_init_container_ends_its_work_though_its_image_changes() {
    let mut world = World::new(
        serde_json::json!({"restartPolicy": "Never", "containers": [{"name": "web"}],
        "initContainers": [{"name": "side", "restartPolicy": "Always"}, {"name": "a"}]}),
    );
    world.settle();
    world.set_image("a", "another");
    assert_eq!(world.settle(), []);
    world.set_image("side", "another");
    assert_eq!(world.settle().len(), 2, "a sidecar is replaced");
    assert_eq!(world.names_running(), ["a", "side"]);
}

#[test]
fn init_containers_run_in_order_before_the_others() {
    let mut world = World::new(serde_json::json!({"containers": [{"name": "web"}],
        "initContainers": [{"name": "a"}, {"name": "side", "restartPolicy": "Always"}, {"name": "b"}]}));
    world.settle();
    assert_eq!(world.names_running(), ["a"]);
    assert_eq!(world.status().phase.as_deref(), Some("Pending"));
    let id = world.running()[0].clone();
    world.exit(&id, 0);
    world.settle();
    assert_eq!(world.names_running(), ["side", "b"]);
    let id = world.running()[1].clone();
    world.exit(&id, 0);
    world.settle();
    assert_eq!(world.names_running(), ["side", "web"]);
    assert_eq!(world.status().phase.as_deref(), Some("Running"));
}

#[test]
fn containers_that_nothing_hinders_wait_for_the_pods_initialisation_if_it_has_one() {
    let waits = |world: &World, name: &str| -> Option<String> {
        let state = api_status(&world.pod, name)?.state.as_ref()?;
        state.waiting.as_ref()?.reason.clone()
    };
    let mut plain = World::new(one("Always"));
    plain.settle_sandbox();
    assert_eq!(waits(&plain, "web").as_deref(), Some("ContainerCreating"));
    let mut world = World::new(serde_json::json!({"containers": [{"name": "web"}], "initContainers": [{"name": "a"}]}));
    world.settle_sandbox();
    for name in ["a", "web"] {
        assert_eq!(waits(&world, name).as_deref(), Some("PodInitializing"), "{name}");
    }
    world.settle();
    let id = world.running()[0].clone();
    world.exit(&id, 0);
    assert!(matches!(world.step(), Some(Action::StartContainer { .. })));
    assert_eq!(
        waits(&world, "web").as_deref(),
        Some("PodInitializing"),
        "it is being made"
    );
}

#[test]
fn a_pod_says_what_keeps_each_of_its_readiness_gates_closed() {
    let mut spec = one("Always");
    let gates = ["absent", "closed", "open", "unknown"].map(|kind| serde_json::json!({"conditionType": kind}));
    spec["readinessGates"] = serde_json::json!(gates);
    let mut world = World::new(spec);
    world.settle();
    let says = [("closed", "False"), ("open", "True"), ("unknown", "Unknown")];
    for (kind, status) in says {
        let said = serde_json::json!({"type": kind, "status": status});
        let said = serde_json::from_value(said).expect("a condition");
        let status = world.pod.status.as_mut().expect("a status");
        status.conditions.get_or_insert_default().push(said);
    }
    world.settle();
    let mut conditions = world.status().conditions.iter().flatten();
    let ready = conditions.find(|own| own.type_ == "Ready").expect("a condition");
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_deref()),
        ("False", Some("ReadinessGatesNotReady"))
    );
    let message = [
        r#"corresponding condition of pod readiness gate "absent" does not exist."#,
        r#"the status of pod readiness gate "closed" is not "True", but False"#,
        r#"the status of pod readiness gate "unknown" is not "True", but Unknown"#,
    ];
    assert_eq!(ready.message, Some(message.join(", ")));
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let mut world = World::new(
        serde_json::json!({"restartPolicy": "Never", "containers": [{"name": "web"}],
        "initContainers": [{"name": "a"}]}),
    );
    world.settle();
    let id = world.running()[0].clone();
    world.exit(&id, 1);
    world.settle();
    assert_eq!(world.status().phase.as_deref(), Some("Failed"));
    assert_eq!(world.starts.get("web"), None);
}

#[test]
fn a_sidecar_ends_with_the_pods_work() {
    let mut world = World::new(
        serde_json::json!({"restartPolicy": "Never", "containers": [{"name": "web"}],
        "initContainers": [{"name": "side", "restartPolicy": "Always"}]}),
    );
    world.settle();
    let id = world.running()[1].clone();
    world.exit(&id, 0);
    world.settle();
    assert!(world.running().is_empty());
    assert_eq!(world.status().phase.as_deref(), Some("Succeeded"));
}

#[test]
fn a_finished_pod_never_runs_again_even_if_nothing_is_left_of_it() {
    for (policy, code) in [("Never", 1), ("Never", 0), ("OnFailure", 0)] {
        let mut world = World::new(one(policy));
        world.settle();
        let id = world.running()[0].clone();
        world.exit(&id, code);
        world.settle();
        assert!(is_terminal(api_phase(&world.pod)));
        world.restart_kubelet();
        assert_eq!(world.settle(), []);
        world.sandboxes.clear();
        assert_eq!(world.settle(), [], "{policy}");
    }
}

#[test]
fn a_pod_that_never_restarts_fails_when_its_node_loses_its_containers() {
    let mut world = World::new(one("Never"));
    world.settle();
    world.sandboxes.clear();
    world.restart_kubelet();
    world.settle();
    assert_eq!(world.status().phase.as_deref(), Some("Failed"));
    assert_eq!(world.starts["web"], 1);
}

#[test]
fn a_sandbox_without_an_address_is_made_anew() {
    let mut world = World::new(one("Always"));
    world.step();
    world.sandboxes[0].ip = None;
    world.restart_kubelet();
    world.settle();
    let ready: Vec<_> = world
        .sandboxes
        .iter()
        .filter(|own| own.state == SandboxState::Ready)
        .collect();
    assert_eq!((ready.len(), ready[0].attempt), (1, 1));
    assert!(world.status().pod_ip.is_some());
}

#[test]
fn of_two_sandboxes_one_stays() {
    let mut world = World::new(one("Always"));
    world.settle();
    let mut twin = world.sandboxes[0].clone();
    twin.id = "twin".to_owned();
    twin.attempt = 1;
    twin.containers.clear();
    world.sandboxes.push(twin);
    world.settle();
    assert_eq!(
        world
            .sandboxes
            .iter()
            .filter(|own| own.state == SandboxState::Ready)
            .count(),
        1
    );
    assert_eq!(world.names_running(), ["web"]);
}

#[test]
fn a_pod_that_goes_ends_its_containers_then_its_sandbox() {
    let mut world = World::new(serde_json::json!({"containers": [{"name": "web"}],
        "initContainers": [{"name": "log", "restartPolicy": "Always"}, {"name": "mesh", "restartPolicy": "Always"}]}));
    world.settle();
    let mut kinds = Vec::new();
    loop {
        let plan = terminating(Some(&world.pod), &world.sandboxes, Duration::from_secs(5));
        let Some(action) = plan.actions.into_iter().next() else {
            break;
        };
        kinds.push(match &action {
            Action::StopContainers(stops) => {
                let mut turns: Vec<(u32, &str)> = stops.iter().map(|stop| (stop.turn, &*stop.name)).collect();
                turns.sort_unstable();
                format!("{turns:?}")
            }
            Action::StopSandbox { .. } => "sandbox".to_owned(),
            other => format!("{other:?}"),
        });
        world.act(&action);
    }
    assert_eq!(kinds, [r#"[(0, "web"), (1, "mesh"), (2, "log")]"#, "sandbox"]);
    world.tell(&Plan::default(), true);
    assert_eq!(world.status().phase.as_deref(), Some("Failed"));
    for action in cleanup(&world.sandboxes).actions {
        world.act(&action);
    }
    assert!(world.sandboxes.is_empty());
}

#[test]
fn a_probe_says_how_long_only_the_container_that_it_found_dead_may_take() {
    let probe = serde_json::json!({"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": 3});
    let mut spec = one("Always");
    spec["terminationGracePeriodSeconds"] = serde_json::json!(20);
    spec["containers"][0]["livenessProbe"] = probe;
    let graces = |world: &mut World| -> Vec<Duration> {
        let stops = world.plan().actions.into_iter().flat_map(|action| match action {
            Action::StopContainers(stops) => stops,
            _ => Vec::new(),
        });
        stops.map(|stop| stop.grace).collect()
    };
    let mut dead = World::new(spec.clone());
    dead.settle();
    let id = dead.running()[0].clone();
    let death = |grace| crate::probe::Death {
        message: "dead".to_owned(),
        grace,
    };
    dead.memory.dead.insert(id.clone(), death(Some(Duration::from_secs(3))));
    assert_eq!(graces(&mut dead), [Duration::from_secs(3)]);
    dead.memory.dead.insert(id, death(None));
    assert_eq!(graces(&mut dead), [Duration::from_secs(20)]);
    let mut changed = World::new(spec);
    changed.settle();
    let name = changed.names_running()[0].to_owned();
    changed.set_image(&name, "other");
    assert_eq!(graces(&mut changed), [Duration::from_secs(20)]);
}
