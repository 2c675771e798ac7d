//! Runs the tests of the one cluster: some before it exists, many in it side by side, some that need it for themselves,
//! some that watch it go. Whatever happens, the cluster is deleted in the end.
//!
//! Arguments are those of `cargo test` as far as they mean anything here: words that a test's name must hold,
//! `--skip WORD`, `--exact`, `--list`, `--test-threads=N`.

use std::collections::VecDeque;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::cluster::{self, Cluster};
use crate::images;
use crate::kubectl::{self, Kubectl};
use crate::machine;
use crate::session::Session;

/// A test: a sentence, and how to find out whether it is true.
pub type Test = (&'static str, fn(&Session<'_>));

/// Names functions of a module as tests.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        /// The tests of this module.
        pub const TESTS: &[$crate::harness::Test] = &[$((stringify!($name), $name)),*];
    };
}

/// All tests, by what they need.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    /// No cluster is there yet.
    pub before: &'a [&'a [Test]],
    /// In a running cluster, side by side, with the oldest and the newest kubectl.
    pub every_kubectl: &'a [&'a [Test]],
    /// In a running cluster, side by side, with the newest kubectl.
    pub any_kubectl: &'a [&'a [Test]],
    /// In a running cluster that nobody else uses, and which may be stopped and started.
    pub alone: &'a [Test],
    /// The last ones: they may delete the cluster.
    pub after: &'a [Test],
}

/// How many tests run side by side. They mostly wait.
const SIDE_BY_SIDE: usize = 4;

#[derive(Debug, Default)]
struct Choice {
    words: Vec<String>,
    without: Vec<String>,
    exact: bool,
    list: bool,
    threads: Option<usize>,
}

impl Choice {
    fn of_arguments(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut choice = Choice::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--skip" => choice.without.extend(arguments.next()),
                "--exact" => choice.exact = true,
                "--list" => choice.list = true,
                "--test-threads" => choice.threads = arguments.next().and_then(|number| number.parse().ok()),
                option if option.starts_with("--test-threads=") => {
                    choice.threads = option["--test-threads=".len()..].parse().ok();
                }
                option if option.starts_with("--format") || option == "--color" => {
                    if !option.contains('=') {
                        arguments.next();
                    }
                }
                option if option.starts_with('-') => {}
                _ => choice.words.push(argument),
            }
        }
        choice
    }

    fn takes(&self, name: &str) -> bool {
        let is_meant = |word: &String| {
            if self.exact {
                name == word
            } else {
                name.contains(word.as_str())
            }
        };
        (self.words.is_empty() || self.words.iter().any(is_meant)) && !self.without.iter().any(is_meant)
    }
}

/// A test with all that is chosen for it.
struct Job<'a> {
    /// `1.33 a_deleted_pod_…`
    title: String,
    test: fn(&Session<'_>),
    kubectl: &'a Kubectl,
    /// A fresh one, made before and deleted after; `None` for those that need no cluster.
    has_namespace: bool,
}

/// What became of the tests.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
}

/// Runs what the process's arguments choose of `plan`, in the folder `folder`.
pub fn run(plan: &Plan<'_>, folder: &Path) -> ExitCode {
    let choice = Choice::of_arguments(env::args().skip(1));
    let kubectls = kubectl::oldest_and_newest();
    let is_required = env::var_os("ORRERY_REQUIRE_DOCKER").is_some_and(|value| value == "1");
    let lack = machine::lack().or_else(|| {
        kubectls
            .is_empty()
            .then(|| "there is no kubectl in the PATH".to_owned())
    });
    if let Some(lack) = lack.filter(|_| !choice.list) {
        if is_required {
            eprintln!("FAILED: {lack}, and ORRERY_REQUIRE_DOCKER=1 asks for the tests against a real cluster.");
            return ExitCode::FAILURE;
        }
        eprintln!("SKIPPED: every test against a real cluster, since {lack}.");
        return ExitCode::SUCCESS;
    }
    let nobody = Kubectl {
        version: String::new(),
        path: Default::default(),
    };
    let newest = kubectls.last().unwrap_or(&nobody);
    let stages = stages(plan, &choice, &kubectls, newest);
    if choice.list {
        stages.iter().flatten().for_each(|job| println!("{}: test", job.title));
        return ExitCode::SUCCESS;
    }
    let count: usize = stages.iter().map(Vec::len).sum();
    let versions: Vec<&str> = kubectls.iter().map(|kubectl| kubectl.version.as_str()).collect();
    println!(
        "\nrunning {count} tests of a real cluster, with kubectl {}",
        versions.join(" and ")
    );
    if count == 0 {
        return ExitCode::SUCCESS;
    }
    // Where and why is enough; the commands before it say more than a stack.
    panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let tally = match all(stages, &choice, folder) {
        Ok(tally) => tally,
        Err(reason) => {
            eprintln!("FAILED: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let result = if tally.failed.is_empty() { "ok" } else { "FAILED" };
    tally.failed.iter().for_each(|name| println!("    failed: {name}"));
    println!(
        "\ntest result: {result}. {} passed; {} failed",
        tally.passed,
        tally.failed.len()
    );
    if tally.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The jobs of each stage: before, side by side, alone, after.
fn stages<'a>(plan: &Plan<'_>, choice: &Choice, kubectls: &'a [Kubectl], newest: &'a Kubectl) -> [Vec<Job<'a>>; 4] {
    let jobs = |tests: &[Test], kubectl: &'a Kubectl, versioned: bool, has_namespace: bool| {
        let title = |name: &str| {
            if versioned {
                format!("{} {name}", kubectl.version)
            } else {
                name.to_owned()
            }
        };
        let job = |&(name, test): &Test| Job {
            title: title(name),
            test,
            kubectl,
            has_namespace,
        };
        tests
            .iter()
            .map(job)
            .filter(|job| choice.takes(&job.title))
            .collect::<Vec<_>>()
    };
    let before = plan.before.iter().flat_map(|tests| jobs(tests, newest, false, false));
    let any = plan
        .any_kubectl
        .iter()
        .flat_map(|tests| jobs(tests, newest, false, true));
    let every = plan
        .every_kubectl
        .iter()
        .flat_map(|tests| kubectls.iter().flat_map(|kubectl| jobs(tests, kubectl, true, true)));
    [
        before.collect(),
        any.chain(every).collect(),
        jobs(plan.alone, newest, false, true),
        jobs(plan.after, newest, false, false),
    ]
}

fn all(stages: [Vec<Job<'_>>; 4], choice: &Choice, folder: &Path) -> Result<Tally, String> {
    let binary = cluster::binary()?;
    let cluster = Cluster::new(&binary, folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let others = machine::docker_lines(&["ps", "--all", "--quiet", "--filter", "label=io.orrery.cluster=orrery"]);
    if !others.is_empty() || !machine::rules_about("KUBE-SERVICES").is_empty() {
        return Err(
            "there is a cluster on this machine, and it can have but one; `orrery delete` makes room".to_owned(),
        );
    }
    images::make(&folder.join("images"))?;
    let _images = Images;
    let tally = Mutex::new(Tally::default());
    let [before, side_by_side, alone, after] = stages;
    one_after_another(before, &cluster, &tally);
    if !(side_by_side.is_empty() && alone.is_empty() && after.is_empty()) {
        let outcome = cluster.orrery(&format!("start --port {}", cluster.port()));
        if !outcome.is_success() {
            return Err(format!("orrery start: {outcome}\n--- its log:\n{}", cluster.log_end()));
        }
        println!("     the cluster started in {:.1} s", outcome.took.as_secs_f64());
        together(side_by_side, &cluster, &tally, choice.threads.unwrap_or(SIDE_BY_SIDE));
        one_after_another(alone, &cluster, &tally);
        one_after_another(after, &cluster, &tally);
    }
    let tally = tally.into_inner().unwrap_or_default();
    if !tally.failed.is_empty() {
        println!("--- the end of the cluster's log:\n{}", cluster.log_end());
    }
    Ok(tally)
}

/// Removes the images in the end.
struct Images;

impl Drop for Images {
    fn drop(&mut self) {
        images::remove();
    }
}

fn one_after_another(jobs: Vec<Job<'_>>, cluster: &Cluster, tally: &Mutex<Tally>) {
    together(jobs, cluster, tally, 1);
}

fn together(jobs: Vec<Job<'_>>, cluster: &Cluster, tally: &Mutex<Tally>, threads: usize) {
    let jobs = Mutex::new(VecDeque::from(jobs));
    let next = || jobs.lock().unwrap_or_else(|poison| poison.into_inner()).pop_front();
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(job) = next() {
                    carry_out(&job, cluster, tally);
                }
            });
        }
    });
}

fn carry_out(job: &Job<'_>, cluster: &Cluster, tally: &Mutex<Tally>) {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let started = Instant::now();
    let namespace = format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let session = Session::new(cluster, job.kubectl, &namespace);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        if job.has_namespace {
            session.kubectl(&format!("create namespace {namespace}"));
        }
        (job.test)(&session);
    }));
    let took = started.elapsed().as_secs_f64();
    let mut tally = tally.lock().unwrap_or_else(|poison| poison.into_inner());
    match outcome {
        Ok(()) => {
            println!("test {} … ok ({took:.1} s)", job.title);
            tally.passed += 1;
        }
        Err(_) => {
            println!(
                "test {} … FAILED ({took:.1} s), its last commands:\n{}",
                job.title,
                session.record()
            );
            tally.failed.push(job.title.clone());
        }
    }
    drop(tally);
    if job.has_namespace {
        session.try_kubectl(&format!("delete namespace {namespace} --wait=false"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(line: &str) -> Choice {
        Choice::of_arguments(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn words_choose_tests_as_cargo_test_does() {
        assert!(choice("").takes("1.33 a_pod"));
        assert!(choice("a_pod --nocapture").takes("1.33 a_pod_runs"));
        assert!(!choice("a_pod --exact").takes("a_pod_runs"));
        assert!(!choice("a --skip runs").takes("a_pod_runs"));
        assert_eq!(choice("--test-threads 3").threads, Some(3));
        assert_eq!(choice("--test-threads=1 x").threads, Some(1));
    }
}
