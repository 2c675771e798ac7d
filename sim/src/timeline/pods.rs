//! Pods as spans: a row each while it lives, in the lane of its node, coloured by its state.

use std::collections::BTreeMap;
use std::time::Duration;

use super::lanes::{Lanes, Rows};
use super::{Span, Timeline};
use crate::recording::{Facts, Index, Verb};

/// A pod's life.
struct Life {
    uid: String,
    name: String,
    node: String,
    states: Vec<(Duration, &'static str)>,
    end: Duration,
}

/// Adds the pods' spans; which pod (by uid) is in which lane and row.
pub fn spans(index: &Index<'_>, lanes: &mut Lanes, timeline: &mut Timeline) -> BTreeMap<String, (usize, usize)> {
    let mut lives = lives(index, timeline.lasted);
    lives.sort_by(|one, other| (one.states[0].0, &one.name).cmp(&(other.states[0].0, &other.name)));
    let mut rows: BTreeMap<usize, Rows> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for life in lives {
        let lane = lanes.pods(&life.node);
        let row = rows.entry(lane).or_default().take(life.states[0].0, life.end);
        lanes.list[lane].rows = lanes.list[lane].rows.max(row + 1);
        places.insert(life.uid.clone(), (lane, row));
        for (number, (from, state)) in life.states.iter().enumerate() {
            let until = life.states.get(number + 1).map_or(life.end, |(next, _)| *next);
            timeline.spans.push(Span {
                lane,
                row,
                from: *from,
                until,
                whole: life.end,
                kind: state,
                label: if number == 0 { life.name.clone() } else { String::new() },
                text: format!("{} is {}", life.name, state.trim_end_matches("pod")),
            });
        }
    }
    places
}

fn lives(index: &Index<'_>, end: Duration) -> Vec<Life> {
    let mut lives = Vec::new();
    for id in index.objects().filter(|id| &*id.resource == "pods") {
        let mut open: Option<Life> = None;
        for write in index.writes_of(id) {
            let (Some(written), Some(facts)) = (index.written(*write), index.facts(*write)) else {
                continue;
            };
            let at = index.at(*write);
            // Another uid is another pod of the same name.
            if let Some(mut life) = open.take_if(|life| life.uid != facts.uid) {
                life.end = at;
                lives.push(life);
            }
            let life = open.get_or_insert_with(|| Life {
                uid: facts.uid.clone(),
                name: id.name.clone(),
                node: String::new(),
                states: vec![(at, state(facts))],
                end,
            });
            if !facts.node.is_empty() {
                life.node.clone_from(&facts.node);
            }
            let state = state(facts);
            if life.states.last().is_none_or(|(_, last)| *last != state) {
                life.states.push((at, state));
            }
            if written.verb == Verb::Delete
                && let Some(mut life) = open.take()
            {
                life.end = at;
                lives.push(life);
            }
        }
        lives.extend(open);
    }
    lives
}

/// What a pod is, for the eye.
fn state(facts: &Facts) -> &'static str {
    match facts.phase.as_str() {
        "Failed" => "failedpod",
        "Succeeded" => "succeeded",
        _ if facts.terminating => "terminating",
        _ if facts.node.is_empty() => "unscheduled",
        "Running" if facts.ready => "ready",
        "Running" => "running",
        _ => "pending",
    }
}
