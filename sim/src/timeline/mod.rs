//! A recorded run as something to look at: lanes of machines and components, marks, spans, and the causal chain.
//!
//! Plain data, made from a [`Recording`](crate::recording::Recording): [`page`] makes an HTML page of it, [`perfetto`]
//! a file for the Perfetto viewer.

mod lanes;
mod marks;
pub mod page;
pub mod perfetto;
mod pods;
mod spans;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::explain::{Explanation, Told};
use crate::recording::{Ending, Index, What};
use crate::report;
use lanes::Lanes;

/// A run to look at. Times are since its beginning.
#[derive(Debug, Default)]
pub struct Timeline {
    /// The scenario's file and the seed.
    pub title: String,
    /// How it ended, in few words.
    pub verdict: String,
    /// Whether everything held.
    pub held: bool,
    /// What is wrong, in lines.
    pub finding: Vec<String>,
    /// How long it took.
    pub lasted: Duration,
    /// How many events were recorded.
    pub events: usize,
    /// The trace's hash.
    pub hash: String,
    /// The lanes, from the top.
    pub lanes: Vec<Lane>,
    /// What happened, in the order of time.
    pub marks: Vec<Mark>,
    /// What lasted.
    pub spans: Vec<Span>,
    /// The faults, with the lanes that they hit.
    pub faults: Vec<Shade>,
    /// Moments of the whole run.
    pub lines: Vec<Line>,
    /// The causal chain.
    pub chain: Vec<ChainStep>,
}

/// A lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// The machine that it belongs to; empty for what is on none.
    pub group: String,
    /// What it shows.
    pub kind: LaneKind,
    /// How many rows its spans need.
    pub rows: usize,
}

/// What a lane shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneKind {
    /// Faults, as spans.
    Faults,
    /// Users and onlookers.
    Users,
    /// A process.
    Component,
    /// The pods of a node, as spans.
    Pods,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Mark {
    /// When.
    pub at: Duration,
    /// Until when, if it took time.
    pub until: Option<Duration>,
    /// In which lane.
    pub lane: usize,
    /// In which row, among pods.
    pub row: Option<usize>,
    /// Of which kind.
    pub kind: MarkKind,
    /// In words.
    pub text: String,
    /// The mark that it rests on.
    pub from: Option<usize>,
}

/// What kind of mark it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkKind {
    /// A request that writes.
    Write,
    /// A request that reads.
    Read,
    /// A client was shown something by a watch.
    Shown,
    /// A request that was refused, or whose answer was not heard.
    Failed,
    /// Somebody said something.
    Said,
    /// A process or a machine started, ended, stands still.
    Process,
    /// A sandbox or a container.
    Runtime,
    /// A write of the store.
    Stored,
    /// An invariant was broken.
    Broken,
    /// A fault began.
    Fault,
}

/// Something that lasted.
#[derive(Debug, Clone)]
pub struct Span {
    /// In which lane.
    pub lane: usize,
    /// In which of its rows.
    pub row: usize,
    /// Since when.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
    /// What the whole of it is until, if this is a part.
    pub whole: Duration,
    /// Of which kind: a pod's state, `down`, `paused`, `leads`, `faultline`.
    pub kind: &'static str,
    /// What is written on it.
    pub label: String,
    /// In words.
    pub text: String,
}

/// A fault over the lanes that it hits.
#[derive(Debug, Clone)]
pub struct Shade {
    /// Since when.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
    /// What it is.
    pub text: String,
    /// Whom it hits; everybody if it names nobody.
    pub lanes: Vec<usize>,
}

/// A moment of the whole run.
#[derive(Debug, Clone)]
pub struct Line {
    /// When.
    pub at: Duration,
    /// `accent` for what is broken, `dim` for the rest.
    pub kind: &'static str,
    /// What.
    pub text: String,
}

/// A step of the causal chain, or a line that is beside it.
#[derive(Debug, Clone)]
pub struct ChainStep {
    /// Its mark, if it has one.
    pub mark: Option<usize>,
    /// When.
    pub at: Option<Duration>,
    /// In words.
    pub line: String,
    /// What is worth noticing.
    pub notes: Vec<String>,
}

/// Makes a timeline of a recorded run and its explanation, if it failed.
pub fn timeline(index: &Index<'_>, explanation: Option<&Explanation>) -> Timeline {
    let recording = index.recording;
    let mut lanes = Lanes::new(index);
    let mut timeline = Timeline {
        title: format!("{}, seed {}", recording.scenario, recording.seed),
        verdict: verdict(index),
        held: recording.ending == Ending::Held,
        finding: explanation
            .map(|explanation| explanation.finding.clone())
            .unwrap_or_default(),
        lasted: recording
            .lasted
            .max(recording.events.last().map_or(Duration::ZERO, |event| event.at)),
        events: recording.events.len(),
        hash: recording.hash.clone(),
        ..Timeline::default()
    };
    let rows = pods::spans(index, &mut lanes, &mut timeline);
    spans::processes(index, &lanes, &mut timeline);
    spans::leaders(index, &lanes, &mut timeline);
    spans::faults(index, &mut lanes, &mut timeline);
    let marks = marks::marks(index, &lanes, &rows, &mut timeline);
    if let Some(explanation) = explanation {
        timeline.chain = chain_steps(index, explanation, &marks);
    }
    timeline.lanes = lanes.list;
    // Where every pod found a node, the lane of the others has nothing to show.
    let last = timeline.lanes.len() - 1;
    if timeline.lanes[last].rows == 0 && timeline.marks.iter().all(|mark| mark.lane != last) {
        timeline.lanes.pop();
    }
    timeline
}

fn verdict(index: &Index<'_>) -> String {
    match &index.recording.ending {
        Ending::Held => "held".to_owned(),
        Ending::Violated => {
            let broken = index.recording.events.iter().find_map(|event| match &event.what {
                What::Broken { invariant, .. } => Some(invariant.clone()),
                _ => None,
            });
            format!("{} is broken", broken.unwrap_or_else(|| "an invariant".to_owned()))
        }
        Ending::NotConverged { missing, .. } => report::not_converged(missing).to_owned(),
        Ending::Panicked { component, .. } => format!("{component} panicked"),
        Ending::Endless { .. } => index.recording.cut().unwrap_or_default(),
        Ending::Wrong(why) => format!("cannot be played: {why}"),
    }
}

fn chain_steps(index: &Index<'_>, explanation: &Explanation, marks: &BTreeMap<usize, usize>) -> Vec<ChainStep> {
    let mut steps: Vec<ChainStep> = Vec::new();
    for told in &explanation.told {
        let Told { place, line, notes } = told;
        steps.push(ChainStep {
            mark: marks.get(place).copied(),
            at: Some(index.at(*place)),
            line: line.clone(),
            notes: notes.clone(),
        });
    }
    let broken = index
        .recording
        .events
        .iter()
        .position(|event| matches!(event.what, What::Broken { .. }));
    if let Some(place) = broken.filter(|_| !steps.is_empty()) {
        steps.push(ChainStep {
            mark: marks.get(&place).copied(),
            at: Some(index.at(place)),
            line: match &index.event(place).what {
                What::Broken { invariant, .. } => format!("{invariant} is broken"),
                _ => String::new(),
            },
            notes: Vec::new(),
        });
    }
    let beside = explanation.beside.iter().map(|line| ChainStep {
        mark: None,
        at: None,
        line: line.trim().to_owned(),
        notes: Vec::new(),
    });
    steps.extend(beside);
    steps
}
