//! How large a world may be: `cargo sim-big 5000 150000` runs so many nodes and pods once, with all invariants on, and
//! says what it took. A node crashes on the way; in the end every pod must run.
//!
//! The pods come in deployments of up to 500, one every five seconds, so that the store's history (five to ten minutes)
//! holds a part of them. One small deployment stands behind a service. Pods have no probes.

use std::fmt::Write as _;
use std::process::ExitCode;

use orrery_sim::run::{Settings, Verdict, run};
use orrery_sim::scenario::{Scenario, read};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// So many pods a deployment has at most.
const SIZE: usize = 500;
/// So many seconds lie between two deployments.
const PACE: usize = 5;
/// So much memory the largest world may take.
const LIMIT: u64 = 20 << 30;

fn deployment(name: &str, replicas: usize) -> String {
    format!(
        "
      - apiVersion: apps/v1
        kind: Deployment
        metadata: {{ name: {name} }}
        spec:
          replicas: {replicas}
          selector: {{ matchLabels: {{ app: {name} }} }}
          template:
            metadata: {{ labels: {{ app: {name} }} }}
            spec:
              terminationGracePeriodSeconds: 5
              tolerations:
                - {{ key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 10 }}
              containers:
                - name: web
                  image: web:1
                  ports: [{{ containerPort: 80 }}]
                  resources: {{ requests: {{ cpu: 10m, memory: 16Mi }} }}"
    )
}

/// A world of so many nodes and pods.
fn scenario(nodes: usize, pods: usize) -> Scenario {
    let mut text = format!(
        "name: big\nabout: {nodes} nodes and {pods} pods.\ntopology: {{ nodes: {nodes}, zones: 3 }}\n\
         images:\n  web:1: {{ pull: 200ms..2s, start: 50ms..500ms }}\nworkload:"
    );
    let few = pods.min(20);
    let _ = write!(
        text,
        "\n  - at: 5s\n    apply:{}
      - apiVersion: v1
        kind: Service
        metadata: {{ name: few }}
        spec: {{ selector: {{ app: few }}, ports: [{{ name: http, port: 80, targetPort: 80 }}] }}",
        deployment("few", few)
    );
    let mut left = pods - few;
    let mut second = 10;
    while left > 0 {
        let size = left.min(SIZE);
        left -= size;
        let apply = deployment(&format!("many-{second}"), size);
        let _ = write!(text, "\n  - at: {second}s\n    apply:{apply}");
        second += PACE;
    }
    let _ = write!(
        text,
        "\nfaults:\n  - at: {}s\n    crash: {{ node: any, for: 90s }}\n\
         expect:\n  invariants: all\n  converge: 600s\nheal: all\nduration: {}s\n",
        second / 2,
        second + 60
    );
    let beside = |name: &str| Err(format!("there is no {name}"));
    read("big", &text, beside).expect("the scenario is right")
}

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

fn main() -> ExitCode {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (nodes, pods) = match numbers.as_slice() {
        [nodes, pods, ..] => (*nodes, *pods),
        _ => (500, 15_000),
    };
    let outcome = run(Settings::new(scenario(nodes, pods), 7));
    let (simulated, spent) = (outcome.simulated.as_secs_f64(), outcome.spent.as_secs_f64());
    println!(
        "{nodes} nodes, {pods} pods: {simulated:.0} s simulated in {spent:.1} s of CPU ({:.1} times real time), {} events, {} MiB",
        simulated / spent,
        outcome.events,
        peak() >> 20
    );
    match outcome.verdict {
        Verdict::Held if peak() <= LIMIT => ExitCode::SUCCESS,
        Verdict::Held => {
            println!("it took more than {} GiB", LIMIT >> 30);
            ExitCode::FAILURE
        }
        other => {
            println!("{other:#?}");
            ExitCode::FAILURE
        }
    }
}
