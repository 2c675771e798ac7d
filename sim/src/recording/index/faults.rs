//! Faults, and whom they hit.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Index;
use crate::recording::What;

/// How the faults are called that the end of the chaos does not end on machines that stay broken. All others are of the
/// network, of clocks, or of the control plane, and end everywhere.
const STAYING: &[&str] = &[
    "crash of",
    "pause of",
    "partition",
    "runtime of",
    "containers of",
    "node ",
    "failing rules",
    "slow rules",
];

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
            let stays = STAYING.iter().any(|kind| own.kind.starts_with(kind)) && own.hits.iter().any(is_left);
            if !stays {
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
