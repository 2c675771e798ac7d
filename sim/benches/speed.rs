//! How fast a world runs: `cargo sim-bench`. Criterion's "elements" are simulated seconds, so its throughput is
//! simulated seconds per second; of `campaign` they are seeds, each a process of its own as `fuzz` runs them, on two
//! processors.
//!
//! What is asked for: 5,000 with 5 nodes, 1,000 with 100, 100 with 1,000, with all invariants on; 2,000 seeds a minute
//! (33 a second); and `without-invariants` no more than 30 % faster. How large a world may be is the matter of `cargo
//! sim-big`.

#![allow(missing_docs, reason = "criterion makes a function of each group")]

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use orrery_sim::run::{Settings, run};
use orrery_sim::scenario::{Scenario, read};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// So many seeds a measured campaign has.
const SEEDS: u64 = 100;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");

/// The scenario `node-failure` with so many nodes.
fn scenario(nodes: usize, invariants: &str) -> Arc<Scenario> {
    let file = format!("{FOLDER}/node-failure.yaml");
    let load = |name: &str| std::fs::read_to_string(name).map_err(|error| error.to_string());
    let source = load(&file)
        .expect("the scenario is there")
        .replace("nodes: 5", &format!("nodes: {nodes}"))
        .replace("invariants: all", &format!("invariants: {invariants}"));
    let beside = |name: &str| load(&format!("{FOLDER}/{name}"));
    Arc::new(read(&file, &source, beside).expect("the scenario is right"))
}

fn worlds(criterion: &mut Criterion, name: &str, invariants: &str, sizes: &[usize]) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for nodes in sizes {
        let scenario = scenario(*nodes, invariants);
        let once = || run(Settings::new(scenario.clone(), 7));
        group.throughput(Throughput::Elements(once().simulated.as_secs()));
        group.bench_function(BenchmarkId::new("nodes", nodes), |bencher| bencher.iter(once));
    }
    group.finish();
}

fn speed(criterion: &mut Criterion) {
    worlds(criterion, "node-failure", "all", &[5, 100, 1000]);
    worlds(criterion, "without-invariants", "[]", &[5, 100, 1000]);
}

fn campaign(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("campaign");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Elements(SEEDS));
    group.bench_function("node-failure", |bencher| {
        bencher.iter(|| {
            let status = Command::new(env!("CARGO_BIN_EXE_orrery-sim"))
                .args(["fuzz", "node-failure.yaml", "--jobs", "2", "--seeds"])
                .arg(SEEDS.to_string())
                .current_dir(FOLDER)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            assert!(status.expect("the simulator starts").success(), "all seeds hold");
        });
    });
    group.finish();
}

criterion_group!(benches, speed, campaign);
criterion_main!(benches);
