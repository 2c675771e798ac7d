//! One run: chaos, heal, convergence, quiet; in real time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_play::Stage;
use orrery_play::convergence::{self, Rest};
use orrery_play::end_state::EndState;
use orrery_play::scenario::{self, Scenario};
use orrery_play::workload::Workload;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use super::faults::Faults;
use super::images;
use super::machine::Machine;
use super::mirror::Mirror;
use super::playable::Playable;
use super::services;
use super::stage::RealStage;
use crate::daemon::Failure;
use crate::place::{self, Place, write_private};
use crate::progress::{Progress, say};

/// So long nothing but heartbeats may be written in the end.
const QUIET: Duration = Duration::from_secs(30);
/// How often it is looked at what is missing.
const LOOK: Duration = Duration::from_secs(1);
/// How many lines of what is missing are shown.
const SHOWN: usize = 20;

/// The exit codes are the simulator's.
const WRONG: u8 = 2;
const NOT_CONVERGED: u8 = 11;
const INTERRUPTED: u8 = 130;

/// What to play, and what becomes of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The scenario's file.
    pub file: String,
    /// The seed of what the scenario leaves to chance; its own, or 1, if none.
    pub seed: Option<u64>,
    /// Where is written what the cluster holds in the end.
    pub end_state: Option<PathBuf>,
    /// Whether the cluster is left running.
    pub keep: bool,
}

/// How a run ended.
enum Verdict {
    Held(Duration),
    NotConverged(Vec<String>),
    Wrong(String),
    Interrupted,
}

/// Plays a scenario. `user` is where the user's own cluster lives, which must not run meanwhile.
///
/// # Errors
/// What a cluster needs is not there, or the machine does not do what a fault asks for; in words.
pub async fn run(settings: &Settings, user: Option<&Place>) -> Result<ExitCode, Failure> {
    let scenario = match scenario::read_file(&settings.file) {
        Ok(scenario) => scenario,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(ExitCode::from(WRONG));
        }
    };
    let seed = settings.seed.or(scenario.seed).unwrap_or(1);
    // What informers say while the server is away is no news here.
    orrery_api::log::set_sink(|_, _| {});
    let played = Playable::of(&scenario);
    tell(&scenario, &played, seed);
    let machine = Arc::new(Machine::new(user).await?);
    let mut made = Vec::new();
    let outcome = play(settings, seed, played, &machine, &mut made).await;
    let kept = settings.keep && outcome.is_ok();
    if !kept {
        let deleted = machine.delete().await;
        let removed = images::remove(machine.docker(), &made).await;
        // What went wrong first is what is told.
        outcome
            .as_ref()
            .map(drop)
            .map_err(|failure| Failure(failure.0.clone()))
            .and(deleted)
            .and(removed)?;
    }
    let code = report(&outcome?);
    if kept && let Some(machine) = Arc::into_inner(machine) {
        say(&format!("the cluster is kept: {}", machine.keep()));
    }
    Ok(code)
}

fn tell(scenario: &Scenario, played: &Playable, seed: u64) {
    let lasts = scenario.duration.as_secs();
    say(&format!(
        "{}, seed {seed}: {lasts} s, and until it has converged",
        scenario.name
    ));
    if scenario.topology.nodes.len() > 1 {
        say(&format!(
            "one machine is all of its {} nodes",
            scenario.topology.nodes.len()
        ));
    }
    for what in &played.left_out {
        say(&format!("left out: {what}"));
    }
}

async fn play(
    settings: &Settings,
    seed: u64,
    played: Playable,
    machine: &Arc<Machine>,
    made: &mut Vec<String>,
) -> Result<Verdict, Failure> {
    let setup = Progress::default();
    *made = images::make(machine.docker(), &played.scenario).await?;
    if !made.is_empty() {
        setup.done(&format!(
            "stand-ins are made for images that Docker does not have: {}",
            made.join(", ")
        ));
    }
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| Failure(error.to_string()))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failure(error.to_string()))?;
    let whole = async {
        machine.start().await?;
        let random = Random::from_number(seed);
        let client = machine.client()?;
        let (mirror, watches) = (Mirror::new(), TaskGroup::new());
        mirror.follow(&client, &random.stream("mirror"), &watches).await;
        setup.done("a cluster of its own is ready; the scenario begins");
        let stage = Arc::new(RealStage::new(played.scenario, random, mirror, &client));
        chaos_and_heal(settings, machine, &stage).await
    };
    tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(Verdict::Interrupted),
        _ = terminate.recv() => Ok(Verdict::Interrupted),
        verdict = whole => verdict,
    }
}

async fn chaos_and_heal(
    settings: &Settings,
    machine: &Arc<Machine>,
    stage: &Arc<RealStage>,
) -> Result<Verdict, Failure> {
    let start = Instant::now();
    stage.choices.begin(start);
    let faults = Faults::begin(stage, machine, start);
    let users: Arc<dyn Stage> = stage.clone();
    let workload = Workload::begin(&users, start);
    tokio::select! {
        biased;
        () = stage.stop.notified() => {}
        () = sleep_until(start + stage.scenario.duration) => {}
    }
    faults.end().await;
    if let Some(why) = stage.trouble_so_far() {
        return Ok(Verdict::Wrong(why));
    }
    machine.heal().await?;
    stage.progress.done("the faults are over");
    let verdict = tokio::select! {
        biased;
        () = stage.stop.notified() => Verdict::Wrong(stage.trouble_so_far().unwrap_or_default()),
        verdict = converge(machine, stage, &workload) => verdict?,
    };
    for fault in faults.never_struck() {
        say(&format!("never struck: {fault}"));
    }
    if let (Some(path), Verdict::Held(_)) = (&settings.end_state, &verdict) {
        let end = stage.mirror.look(EndState::of);
        let bytes = serde_json::to_vec(&end).map_err(|error| Failure(error.to_string()))?;
        write_private(path, &bytes).map_err(|error| Failure(error.to_string()))?;
    }
    Ok(verdict)
}

/// Waits until nothing is missing and the cluster was quiet.
async fn converge(machine: &Machine, stage: &RealStage, workload: &Workload) -> Result<Verdict, Failure> {
    let healed = Instant::now();
    let bound = stage.scenario.expect.converge;
    let mut since: Option<Instant> = None;
    loop {
        sleep(LOOK).await;
        let mut missing = missing(machine, stage).await?;
        if workload.open() > 0 {
            missing.push(format!("{} steps of the workload are not done", workload.open()));
        }
        if !missing.is_empty() {
            since = None;
            if healed.elapsed() >= bound {
                return Ok(Verdict::NotConverged(missing));
            }
            continue;
        }
        let since = *since.get_or_insert_with(Instant::now);
        let (quiet, what) = stage.mirror.quiet();
        if quiet >= QUIET && since.elapsed() >= QUIET {
            return Ok(Verdict::Held(since - healed));
        }
        if healed.elapsed() >= bound + 2 * QUIET {
            return Ok(Verdict::NotConverged(vec![format!(
                "the cluster is as asked for, but not quiet: {what}, {quiet:.0?} ago"
            )]));
        }
    }
}

/// What is still missing: in the store, in Docker, and of what services answer.
async fn missing(machine: &Machine, stage: &RealStage) -> Result<Vec<String>, Failure> {
    let running = machine.running().await?.into_iter();
    let running: Vec<(String, String)> = running.map(|(uid, container)| (uid, container.name)).collect();
    let pods = machine.pods().await?;
    let authority = machine.authority();
    let rest = Rest {
        nodes: &[place::NAME.to_owned()],
        left: &[],
        broken: &BTreeSet::new(),
        authority: &authority,
        expect: &stage.scenario.expect,
    };
    let (mut missing, addresses) = stage.mirror.look(|cluster| {
        let mut missing = convergence::missing(cluster, &rest);
        convergence::containers(cluster, place::NAME, &running, &mut missing);
        let strangers = pods.iter().filter(|uid| cluster.by_uid(uid).is_none());
        missing.extend(strangers.map(|uid| format!("a sandbox of a pod with uid {uid} is left, which nobody has")));
        (missing, services::addresses(cluster))
    });
    missing.extend(services::silent(&addresses).await);
    Ok(missing)
}

fn report(verdict: &Verdict) -> ExitCode {
    match verdict {
        Verdict::Held(after) => {
            say(&format!(
                "held: converged {:.0} s after the faults, and stayed quiet",
                after.as_secs_f64()
            ));
            ExitCode::SUCCESS
        }
        Verdict::NotConverged(missing) => {
            say("did not converge within the bound; what is missing:");
            missing.iter().take(SHOWN).for_each(|line| say(&format!("  {line}")));
            if missing.len() > SHOWN {
                say(&format!("  and {} more", missing.len() - SHOWN));
            }
            ExitCode::from(NOT_CONVERGED)
        }
        Verdict::Wrong(why) => {
            say(&format!("the scenario cannot be played: {why}"));
            ExitCode::from(WRONG)
        }
        Verdict::Interrupted => {
            say("interrupted; the cluster is gone");
            ExitCode::from(INTERRUPTED)
        }
    }
}
