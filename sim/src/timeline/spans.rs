//! What lasted: processes that were down or stood still, leaders, faults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::lanes::{Lanes, Rows};
use super::{Shade, Span, Timeline};
use crate::recording::{Index, ProcessState, What, brief};

/// When processes were down or stood still.
pub fn processes(index: &Index<'_>, lanes: &Lanes, timeline: &mut Timeline) {
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
pub fn leaders(index: &Index<'_>, lanes: &Lanes, timeline: &mut Timeline) {
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

/// When faults lasted, and whom they hit.
pub fn faults(index: &Index<'_>, lanes: &mut Lanes, timeline: &mut Timeline) {
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
    lanes.list[lane].rows = rows.count();
}
