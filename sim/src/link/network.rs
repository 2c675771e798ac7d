//! Who can reach whom, and whose answers are lost.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orrery_api::random::Random;
use tokio::sync::watch;

use crate::scenario::{ComponentTarget, Role};

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
#[derive(Debug, Clone)]
pub struct LostAnswers {
    /// Whose; everybody's if none.
    pub client: Option<ComponentTarget>,
    /// How many of them.
    pub probability: f64,
    /// Until when.
    pub until: Duration,
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

    /// From now on answers are lost.
    pub fn lose_answers(&self, fault: LostAnswers) {
        self.lock().lost.push(fault);
    }

    /// No more answers are lost, and no watch is late.
    pub fn lose_no_answers(&self) {
        let mut inner = self.lock();
        inner.lost.clear();
        inner.lags.clear();
    }

    /// Whether the answer to a request of `client` is lost now. Only writes' are: a lost read is a lost request.
    pub fn loses_answer(&self, client: &str, role: Option<Role>, now: Duration, write: bool, random: &Random) -> bool {
        let mut inner = self.lock();
        inner.lost.retain(|fault| fault.until > now);
        write
            && inner.lost.iter().any(|fault| {
                let meant = fault
                    .client
                    .as_ref()
                    .is_none_or(|target| is_meant(target, client, role));
                // Users are not components: their answers are lost only when everybody's are.
                meant && random.chance(fault.probability)
            })
    }
}

/// Whether `target` means the process `client` of `role`.
fn is_meant(target: &ComponentTarget, client: &str, role: Option<Role>) -> bool {
    let instance = target.instance.as_ref();
    Some(target.role) == role && instance.is_none_or(|instance| client.ends_with(&format!("/{instance}")))
}
