//! Faults of a real machine: each strikes when the scenario says so, is over after its time, and never overlaps
//! another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_play::choices::Occurrences;
use orrery_play::scenario::FaultAction;
use orrery_play::{Stage, Waiting};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::machine::{Machine, running};
use super::playable::Strike;
use super::stage::RealStage;
use super::swarm::Swarm;
use crate::daemon::Failure;

/// So often a container may have been restarted that is drawn to end once more: who crashes on and on waits for minutes
/// between two lives.
const PATIENCE: u32 = 3;

/// What has become of the faults.
#[derive(Default)]
struct Told {
    /// Those that found nobody to strike so far, by their number.
    waiting: Vec<Option<String>>,
    /// What failed of itself: the machine, or a cluster that did not survive.
    failed: Option<Failure>,
}

/// The faults of a run.
pub struct Faults {
    _tasks: TaskGroup,
    /// Whether no more fault may strike.
    over: watch::Sender<bool>,
    /// Held by the one that strikes.
    turn: Arc<tokio::sync::Mutex<()>>,
    told: Arc<Mutex<Told>>,
}

impl Faults {
    /// Lets the scenario's faults strike when they are due.
    pub fn begin(stage: &Arc<RealStage>, machine: &Arc<Machine>, start: Instant) -> Self {
        let tasks = TaskGroup::new();
        let plans = &stage.scenario.faults;
        let told = Arc::new(Mutex::new(Told {
            waiting: plans.iter().map(|plan| Some(plan.action.describe())).collect(),
            failed: None,
        }));
        // One machine suffers one thing at a time.
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        let mut names = Occurrences::default();
        let users: Arc<dyn Stage> = stage.clone();
        let (over, _) = watch::channel(false);
        for (index, plan) in plans.iter().enumerate() {
            let random = stage
                .random
                .stream(&format!("fault/{}", names.next(plan.action.to_line())));
            let moment = Waiting::new(&users, &plan.moment, &random);
            let (stage, action, told) = (stage.clone(), plan.action.clone(), told.clone());
            let mut striker = Striker {
                stage: stage.clone(),
                machine: machine.clone(),
                turn: turn.clone(),
                over: Over(over.subscribe()),
            };
            tasks.spawn(async move {
                let struck = || lock(&told).waiting[index] = None;
                if let Err(failure) = striker.play(&action, moment, start, &random, struck).await {
                    let what = format!("{}: {failure}", action.describe());
                    lock(&told).failed.get_or_insert(Failure(what));
                    stage.stop.notify_one();
                }
            });
        }
        Faults {
            _tasks: tasks,
            over,
            turn,
            told,
        }
    }

    /// No more faults: the one that is in force is taken back now.
    pub async fn end(&self) {
        self.over.send_replace(true);
        drop(self.turn.lock().await);
    }

    /// What failed of itself, if anything did: the machine, or a cluster that did not survive a fault.
    pub fn failed(&self) -> Result<(), Failure> {
        lock(&self.told).failed.take().map_or(Ok(()), Err)
    }

    /// The faults that found nobody to strike, whose moment never came, or whose turn never came.
    pub fn never_struck(&self) -> Vec<String> {
        lock(&self.told).waiting.iter().flatten().cloned().collect()
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether no more fault may strike, as the faults see it.
struct Over(watch::Receiver<bool>);

impl Over {
    /// What comes of `work`, unless all is over before.
    async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            _ = self.0.wait_for(|over| *over) => None,
            done = work => Some(done),
        }
    }
}

/// Who lets faults strike.
struct Striker {
    stage: Arc<RealStage>,
    machine: Arc<Machine>,
    turn: Arc<tokio::sync::Mutex<()>>,
    over: Over,
}

impl Striker {
    /// Lets a fault strike when its moment comes, or those of a swarm; `struck` is told when it found somebody.
    async fn play(
        &mut self,
        action: &FaultAction,
        moment: Waiting,
        start: Instant,
        random: &Random,
        struck: impl Fn(),
    ) -> Result<(), Failure> {
        let FaultAction::Swarm(spec) = action else {
            let strike = Strike::of(action).map_err(|why| Failure(why.to_owned()))?;
            if self.over.unless(moment.wait(start)).await.is_some() && self.strike(&strike, random).await? {
                struck();
            }
            return Ok(());
        };
        let Some(end) = self.over.unless(moment.wait_for_range(start)).await else {
            return Ok(());
        };
        let swarm = Swarm::draw(spec, random);
        for number in 0u32.. {
            let random = random.stream(&number.to_string());
            let pause = swarm.pause(&random);
            if Instant::now() + pause >= end || self.over.unless(sleep(pause)).await.is_none() {
                break;
            }
            let Some(strike) = swarm.strike(&random) else { break };
            if self.strike(&strike, &random).await? {
                struck();
            }
        }
        Ok(())
    }

    /// Lets one fault strike, to its end, when its turn comes; whether it found somebody.
    async fn strike(&mut self, strike: &Strike, random: &Random) -> Result<bool, Failure> {
        let turn = self.turn.clone();
        let Some(_mine) = self.over.unless(turn.lock()).await else {
            return Ok(false);
        };
        let stage = self.stage.clone();
        let say = |what: &str| stage.progress.done(&format!("fault: {what}"));
        match strike {
            Strike::Restart => {
                say("the cluster's process is killed, and started again");
                self.machine.kill().await?;
                self.machine.start().await?;
            }
            Strike::Crash(lasts) => {
                let lasts = lasts.draw(random);
                say(&format!("the cluster's process is killed, for {lasts:.1?}"));
                self.machine.kill().await?;
                self.over.unless(sleep(lasts)).await;
                self.machine.start().await?;
            }
            Strike::PowerLoss(lasts) => {
                let lasts = lasts.draw(random);
                say(&format!("the machine loses power, for {lasts:.1?}"));
                self.machine.lose_power().await?;
                self.over.unless(sleep(lasts)).await;
                self.machine.start().await?;
            }
            Strike::Wipe(lasts) => {
                let lasts = lasts.draw(random);
                say(&format!("the machine is set up anew, within {lasts:.1?}"));
                self.machine.wipe().await?;
                self.over.unless(sleep(lasts)).await;
                self.machine.start().await?;
            }
            Strike::Pause(lasts) => {
                let lasts = lasts.draw(random);
                say(&format!("the cluster's process stands still, for {lasts:.1?}"));
                self.machine.signal(Signal::STOP)?;
                self.over.unless(sleep(lasts)).await;
                self.machine.signal(Signal::CONT)?;
            }
            Strike::KillContainer { nth, gently } => {
                let pods = self.machine.pods().await?;
                let mut running = running(&pods);
                if nth.is_none() {
                    running.retain(|(_, container)| container.attempt < PATIENCE);
                }
                let drawn = || random.below(running.len() as u64) as usize;
                let index = nth.map_or_else(drawn, |nth: u32| (nth as usize).saturating_sub(1));
                let Some((_, container)) = running.get(index) else {
                    return Ok(false);
                };
                let what = if *gently { "asked to end" } else { "killed" };
                say(&format!(
                    "container {} ({}) is {what}",
                    container.name,
                    &container.id[..12.min(container.id.len())]
                ));
                self.machine.end_container(container, *gently).await?;
            }
            Strike::FlushRules => {
                say("the packet rules are removed");
                self.machine.flush_rules().await?;
            }
        }
        say("is over");
        Ok(true)
    }
}
