//! The timeline as trace-event JSON, which the Perfetto viewer (and `chrome://tracing`) loads.
//!
//! Processes are machines, threads are lanes; what overlaps in a lane is spread over threads of the same name. Slices
//! are requests, pods' states, faults, and processes that are down; everything else is an instant. The causal chain is
//! one flow, and since viewers draw a flow from slice to slice only, what it goes through is a slice in any case, if
//! need be of no length.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::lanes::Rows;
use super::{LaneKind, MarkKind, Timeline};

/// Threads of one lane are numbered from a multiple of this on.
const THREADS: usize = 1000;

/// The file's content.
pub fn trace(timeline: &Timeline) -> Value {
    let mut events = Vec::new();
    let mut groups: Vec<&str> = Vec::new();
    for lane in &timeline.lanes {
        if !groups.contains(&lane.group.as_str()) {
            groups.push(&lane.group);
        }
    }
    let process = |lane: usize| {
        groups
            .iter()
            .position(|group| *group == timeline.lanes[lane].group)
            .unwrap_or(0)
            + 1
    };
    for (number, group) in groups.iter().enumerate() {
        let name = if group.is_empty() {
            "the cluster's surroundings"
        } else {
            group
        };
        events.push(json!({"ph": "M", "name": "process_name", "pid": number + 1, "args": {"name": name}}));
        events
            .push(json!({"ph": "M", "name": "process_sort_index", "pid": number + 1, "args": {"sort_index": number}}));
    }
    let mut threads: BTreeSet<(usize, usize)> = BTreeSet::new();
    for span in &timeline.spans {
        let rows = matches!(timeline.lanes[span.lane].kind, LaneKind::Pods | LaneKind::Faults);
        // States of a process go below its requests.
        let row = if rows { span.row } else { THREADS - 1 };
        threads.insert((span.lane, row));
        let name: &str = if span.kind == "faultline" || !rows {
            &span.text
        } else {
            span.kind
        };
        events.push(json!({
            "ph": "X", "name": name, "cat": span.kind, "pid": process(span.lane), "tid": span.lane * THREADS + row + 1,
            "ts": micros(span.from), "dur": micros(span.until.saturating_sub(span.from)), "args": {"what": span.text},
        }));
    }
    let rows = request_rows(timeline);
    let chained: BTreeSet<usize> = timeline.chain.iter().filter_map(|step| step.mark).collect();
    for (number, mark) in timeline.marks.iter().enumerate() {
        let row = rows.get(&number).copied().or(mark.row).unwrap_or(0);
        threads.insert((mark.lane, row));
        let (pid, tid) = (process(mark.lane), mark.lane * THREADS + row + 1);
        let cat = category(mark.kind);
        let name: String = mark.text.chars().take(120).collect();
        let args = json!({"what": mark.text});
        let until = mark.until.or(chained.contains(&number).then_some(mark.at));
        events.push(match until {
            Some(until) => json!({"ph": "X", "name": name, "cat": cat, "pid": pid, "tid": tid, "ts": micros(mark.at),
                "dur": micros(until.saturating_sub(mark.at)), "args": args}),
            None => json!({"ph": "i", "s": "t", "name": name, "cat": cat, "pid": pid, "tid": tid,
                "ts": micros(mark.at), "args": args}),
        });
    }
    for (lane, row) in threads {
        let tid = lane * THREADS + row + 1;
        let name = &timeline.lanes[lane].name;
        events
            .push(json!({"ph": "M", "name": "thread_name", "pid": process(lane), "tid": tid, "args": {"name": name}}));
        events.push(json!({"ph": "M", "name": "thread_sort_index", "pid": process(lane), "tid": tid, "args": {"sort_index": tid}}));
    }
    events.extend(flow(timeline, &rows, process));
    json!({"displayTimeUnit": "ms", "traceEvents": events})
}

/// The rows of requests that overlap in a lane: the viewer wants slices of a thread to nest.
fn request_rows(timeline: &Timeline) -> BTreeMap<usize, usize> {
    let mut rows: BTreeMap<usize, Rows> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for (number, mark) in timeline.marks.iter().enumerate() {
        if let Some(until) = mark.until {
            let row = rows.entry(mark.lane).or_default().take(mark.at, until);
            found.insert(number, row.min(THREADS - 2));
        }
    }
    found
}

/// The causal chain: one flow through its marks.
fn flow(timeline: &Timeline, rows: &BTreeMap<usize, usize>, process: impl Fn(usize) -> usize) -> Vec<Value> {
    let marks: Vec<usize> = timeline.chain.iter().filter_map(|step| step.mark).collect();
    let last = marks.len().saturating_sub(1);
    let phase = |place: usize| match place {
        0 => "s",
        place if place == last => "f",
        _ => "t",
    };
    let events = marks.iter().enumerate().map(|(place, number)| {
        let mark = &timeline.marks[*number];
        let row = rows.get(number).copied().or(mark.row).unwrap_or(0);
        json!({"ph": phase(place), "name": "causal chain", "cat": "cause", "id": 1, "bp": "e", "ts": micros(mark.at),
            "pid": process(mark.lane), "tid": mark.lane * THREADS + row + 1})
    });
    if marks.len() < 2 { Vec::new() } else { events.collect() }
}

fn micros(at: Duration) -> f64 {
    at.as_nanos() as f64 / 1000.0
}

fn category(kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Write => "write",
        MarkKind::Read => "read",
        MarkKind::Shown => "watch",
        MarkKind::Failed => "failed",
        MarkKind::Said => "said",
        MarkKind::Process => "process",
        MarkKind::Runtime => "container",
        MarkKind::Stored => "store",
        MarkKind::Broken => "invariant",
        MarkKind::Fault => "fault",
    }
}
