//! The network between the machines: who can reach whom, and what befalls messages.
//!
//! Everything that faults do to messages is kept here, by kind: [`cuts`](super::cuts), [`slow`](super::slow),
//! [`lost`](super::lost), [`mishaps`](super::mishaps), [`gates`](super::gates).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use orrery_api::random::Random;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::connection::Connection;
use super::cuts::{Cut, Cuts};
use super::fates::Fates;
use super::gates::{Gate, Gates, Refusal};
use super::lost::{LostAnswer, LostAnswers};
use super::mishaps::{Befell, Mishaps, Route};
use super::slow::{Delay, Links, Slow};
use crate::faults::Victims;
use crate::model::Asked;
use crate::scenario::{ComponentTarget, LostAnswersSpec};
use crate::sweep::Sweep;

/// See the module.
pub struct Network {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
    /// What is in store for single processes.
    pub fates: Fates,
}

#[derive(Default)]
struct Inner {
    cuts: Cuts,
    slow: Slow,
    lost: Vec<LostAnswers>,
    mishaps: Mishaps,
    gates: Gates,
    connections: Vec<Weak<Connection>>,
    sweep: Sweep,
}

impl Default for Network {
    fn default() -> Self {
        Network {
            inner: Mutex::default(),
            changed: watch::channel(0).0,
            fates: Fates::default(),
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

    /// Cuts machines off; the cut's number.
    pub fn cut(&self, cut: Cut) -> u64 {
        self.lock().cuts.add(cut)
    }

    /// Takes back one [`cut`](Self::cut).
    pub fn mend(&self, number: u64) {
        self.lock().cuts.remove(number);
        self.notify();
    }

    /// Nothing cuts `machine` off any more.
    pub fn mend_all(&self, machine: &str) {
        self.lock().cuts.free(machine);
        self.notify();
    }

    /// Whether a message gets from one machine to another. Within a machine it always does.
    pub fn passes(&self, from: &str, to: &str) -> bool {
        !self.lock().cuts.hold(from, to)
    }

    /// Whether `machine` is cut off in some direction.
    pub fn is_cut(&self, machine: &str) -> bool {
        self.lock().cuts.concern(machine)
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

    /// A message that takes no time by itself gets from one machine to another, as soon as it can.
    pub async fn travel(&self, from: &str, to: &str, now: Duration) {
        let slow = self.slowness(from, to, now);
        if !slow.is_zero() {
            sleep(slow).await;
        }
        self.pass(from, to).await;
    }

    /// From now on messages on these links take longer.
    pub fn slow_links(&self, delay: Delay<Links>) {
        self.lock().slow.slow_links(delay);
    }

    /// What a message from one machine to another takes longer now.
    pub fn slowness(&self, from: &str, to: &str, now: Duration) -> Duration {
        self.lock().slow.of_link(from, to, now)
    }

    /// From now on what a client watches is late.
    pub fn lag(&self, delay: Delay<ComponentTarget>) {
        self.lock().slow.lag(delay);
    }

    /// How late what `client` watches is now.
    pub fn lateness(&self, client: &str, now: Duration) -> Duration {
        self.lock().slow.of_watches(client, now)
    }

    /// From now on a client takes so long to read each message of a watch.
    pub fn slow_reader(&self, delay: Delay<ComponentTarget>) {
        self.lock().slow.slow_reader(delay);
    }

    /// How long `client` takes now to read a message of a watch.
    pub fn reading(&self, client: &str, now: Duration) -> Duration {
        self.lock().slow.of_reader(client, now)
    }

    /// From now on answers are lost, until then if it is said. The sender is told when the last one is, if they are
    /// counted.
    pub fn lose_answers(
        &self,
        spec: &LostAnswersSpec,
        began: Duration,
        until: Option<Duration>,
        victims: Victims,
    ) -> Arc<Notify> {
        let done = Arc::new(Notify::new());
        self.lock().lost.push(LostAnswers {
            spec: spec.clone(),
            began,
            until,
            counts: BTreeMap::new(),
            done: done.clone(),
            victims,
        });
        done
    }

    /// Whether the answer to what `client` asked is lost now. Only writes' are: a lost read is a lost request.
    pub fn loses_answer(&self, asked: &Asked, now: Duration, random: &Random) -> Option<LostAnswer> {
        let mut inner = self.lock();
        inner.lost.retain(|fault| fault.until.is_none_or(|until| until > now));
        if inner.lost.is_empty() {
            return None;
        }
        let write = asked.write()?;
        // All of them count, so that what one loses does not depend on another.
        let lost = inner.lost.iter_mut();
        let found: Vec<LostAnswer> = lost
            .filter_map(|fault| fault.loses(&asked.client, &write, random))
            .collect();
        found.into_iter().next()
    }

    /// What befalls single requests from now on.
    pub fn mishaps<R>(&self, change: impl FnOnce(&mut Mishaps) -> R) -> R {
        change(&mut self.lock().mishaps)
    }

    /// What befalls a request that has come to its server.
    pub fn befalls(&self, asked: &Asked, route: &Route<'_>, now: Duration) -> Option<Befell> {
        self.lock().mishaps.befall(asked, route, now)
    }

    /// Breaks open watches, and keeps them from being opened again as the gate says; how many broke.
    pub fn close_gate(&self, gate: Gate, now: Duration) -> usize {
        self.lock().gates.close(gate, now)
    }

    /// A watch is open; the sender is told when it breaks.
    pub fn watch_opened(&self, client: &str, resource: &str) -> Arc<Notify> {
        self.lock().gates.opened(client, resource)
    }

    /// Why a request of `client` to watch is refused, if it is.
    pub fn refuses_watch(&self, asked: &Asked, now: Duration) -> Option<Refusal> {
        self.lock().gates.refuse(asked, now)
    }

    /// A connection that can be reset.
    pub fn connected(&self, connection: &Arc<Connection>) {
        let mut inner = self.lock();
        let Inner { connections, sweep, .. } = &mut *inner;
        if sweep.is_due(connections.len()) {
            connections.retain(|own| own.strong_count() > 0);
            sweep.left(connections.len());
        }
        connections.push(Arc::downgrade(connection));
    }

    /// Resets the connections that `meant` accepts; how many there were.
    pub fn reset(&self, meant: impl Fn(&Connection) -> bool) -> usize {
        let connections: Vec<Arc<Connection>> = self.lock().connections.iter().filter_map(Weak::upgrade).collect();
        let meant: Vec<_> = connections.iter().filter(|connection| meant(connection)).collect();
        meant.iter().for_each(|connection| connection.reset());
        meant.len()
    }

    /// Nothing befalls messages any more; cuts stay.
    pub fn calm(&self) {
        let mut inner = self.lock();
        inner.slow = Slow::default();
        inner.lost.clear();
        inner.mishaps = Mishaps::default();
        inner.gates.open_all();
    }
}
