//! One run: chaos, heal, convergence, quiet; in real time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_play::convergence::{self, Rest};
use orrery_play::end_state::EndState;
use orrery_play::scenario::{self, Scenario};
use orrery_play::workload::Workload;
use orrery_play::{Stage, exit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::faults::Faults;
use super::images;
use super::machine::{Machine, running};
use super::mirror::Mirror;
use super::playable::Playable;
use super::services;
use super::stage::RealStage;
use crate::daemon::{Failure, fail};
use crate::place::{self, Place, write_private};
use crate::progress::{Progress, say};

/// So long nothing but heartbeats may be written in the end.
const QUIET: Duration = Duration::from_secs(30);
/// How often it is looked at what is missing.
const LOOK: Duration = Duration::from_secs(1);
/// So long a look, or the first list of all there is, may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many lines of what is missing are shown.
const SHOWN: usize = 20;

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
    Panicked(String),
    Wrong(String),
    Interrupted,
}

/// Plays a scenario. `user` is where the user's own cluster would live: there can be none beside this one.
///
/// # Errors
/// What a cluster needs is not there, the machine does not do what a fault asks for, or the cluster does not survive
/// it; in words.
pub async fn run(settings: &Settings, user: &Place) -> Result<ExitCode, Failure> {
    let scenario = match prepare(settings) {
        Ok(scenario) => scenario,
        Err(why) => {
            eprintln!("error: {why}");
            return Ok(ExitCode::from(exit::WRONG));
        }
    };
    // What informers say while the server is away is no news here.
    orrery_api::log::set_sink(|_, _| {});
    let seed = settings.seed.or(scenario.seed).unwrap_or(1);
    let played = Playable::of(&scenario);
    tell(&scenario, &played, seed);
    // From here on nobody ends this process but by its own order.
    let mut interruption = Interruption::new().map_err(fail("cannot listen for signals"))?;
    let machine = Arc::new(Machine::new(user).await?);
    let mut made = Vec::new();
    let outcome = tokio::select! {
        biased;
        () = interruption.comes() => Ok(Verdict::Interrupted),
        outcome = play(settings, seed, played, &machine, &mut made) => outcome,
    };
    if let Ok(verdict) = &outcome {
        report(verdict);
    }
    say(&format!("again: orrery scenario run {} --seed {seed}", settings.file));
    if settings.keep && !matches!(outcome, Err(_) | Ok(Verdict::Interrupted)) {
        say(&format!("the cluster is kept: {}", machine.keep()));
        return outcome.map(|verdict| verdict.code());
    }
    let deleted = machine.delete().await;
    let removed = images::remove(machine.docker(), &made).await;
    // What went wrong first is what is told.
    outcome.and_then(|verdict| deleted.and(removed).map(|()| verdict.code()))
}

/// Reads the scenario, and sees to it that the end can be written: what an earlier run left there is no end of this
/// one.
fn prepare(settings: &Settings) -> Result<Scenario, String> {
    let scenario = scenario::read_file(&settings.file).map_err(|error| error.to_string())?;
    if let Some(path) = &settings.end_state {
        write_private(path, b"").map_err(|error| error.to_string())?;
        std::fs::remove_file(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(scenario)
}

/// The signals that end a run.
struct Interruption([Signal; 3]);

impl Interruption {
    fn new() -> std::io::Result<Self> {
        Ok(Interruption([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn comes(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

fn tell(scenario: &Scenario, played: &Playable, seed: u64) {
    let lasts = scenario.duration.as_secs();
    say(&format!(
        "{}, seed {seed}: {lasts} s, and until it has converged",
        scenario.name
    ));
    for what in &played.left_out {
        say(&format!("left out: {what}"));
    }
}

async fn play(
    settings: &Settings,
    seed: u64,
    mut played: Playable,
    machine: &Arc<Machine>,
    made: &mut Vec<String>,
) -> Result<Verdict, Failure> {
    let setup = Progress::default();
    images::make(machine.docker(), &played.scenario, made).await?;
    if !made.is_empty() {
        setup.done(&format!(
            "stand-ins are made for images that Docker does not have: {}",
            made.join(", ")
        ));
    }
    if images::fit(&mut played.scenario, made) {
        say("left out: commands, and probes and hooks that run one: a stand-in has nothing to run");
    }
    machine.start().await?;
    let random = Random::from_number(seed);
    let client = machine.client()?;
    let (mirror, watches) = (Mirror::new(), TaskGroup::new());
    timeout(PATIENCE, mirror.follow(&client, &random.stream("mirror"), &watches))
        .await
        .map_err(|_| Failure("the API server does not say what there is".to_owned()))?;
    setup.done("a cluster of its own is ready; the scenario begins");
    let stage = Arc::new(RealStage::new(played.scenario, random, mirror, &client));
    let verdict = chaos_and_heal(settings, machine, &stage).await?;
    Ok(match panic(&machine.log()) {
        Some(said) => Verdict::Panicked(said),
        None => verdict,
    })
}

/// What a component that panicked has said, if one did.
fn panic(log: &str) -> Option<String> {
    let mut lines = log.lines();
    let place = lines.find(|line| line.contains("panicked at"))?;
    Some(format!("{place} {}", lines.next().unwrap_or_default()))
}

async fn chaos_and_heal(
    settings: &Settings,
    machine: &Arc<Machine>,
    stage: &Arc<RealStage>,
) -> Result<Verdict, Failure> {
    let start = stage.start;
    let faults = Faults::begin(stage, machine, start);
    let users: Arc<dyn Stage> = stage.clone();
    let workload = Workload::begin(&users, start);
    tokio::select! {
        biased;
        () = stage.stop.notified() => {}
        () = sleep_until(start + stage.scenario.duration) => {}
    }
    faults.end().await;
    faults.failed()?;
    if let Some(why) = stage.trouble_so_far() {
        return Ok(Verdict::Wrong(why));
    }
    machine.is_alive()?;
    stage.progress.done("the faults are over");
    let verdict = tokio::select! {
        biased;
        () = stage.stop.notified() => Verdict::Wrong(stage.trouble_so_far().unwrap_or_default()),
        verdict = converge(machine, stage, &workload) => verdict?,
    };
    machine.is_alive()?;
    for fault in faults.never_struck() {
        say(&format!("never struck: {fault}"));
    }
    if let (Some(path), Verdict::Held(_)) = (&settings.end_state, &verdict) {
        let end = stage.mirror.look(EndState::of);
        let bytes = serde_json::to_vec(&end).map_err(fail("the end state"))?;
        write_private(path, &bytes).map_err(fail("the end state"))?;
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
        let looked = timeout(PATIENCE, missing(machine, stage)).await;
        let mut missing = looked.map_err(|_| Failure("Docker does not answer".to_owned()))??;
        missing.extend(workload.missing());
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
    let pods = machine.pods().await?;
    let running = running(&pods).into_iter();
    let running: Vec<(String, String)> = running
        .map(|(uid, container)| (uid.to_owned(), container.name.clone()))
        .collect();
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
        let strangers = pods.iter().filter(|own| cluster.by_uid(&own.pod.uid).is_none());
        missing.extend(strangers.map(|own| format!("a sandbox of {} is left, which nobody has", own.pod)));
        (missing, services::addresses(cluster))
    });
    missing.extend(services::silent(&addresses).await);
    Ok(missing)
}

impl Verdict {
    fn code(&self) -> ExitCode {
        match self {
            Verdict::Held(_) => ExitCode::SUCCESS,
            Verdict::NotConverged(_) => ExitCode::from(exit::NOT_CONVERGED),
            Verdict::Panicked(_) => ExitCode::from(exit::PANICKED),
            Verdict::Wrong(_) => ExitCode::from(exit::WRONG),
            Verdict::Interrupted => ExitCode::from(exit::INTERRUPTED),
        }
    }
}

fn report(verdict: &Verdict) {
    match verdict {
        Verdict::Held(after) => {
            let after = after.as_secs_f64();
            say(&format!(
                "held: converged {after:.0} s after the faults, and stayed quiet"
            ));
        }
        Verdict::NotConverged(missing) => {
            say("did not converge within the bound; what is missing:");
            missing.iter().take(SHOWN).for_each(|line| say(&format!("  {line}")));
            if missing.len() > SHOWN {
                say(&format!("  and {} more", missing.len() - SHOWN));
            }
        }
        Verdict::Panicked(said) => say(&format!("a component panicked: {said}")),
        Verdict::Wrong(why) => say(&format!("the scenario cannot be played: {why}")),
        Verdict::Interrupted => say("interrupted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_found_in_what_the_process_said() {
        let log = "2026 kubelet: x\n\nthread 'tokio' (7) panicked at a.rs:1:2:\noh no\nnote: y\n";
        assert_eq!(
            panic(log).as_deref(),
            Some("thread 'tokio' (7) panicked at a.rs:1:2: oh no")
        );
        assert_eq!(panic("2026 kubelet: x\n"), None);
    }
}
