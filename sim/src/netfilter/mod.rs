//! The simulated packet filter of one node: it keeps the very rules that the proxy writes, and evaluates packets
//! against them as Linux would.
//!
//! Modelled: the hooks of tables nat and filter in the order that Linux asks them, chains and returns, marks, chance,
//! lists of recent callers, connection tracking with its time-outs and the translation it remembers, and that a flow
//! is tracked only once its packet has passed. A change takes the time that `iptables-restore` takes. Not modelled:
//! rules of other programs, routing, fragments, ICMP, the ports that masquerading picks.

mod conntrack;
mod leads;
mod packet;
mod troubles;
mod walk;

use core::net::{Ipv4Addr, SocketAddrV4};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use orrery_api::random::Random;
use orrery_proxy::{FilterError, PacketFilter, Ruleset, StaleFlows};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep};

use crate::faults::Victims;
use crate::scenario::{HalfApplied, Span};
use troubles::Troubles;

pub use conntrack::Flow;
pub use leads::Front;
pub use packet::{Origin, Packet, Verdict};
pub use walk::Netfilter;

/// How long a change of the rules takes.
const WRITE: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(40));
/// How long a request to forget flows takes.
const FORGET: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(10));

/// The packet filter of one simulated node. Rules and tracked flows outlive the proxy, but not the node.
pub struct SimPacketFilter {
    started: Instant,
    random: Random,
    filter: Mutex<Netfilter>,
    troubles: Mutex<Troubles>,
    /// Whether the last change that was written reached one table only, or somebody else undid it.
    torn: AtomicBool,
}

impl SimPacketFilter {
    /// The empty filter of a node with these addresses; `random` says how long changes take. Needs a clock: call it
    /// inside the world.
    pub fn new(addresses: Vec<Ipv4Addr>, random: Random) -> Arc<Self> {
        Arc::new(SimPacketFilter {
            started: Instant::now(),
            random,
            filter: Mutex::new(Netfilter::new(addresses)),
            troubles: Mutex::default(),
            torn: AtomicBool::new(false),
        })
    }

    /// What becomes of a packet that enters the node here and now.
    pub fn evaluate(&self, packet: &Packet, random: &Random) -> Verdict {
        let now = self.now();
        self.filter()
            .evaluate(packet, now, &mut |count| random.below(u64::from(count)) == 0)
    }

    /// Says that the receiver of `packet` has answered: its flow is established from now on.
    pub fn answered(&self, packet: &Packet) {
        let now = self.now();
        self.filter().answered(packet, now);
    }

    /// The rules that stand.
    pub fn rules(&self) -> Ruleset {
        self.filter().rules().clone()
    }

    /// Every address that some rule sends connections to.
    pub fn endpoints(&self) -> BTreeSet<SocketAddrV4> {
        self.filter().rules().endpoints().collect()
    }

    /// Whether both tables have the rules that were written last: no fault has left a change half written, or undid it.
    pub fn is_whole(&self) -> bool {
        !self.torn.load(Ordering::Relaxed)
    }

    /// The flows that are tracked.
    pub fn flows(&self) -> Vec<Flow> {
        let now = self.now();
        self.filter().flows(now)
    }

    /// The node restarts: its rules and flows are gone.
    pub fn reset(&self) {
        self.filter().reset();
    }

    /// The next so many changes of the rules fail, and of the first of them is applied what `half` says; who is told
    /// when the last one has failed.
    pub fn fail_applies(&self, times: u32, half: HalfApplied, victims: Victims) -> Arc<Notify> {
        self.troubles().applies.add(times, half, victims)
    }

    /// Somebody else removes all rules. Whoever wrote them is not told; flows stay.
    pub fn flush(&self) {
        let mut filter = self.filter();
        filter.set_filter(Default::default());
        filter.set_nat(Default::default());
        self.torn.store(true, Ordering::Relaxed);
    }

    /// The next so many requests to forget flows fail and forget nothing; what to take back with
    /// [`end_failing_flushes`](Self::end_failing_flushes).
    pub fn fail_flushes(&self, times: u32, victims: Victims) -> Arc<Notify> {
        self.troubles().flushes.add(times, HalfApplied::None, victims)
    }

    /// Takes back what is left of one [`fail_flushes`](Self::fail_flushes).
    pub fn end_failing_flushes(&self, failing: &Arc<Notify>) {
        self.troubles().flushes.cancel(failing);
    }

    /// From now on flows linger: none ends by itself, however long it is silent. A number for
    /// [`end_linger`](Self::end_linger).
    pub fn linger(&self, victims: Victims) -> u64 {
        let (number, now) = (self.troubles().next_number(), self.now());
        self.filter().linger(number, victims, now);
        number
    }

    /// Takes back one [`linger`](Self::linger).
    pub fn end_linger(&self, number: u64) {
        let now = self.now();
        self.filter().end_linger(number, now);
    }

    /// From now on each change takes so much longer; a number for [`hasten`](Self::hasten).
    pub fn slow(&self, by: Span, victims: Victims) -> u64 {
        self.troubles().slow(by, victims)
    }

    /// Takes back one [`slow`](Self::slow).
    pub fn hasten(&self, number: u64) {
        self.troubles().hasten(number);
    }

    /// Nothing goes wrong any more. Only whoever writes the rules anew makes them whole.
    pub fn heal(&self) {
        let now = self.now();
        self.filter().end_lingers(now);
        *self.troubles() = Troubles::default();
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn filter(&self) -> MutexGuard<'_, Netfilter> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(program: &str) -> FilterError {
    FilterError::Failed {
        program: program.to_string(),
        message: "injected fault".to_string(),
    }
}

#[async_trait]
impl PacketFilter for SimPacketFilter {
    async fn apply(&self, rules: &Ruleset) -> Result<(), FilterError> {
        let fails = self.troubles().applies.strike();
        let takes = self.random.duration(WRITE.0, WRITE.1) + self.troubles().delay(&self.random);
        if fails == Some(HalfApplied::None) {
            sleep(takes).await;
            return Err(failed("iptables-restore"));
        }
        if fails != Some(HalfApplied::Nat) {
            self.filter().set_filter(rules.filter.clone());
        }
        // Each table changes in one step, but there are two of them: packets may pass in between.
        sleep(takes).await;
        if fails != Some(HalfApplied::Filter) {
            self.filter().set_nat(rules.nat.clone());
        }
        self.torn.store(fails.is_some(), Ordering::Relaxed);
        match fails {
            Some(_) => Err(failed("iptables-restore")),
            None => Ok(()),
        }
    }

    async fn flush_conntrack(&self, flows: &[StaleFlows]) -> Result<(), FilterError> {
        let fails = self.troubles().flushes.strike();
        sleep(self.random.duration(FORGET.0, FORGET.1)).await;
        if fails.is_some() {
            return Err(failed("conntrack"));
        }
        self.filter().forget(flows);
        Ok(())
    }

    async fn clear(&self) -> Result<(), FilterError> {
        let mut filter = self.filter();
        filter.set_filter(Default::default());
        filter.set_nat(Default::default());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
