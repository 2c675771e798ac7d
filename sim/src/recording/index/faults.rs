//! Faults, and whom they hit.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Index;
use crate::recording::What;

/// How the faults are called that the end of the chaos does not end on machines that stay broken, see
/// [`crate::faults::heal()`]. All others are of the network, of clocks, or of the control plane, and end everywhere, or
/// they are over at once.
const STAYING: &[&str] = &[
    "crash of",
    "pause of",
    "partition",
    "runtime of",
    "containers of",
    "node ",
    "failing rules of",
    "slow rules of",
    "lingering flows of",
];

/// Whether a fault that is called so may last beyond the end of the chaos.
fn stays(kind: &str) -> bool {
    STAYING.iter().any(|own| kind.starts_with(own))
}

/// A fault, and whom it hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its number.
    pub number: u64,
    /// What the scenario calls it.
    pub kind: String,
    /// What it does, and to whom.
    pub text: String,
    /// Where it begins.
    pub place: usize,
    /// When it begins.
    pub from: Duration,
    /// When it ends: with the chaos at the latest, unless whom it hits stays broken.
    pub until: Duration,
    /// The processes and machines that it names.
    pub hits: BTreeSet<String>,
}

impl Index<'_> {
    /// A fault begins.
    pub(super) fn take_fault_begin(&mut self, place: usize, at: Duration, number: u64, kind: &str, text: &str) {
        self.faults.push(Fault {
            number,
            kind: kind.to_owned(),
            text: if text.is_empty() { kind } else { text }.to_owned(),
            place,
            from: at,
            until: self.recording.lasted,
            hits: BTreeSet::new(),
        });
    }

    /// A fault ends.
    pub(super) fn take_fault_end(&mut self, at: Duration, number: u64) {
        for own in self.faults.iter_mut().filter(|own| own.number == number) {
            own.until = at;
        }
    }

    /// All that are left end with the chaos, but for what keeps a machine down that stays broken.
    pub(super) fn end_with_the_chaos(&mut self) {
        let healed = self.recording.events.iter().find_map(|event| match &event.what {
            What::Healed { left } => Some((event.at, left)),
            _ => None,
        });
        let Some((at, left)) = healed else { return };
        for own in &mut self.faults {
            let is_left = |hit: &String| {
                let machine = self.machines.get(hit).unwrap_or(hit);
                left.contains(machine)
            };
            if !(stays(&own.kind) && own.hits.iter().any(is_left)) {
                own.until = own.until.min(at);
            }
        }
    }

    /// Finds whom faults hit: the processes and machines, and the processes' kinds, that their texts name.
    pub(super) fn find_victims(&mut self) {
        let names: BTreeSet<&String> = self
            .machines
            .iter()
            .flat_map(|(process, machine)| [process, machine])
            .collect();
        for fault in &mut self.faults {
            let words: BTreeSet<&str> = fault
                .text
                .split(|sign: char| sign.is_whitespace() || matches!(sign, ',' | ';' | '(' | ')' | ':'))
                .collect();
            let everybody = words.contains("everybody");
            let named = |name: &str| {
                let role = name.split('/').next().unwrap_or_default();
                words.contains(name) || everybody || (name.contains('/') && words.contains(role))
            };
            fault.hits = names
                .iter()
                .filter(|name| named(name))
                .map(|name| (*name).clone())
                .collect();
            // Whoever is on a machine that is hit is hit, too.
            for (process, machine) in &self.machines {
                if fault.hits.contains(machine) {
                    fault.hits.insert(process.clone());
                }
            }
        }
    }

    /// The faults, in the order of their begin.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{FaultAction, PacketsTrouble, read};

    /// Each kind of fault at least once, and those that are called in several ways in each of them.
    const FAULTS: &[&str] = &[
        "crash: { node: node-1 }",
        "crash: { component: kubelet/node-1 }",
        "restart: kubelet/node-1",
        "pause: { node: node-1 }",
        "pause: { component: kubelet/node-1 }",
        "partition: { node: node-1 }",
        "partition: { between: any }",
        "partition: { between: [[node-1, node-2], [control-plane]] }",
        "slow-link: { node: node-1, by: 100ms }",
        "loss: { node: node-1, probability: 0.3, for: 30s }",
        "loss: { client: kubelet/node-1, request: patch pods/status, nth: [1], lost: answer }",
        "reset: { node: node-1 }",
        "reset: { component: kubelet/node-1 }",
        "duplicate: { client: kubelet/node-1, request: patch pods/status, nth: [1] }",
        "api-errors: { client: kubelet/node-1, codes: [500], probability: 0.3, for: 20s }",
        "drop-watches: { client: kubelet/node-1 }",
        "slow-reader: { client: kubelet/node-1, by: 100ms }",
        "lost-answers: { client: kubelet/node-1, probability: 0.9, for: 20s }",
        "lag: { client: kubelet/node-1, by: 5s }",
        "api-lag: { server: apiserver/2 }",
        "delay-call: { client: kubelet/node-1, verb: create, resource: pods, by: 3s }",
        "reconnect: { component: kubelet/node-1, to: apiserver/2 }",
        "packets: { node: node-1, times: 3 }",
        "packets: { node: node-1, slow: 100ms }",
        "packets: { node: node-1, flushed: true }",
        "disk: { slow: 200ms }",
        "disk: { fails: sync }",
        "clock: { node: node-1, offset: -30s..30s }",
        "compact: { keep: 0 }",
        "flows: { node: node-1, times: 3 }",
        "hand-over: { component: scheduler }",
        "containers: { node: node-1, trouble: pull-fails }",
        "runtime: { node: node-1, trouble: hang }",
        "nodes: { node: node-1, trouble: wipe }",
    ];

    /// Whether the end of the chaos leaves a fault as it is on a machine that stays broken.
    fn is_left_alone(action: &FaultAction) -> bool {
        match action {
            FaultAction::Crash(_)
            | FaultAction::Pause(_)
            | FaultAction::Partition(_)
            | FaultAction::Flows(_)
            | FaultAction::Containers(_)
            | FaultAction::Runtime(_)
            | FaultAction::Nodes(_) => true,
            FaultAction::Packets(spec) => spec.trouble != PacketsTrouble::Flushed,
            FaultAction::Restart(_)
            | FaultAction::SlowLink(_)
            | FaultAction::Loss(_)
            | FaultAction::Reset(_)
            | FaultAction::Duplicate(_)
            | FaultAction::ApiErrors(_)
            | FaultAction::DropWatches(_)
            | FaultAction::SlowReader(_)
            | FaultAction::LostAnswers(_)
            | FaultAction::Lag(_)
            | FaultAction::ApiLag(_)
            | FaultAction::DelayCall(_)
            | FaultAction::Reconnect(_)
            | FaultAction::Disk(_)
            | FaultAction::Clock(_)
            | FaultAction::Compact(_)
            | FaultAction::HandOver(_)
            | FaultAction::Swarm(_) => false,
        }
    }

    #[test]
    fn what_stays_is_known_by_what_faults_are_called() {
        let topology = "{ nodes: 3, apiservers: 2, schedulers: 2 }";
        let mut text = format!("name: a\ntopology: {topology}\nduration: 10m\nfaults:\n");
        for fault in FAULTS {
            text += &format!("  - at: 10s\n    {fault}\n");
        }
        let scenario = read("a.yaml", &text, |_| Err(String::new())).expect("a scenario");
        let mut unused: BTreeSet<&str> = STAYING.iter().copied().collect();
        for plan in &scenario.faults {
            let kind = plan.action.describe();
            assert_eq!(stays(&kind), is_left_alone(&plan.action), "{kind}");
            unused.retain(|own| !kind.starts_with(own));
        }
        assert!(unused.is_empty(), "no fault is called so: {unused:?}");
    }
}
