//! Against the real Docker: everything that a kubelet asks of it, with an image made here.
//!
//! Where Docker does not answer these tests say so and pass, unless `ORRERY_REQUIRE_DOCKER=1`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use super::error::DockerError;
use super::{DockerOptions, DockerRuntime, pause};
use crate::runtime::{
    ContainerConfig, ContainerRuntime, ContainerState, ErrorKind, LogOptions, Mount, PodIdentity, SandboxConfig,
    SandboxState, Volume, VolumeContent, VolumeFile,
};

const IMAGE: &str = "orrery-test/hello:1";

/// Says hello, then waits for a signal as the pause program does.
fn hello() -> Vec<u8> {
    let text = b"hello\n";
    let pause = pause::x86_64();
    // mov edi, 1; lea rsi, [rip + text]; mov edx, length; mov eax, 1 (write); syscall
    let mut code = vec![0xbf, 1, 0, 0, 0, 0x48, 0x8d, 0x35];
    let distance = 12 + pause.len() as u32 + 8;
    code.extend_from_slice(&distance.to_le_bytes());
    code.extend_from_slice(&[0xba, text.len() as u8, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x0f, 0x05]);
    code.extend_from_slice(&pause);
    code.extend_from_slice(&pause::SIGNALS.to_le_bytes());
    code.extend_from_slice(text);
    pause::executable(pause::X86_64, &code)
}

/// Ends at once with 3.
fn three() -> Vec<u8> {
    // mov edi, 3; mov eax, 231 (exit_group); syscall
    pause::executable(pause::X86_64, &[0xbf, 3, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05])
}

fn options(name: &str, subnet: &str) -> DockerOptions {
    DockerOptions {
        cluster: format!("orrery-test-{name}"),
        node: "test".to_owned(),
        network: format!("orrery-test-{name}"),
        bridge: format!("orrt-{name}"),
        subnet: subnet.to_owned(),
        pause_image: "orrery-test/pause:1".to_owned(),
        data: std::env::temp_dir().join(format!("orrery-test-{name}-{}", std::process::id())),
    }
}

/// Docker, or nothing where it does not answer.
async fn docker(options: DockerOptions) -> Option<Arc<DockerRuntime>> {
    match DockerRuntime::connect(options).await {
        Ok(runtime) => Some(runtime),
        Err(error @ DockerError::NotRunning(_)) => {
            let required = std::env::var("ORRERY_REQUIRE_DOCKER").is_ok_and(|value| value == "1");
            assert!(!required, "{error}");
            eprintln!("skipped: no Docker ({error})");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn sandbox(name: &str, attempt: u32) -> SandboxConfig {
    SandboxConfig {
        pod: PodIdentity {
            uid: format!("uid-{name}"),
            namespace: "default".to_owned(),
            name: name.to_owned(),
        },
        attempt,
        hostname: name.to_owned(),
        grace: Duration::from_secs(7),
        ..SandboxConfig::default()
    }
}

fn container(pod: &PodIdentity, name: &str, command: &str) -> ContainerConfig {
    ContainerConfig {
        pod: pod.clone(),
        name: name.to_owned(),
        image: IMAGE.to_owned(),
        command: vec![command.to_owned()],
        env: vec![("A".to_owned(), "1".to_owned())],
        termination_message_path: "/dev/termination-log".to_owned(),
        spec_hash: "hash".to_owned(),
        ..ContainerConfig::default()
    }
}

async fn state(runtime: &DockerRuntime, id: &str) -> ContainerState {
    let pods = runtime.list_pods().await.expect("a list");
    let mut all = pods.into_iter().flat_map(|pod| pod.containers);
    all.find(|container| container.id == id).expect("the container").state
}

/// Waits until the container has ended; the exit code.
async fn exit_code(runtime: &DockerRuntime, id: &str) -> i32 {
    for _ in 0..100 {
        if let ContainerState::Exited(exit) = state(runtime, id).await {
            return exit.code;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the container did not end");
}

/// Waits until no command runs in the container beside its own; whether that comes.
async fn has_no_commands(runtime: &DockerRuntime, id: &str) -> bool {
    for _ in 0..100 {
        let container = runtime.docker.inspect_container(id, None).await.expect("the container");
        if container.exec_ids.unwrap_or_default().is_empty() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

#[tokio::test]
async fn a_pod_lives_and_dies_on_docker() {
    if std::env::consts::ARCH != "x86_64" {
        eprintln!("skipped: the test's programs are made for x86_64");
        return;
    }
    let options = options("life", "10.251.7.0/24");
    let Some(runtime) = docker(options.clone()).await else {
        return;
    };
    DockerRuntime::remove_everything(&options)
        .await
        .expect("nothing is left of an earlier run");
    let runtime = {
        drop(runtime);
        docker(options.clone()).await.expect("Docker answered a moment ago")
    };
    let files = [("hello", hello()), ("three", three())];
    let files: Vec<(&str, &[u8], u32)> = files.iter().map(|(path, code)| (*path, &code[..], 0o755)).collect();
    runtime.import_image(IMAGE, &files).await.expect("an image");
    assert!(runtime.image(IMAGE).await.expect("an answer").is_some());
    assert_eq!(runtime.image("orrery-test/none:1").await.expect("an answer"), None);
    assert_eq!(runtime.version().await.expect("a version").name, "docker");
    let mut events = runtime.events().await.expect("events");

    // The sandbox has an address of the network, and what is known of it comes back from its labels.
    let config = sandbox("web", 0);
    let made = runtime.run_sandbox(&config).await.expect("a sandbox");
    assert_eq!(made.ip.map(|ip| ip.to_string()).as_deref(), Some("10.251.7.2"));
    let seen = tokio::time::timeout(Duration::from_secs(10), events.next())
        .await
        .expect("an event in time");
    assert_eq!(seen.as_deref(), Some("uid-web"));
    let pods = runtime.list_pods().await.expect("a list");
    let pod = &pods[0];
    assert_eq!(
        (&pod.id, &pod.pod, pod.attempt, pod.ip),
        (&made.id, &config.pod, 0, made.ip)
    );
    assert_eq!((pod.state, pod.grace), (SandboxState::Ready, Duration::from_secs(7)));
    for port in std::fs::read_dir(format!("/sys/class/net/{}/brif", options.bridge))
        .into_iter()
        .flatten()
        .flatten()
    {
        let hairpin = std::fs::read_to_string(port.path().join("hairpin_mode")).unwrap_or_default();
        assert_eq!(hairpin.trim(), "1", "{:?}", port.path());
    }

    // A container with a volume runs, writes a log, and ends within its grace when asked.
    let content = |text: &'static str| {
        let file = VolumeFile {
            content: Bytes::from_static(text.as_bytes()),
            mode: 0o644,
        };
        VolumeContent::Files(BTreeMap::from([("deep/key".to_owned(), file)]))
    };
    let mut volume = Volume {
        name: "files".to_owned(),
        content: content("one"),
        fs_group: None,
    };
    runtime.write_volume(&config.pod, &volume).await.expect("a volume");
    let mut web = container(&config.pod, "web", "/hello");
    let path = "/etc/files".to_owned();
    web.mounts = vec![Mount {
        volume: "files".to_owned(),
        container_path: path,
        read_only: true,
        ..Mount::default()
    }];
    let id = runtime.create_container(&made.id, &web).await.expect("a container");
    assert_eq!(state(&runtime, &id).await, ContainerState::Created);
    runtime.start_container(&id).await.expect("a start");
    runtime.start_container(&id).await.expect("a start may be repeated");
    assert!(matches!(state(&runtime, &id).await, ContainerState::Running { .. }));
    volume.content = content("two");
    runtime.write_volume(&config.pod, &volume).await.expect("new content");
    let file: PathBuf = options.data.join("uid-web/volumes/files/deep/key");
    assert_eq!(std::fs::read_to_string(file).expect("a file"), "two");

    let mut lines = runtime
        .logs(
            &id,
            &LogOptions {
                follow: true,
                ..LogOptions::default()
            },
        )
        .await
        .expect("a log");
    let line = tokio::time::timeout(Duration::from_secs(10), lines.next())
        .await
        .expect("a line in time");
    assert_eq!(line.expect("a line").expect("a good line").bytes, "hello\n");

    let outcome = runtime
        .exec(&id, &["/three".to_owned()], Duration::from_secs(10))
        .await
        .expect("an outcome");
    assert_eq!(outcome.exit_code, 3);
    let slow = runtime
        .exec(&id, &["/hello".to_owned()], Duration::from_millis(300))
        .await;
    assert_eq!(slow.map_err(|error| error.kind), Err(ErrorKind::Timeout));
    assert!(has_no_commands(&runtime, &id).await, "it does not run on");

    let started = std::time::Instant::now();
    runtime
        .stop_container(&id, Duration::from_secs(20))
        .await
        .expect("a stop");
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "it ends by the signal, not by the kill"
    );
    assert_eq!(exit_code(&runtime, &id).await, 0);
    runtime
        .stop_container(&id, Duration::from_secs(1))
        .await
        .expect("a stop may be repeated");

    // A container that fails tells its code; one that cannot be started says why.
    let bad = runtime
        .create_container(&made.id, &container(&config.pod, "bad", "/three"))
        .await
        .expect("a container");
    runtime.start_container(&bad).await.expect("a start");
    assert_eq!(exit_code(&runtime, &bad).await, 3);
    let none = runtime
        .create_container(&made.id, &container(&config.pod, "none", "/none"))
        .await
        .expect("a container");
    assert_eq!(state(&runtime, &none).await, ContainerState::Created);
    assert!(runtime.start_container(&none).await.is_err());
    assert!(
        matches!(state(&runtime, &none).await, ContainerState::Exited(exit) if exit.reason == "ContainerCannotRun")
    );

    // A freed address is not the next one.
    runtime.stop_sandbox(&made.id).await.expect("a stop");
    runtime.stop_sandbox(&made.id).await.expect("a stop may be repeated");
    let again = runtime.run_sandbox(&sandbox("web", 1)).await.expect("another sandbox");
    assert_eq!(again.ip.map(|ip| ip.to_string()).as_deref(), Some("10.251.7.3"));
    let restarted = docker(options.clone()).await.expect("Docker answered a moment ago");
    let third = restarted
        .run_sandbox(&sandbox("other", 0))
        .await
        .expect("a third sandbox");
    assert_eq!(third.ip.map(|ip| ip.to_string()).as_deref(), Some("10.251.7.4"));

    // What is removed is gone.
    runtime.remove_sandbox(&made.id).await.expect("a removal");
    runtime
        .remove_sandbox(&made.id)
        .await
        .expect("a removal may be repeated");
    runtime.remove_volumes("uid-web").await.expect("a removal");
    assert!(!options.data.join("uid-web").exists());
    assert_eq!(runtime.list_pods().await.expect("a list").len(), 2);
    DockerRuntime::stop_everything(&options.cluster, Duration::from_secs(1))
        .await
        .expect("a stop");
    let pods = runtime.list_pods().await.expect("a list");
    assert!(
        pods.iter()
            .all(|pod| pod.state == SandboxState::NotReady && pod.ip.is_none())
    );
    runtime.remove_image(IMAGE).await.expect("a removal");
    DockerRuntime::remove_everything(&options).await.expect("a removal");
    assert!(runtime.list_pods().await.expect("a list").is_empty());
    runtime.remove_image(&options.pause_image).await.expect("a removal");
}

#[test]
fn only_a_docker_of_this_machine_can_be_named() {
    assert_eq!(super::socket("").ok(), Some("/var/run/docker.sock"));
    assert_eq!(
        super::socket("unix:///run/user/7/docker.sock").ok(),
        Some("/run/user/7/docker.sock")
    );
    let refused = super::socket("tcp://10.0.0.1:2375").expect_err("it is another machine's");
    assert!(refused.to_string().contains("tcp://10.0.0.1:2375"), "{refused}");
}
