//! A failing run is made small, and what is left fails by itself.

mod command;

use std::process::{Command, Stdio};
use std::time::Duration;

use command::{command, sim, text};

/// Three replicas are asked for and nine are expected: no fault and none of the operations has to do with it.
const IMPOSSIBLE: &str = "
name: impossible
about: Nine replicas are expected of three.
topology: { nodes: 3, zones: 2 }
network: { latency: 1ms..8ms, loss: 0.001 }
images:
  web:1: { pull: 200ms..2s, crash: 0.05 }
workload:
  - at: 2s
    apply: |
      apiVersion: apps/v1
      kind: Deployment
      metadata: { name: web, labels: { team: a } }
      spec:
        replicas: 3
        selector: { matchLabels: { app: web } }
        template:
          metadata: { labels: { app: web } }
          spec: { terminationGracePeriodSeconds: 5, containers: [{ name: web, image: \"web:1\" }] }
      ---
      apiVersion: v1
      kind: Service
      metadata: { name: web }
      spec: { selector: { app: web }, ports: [{ port: 80 }] }
  - between: 5s..25s
    churn: { every: 2s..6s, ops: [delete-pod, restart] }
faults:
  - between: 5s..25s
    swarm: [restart, pause, lost-answers]
  - between: 5s..15s
    pause: { node: any, for: 2s..5s }
heal: all
expect:
  converge: 20s
  state: [{ deployment/web: { spec.replicas: 9 } }]
duration: 25s
";

#[test]
fn a_failing_run_becomes_a_few_lines_that_fail_with_every_seed_whatever_the_number_of_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("big.yaml"), IMPOSSIBLE).unwrap();
    let mut results = Vec::new();
    for jobs in ["1", "2"] {
        let out = path("small.yaml");
        let output = sim(&[
            "shrink",
            &path("big.yaml"),
            "--seed",
            "4",
            "--out",
            &out,
            "--jobs",
            jobs,
        ]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("It needs no seed"), "{said}");
        results.push(std::fs::read_to_string(&out).unwrap());
    }
    assert_eq!(results[0], results[1], "one job and two");
    let small = &results[0];
    for gone in ["faults:", "seed:", "images:", "network:", "kind: Service", "restart"] {
        let body: Vec<&str> = small.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(!body.iter().any(|line| line.contains(gone)), "{gone} in\n{small}");
    }
    for seed in ["1", "77"] {
        let output = sim(&["run", &path("small.yaml"), "--seed", seed]);
        assert_eq!(output.status.code(), Some(11), "seed {seed} of\n{small}");
    }
}

/// The only node goes and stays away.
const BLAMED: &str = "
name: blamed
topology: { nodes: 1 }
workload:
  - at: 2s
    apply:
      apiVersion: apps/v1
      kind: Deployment
      metadata: { name: web }
      spec:
        replicas: 2
        selector: { matchLabels: { app: web } }
        template:
          metadata: { labels: { app: web } }
          spec: { containers: [{ name: web, image: \"web:1\" }] }
faults:
  - between: 5s..8s
    restart: scheduler
  - between: 10s..15s
    crash: { node: node-1, for: 1h }
heal: { all-but: [node-1] }
expect: { converge: 20s }
duration: 25s
";

#[test]
fn a_fault_that_is_to_blame_stays_however_little_time_would_fail_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("big.yaml"), BLAMED).unwrap();
    let output = sim(&["shrink", &path("big.yaml"), "--seed", "1", "--out", &path("small.yaml")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let small = std::fs::read_to_string(path("small.yaml")).unwrap();
    assert!(small.contains("crash:") && !small.contains("restart:"), "{small}");
}

#[test]
fn a_run_that_holds_is_not_shrunk() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("idle.yaml");
    std::fs::write(&file, "name: idle\nduration: 1s\n").unwrap();
    let output = sim(&["shrink", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("does not fail with seed 1"));
}

#[test]
fn a_pinned_scenario_draws_nothing_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("big.yaml"), IMPOSSIBLE).unwrap();
    assert_eq!(
        sim(&["pin", &path("big.yaml"), "--seed", "4", "--out", &path("one.yaml")])
            .status
            .code(),
        Some(0)
    );
    let one = std::fs::read_to_string(path("one.yaml")).unwrap();
    assert!(one.contains("seed: 4\n"), "{one}");
    for drawn in ["between:", "swarm:", "churn:", "any"] {
        assert!(!one.contains(drawn), "{drawn} in\n{one}");
    }
    // It names its own seed, and played again the same faults strike.
    assert_eq!(
        sim(&["pin", &path("one.yaml"), "--out", &path("two.yaml")])
            .status
            .code(),
        Some(0)
    );
    let two = std::fs::read_to_string(path("two.yaml")).unwrap();
    assert_eq!(struck(&one), struck(&two));
    assert!(!struck(&one).is_empty(), "{one}");
}

/// The crashes and pauses of a pinned scenario, with their moments to a hundredth of a second: what is finer is the
/// executor's. Which answers are lost depends on which are asked for.
fn struck(text: &str) -> Vec<(i64, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines
        .windows(2)
        .filter(|pair| pair[1].contains(" crash: {") || pair[1].contains(" pause: {"));
    pairs
        .map(|pair| {
            let at = pair[0].trim_start_matches("  - at: ");
            let seconds: f64 = match at.strip_suffix("ms") {
                Some(millis) => millis.parse::<f64>().unwrap() / 1000.0,
                None => at.trim_end_matches('s').parse().unwrap(),
            };
            ((seconds * 100.0).round() as i64, pair[1].trim().to_owned())
        })
        .collect()
}

#[test]
fn an_interrupt_keeps_the_best_so_far_and_leaves_nothing_else() {
    let (folder, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("big.yaml"), IMPOSSIBLE).unwrap();
    let small = path("small.yaml");
    let mut child = command(&["shrink", &path("big.yaml"), "--seed", "4", "--out", &small])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let works = temporary.path().join(format!("orrery-shrink-{}", child.id()));
    while !works.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it tried anything");
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(text(&output).contains("; it was interrupted"), "{}", text(&output));
    assert!(std::fs::read_to_string(&small).unwrap().contains("name: impossible"));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

/// A seed keeps its meaning when something changes that has nothing to do with the rest.
#[test]
fn what_a_seed_draws_survives_unrelated_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let drawn = |text: &str, seed: &str| {
        std::fs::write(path("a.yaml"), text).unwrap();
        let output = sim(&["pin", &path("a.yaml"), "--seed", seed]);
        assert_eq!(output.status.code(), Some(0), "{}", self::text(&output));
        struck(&String::from_utf8_lossy(&output.stdout))
    };
    let image = IMPOSSIBLE.replace("images:\n", "images:\n  other:1: { pull: 5s..9s, exit: 3 }\n");
    let deployment = IMPOSSIBLE.replace(
        "  - between: 5s..25s\n    churn:",
        "  - at: 3s\n    apply: { apiVersion: apps/v1, kind: Deployment, metadata: { name: idle }, spec: { replicas: 0,\n      \
         selector: { matchLabels: { app: idle } }, template: { metadata: { labels: { app: idle } },\n      \
         spec: { containers: [{ name: a, image: \"other:1\" }] } } } }\n  - between: 5s..25s\n    churn:",
    );
    let fault = IMPOSSIBLE.replace(
        "faults:\n",
        "faults:\n  - when: { create: Pod/default/*, occurrence: 9999 }\n    restart: scheduler\n",
    );
    for seed in ["1", "2", "3", "4", "5", "6"] {
        let as_it_is = drawn(IMPOSSIBLE, seed);
        assert!(!as_it_is.is_empty());
        for (what, changed) in [("an image", &image), ("a deployment", &deployment), ("a fault", &fault)] {
            assert_ne!(*changed, IMPOSSIBLE, "{what}");
            assert_eq!(drawn(changed, seed), as_it_is, "{what} more, seed {seed}");
        }
    }
}
