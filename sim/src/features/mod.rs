//! Features: the small, distinct things that one run has done. Together they say how far a campaign has come.
//!
//! [`crate::coverage`] names what should be seen sometimes; features are not named beforehand. They are steps of state
//! machines (a pod's, a node's, a rollout's), what was asked of the API by whom and how it ended, and how old the
//! picture was on which somebody wrote. States are coarse on purpose: numbers are buckets, names of objects are left
//! out, so that there are thousands of features at most, and a new one means something.
//!
//! A feature's name is its identity: `node: Ready > Unknown`. The names are the same in every run, process and build.

mod objects;
mod requests;
mod views;

use std::fmt::{self, Write as _};

use rustc_hash::FxHashSet;

use crate::model::{Cluster, Seen};

/// The features of one run, as they come.
#[derive(Debug, Default)]
pub struct Features {
    found: Found,
    leases: objects::Leases,
    views: views::Views,
}

impl Features {
    /// Takes in what happened; `cluster` already has it.
    pub fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster) {
        match seen {
            Seen::Change(change) => {
                objects::step(change, &mut self.found);
                self.leases.step(change, cluster.now, &mut self.found);
            }
            Seen::Asked(asked) => self.views.write(asked, cluster.now, &mut self.found),
            Seen::Answered(asked, answered) => requests::answered(asked, answered, &mut self.found),
            _ => {}
        }
        self.views.observe(seen, cluster.now);
    }

    /// Their names, in order.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.found.names.clone();
        names.sort_unstable();
        names
    }
}

/// A set of names that costs nothing for a name that is already in it.
#[derive(Debug, Default)]
struct Found {
    hashes: FxHashSet<u64>,
    names: Vec<String>,
    buffer: String,
}

impl Found {
    fn add(&mut self, name: fmt::Arguments<'_>) {
        self.buffer.clear();
        let _ = self.buffer.write_fmt(name);
        if self.hashes.insert(orrery_api::random::fnv1a(self.buffer.as_bytes())) {
            self.names.push(self.buffer.clone());
        }
    }
}

/// A number's bucket: 0, 1, a few, many.
fn bucket(number: usize) -> &'static str {
    match number {
        0 => "0",
        1 => "1",
        2..=3 => "2-3",
        4..=7 => "4-7",
        _ => "8+",
    }
}

#[cfg(test)]
mod tests;
