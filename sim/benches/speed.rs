//! How fast a world runs: `cargo sim-bench`. Criterion's "elements" are simulated seconds, so its throughput is simulated
//! seconds per second, with all invariants on.

#![allow(missing_docs, reason = "criterion makes a function of each group")]

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use orrery_sim::run::{End, Settings, run};
use orrery_sim::scenario::{Scenario, read};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The scenario `node-failure` with so many nodes.
fn scenario(nodes: usize) -> Scenario {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
    let file = format!("{folder}/node-failure.yaml");
    let load = |name: &str| std::fs::read_to_string(name).map_err(|error| error.to_string());
    let source = load(&file)
        .expect("the scenario is there")
        .replace("nodes: 5", &format!("nodes: {nodes}"));
    let beside = |name: &str| load(&format!("{folder}/{name}"));
    read(&file, &source, beside).expect("the scenario is right")
}

fn speed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("node-failure");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for nodes in [5, 100, 1000] {
        let scenario = Arc::new(scenario(nodes));
        let once = || {
            run(Settings {
                end: End::Ignore,
                scenario: scenario.clone(),
                seed: 7,
                variation: Default::default(),
                trace: None,
                history: None,
                verbose: false,
            })
        };
        group.throughput(Throughput::Elements(once().simulated.as_secs()));
        group.bench_function(BenchmarkId::new("nodes", nodes), |bencher| bencher.iter(once));
    }
    group.finish();
}

criterion_group!(benches, speed);
criterion_main!(benches);
