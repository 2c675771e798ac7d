//! The runtime by itself, well and in each of its troubles.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use orrery_kubelet::runtime::{
    ContainerConfig, ContainerRuntime, ContainerState, ErrorKind, PodIdentity, PodNetwork, SandboxConfig, SandboxState,
};
use tokio::time::{Instant, sleep, timeout};

use super::{SharedRuntime, Trouble};
use crate::choices::Choices;
use crate::in_simulation;
use crate::scenario::read;
use crate::trace::Trace;
use crate::variation::Variation;
use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);

/// A machine's runtime, in a world in which nothing else happens.
struct Machine {
    world: Arc<World>,
    runtime: SharedRuntime,
}

impl Machine {
    fn new() -> Self {
        let text = "name: a
duration: 1m
topology: { nodes: 1 }
images:
  slow:1: { ready: 30s, listen: [80] }
  slow:2: { ready: 30s }
  quick:1: { ready: 0s }
";
        let scenario = read("a.yaml", text, |_| Err(String::new()));
        let scenario = Arc::new(scenario.unwrap());
        let trace = Trace::new(None, false);
        let world = World::new(scenario, 1, &Variation::default(), trace, Arc::new(Choices::default()));
        let worker = world.machine("node-1").and_then(|machine| machine.worker.as_ref());
        let runtime = SharedRuntime(worker.unwrap().runtime.clone());
        Machine { world, runtime }
    }

    fn begin(&self, trouble: Trouble) {
        self.runtime.0.troubles.begin(trouble);
    }

    fn end(&self, trouble: Trouble) {
        self.runtime.0.troubles.end(trouble);
    }

    /// A running container of the pod `name`, and its sandbox.
    async fn run(&self, name: &str) -> (String, String) {
        let sandbox = self.runtime.run_sandbox(&sandbox(name)).await.unwrap();
        let container = self.start(name, &sandbox.id, "web", "web:1").await;
        sleep(Duration::from_secs(10)).await;
        (sandbox.id, container)
    }

    /// A container of the pod `pod_name` that has just been started.
    async fn start(&self, pod_name: &str, sandbox: &str, name: &str, image: &str) -> String {
        self.runtime.pull_image(image).await.unwrap();
        let config = ContainerConfig {
            pod: pod(pod_name),
            name: name.to_owned(),
            image: image.to_owned(),
            ..ContainerConfig::default()
        };
        let container = self.runtime.create_container(sandbox, &config).await.unwrap();
        self.runtime.start_container(&container).await.unwrap();
        container
    }
}

fn pod(name: &str) -> PodIdentity {
    PodIdentity {
        uid: format!("uid-{name}"),
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

fn sandbox(name: &str) -> SandboxConfig {
    SandboxConfig {
        pod: pod(name),
        ..SandboxConfig::default()
    }
}

fn on_a_machine<F: Future<Output = ()>>(test: impl FnOnce(Machine) -> F + Send + 'static) {
    in_simulation(1, move || async move {
        let machine = Machine::new();
        let world = machine.world.clone();
        test(machine).await;
        world.end();
    });
}

#[test]
fn a_call_to_a_runtime_that_hangs_returns_when_it_goes_on() {
    on_a_machine(|machine| async move {
        machine.begin(Trouble::Hang);
        let began = Instant::now();
        let end = async {
            sleep(MINUTE).await;
            machine.end(Trouble::Hang);
        };
        let (listed, ()) = tokio::join!(machine.runtime.list_pods(), end);
        assert_eq!(listed.unwrap(), []);
        assert!(began.elapsed() >= MINUTE);
    });
}

#[test]
fn a_list_does_not_show_what_happened_while_it_was_on_its_way() {
    on_a_machine(|machine| async move {
        let (sandbox, container) = machine.run("a").await;
        let removal = async {
            sleep(Duration::from_micros(100)).await;
            machine.runtime.0.crash();
        };
        let (listed, ()) = tokio::join!(machine.runtime.list_pods(), removal);
        let listed = listed.unwrap();
        assert_eq!(
            (listed[0].id.as_str(), listed[0].state),
            (sandbox.as_str(), SandboxState::Ready)
        );
        let own = &listed[0].containers[0];
        assert!(own.id == container && matches!(own.state, ContainerState::Running { .. }));
        let listed = machine.runtime.list_pods().await.unwrap();
        assert!(!matches!(listed[0].containers[0].state, ContainerState::Running { .. }));
    });
}

#[test]
fn what_a_hanging_runtime_was_asked_for_happens_though_nobody_waits_any_more() {
    on_a_machine(|machine| async move {
        machine.begin(Trouble::Hang);
        let given_up = timeout(MINUTE, machine.runtime.run_sandbox(&sandbox("a"))).await;
        assert!(given_up.is_err());
        machine.end(Trouble::Hang);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(machine.runtime.list_pods().await.unwrap().len(), 1);
        let again = machine.runtime.run_sandbox(&sandbox("a")).await;
        assert_eq!(again.unwrap_err().kind, ErrorKind::AlreadyExists);
    });
}

#[test]
fn a_deadlocked_runtime_still_says_who_it_is() {
    on_a_machine(|machine| async move {
        machine.begin(Trouble::Deadlock);
        assert!(machine.runtime.version().await.is_ok());
        assert!(timeout(MINUTE, machine.runtime.list_pods()).await.is_err());
    });
}

#[test]
fn a_call_to_a_stuck_runtime_never_returns_and_may_have_happened() {
    on_a_machine(|machine| async move {
        machine.begin(Trouble::Stuck);
        for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            assert!(
                timeout(MINUTE, machine.runtime.run_sandbox(&sandbox(name)))
                    .await
                    .is_err()
            );
        }
        let late = timeout(MINUTE * 20, machine.runtime.list_pods());
        let end = async {
            sleep(MINUTE).await;
            machine.end(Trouble::Stuck);
        };
        let (late, ()) = tokio::join!(late, end);
        assert!(late.is_err(), "it was asked when it was stuck");
        let happened = machine.runtime.list_pods().await.unwrap().len();
        assert!((1..8).contains(&happened), "{happened} of 8 happened");
    });
}

#[test]
fn a_runtime_that_is_away_refuses_and_its_containers_live_on() {
    on_a_machine(|machine| async move {
        let (_, container) = machine.run("a").await;
        let mut events = machine.runtime.events().await.unwrap();
        let waiting = machine.runtime.stop_container(&container, MINUTE * 5);
        machine.begin(Trouble::Hang);
        let away = async {
            sleep(MINUTE).await;
            machine.runtime.0.go_away();
            machine.end(Trouble::Hang);
        };
        let (stopped, ()) = tokio::join!(waiting, away);
        assert_eq!(
            stopped.unwrap_err().kind,
            ErrorKind::Unavailable,
            "its connection broke"
        );
        assert_eq!(events.next().await, None);
        assert_eq!(
            machine.runtime.list_pods().await.unwrap_err().kind,
            ErrorKind::Unavailable
        );
        machine.end(Trouble::Away);
        assert_eq!(machine.runtime.0.running().len(), 1);
    });
}

#[test]
fn pulls_and_starts_fail_as_long_as_their_troubles_last() {
    on_a_machine(|machine| async move {
        machine.begin(Trouble::PullFails);
        assert!(machine.runtime.pull_image("web:1").await.is_err());
        assert_eq!(machine.runtime.image("web:1").await.unwrap(), None);
        machine.end(Trouble::PullFails);
        machine.begin(Trouble::PullSlow);
        assert!(timeout(MINUTE, machine.runtime.pull_image("web:1")).await.is_err());
        machine.end(Trouble::PullSlow);
        let (sandbox, _) = machine.run("a").await;
        machine.begin(Trouble::StartFails);
        let config = ContainerConfig {
            pod: pod("a"),
            name: "second".to_owned(),
            image: "web:1".to_owned(),
            ..ContainerConfig::default()
        };
        let second = machine.runtime.create_container(&sandbox, &config).await.unwrap();
        assert!(machine.runtime.start_container(&second).await.is_err());
        machine.end(Trouble::StartFails);
        assert!(machine.runtime.start_container(&second).await.is_ok());
    });
}

#[test]
fn late_events_come_in_another_order_and_lost_ones_never() {
    on_a_machine(|machine| async move {
        let mut events = machine.runtime.events().await.unwrap();
        machine.begin(Trouble::LateEvents);
        let names = ["a", "b", "c", "d", "e", "f"];
        for name in names {
            machine.runtime.run_sandbox(&sandbox(name)).await.unwrap();
        }
        let mut heard = Vec::new();
        while let Ok(Some(event)) = timeout(MINUTE, events.next()).await {
            heard.push(event);
        }
        let in_order: Vec<String> = names.map(|name| format!("uid-{name}")).to_vec();
        assert_ne!(heard, in_order);
        heard.sort();
        assert_eq!(heard, in_order);
        machine.end(Trouble::LateEvents);
        machine.begin(Trouble::LostEvents);
        machine.runtime.run_sandbox(&sandbox("g")).await.unwrap();
        assert!(timeout(MINUTE, events.next()).await.is_err());
    });
}

#[test]
fn a_leaking_runtime_stops_sandboxes_and_leaves_them_lying() {
    on_a_machine(|machine| async move {
        let (sandbox, _) = machine.run("a").await;
        machine.begin(Trouble::Leak);
        assert!(machine.runtime.remove_sandbox(&sandbox).await.is_err());
        let left = machine.runtime.list_pods().await.unwrap();
        assert_eq!((left.len(), left[0].state), (1, SandboxState::NotReady));
        machine.end(Trouble::Leak);
        assert!(machine.runtime.remove_sandbox(&sandbox).await.is_ok());
        assert_eq!(machine.runtime.list_pods().await.unwrap(), []);
        machine.runtime.0.add_stray();
        assert_eq!(machine.runtime.list_pods().await.unwrap()[0].pod.namespace, "default");
    });
}

#[test]
fn a_container_is_killed_for_its_memory_and_another_stops_to_answer() {
    on_a_machine(|machine| async move {
        let (_, killed) = machine.run("a").await;
        let (silent, _) = machine.run("b").await;
        let running = machine.runtime.0.containers();
        assert_eq!(
            running.iter().map(|own| own.pod.name.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
        machine.runtime.0.end_container(&running[0], 137, "OOMKilled");
        let listed = machine.runtime.list_pods().await.unwrap();
        let container = listed
            .iter()
            .flat_map(|pod| &pod.containers)
            .find(|own| own.id == killed);
        let Some(ContainerState::Exited(exit)) = container.map(|own| own.state.clone()) else {
            panic!("it runs");
        };
        assert_eq!((exit.code, exit.reason.as_str()), (137, "OOMKilled"));
        let ip = listed
            .iter()
            .find(|pod| pod.id == silent)
            .and_then(|pod| pod.ip)
            .unwrap();
        let ip = ip.to_string();
        let ask = || machine.runtime.tcp_connect(&ip, 80, Duration::from_secs(1));
        assert!(ask().await.is_ok());
        // Two faults keep it from answering.
        machine.runtime.0.silence(&running[1]);
        machine.runtime.0.silence(&running[1]);
        assert!(ask().await.is_err());
        machine.runtime.0.end_silence(&running[1]);
        assert!(ask().await.is_err());
        machine.runtime.0.end_silence(&running[1]);
        assert!(ask().await.is_ok());
        machine.runtime.0.silence(&running[1]);
        assert!(ask().await.is_err());
        machine.runtime.0.heal();
        assert!(ask().await.is_ok());
    });
}

#[test]
fn a_container_does_not_answer_for_its_neighbour() {
    on_a_machine(|machine| async move {
        for slow in ["slow:1", "slow:2"] {
            let sandbox = machine.runtime.run_sandbox(&sandbox(slow)).await.unwrap();
            machine.start(slow, &sandbox.id, "web", slow).await;
            machine.start(slow, &sandbox.id, "helper", "quick:1").await;
            sleep(Duration::from_secs(5)).await;
            let ip = sandbox.ip.unwrap().to_string();
            let ask = |port| machine.runtime.tcp_connect(&ip, port, Duration::from_secs(1));
            assert!(ask(80).await.is_err(), "{slow} is not ready");
            // Which port is whose is known only if it is named.
            assert_eq!(ask(81).await.is_ok(), slow == "slow:1");
            sleep(MINUTE).await;
            assert!(ask(80).await.is_ok());
            assert!(ask(81).await.is_ok());
        }
    });
}

#[test]
fn a_new_machine_has_nothing() {
    on_a_machine(|machine| async move {
        machine.run("a").await;
        machine.runtime.0.crash();
        assert_eq!(
            machine.runtime.list_pods().await.unwrap().len(),
            1,
            "an old one finds its dead"
        );
        machine.runtime.0.wipe();
        assert_eq!(machine.runtime.list_pods().await.unwrap(), []);
        assert_eq!(machine.runtime.image("web:1").await.unwrap(), None);
    });
}
