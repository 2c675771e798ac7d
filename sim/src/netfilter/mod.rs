//! The simulated packet filter of one node: it keeps the very rules that the proxy writes, and evaluates packets
//! against them as Linux would.
//!
//! Modelled: the hooks of tables nat and filter in the order that Linux asks them, chains and returns, marks, chance,
//! lists of recent callers, connection tracking with its time-outs and the translation it remembers, and that a flow
//! is tracked only once its packet has passed. A change takes the time that `iptables-restore` takes. Not modelled:
//! rules of other programs, routing, fragments, ICMP, the ports that masquerading picks.

mod conntrack;
mod packet;
mod walk;

use core::net::{Ipv4Addr, SocketAddrV4};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use orrery_api::random::Random;
use orrery_proxy::{FilterError, PacketFilter, Ruleset, StaleFlows};
use tokio::time::{Duration, Instant, sleep};

use crate::scenario::Span;

pub use conntrack::Flow;
pub use packet::{Origin, Packet, Verdict};
pub use walk::Netfilter;

/// How long a change of the rules takes.
const WRITE: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(40));
/// How long a request to forget flows takes.
const FORGET: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(10));

/// Which table gets the new rules when a change is only half applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Table nat: translation is new, what may pass is old.
    Nat,
    /// Table filter: what may pass is new, translation is old.
    Filter,
}

/// What will go wrong. Each fault strikes once, but for `slow` and the lingering of flows.
#[derive(Debug, Default)]
struct Faults {
    failing_applies: u32,
    half: Option<Half>,
    failing_flushes: u32,
    slow: Option<Span>,
    /// Whether the last change that was written reached one table only, or somebody else undid it.
    torn: bool,
}

/// The packet filter of one simulated node. Rules and tracked flows outlive the proxy, but not the node.
pub struct SimPacketFilter {
    started: Instant,
    random: Random,
    filter: Mutex<Netfilter>,
    faults: Mutex<Faults>,
}

impl SimPacketFilter {
    /// The empty filter of a node with these addresses; `random` says how long changes take. Needs a clock: call it
    /// inside the world.
    pub fn new(addresses: Vec<Ipv4Addr>, random: Random) -> Arc<Self> {
        Arc::new(SimPacketFilter {
            started: Instant::now(),
            random,
            filter: Mutex::new(Netfilter::new(addresses)),
            faults: Mutex::default(),
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
        !self.faults().torn
    }

    /// The flows that are tracked.
    pub fn flows(&self) -> Vec<Flow> {
        let now = self.now();
        self.filter().flows(now)
    }

    /// The node restarts: its rules and flows are gone.
    pub fn reset(&self) {
        let mut filter = self.filter();
        *filter = Netfilter::new(filter.addresses().to_vec());
    }

    /// The next so many changes of the rules fail and change nothing.
    pub fn fail_applies(&self, times: u32) {
        self.faults().failing_applies = times;
    }

    /// The next change of the rules reaches one table, and is reported as failed.
    pub fn half_apply_next(&self, half: Half) {
        self.faults().half = Some(half);
    }

    /// Somebody else removes all rules. Whoever wrote them is not told; flows stay.
    pub fn flush(&self) {
        let mut filter = self.filter();
        filter.set_filter(Default::default());
        filter.set_nat(Default::default());
        self.faults().torn = true;
    }

    /// The next so many requests to forget flows fail and forget nothing.
    pub fn fail_flushes(&self, times: u32) {
        self.faults().failing_flushes = times;
    }

    /// Whether flows linger: while they do, none ends by itself, however long it is silent.
    pub fn linger(&self, linger: bool) {
        let now = self.now();
        self.filter().linger(linger, now);
    }

    /// How much longer each change takes, if at all.
    pub fn slow(&self, by: Option<Span>) {
        self.faults().slow = by;
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.linger(false);
        let mut faults = self.faults();
        // Only whoever writes the rules anew makes them whole.
        *faults = Faults {
            torn: faults.torn,
            ..Faults::default()
        };
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn filter(&self) -> MutexGuard<'_, Netfilter> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(program: &str) -> FilterError {
    FilterError::Failed {
        program: program.to_string(),
        message: "injected fault".to_string(),
    }
}

impl Faults {
    /// Whether a fault that is to strike `times` strikes now.
    fn strikes(times: &mut u32) -> bool {
        let strikes = *times > 0;
        *times -= u32::from(strikes);
        strikes
    }
}

#[async_trait]
impl PacketFilter for SimPacketFilter {
    async fn apply(&self, rules: &Ruleset) -> Result<(), FilterError> {
        let (fails, half, slow) = {
            let faults = &mut *self.faults();
            let fails = Faults::strikes(&mut faults.failing_applies);
            let half = if fails { None } else { faults.half.take() };
            (fails, half, faults.slow)
        };
        let takes = self.random.duration(WRITE.0, WRITE.1) + slow.map_or(Duration::ZERO, |by| by.draw(&self.random));
        if fails {
            sleep(takes).await;
            return Err(failed("iptables-restore"));
        }
        if half != Some(Half::Nat) {
            self.filter().set_filter(rules.filter.clone());
        }
        // Each table changes in one step, but there are two of them: packets may pass in between.
        sleep(takes).await;
        if half != Some(Half::Filter) {
            self.filter().set_nat(rules.nat.clone());
        }
        self.faults().torn = half.is_some();
        if half.is_some() {
            Err(failed("iptables-restore"))
        } else {
            Ok(())
        }
    }

    async fn flush_conntrack(&self, flows: &[StaleFlows]) -> Result<(), FilterError> {
        let fails = Faults::strikes(&mut self.faults().failing_flushes);
        sleep(self.random.duration(FORGET.0, FORGET.1)).await;
        if fails {
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
