//! One run: chaos, heal, convergence, quiet. In a thread of its own, because a second runtime in one thread differs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use orrery_api::clock;
use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_play::Stage;
use tokio::time::{Instant, sleep, sleep_until};

use crate::choices::Choices;
use crate::convergence;
use crate::end_state::{EndState, Wanted, Yardstick};
use crate::exit;
use crate::faults::{self, Faults};
use crate::history::History;
use crate::link::Courier;
use crate::model::Reach;
use crate::observing;
use crate::onlooker::look_on;
use crate::recording::{Ending, Event, Recorder, Recording, What};
use crate::scenario::{Heal, Scenario};
use crate::trace::Trace;
use crate::traffic::Clients;
use crate::variation::Variation;
use crate::workload::Workload;
use crate::world::{Violation, World};

/// So long nothing but heartbeats may be written in the end.
const QUIET: Duration = Duration::from_secs(30);
/// So many requests a second a component may send while the cluster is quiet, on average: who leads renews a lease every
/// two seconds.
const RESTLESS: f64 = 5.0;
/// How often the world is looked at while something is missing.
const LOOK: Duration = Duration::from_millis(1000);
/// How often it is looked at whether what was reached stays so.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How often the invariants catch up with the store when nothing else makes them.
const CATCH_UP: Duration = Duration::from_millis(200);

/// The stream of the executor's own choices.
pub const TASKS: &str = "tasks";

/// Clients of services send a packet each time so many of these have passed.
const PACKETS: u64 = 5;

/// What to run.
pub struct Settings {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// The seed.
    pub seed: u64,
    /// What it is varied by.
    pub variation: Variation,
    /// Where the trace goes, if anywhere.
    pub trace: Option<Box<dyn Write + Send>>,
    /// Where what the store held goes, if anywhere.
    pub history: Option<Box<dyn Write + Send>>,
    /// Whether what components say is shown.
    pub verbose: bool,
    /// What becomes of what the cluster holds in the end.
    pub end: End,
}

impl Settings {
    /// A scenario with a seed and nothing beside: not varied, written nowhere, and its end ignored.
    pub fn new(scenario: impl Into<Arc<Scenario>>, seed: u64) -> Self {
        Settings {
            scenario: scenario.into(),
            seed,
            variation: Variation::default(),
            trace: None,
            history: None,
            verbose: false,
            end: End::Ignore,
        }
    }
}

/// What becomes of what the cluster holds in the end.
#[derive(Debug, Clone, Default)]
pub enum End {
    /// Nothing.
    #[default]
    Ignore,
    /// It is told.
    Tell,
    /// It is compared, as the scenario wants it.
    Compare(Arc<Yardstick>),
}

/// How a run ended.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Everything held.
    Held,
    /// An invariant was broken.
    Violated(Vec<Violation>),
    /// The cluster did not reach what was asked for, or was not quiet: what is missing, and which machines stayed
    /// broken.
    NotConverged {
        /// What is missing.
        missing: Vec<String>,
        /// Machines that stayed broken.
        left: Vec<String>,
        /// Whether the scenario names them; otherwise the seed chose them.
        named: bool,
    },
    /// A component panicked.
    Panicked {
        /// Which.
        component: String,
        /// What it said, and where.
        message: String,
    },
    /// The scenario cannot be played.
    Wrong(String),
    /// It was played, and what was to be written of it could not be: what, and why.
    NotWritten(String),
}

impl Verdict {
    /// The exit code that tells it.
    pub fn code(&self) -> u8 {
        match self {
            Verdict::Held => exit::HELD,
            Verdict::Violated(_) => exit::VIOLATED,
            Verdict::NotConverged { .. } => exit::NOT_CONVERGED,
            Verdict::Panicked { .. } => exit::PANICKED,
            Verdict::Wrong(_) | Verdict::NotWritten(_) => exit::WRONG,
        }
    }
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// The trace's hash.
    pub hash: String,
    /// How many events the trace has.
    pub events: u64,
    /// How long it took, in simulated time.
    pub simulated: Duration,
    /// How long it took, in time of the processor.
    pub spent: Duration,
    /// How long after the heal the cluster had converged.
    pub converged: Option<Duration>,
    /// What was seen sometimes.
    pub coverage: BTreeMap<&'static str, u64>,
    /// What it has done, by the names of [`crate::features`], in order.
    pub features: Vec<String>,
    /// Faults that were asked for and never struck.
    pub never_struck: Vec<String>,
    /// The scenario with what this run drew; none if there was no run.
    pub pinned: Option<Scenario>,
    /// Redraws of streams that do not exist.
    pub never_drawn: Vec<String>,
    /// What it was varied by.
    pub variation: Variation,
    /// What the cluster holds in the end, if that was to be told and all held.
    pub end: Option<EndState>,
}

impl Outcome {
    /// Of a run of which no more is known than that somebody panicked.
    fn failed(component: &str, message: &str) -> Self {
        Outcome {
            verdict: Verdict::Panicked {
                component: component.to_owned(),
                message: message.to_owned(),
            },
            hash: String::new(),
            events: 0,
            simulated: Duration::ZERO,
            spent: Duration::ZERO,
            converged: None,
            coverage: BTreeMap::new(),
            features: Vec::new(),
            never_struck: Vec::new(),
            pinned: None,
            never_drawn: Vec::new(),
            variation: Variation::default(),
            end: None,
        }
    }
}

/// Runs a scenario with a seed, in a thread of its own.
///
/// Only the first run of a process is a function of its seed to the last event: some crates keep counters that all runs
/// of a process share (tokio seeds its generator by one). Whoever wants many runs starts many processes.
pub fn run(settings: Settings) -> Outcome {
    let variation = settings.variation.clone();
    let outcome = Playing::begin(settings, Recorder::default()).outcome();
    Outcome { variation, ..outcome }
}

/// Runs a scenario as [`run`] does; none if that takes longer than `limit` of real time. Such a run goes on unheard
/// until the process ends.
pub fn run_within(settings: Settings, limit: Duration) -> Option<Outcome> {
    let variation = settings.variation.clone();
    let playing = Playing::begin(settings, Recorder::default());
    playing.ends_within(limit).then(|| Outcome {
        variation,
        ..playing.outcome()
    })
}

/// Runs a scenario as [`run`] does, to the same last event, and records it as one of `path`.
pub fn record(path: &str, settings: Settings) -> (Outcome, Recording) {
    let (recorder, seed) = (Recorder::on(), settings.seed);
    let outcome = Playing::begin(settings, recorder.clone()).outcome();
    let recording = recorded(path, seed, &outcome, recorder.close());
    (outcome, recording)
}

/// Records a run as [`record`] does; one that takes longer than `limit` of real time only until then. Such a run goes
/// on unheard until the process ends.
pub fn record_within(path: &str, settings: Settings, limit: Duration) -> Recording {
    let (recorder, seed) = (Recorder::on(), settings.seed);
    let playing = Playing::begin(settings, recorder.clone());
    if playing.ends_within(limit) {
        return recorded(path, seed, &playing.outcome(), recorder.close());
    }
    let events = recorder.close();
    Recording {
        scenario: path.to_owned(),
        seed,
        ending: Ending::Endless {
            seconds: limit.as_secs(),
        },
        hash: String::new(),
        lasted: events.last().map_or(Duration::ZERO, |event| event.at),
        events,
    }
}

/// The recording of a run that came to an end.
fn recorded(path: &str, seed: u64, outcome: &Outcome, events: Vec<Event>) -> Recording {
    let ending = match &outcome.verdict {
        Verdict::Held => Ending::Held,
        Verdict::Violated(_) => Ending::Violated,
        Verdict::NotConverged { missing, left, named } => Ending::NotConverged {
            missing: missing.clone(),
            left: left.clone(),
            named: *named,
        },
        Verdict::Panicked { component, message } => Ending::Panicked {
            component: component.clone(),
            message: message.clone(),
        },
        // A recording is not written while the run goes on.
        Verdict::Wrong(why) | Verdict::NotWritten(why) => Ending::Wrong(why.clone()),
    };
    Recording {
        scenario: path.to_owned(),
        seed,
        ending,
        hash: outcome.hash.clone(),
        lasted: outcome.simulated,
        events,
    }
}

/// A run in a thread of its own.
struct Playing {
    thread: io::Result<JoinHandle<Outcome>>,
    /// Nothing is sent here: it closes when the run is over.
    over: Receiver<()>,
}

impl Playing {
    fn begin(settings: Settings, recorder: Recorder) -> Self {
        let (bell, over) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("world".to_owned())
            .stack_size(16 << 20);
        let thread = thread.spawn(move || {
            let outcome = in_this_thread(settings, recorder);
            drop(bell);
            outcome
        });
        Playing { thread, over }
    }

    /// Whether it ends within so much real time; waits for it. The clock is looked at here, outside of the run.
    fn ends_within(&self, limit: Duration) -> bool {
        self.over.recv_timeout(limit) != Err(RecvTimeoutError::Timeout)
    }

    /// What came of it; waits for its end.
    fn outcome(self) -> Outcome {
        match self.thread {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|_| Outcome::failed("the simulator", "it panicked outside of a run")),
            Err(error) => Outcome::failed("the simulator", &format!("no thread: {error}")),
        }
    }
}

fn in_this_thread(settings: Settings, recorder: Recorder) -> Outcome {
    observing::begin();
    let before = processor_time();
    let (scenario, seed, variation) = (settings.scenario, settings.seed, settings.variation);
    let runtime = madsim::runtime::Runtime::with_seed_and_config(order(seed, &variation), madsim::Config::default());
    let trace = Trace::new(settings.trace, settings.verbose).with_recorder(recorder);
    let (history, end) = (settings.history, settings.end);
    let choices = Arc::new(Choices::default());
    // Who panics takes all that it holds with it, but not the world.
    let seen: Arc<OnceLock<Weak<World>>> = Arc::default();
    let (played, noted, shown) = (scenario.clone(), choices.clone(), seen.clone());
    let result = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async move {
            let title = format!("{}, seed {seed}", played.name);
            // The clocks are the simulated ones in here.
            let history = history.map(|output| History::new(output, &title, clock::now()));
            let trace = trace.with_history(history);
            play(played, seed, &variation, trace, noted, &shown, &end).await
        })
    }));
    let spent = processor_time().saturating_sub(before);
    match result {
        Ok(outcome) => Outcome { spent, ..outcome },
        Err(_) => {
            let (component, message) =
                observing::panicked().unwrap_or_else(|| ("the simulator".to_owned(), "it panicked".to_owned()));
            let failed = Outcome {
                spent,
                pinned: Some(choices.pinned(&scenario, seed)),
                ..Outcome::failed(&component, &message)
            };
            match seen.get().and_then(Weak::upgrade) {
                Some(world) => Outcome {
                    hash: world.trace.hash().to_string(),
                    events: world.trace.events(),
                    simulated: world.now(),
                    ..failed
                },
                None => failed,
            }
        }
    }
}

/// The seed of the executor, which orders tasks that are ready at the same time.
fn order(seed: u64, variation: &Variation) -> u64 {
    match variation.redraws().get(TASKS) {
        Some(number) => Random::from_number(seed).stream(&format!("{TASKS}/{number}")).bits(),
        None => seed,
    }
}

/// The time that this thread spent on a processor.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

async fn play(
    scenario: Arc<Scenario>,
    seed: u64,
    variation: &Variation,
    trace: Trace,
    choices: Arc<Choices>,
    seen: &OnceLock<Weak<World>>,
    wanted: &End,
) -> Outcome {
    let world = World::new(scenario, seed, variation, trace, choices);
    // Nobody else has set it.
    let _ = seen.set(Arc::downgrade(&world));
    observing::plays(&world);
    let tasks = TaskGroup::new();
    let start = Instant::now();
    world.choices.begin(start);
    let epoch = clock::now();
    world.witness.change(&world, |cluster| {
        cluster.epoch = epoch;
        cluster.lateness = world.priorities.longest() + world.scenario.network.latency.high;
    });
    if world.scenario.network.loss > 0.0 {
        // A link that loses messages is a fault until the heal.
        world
            .witness
            .change(&world, |cluster| cluster.fault_begins(&Reach::Everywhere));
    }
    tasks.spawn(Courier::work(world.clone()));
    world.start_all();
    let faults = Faults::begin(&world, start);
    let stage: Arc<dyn Stage> = world.clone();
    let workload = Workload::begin(&stage, start);
    let onlooker = TaskGroup::new();
    look_on(&world, &onlooker);
    let looking = world.clone();
    let packets = world.random.stream("traffic");
    let mut clients = Clients::default();
    tasks.spawn(async move {
        for turn in 0u64.. {
            sleep(CATCH_UP).await;
            looking.witness.catch_up(&looking);
            if turn % PACKETS == 0 {
                clients.send(&looking, &packets);
            }
            if turn % 50 == 0 {
                looking.sweep();
            }
        }
    });
    tokio::select! {
        biased;
        () = world.stop.notified() => {}
        () = sleep_until(start + world.scenario.duration) => {}
    }
    faults.end();
    let mut converged = None;
    let mut verdict = broken(&world);
    if verdict.is_none() {
        let left = faults::heal(&world);
        world
            .trace
            .recorder
            .note(world.now(), || What::Healed { left: left.clone() });
        world.witness.ignore_noise_of(&left);
        tasks.spawn(faults::uncordon(world.clone()));
        let healed = Instant::now();
        let end = converge(&world, &workload, &left, healed);
        let end = tokio::select! {
            biased;
            () = world.stop.notified() => None,
            end = end => Some(end),
        };
        verdict = broken(&world).or(end.map(|end| match end {
            Ok(after) => {
                converged = Some(after);
                judge_end(&world, wanted, left)
            }
            Err(missing) => not_converged(&world, missing, left),
        }));
    }
    let verdict = verdict.unwrap_or(Verdict::Held);
    let tells = matches!((wanted, &verdict), (End::Tell, Verdict::Held));
    let told = tells.then(|| world.witness.look(&world, EndState::of));
    world
        .trace
        .event(world.now(), "run", format_args!("ends with code {}", verdict.code()));
    let verdict = match world.trace.finish(world.now()) {
        Ok(()) => verdict,
        Err(why) => Verdict::NotWritten(why),
    };
    let outcome = Outcome {
        verdict,
        hash: world.trace.hash().to_string(),
        events: world.trace.events(),
        simulated: world.now(),
        spent: Duration::ZERO,
        converged,
        coverage: world.coverage.counts(),
        features: world.witness.features(),
        never_struck: faults.never_struck(),
        pinned: Some(world.choices.pinned(&world.scenario, seed)),
        never_drawn: never_drawn(&world),
        variation: Variation::default(),
        end: told,
    };
    drop((tasks, workload, faults));
    world.end();
    // Killed tasks are dropped when they are next looked at; a runtime that is dropped before leaks them.
    sleep(Duration::from_millis(10)).await;
    outcome
}

/// Whether the end of a run of the scenario that is varied so is compared with that of runs without faults.
pub fn compares_ends(scenario: &Scenario, variation: &Variation) -> bool {
    // Where actors are slow at every step, what users do comes in the middle of what they did before: a rollout that
    // nobody saw leaves no set behind.
    scenario.expect.compares_ends() && variation.explore.is_random()
}

/// X4 and X5: whether the end of a run that has converged is that of runs without faults.
fn judge_end(world: &World, wanted: &End, left: Vec<String>) -> Verdict {
    let End::Compare(yardstick) = wanted else {
        return Verdict::Held;
    };
    let end = world.witness.look(world, EndState::of);
    let asked = Wanted::of(&world.scenario.expect);
    let missing = yardstick.differences(&end, asked);
    if missing.is_empty() {
        return Verdict::Held;
    }
    not_converged(world, missing, left)
}

fn not_converged(world: &World, missing: Vec<String>, left: Vec<String>) -> Verdict {
    let named = matches!(world.scenario.heal, Heal::AllBut(_));
    Verdict::NotConverged { missing, left, named }
}

/// Redraws of streams that nobody has taken.
fn never_drawn(world: &World) -> Vec<String> {
    let mut streams = world.random.unused_redraws();
    streams.retain(|stream| stream != TASKS);
    streams
}

/// Why the run cannot go on, if so.
fn broken(world: &World) -> Option<Verdict> {
    let violations = world.violations();
    if !violations.is_empty() {
        return Some(Verdict::Violated(violations));
    }
    world.troubles().into_iter().next().map(Verdict::Wrong)
}

/// Which component has asked more often than heartbeats and leases need since these counts were taken, `lasted` ago: it
/// goes round in circles, perhaps without writing anything. Those of the machines that stay broken are let be.
fn restless(world: &World, before: &BTreeMap<String, u64>, lasted: Duration, left: &[String]) -> Option<String> {
    let asked = world.witness.asked().into_iter();
    let counts = asked.map(|(client, count)| {
        let before = before.get(&client).copied().unwrap_or_default();
        (client, count - before)
    });
    let mut restless = counts.filter(|(_, count)| *count as f64 > RESTLESS * lasted.as_secs_f64());
    let is_left = |client: &str| {
        left.iter()
            .any(|machine| client.split_once('/').is_some_and(|(_, own)| own == machine))
    };
    let (client, count) = restless.find(|(client, _)| !is_left(client))?;
    Some(format!("{client} asked {count} times within {lasted:?}"))
}

/// Waits until nothing is missing and the cluster was quiet; after how long nothing was missing, or what is.
async fn converge(
    world: &World,
    workload: &Workload,
    left: &[String],
    healed: Instant,
) -> Result<Duration, Vec<String>> {
    let bound = world.scenario.expect.converge;
    let mut since: Option<(Instant, BTreeMap<String, u64>)> = None;
    loop {
        sleep(if since.is_some() { LOOK_AGAIN } else { LOOK.min(bound) }).await;
        let mut missing = convergence::missing(world, left);
        missing.extend(workload.missing());
        if missing.is_empty() {
            let (since, asked) = since.get_or_insert_with(|| (Instant::now(), world.witness.asked()));
            let (at, what) = world.witness.noise();
            let quiet = world.now().saturating_sub(at);
            let is_quiet = quiet >= QUIET && since.elapsed() >= QUIET;
            let restless = restless(world, asked, since.elapsed(), left).filter(|_| is_quiet);
            if is_quiet && restless.is_none() {
                return Ok(*since - healed);
            }
            if healed.elapsed() >= bound + QUIET + LOOK_AGAIN * 2 {
                let what = restless.unwrap_or_else(|| format!("{what}, {quiet:?} ago"));
                return Err(vec![format!("the cluster is as asked for, but not quiet: {what}")]);
            }
        } else {
            since = None;
            if healed.elapsed() >= bound {
                return Err(missing);
            }
        }
    }
}

#[cfg(test)]
mod tests;
