//! The cluster as its users meet it: the real `orrery`, Docker, iptables and `kubectl`.
//!
//! Not tested here: what happens when nodes, disks or networks fail (that is what `sim` is for), images from
//! registries, and several nodes.

mod failures;
mod lifecycle;
mod machine;
mod objects;
mod pods;
mod reading;
mod rollouts;
mod scenarios;
mod services;
mod writing;
mod yaml;

use std::path::Path;
use std::process::ExitCode;

use orrery_tests::harness::{self, Plan};

fn main() -> ExitCode {
    let plan = Plan {
        before: &[machine::TESTS, scenarios::TESTS],
        every_kubectl: &[
            rollouts::TESTS,
            reading::TESTS,
            writing::TESTS,
            objects::TESTS,
            yaml::TESTS,
        ],
        any_kubectl: &[failures::TESTS, pods::TESTS, services::TESTS, scenarios::BESIDE],
        alone: lifecycle::TESTS,
        after: lifecycle::LAST,
    };
    harness::run(&plan, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("real-cluster"))
}
