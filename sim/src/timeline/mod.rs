//! A recorded run as something to look at: lanes of machines and components, marks, spans, and the causal chain.
//!
//! Plain data, made from a [`Recording`](crate::recording::Recording): [`page`] makes an HTML page of it, [`perfetto`] a
//! file for the Perfetto viewer.

pub mod page;
pub mod perfetto;
mod pods;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::explain::causes::{Link, causes, is_user};
use crate::explain::{Explanation, Told, words};
use crate::recording::{Ending, Index, ProcessState, What, brief};

/// With more decisions than this, only those of the chain are linked to what they rest on.
const LINKED: usize = 20_000;

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
    process_spans(index, &lanes, &mut timeline);
    leaders(index, &lanes, &mut timeline);
    fault_spans(index, &mut lanes, &mut timeline);
    let marks = marks(index, &lanes, &rows, &mut timeline);
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
        Ending::NotConverged { .. } => "did not converge".to_owned(),
        Ending::Panicked { component, .. } => format!("{component} panicked"),
        Ending::Wrong(_) => "cannot be played".to_owned(),
    }
}

/// The lanes, found by name.
struct Lanes {
    list: Vec<Lane>,
    places: BTreeMap<String, usize>,
}

impl Lanes {
    fn new(index: &Index<'_>) -> Self {
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

    fn get(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The lane of a node's pods; that of no node's if there is no such node.
    fn pods(&self, node: &str) -> usize {
        let place = self
            .get(&format!("pods/{node}"))
            .or_else(|| self.get("pods of no node"));
        place.unwrap_or(0)
    }

    /// The lane of the API server with the store.
    fn store(&self) -> usize {
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
struct Rows(Vec<Duration>);

impl Rows {
    /// The first row that is free from `from` on; it is taken until `until`.
    fn take(&mut self, from: Duration, until: Duration) -> usize {
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

/// When processes were down or stood still.
fn process_spans(index: &Index<'_>, lanes: &Lanes, timeline: &mut Timeline) {
    let mut since: BTreeMap<&str, (Duration, &'static str)> = BTreeMap::new();
    let mut spans = Vec::new();
    let mut close = |name: &str, from: Duration, kind: &'static str, until: Duration| {
        if let Some(lane) = lanes.get(name) {
            let what = if kind == "down" { "is down" } else { "stands still" };
            spans.push(whole(lane, 0, from, until, kind, format!("{name} {what}")));
        }
    };
    for event in &index.recording.events {
        let What::Process { name, state, .. } = &event.what else {
            continue;
        };
        if let Some((from, kind)) = since.remove(name.as_str()) {
            close(name, from, kind, event.at);
        }
        match state {
            ProcessState::Killed => since.insert(name, (event.at, "down")),
            ProcessState::Paused => since.insert(name, (event.at, "paused")),
            ProcessState::Started(_) | ProcessState::Resumed => None,
        };
    }
    for (name, (from, kind)) in since {
        close(name, from, kind, timeline.lasted);
    }
    timeline.spans.extend(spans);
}

fn whole(lane: usize, row: usize, from: Duration, until: Duration, kind: &'static str, text: String) -> Span {
    Span {
        lane,
        row,
        from,
        until,
        whole: until,
        kind,
        label: String::new(),
        text,
    }
}

/// Who led, as the leases say.
fn leaders(index: &Index<'_>, lanes: &Lanes, timeline: &mut Timeline) {
    let leases = index
        .objects()
        .filter(|id| &*id.resource == "leases.coordination.k8s.io" && id.namespace == "kube-system");
    for lease in leases {
        let mut held: Option<(String, Duration)> = None;
        let mut changes: Vec<(String, Duration)> = Vec::new();
        for write in index.writes_of(lease) {
            let value: serde_json::Value = index
                .written(*write)
                .and_then(|written| serde_json::from_str(&written.value).ok())
                .unwrap_or_default();
            let holder = brief(value.pointer("/spec/holderIdentity"));
            if changes.last().is_none_or(|(last, _)| *last != holder) {
                changes.push((holder, index.at(*write)));
            }
        }
        changes.push((String::new(), timeline.lasted));
        for (holder, at) in changes {
            if let Some((before, from)) = held.replace((holder, at)) {
                let process = before.rsplit_once('_').map_or(before.as_str(), |(process, _)| process);
                if let Some(lane) = lanes.get(process) {
                    let text = format!("{process} holds the lease {}", lease.name);
                    timeline.spans.push(whole(lane, 0, from, at, "leads", text));
                }
            }
        }
    }
}

fn fault_spans(index: &Index<'_>, lanes: &mut Lanes, timeline: &mut Timeline) {
    let mut rows = Rows::default();
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    let lane = lanes.get("faults").unwrap_or(0);
    for fault in index.faults() {
        // What is over at once is still wide enough to be seen, and to be read.
        let row = rows.take(fault.from, fault.until.max(fault.from + timeline.lasted / 12));
        // A fault's words may go on until the next of its row.
        if let Some(before) = last.insert(row, timeline.spans.len()) {
            timeline.spans[before].whole = fault.from;
        }
        timeline.spans.push(Span {
            label: fault.text.clone(),
            whole: timeline.lasted,
            ..whole(lane, row, fault.from, fault.until, "faultline", fault.text.clone())
        });
        let mut hit: BTreeSet<usize> = fault.hits.iter().filter_map(|name| lanes.get(name)).collect();
        hit.extend(fault.hits.iter().filter_map(|name| lanes.get(&format!("pods/{name}"))));
        timeline.faults.push(Shade {
            from: fault.from,
            until: fault.until,
            text: fault.text.clone(),
            lanes: hit.into_iter().collect(),
        });
    }
    lanes.list[lane].rows = rows.0.len();
}

/// Makes marks of events; which place became which mark.
fn marks(
    index: &Index<'_>,
    lanes: &Lanes,
    rows: &BTreeMap<String, (usize, usize)>,
    timeline: &mut Timeline,
) -> BTreeMap<usize, usize> {
    let mut made: BTreeMap<usize, usize> = BTreeMap::new();
    let decisions = index.all_writes().count();
    for (place, event) in index.recording.events.iter().enumerate() {
        let Some((lane, row, kind, until)) = placed(index, lanes, rows, place) else {
            continue;
        };
        let from = rests_on(index, place, decisions <= LINKED).and_then(|from| made.get(&from).copied());
        match &event.what {
            What::Broken { invariant, .. } => timeline.lines.push(Line {
                at: event.at,
                kind: "accent",
                text: format!("{invariant} broken"),
            }),
            What::Healed { .. } => timeline.lines.push(Line {
                at: event.at,
                kind: "dim",
                text: "healed".to_owned(),
            }),
            _ => {}
        }
        made.insert(place, timeline.marks.len());
        timeline.marks.push(Mark {
            at: event.at,
            until,
            lane,
            row,
            kind,
            text: words::event(index, place),
            from,
        });
    }
    timeline
        .lines
        .dedup_by(|later, earlier| later.at == earlier.at && later.text == earlier.text);
    made
}

type Placed = (usize, Option<usize>, MarkKind, Option<Duration>);

/// Where and as what an event is shown, if it is.
fn placed(index: &Index<'_>, lanes: &Lanes, rows: &BTreeMap<String, (usize, usize)>, place: usize) -> Option<Placed> {
    let faults = lanes.get("faults")?;
    Some(match &index.event(place).what {
        What::Written(_) => (lanes.store(), None, MarkKind::Stored, None),
        What::Asked(request) => {
            let ended = index.ended(request.number);
            let failed = match ended.map(|ended| &index.event(ended).what) {
                Some(What::Received { status, .. }) => *status >= 400,
                Some(_) => true,
                // Nobody waits for the end of a run.
                None => false,
            };
            let kind = if failed {
                MarkKind::Failed
            } else if request.is_read() {
                MarkKind::Read
            } else {
                MarkKind::Write
            };
            (
                lanes.get(&request.client)?,
                None,
                kind,
                ended.map(|ended| index.at(ended)),
            )
        }
        What::Shown { stream, name, kind, .. } if !name.is_empty() || kind == "ERROR" => {
            let client = &index.watch(*stream)?.client;
            (lanes.get(client)?, None, MarkKind::Shown, None)
        }
        What::Process { name, .. } => (lanes.get(name)?, None, MarkKind::Process, None),
        What::Runtime { machine, pod_uid, .. } => match rows.get(pod_uid) {
            Some((lane, row)) => (*lane, Some(*row), MarkKind::Runtime, None),
            None => (lanes.pods(machine), Some(0), MarkKind::Runtime, None),
        },
        What::Said { actor, .. } => (lanes.get(actor).unwrap_or(faults), None, MarkKind::Said, None),
        What::Broken { .. } => (lanes.store(), None, MarkKind::Broken, None),
        What::FaultBegins { .. } => (faults, None, MarkKind::Fault, None),
        What::Healed { .. } => (faults, None, MarkKind::Said, None),
        _ => return None,
    })
}

/// The place that an event rests on: its most likely cause, or what its client was told of it.
fn rests_on(index: &Index<'_>, place: usize, all: bool) -> Option<usize> {
    if let What::Asked(request) = &index.event(place).what
        && (!all || request.is_read())
    {
        return None;
    }
    let cause = causes(index, place, &[]).into_iter().min_by_key(|cause| cause.cost)?;
    match cause.link {
        Link::Told(told) if told != place => Some(told),
        _ => Some(cause.place),
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
