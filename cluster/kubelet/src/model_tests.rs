//! The plan against a model of a runtime: whatever containers, sandboxes and kubelets do, some things never happen.

mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use proptest::prelude::*;

use crate::plan::{Action, Memory, Plan, Trouble, Waiting, cleanup, finished, running, terminating};
use crate::runtime::{Container, ContainerState, Exit, PodSandbox, SandboxState};
use crate::status::{Seen, pod_status};
use crate::view::{Place, api_phase, api_status, identity, is_terminal, restart_policy, spec_hash, views};

/// A runtime that does what it is told, and the kubelet's memory.
struct World {
    pod: Pod,
    sandboxes: Vec<PodSandbox>,
    memory: Memory,
    now: Duration,
    made: u32,
    /// How often each container was started, by name.
    starts: BTreeMap<String, u32>,
}

fn at(now: Duration) -> Timestamp {
    Timestamp::from_second(1_000_000 + i64::try_from(now.as_secs()).unwrap_or(0)).expect("a time")
}

impl World {
    fn new(spec: serde_json::Value) -> Self {
        let pod = serde_json::json!({"metadata": {"name": "web", "namespace": "default", "uid": "u"}, "spec": spec});
        World {
            pod: serde_json::from_value(pod).expect("a pod"),
            sandboxes: Vec::new(),
            memory: Memory::default(),
            now: Duration::from_secs(1),
            made: 0,
            starts: BTreeMap::new(),
        }
    }

    fn plan(&mut self) -> Plan {
        self.memory.notice(&self.sandboxes, self.now);
        if is_terminal(api_phase(&self.pod)) {
            return finished(&self.pod, &self.sandboxes);
        }
        running(&self.pod, &self.sandboxes, &self.memory, self.now)
    }

    /// Plans, tells the status, and does the first thing; returns what it did.
    fn step(&mut self) -> Option<Action> {
        let plan = self.plan();
        self.tell(&plan, false);
        let action = plan.actions.into_iter().next()?;
        self.act(&action);
        Some(action)
    }

    /// Steps until there is nothing to do.
    fn settle(&mut self) -> Vec<Action> {
        let mut done = Vec::new();
        while let Some(action) = self.step() {
            done.push(action);
            assert!(done.len() < 200, "it does not settle: {:?}", &done[190..]);
        }
        done
    }

    fn tell(&mut self, plan: &Plan, gone: bool) {
        let up: BTreeSet<String> = self
            .sandboxes
            .iter()
            .flat_map(|sandbox| &sandbox.containers)
            .filter(|container| matches!(container.state, ContainerState::Running { .. }))
            .map(|container| container.id.clone())
            .collect();
        let seen = Seen {
            waiting: &plan.waiting,
            ready: &up,
            started: &up,
            replaced: &self.memory.replaced,
            host_ip: [192, 168, 0, 1].into(),
            last_ip: None,
            runtime: "docker",
            ended: None,
            gone,
            now: at(self.now),
        };
        let status = pod_status(&self.pod, &self.sandboxes, &seen);
        self.keeps_ends(&status);
        self.pod.status = Some(status);
    }

    /// The API takes no end back of a container that is not to be started again.
    fn keeps_ends(&self, status: &PodStatus) {
        let policy = restart_policy(&self.pod);
        for view in views(&self.pod, &self.sandboxes) {
            let end = |status: Option<&ContainerStatus>| Some(status?.state.as_ref()?.terminated.as_ref()?.exit_code);
            let name = &view.spec.name;
            let may_restart = |code| policy == "Always" || (policy == "OnFailure" && code != 0);
            let kept = end(api_status(&self.pod, name)).filter(|code| !may_restart(*code));
            let mut own = status.init_container_statuses.iter().chain(&status.container_statuses);
            let shown = own.find_map(|all| all.iter().find(|own| own.name == *name));
            if view.place != Place::Sidecar && kept.is_some() {
                assert!(end(shown).is_some(), "the end of {name} is taken back: {shown:?}");
            }
        }
    }

    fn status(&self) -> &PodStatus {
        self.pod.status.as_ref().expect("a status")
    }

    fn exit(&mut self, id: &str, code: i32) {
        let now = at(self.now);
        for container in self.sandboxes.iter_mut().flat_map(|sandbox| &mut sandbox.containers) {
            if container.id == id
                && let ContainerState::Running { started_at } = container.state
            {
                let (reason, message) = (String::new(), String::new());
                container.state = ContainerState::Exited(Exit {
                    code,
                    reason,
                    message,
                    started_at,
                    finished_at: now,
                });
            }
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::CreateSandbox { attempt } => {
                let live = self
                    .sandboxes
                    .iter()
                    .filter(|own| own.state == SandboxState::Ready)
                    .count();
                assert_eq!(live, 0, "two ready sandboxes");
                self.made += 1;
                self.sandboxes.push(PodSandbox {
                    id: format!("s{}", self.made),
                    pod: identity(&self.pod),
                    attempt: *attempt,
                    state: SandboxState::Ready,
                    ip: Some([10, 0, 0, self.made as u8].into()),
                    host_network: false,
                    grace: Duration::from_secs(30),
                    created_at: at(self.now),
                    containers: Vec::new(),
                });
            }
            Action::StopSandbox { id } => self.kill_sandbox(id),
            Action::RemoveSandbox { id } => {
                let sandbox = self
                    .sandboxes
                    .iter()
                    .find(|own| own.id == *id)
                    .expect("a sandbox to remove");
                assert_eq!(sandbox.state, SandboxState::NotReady, "a live sandbox was removed");
                self.sandboxes.retain(|own| own.id != *id);
            }
            Action::StartContainer { name, attempt, sandbox } => self.start(name, *attempt, sandbox),
            Action::StopContainers(stops) => {
                self.memory.stops(stops);
                for stop in stops {
                    assert!(stop.grace >= Duration::from_secs(1));
                    self.exit(&stop.id, 143);
                }
            }
            Action::RemoveContainer { id } => {
                for sandbox in &mut self.sandboxes {
                    sandbox.containers.retain(|own| {
                        let runs = matches!(own.state, ContainerState::Running { .. });
                        assert!(own.id != *id || !runs, "a running container was removed");
                        own.id != *id
                    });
                }
            }
        }
    }

    fn start(&mut self, name: &str, attempt: u32, sandbox: &str) {
        assert!(!is_terminal(api_phase(&self.pod)), "a finished pod was started again");
        let spec = self.pod.spec.as_ref().expect("a spec");
        let all = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let hash = spec_hash(all().find(|own| own.name == name).expect("a container"));
        let same = self
            .sandboxes
            .iter()
            .flat_map(|own| &own.containers)
            .filter(|own| own.name == name);
        for own in same.clone() {
            assert!(
                !matches!(own.state, ContainerState::Running { .. }),
                "{name} runs twice"
            );
            assert!(own.attempt < attempt, "the restart count of {name} does not grow");
        }
        let last = same.max_by_key(|own| own.attempt);
        if let Some(ended) = last.and_then(|own| self.memory.ended.get(&own.id)).copied() {
            self.memory.crashes.raise(&hash, ended, self.now);
        }
        self.made += 1;
        *self.starts.entry(name.to_owned()).or_default() += 1;
        let container = Container {
            id: format!("c{}", self.made),
            name: name.to_owned(),
            attempt,
            image: "image".to_owned(),
            image_id: "sha".to_owned(),
            spec_hash: hash,
            state: ContainerState::Running {
                started_at: at(self.now),
            },
            created_at: at(self.now),
        };
        let sandbox = self
            .sandboxes
            .iter_mut()
            .find(|own| own.id == sandbox)
            .expect("a sandbox to start in");
        assert_eq!(sandbox.state, SandboxState::Ready, "started in a dead sandbox");
        sandbox.containers.push(container);
    }

    fn kill_sandbox(&mut self, id: &str) {
        let containers: Vec<String> = self
            .sandboxes
            .iter_mut()
            .filter(|own| own.id == id)
            .flat_map(|own| {
                own.state = SandboxState::NotReady;
                own.ip = None;
                own.containers
                    .iter()
                    .map(|container| container.id.clone())
                    .collect::<Vec<_>>()
            })
            .collect();
        for container in containers {
            self.exit(&container, 137);
        }
    }

    fn running(&self) -> Vec<String> {
        let containers = self.sandboxes.iter().flat_map(|own| &own.containers);
        let up = containers.filter(|own| matches!(own.state, ContainerState::Running { .. }));
        up.map(|own| own.id.clone()).collect()
    }

    fn names_running(&self) -> Vec<&str> {
        let containers = self.sandboxes.iter().flat_map(|own| &own.containers);
        let up = containers.filter(|own| matches!(own.state, ContainerState::Running { .. }));
        up.map(|own| own.name.as_str()).collect()
    }

    /// A user gives the container `name` another image.
    fn set_image(&mut self, name: &str, image: &str) {
        let spec = self.pod.spec.as_mut().expect("a spec");
        let all = spec
            .containers
            .iter_mut()
            .chain(spec.init_containers.iter_mut().flatten());
        for own in all.filter(|own| own.name == name) {
            own.image = Some(image.to_owned());
        }
    }

    /// There is a sandbox, and no container yet.
    fn settle_sandbox(&mut self) {
        assert_eq!(self.step(), Some(Action::CreateSandbox { attempt: 0 }));
    }

    /// A try to start the container `name` came to this.
    fn tries(&mut self, name: &str, trouble: Option<Trouble>) {
        let specs = &self.pod.spec.as_ref().expect("a spec").containers;
        let spec = specs.iter().find(|own| own.name == name).expect("a container");
        self.memory.tried(spec, trouble, specs.iter());
    }

    /// The kubelet forgets everything but the runtime and the API.
    fn restart_kubelet(&mut self) {
        self.memory = Memory::default();
    }
}

fn one(policy: &str) -> serde_json::Value {
    serde_json::json!({"restartPolicy": policy, "containers": [{"name": "web", "image": "image"}]})
}

fn rank(phase: &str) -> u8 {
    ["Pending", "Running"]
        .iter()
        .position(|own| *own == phase)
        .map_or(2, |rank| rank as u8)
}

/// What may happen to a pod.
#[derive(Debug, Clone)]
enum Blow {
    Exit { which: usize, code: i32 },
    SandboxDies,
    RestartKubelet,
    Time(u64),
    Wiped,
    Image { which: usize, image: u8 },
    Step,
}

fn blows() -> impl Strategy<Value = Vec<Blow>> {
    let blow = prop_oneof![
        3 => (0usize..3, prop_oneof![Just(0), Just(1)]).prop_map(|(which, code)| Blow::Exit { which, code }),
        1 => Just(Blow::SandboxDies),
        1 => Just(Blow::RestartKubelet),
        2 => (1u64..400).prop_map(Blow::Time),
        1 => Just(Blow::Wiped),
        1 => (0usize..2, 0u8..3).prop_map(|(which, image)| Blow::Image { which, image }),
        4 => Just(Blow::Step),
    ];
    proptest::collection::vec(blow, 0..40)
}

fn specs() -> impl Strategy<Value = serde_json::Value> {
    (
        prop_oneof![Just("Always"), Just("OnFailure"), Just("Never")],
        0usize..3,
        any::<bool>(),
        1usize..3,
    )
        .prop_map(|(policy, inits, sidecar, mains)| {
            let mut init: Vec<serde_json::Value> = (0..inits)
                .map(|index| serde_json::json!({"name": format!("i{index}")}))
                .collect();
            if sidecar {
                init.push(serde_json::json!({"name": "side", "restartPolicy": "Always"}));
            }
            let main: Vec<_> = (0..mains)
                .map(|index| serde_json::json!({"name": format!("m{index}")}))
                .collect();
            serde_json::json!({"restartPolicy": policy, "initContainers": init, "containers": main})
        })
}

proptest! {
    /// The world's own assertions watch every action: one ready sandbox, no container twice, restart counts that grow,
    /// nothing started in a finished pod, nothing alive removed.
    #[test]
    fn whatever_happens_a_pod_moves_forward_only(spec in specs(), blows in blows()) {
        let mut world = World::new(spec);
        let mut reached = 0;
        for blow in blows {
            match blow {
                Blow::Exit { which, code } => {
                    let up = world.running();
                    if let Some(id) = up.get(which % up.len().max(1)) {
                        world.exit(&id.clone(), code);
                    }
                }
                Blow::SandboxDies => {
                    let ids: Vec<String> = world.sandboxes.iter().map(|own| own.id.clone()).collect();
                    for id in ids {
                        world.kill_sandbox(&id);
                    }
                }
                Blow::RestartKubelet => world.restart_kubelet(),
                Blow::Time(seconds) => world.now += Duration::from_secs(seconds),
                Blow::Wiped => world.sandboxes.clear(),
                Blow::Image { which, image } => world.set_image(&format!("m{which}"), &format!("image:{image}")),
                Blow::Step => {
                    world.step();
                }
            }
            let now = rank(api_phase(&world.pod));
            prop_assert!(now >= reached, "the phase went back to {}", api_phase(&world.pod));
            reached = now;
        }
        // With the blows over, everything settles, and a pod that restarts always runs in the end.
        for _ in 0..50 {
            world.settle();
            world.now += Duration::from_secs(301);
            if let Some(id) = world.running().iter().find(|id| {
                world.sandboxes.iter().flat_map(|own| &own.containers)
                    .any(|own| own.id == **id && own.name.starts_with('i'))
            }).cloned() {
                world.exit(&id, 0);
            }
        }
        let spec = world.pod.spec.clone().expect("a spec");
        if spec.restart_policy.as_deref() == Some("Always") {
            prop_assert_eq!(api_phase(&world.pod), "Running");
            let names = world.names_running();
            prop_assert!(spec.containers.iter().all(|own| names.contains(&own.name.as_str())), "{:?}", names);
        }
        if is_terminal(api_phase(&world.pod)) {
            prop_assert!(world.running().is_empty());
        }
    }
}
