//! A cluster that did not get where it should: what is missing, what was last done about it, and who does not know.

use std::time::Duration;

use serde_json::Value;

use super::subjects::{Subjects, concerns, subjects};
use super::words;
use crate::model::ObjectId;
use crate::recording::{Index, Verb, What};

/// So many missing things are explained.
const EXPLAINED: usize = 5;
/// So many objects of each are looked at.
const OBJECTS: usize = 4;
/// So many last events of each object are shown.
const LAST: usize = 2;

/// Explains what is missing.
pub fn explain(index: &Index<'_>, missing: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut seen: Vec<Vec<ObjectId>> = Vec::new();
    let mut more = 0;
    for what in missing {
        let about = subjects(index, what);
        let known = !about.objects.is_empty() && seen.contains(&about.objects);
        if seen.len() >= EXPLAINED && !known {
            more += 1;
            continue;
        }
        lines.push(format!("missing: {what}"));
        if known {
            continue;
        }
        lines.extend(last_events(index, &about).iter().map(|line| format!("  {line}")));
        lines.extend(ignorant(index, &about).iter().map(|line| format!("  ! {line}")));
        seen.push(about.objects);
    }
    if more > 0 {
        lines.push(format!("and {more} more that are missing"));
    }
    lines
}

/// The last places that one would look at, oldest first: the last events about each of the subjects that say something.
pub fn last_places(index: &Index<'_>, about: &Subjects) -> Vec<usize> {
    let mut places: Vec<usize> = Vec::new();
    let all = || (0..index.recording.events.len()).rev();
    for id in about.objects.iter().take(OBJECTS) {
        let one = Subjects {
            objects: vec![id.clone()],
            ..Subjects::default()
        };
        let told = |place: &usize| match &index.event(*place).what {
            What::Written(_) | What::Runtime { .. } => concerns(index, *place, &one),
            // Requests that wrote are shown by their writes.
            What::Asked(request) => index.writes_by(request.number).is_empty() && concerns(index, *place, &one),
            _ => false,
        };
        places.extend(all().filter(told).take(LAST));
    }
    if about.objects.is_empty() {
        let told = |place: &usize| match &index.event(*place).what {
            What::Process { name, .. } => index
                .machine_of(name)
                .is_some_and(|machine| about.machines.contains(machine)),
            What::FaultBegins { fault, .. } => index
                .faults()
                .iter()
                .any(|own| own.number == *fault && own.hits.iter().any(|hit| about.machines.contains(hit))),
            _ => false,
        };
        places.extend(all().filter(told).take(2 * LAST));
    }
    places.sort_unstable();
    places.dedup();
    places
}

fn last_events(index: &Index<'_>, about: &Subjects) -> Vec<String> {
    let places = last_places(index, about);
    let Some(last) = places.last() else {
        return vec!["nothing was ever done about it".to_owned()];
    };
    let mut lines = vec!["the last that was done about it:".to_owned()];
    lines.extend(
        places
            .iter()
            .map(|place| format!("  {}  {}", words::moment(index.at(*place)), words::event(index, *place))),
    );
    let silent = index.recording.lasted.saturating_sub(index.at(*last));
    if silent >= Duration::from_secs(1) {
        // What says nothing is not shown, but happens.
        let mut writes = about.objects.iter().flat_map(|id| index.writes_of(id));
        let lives = writes.any(|write| write > last && index.weight(*write) == 0);
        let nothing = if lives { "nothing but signs of life" } else { "nothing" };
        lines.push(format!("and {nothing} for the {} until the end", words::span(silent)));
    }
    lines
}

/// Who follows the subjects, should act, and had not been shown their newest state.
fn ignorant(index: &Index<'_>, about: &Subjects) -> Vec<String> {
    let end = index.recording.events.len();
    let mut lines = Vec::new();
    for id in about.objects.iter().take(3) {
        let newest = index
            .writes_of(id)
            .iter()
            .rev()
            .find(|write| index.weight(**write) >= 2);
        let Some(newest) = newest.copied() else { continue };
        let Some(written) = index.written(newest) else { continue };
        let node = index.facts(newest).map(|facts| facts.node.clone()).unwrap_or_default();
        for client in index.clients().filter(|client| acts(client, &node, &about.machines)) {
            let running = index.started(client, end).is_some();
            if !running || !index.follows(client, &id.resource, end) {
                continue;
            }
            let known = index.known(client, id, end).map(|known| known.revision);
            if known.is_none_or(|known| known < written.revision) {
                let known = known.map_or("nothing of it".to_owned(), |known| format!("revision {known}"));
                lines.push(format!(
                    "{client} had been shown {known}; the newest is revision {} of {:.3} s ({})",
                    written.revision,
                    index.at(newest).as_secs_f64(),
                    words::deed(index, newest)
                ));
            }
        }
    }
    lines.truncate(4);
    if lines.is_empty() && !about.objects.is_empty() {
        lines.extend(idle(index, about, end));
    }
    lines
}

/// The controllers that had been shown everything, and since when all of them had: it is not news that they lack.
fn idle(index: &Index<'_>, about: &Subjects, end: usize) -> Option<String> {
    let controllers = index
        .clients()
        .filter(|client| client.starts_with("controller-manager") && index.started(client, end).is_some());
    let idle: Vec<(&str, usize)> = controllers
        .filter_map(|client| Some((client, shown_since(index, client, about, end)?)))
        .collect();
    let last = idle.iter().map(|(_, place)| *place).max()?;
    let since = words::span(index.recording.lasted.saturating_sub(index.at(last)));
    let names: Vec<&str> = idle.iter().map(|(client, _)| *client).collect();
    Some(format!(
        "it is not news that is lacking: {} had been shown the newest state of all this {since} before",
        names.join(", ")
    ))
}

/// Where `client`, since it last started, had been shown the newest state of all the subjects that it follows; none if
/// there is one that it was not shown, or if it follows none. Signs of life are no news.
fn shown_since(index: &Index<'_>, client: &str, about: &Subjects, end: usize) -> Option<usize> {
    let followed = about
        .objects
        .iter()
        .filter(|id| index.follows(client, &id.resource, end));
    let mut since = None;
    for id in followed {
        let mut writes = index.writes_of(id).iter().rev();
        let newest = writes.find(|write| index.weight(**write) > 0)?;
        let revision = index.written(*newest)?.revision;
        since = since.max(Some(index.known_since(client, id, revision, end)?));
    }
    since
}

/// The write that gave an object the first of the finalizers that its deletion waits for.
pub fn held_by(index: &Index<'_>, id: &ObjectId) -> Option<usize> {
    let finalizers = |write: usize| -> Vec<String> {
        let value: Option<Value> = index
            .written(write)
            .filter(|written| written.verb != Verb::Delete)
            .and_then(|written| serde_json::from_str(&written.value).ok());
        let all = value.as_ref().and_then(|value| value.pointer("/metadata/finalizers"));
        let all = all.and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let last = *index.writes_of(id).last()?;
    index.facts(last).filter(|facts| facts.terminating)?;
    let first = finalizers(last).into_iter().next()?;
    let writes = index.writes_of(id).iter().rev().copied();
    writes.take_while(|write| finalizers(*write).contains(&first)).last()
}

/// Whether a client could do something about an object on `node`.
fn acts(client: &str, node: &str, machines: &std::collections::BTreeSet<String>) -> bool {
    match client.split_once('/') {
        Some(("controller-manager" | "scheduler", _)) => true,
        Some((_, machine)) => machine == node || machines.contains(machine),
        None => false,
    }
}
