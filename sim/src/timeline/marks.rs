//! Which events are shown, where, as what, and on which others they rest.

use std::collections::BTreeMap;
use std::time::Duration;

use super::lanes::Lanes;
use super::{Line, Mark, MarkKind, Timeline};
use crate::explain::causes::{Link, causes};
use crate::explain::words;
use crate::recording::{Index, What};

/// With more decisions than this, only those of the chain are linked to what they rest on.
const LINKED: usize = 20_000;

/// Adds marks of events, and lines of those that concern the whole run; which place became which mark.
pub fn marks(
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
