//! Who can reach whom, and whose answers are lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orrery_api::random::Random;
use tokio::sync::{Notify, watch};

use crate::model::Asked;
use crate::scenario::{ClientTarget, ComponentTarget, Loss, LostAnswersSpec, Role, WhichAnswers};

/// The network between the machines.
pub struct Network {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    /// How many partitions keep a machine from sending, and from hearing.
    mute: BTreeMap<String, u32>,
    deaf: BTreeMap<String, u32>,
    lost: Vec<LostAnswers>,
    lags: Vec<Lag>,
}

/// Watches that are late.
#[derive(Debug, Clone)]
pub struct Lag {
    /// Whose.
    pub client: ComponentTarget,
    /// By how much.
    pub by: Duration,
    /// Until when.
    pub until: Duration,
}

/// Answers to writes that are lost.
#[derive(Debug)]
struct LostAnswers {
    spec: LostAnswersSpec,
    /// When it began, as the scenario counts.
    began: Duration,
    /// Until when; until all are lost if none.
    until: Option<Duration>,
    /// How many writes of each kind each client has sent since.
    counts: BTreeMap<(String, String), u32>,
    /// Told when the last one is lost.
    done: Arc<Notify>,
}

/// An answer that is lost.
#[derive(Debug, PartialEq, Eq)]
pub struct LostAnswer {
    /// What its client notices.
    pub then: Loss,
    /// If it was drawn: when the fault began, the how manieth of which write it was since then.
    pub drawn: Option<(Duration, String, u32)>,
}

impl LostAnswers {
    /// Whether the answer to this write is lost.
    fn loses(&mut self, client: &str, role: Option<Role>, write: &str, random: &Random) -> Option<LostAnswer> {
        let meant = match &self.spec.client {
            // Users are not components: their answers are lost only when everybody's are, or theirs.
            None => true,
            Some(ClientTarget::User) => role.is_none() && client == "user",
            Some(ClientTarget::Component(target)) => is_meant(target, client, role),
        };
        if !meant {
            return None;
        }
        let count = self.counts.entry((client.to_owned(), write.to_owned())).or_default();
        *count += 1;
        match &self.spec.which {
            WhichAnswers::Share { probability, .. } => random.chance(*probability).then(|| LostAnswer {
                then: draw_loss(random),
                drawn: Some((self.began, write.to_owned(), *count)),
            }),
            WhichAnswers::These {
                write: wanted,
                requests,
                then,
            } => {
                if wanted != write || !requests.contains(count) {
                    return None;
                }
                if requests.iter().max() == Some(count) {
                    self.done.notify_one();
                }
                Some(LostAnswer {
                    then: *then,
                    drawn: None,
                })
            }
        }
    }
}

/// What a client notices of a message that is lost.
pub fn draw_loss(random: &Random) -> Loss {
    if random.chance(0.5) { Loss::Reset } else { Loss::Silence }
}

impl Default for Network {
    fn default() -> Self {
        Network {
            inner: Mutex::default(),
            changed: watch::channel(0).0,
        }
    }
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something changed: whoever waits looks again.
    pub fn notify(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// Waits for the next change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Cuts what `machine` sends and hears off.
    pub fn cut(&self, machine: &str, out: bool, inward: bool) {
        let mut inner = self.lock();
        if out {
            *inner.mute.entry(machine.to_owned()).or_default() += 1;
        }
        if inward {
            *inner.deaf.entry(machine.to_owned()).or_default() += 1;
        }
    }

    /// Takes back one [`cut`](Self::cut).
    pub fn mend(&self, machine: &str, out: bool, inward: bool) {
        fn less(counts: &mut BTreeMap<String, u32>, machine: &str) {
            if let Some(count) = counts.get_mut(machine) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(machine);
                }
            }
        }
        let mut inner = self.lock();
        if out {
            less(&mut inner.mute, machine);
        }
        if inward {
            less(&mut inner.deaf, machine);
        }
        drop(inner);
        self.notify();
    }

    /// Mends everything about `machine`.
    pub fn mend_all(&self, machine: &str) {
        let mut inner = self.lock();
        inner.mute.remove(machine);
        inner.deaf.remove(machine);
        drop(inner);
        self.notify();
    }

    /// Whether a message gets from one machine to another. Within a machine it always does.
    pub fn passes(&self, from: &str, to: &str) -> bool {
        let inner = self.lock();
        from == to || !(inner.mute.contains_key(from) || inner.deaf.contains_key(to))
    }

    /// Whether `machine` is cut off in some direction.
    pub fn is_cut(&self, machine: &str) -> bool {
        let inner = self.lock();
        inner.mute.contains_key(machine) || inner.deaf.contains_key(machine)
    }

    /// Waits until a message gets from one machine to another.
    pub async fn pass(&self, from: &str, to: &str) {
        if self.passes(from, to) {
            return;
        }
        let mut changes = self.changes();
        while !self.passes(from, to) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// From now on watches are late.
    pub fn lag(&self, fault: Lag) {
        self.lock().lags.push(fault);
    }

    /// How late what `client` watches is now.
    pub fn lateness(&self, client: &str, role: Option<Role>, now: Duration) -> Duration {
        let mut inner = self.lock();
        inner.lags.retain(|fault| fault.until > now);
        let meant = inner.lags.iter().filter(|fault| is_meant(&fault.client, client, role));
        meant.map(|fault| fault.by).max().unwrap_or_default()
    }

    /// From now on answers are lost, until then if it is said. The sender is told when the last one is, if they are counted.
    pub fn lose_answers(&self, spec: &LostAnswersSpec, began: Duration, until: Option<Duration>) -> Arc<Notify> {
        let done = Arc::new(Notify::new());
        self.lock().lost.push(LostAnswers {
            spec: spec.clone(),
            began,
            until,
            counts: BTreeMap::new(),
            done: done.clone(),
        });
        done
    }

    /// No more answers are lost, and no watch is late.
    pub fn lose_no_answers(&self) {
        let mut inner = self.lock();
        inner.lost.clear();
        inner.lags.clear();
    }

    /// Whether the answer to what `client` asked is lost now. Only writes' are: a lost read is a lost request.
    pub fn loses_answer(
        &self,
        asked: &Asked,
        role: Option<Role>,
        now: Duration,
        random: &Random,
    ) -> Option<LostAnswer> {
        let mut inner = self.lock();
        inner.lost.retain(|fault| fault.until.is_none_or(|until| until > now));
        if inner.lost.is_empty() {
            return None;
        }
        let write = asked.write()?;
        // All of them count, so that what one loses does not depend on another.
        let lost = inner.lost.iter_mut();
        let found: Vec<LostAnswer> = lost
            .filter_map(|fault| fault.loses(&asked.client, role, &write, random))
            .collect();
        found.into_iter().next()
    }
}

/// Whether `target` means the process `client` of `role`.
fn is_meant(target: &ComponentTarget, client: &str, role: Option<Role>) -> bool {
    let instance = target.instance.as_ref();
    Some(target.role) == role && instance.is_none_or(|instance| client.ends_with(&format!("/{instance}")))
}
