//! The lanes of a timeline, and the rows within a lane.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Lane, LaneKind};
use crate::explain::causes::is_user;
use crate::recording::Index;

/// The lanes, found by name.
pub struct Lanes {
    /// From the top.
    pub list: Vec<Lane>,
    places: BTreeMap<String, usize>,
}

impl Lanes {
    /// Those of a recorded run: faults, users, machines with their processes and pods.
    pub fn new(index: &Index<'_>) -> Self {
        let mut lanes = Lanes {
            list: Vec::new(),
            places: BTreeMap::new(),
        };
        lanes.add("faults", "", LaneKind::Faults);
        for client in index.clients().filter(|client| is_user(client)) {
            lanes.add(client, "", LaneKind::Users);
        }
        let mut machines: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (process, machine) in index.processes() {
            machines.entry(machine).or_default().push(process);
        }
        let mut names: Vec<&str> = machines.keys().copied().collect();
        // The control plane has the API server; nodes follow in the order of their numbers.
        names.sort_by_key(|name| {
            let control = !machines[name].iter().any(|process| process.starts_with("apiserver"));
            (control, number_in(name), *name)
        });
        for machine in names {
            let mut processes = machines.remove(machine).unwrap_or_default();
            processes.sort_by_key(|process| (!process.starts_with("apiserver"), *process));
            let is_worker = processes.iter().any(|process| process.starts_with("kubelet"));
            for process in processes {
                lanes.add(process, machine, LaneKind::Component);
            }
            if is_worker {
                lanes.add_pods(machine);
            }
        }
        lanes.add("pods of no node", "", LaneKind::Pods);
        lanes
    }

    fn add(&mut self, name: &str, group: &str, kind: LaneKind) -> usize {
        self.list.push(Lane {
            name: name.to_owned(),
            group: group.to_owned(),
            kind,
            rows: 0,
        });
        self.places.insert(name.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }

    fn add_pods(&mut self, machine: &str) {
        let place = self.add("pods", machine, LaneKind::Pods);
        self.places.insert(format!("pods/{machine}"), place);
    }

    /// The lane of this name.
    pub fn get(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The lane of a node's pods; that of no node's if there is no such node.
    pub fn pods(&self, node: &str) -> usize {
        let place = self
            .get(&format!("pods/{node}"))
            .or_else(|| self.get("pods of no node"));
        place.unwrap_or(0)
    }

    /// The lane of the API server with the store.
    pub fn store(&self) -> usize {
        let server = self.list.iter().position(|lane| lane.name.starts_with("apiserver"));
        server.unwrap_or(0)
    }
}

/// The number at the end of a name: `node-10` comes after `node-9`.
fn number_in(name: &str) -> u64 {
    let digits: String = name.chars().rev().take_while(char::is_ascii_digit).collect();
    digits.chars().rev().collect::<String>().parse().unwrap_or(0)
}

/// Packs spans into rows so that none overlaps.
#[derive(Default)]
pub struct Rows(Vec<Duration>);

impl Rows {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The first row that is free from `from` on; it is taken until `until`.
    pub fn take(&mut self, from: Duration, until: Duration) -> usize {
        match self.0.iter().position(|end| *end <= from) {
            Some(row) => {
                self.0[row] = until;
                row
            }
            None => {
                self.0.push(until);
                self.0.len() - 1
            }
        }
    }
}
