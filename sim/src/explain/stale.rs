//! Stale reads: what had been written, and the client that acted had not been shown.

use std::time::Duration;

use super::causes::{Subject, is_user};
use super::words::{deed, span};
use crate::model::ObjectId;
use crate::recording::{Difference, Index, Verb, role_of};

/// News of this age are normal to miss: they are under way.
const UNDER_WAY: Duration = Duration::from_millis(100);
/// So many objects are named.
const NAMED: usize = 3;

/// Something that the client of a request did not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The object.
    pub id: ObjectId,
    /// The revision that the client had been shown; none if it had not been shown the object at all.
    pub known: Option<u64>,
    /// The write that it did not know.
    pub write: usize,
}

/// What the request asked at `asked` did not know of its object, that object's owners, and what belongs to the same
/// owners. With `every`, also what was written so lately that nobody could know.
pub fn stale(index: &Index<'_>, asked: usize, every: bool) -> Vec<Stale> {
    let Some(request) = index.request_at(asked) else {
        return Vec::new();
    };
    let Some(subject) = Subject::of_request(index, asked).filter(|_| !is_user(&request.client)) else {
        return Vec::new();
    };
    let mut own = vec![subject.id.clone()];
    let mut siblings = Vec::new();
    for owner in &subject.facts.owners {
        own.extend(index.by_uid(owner).cloned());
        // Who makes or removes one of many should know of all the others.
        if role_of(&request.client) == "controller-manager" && matches!(request.method.as_str(), "POST" | "DELETE") {
            let others = index
                .owned(owner)
                .filter(|id| id.resource == subject.id.resource && **id != subject.id);
            siblings.extend(others.cloned());
        }
    }
    let missed = |id: ObjectId, least: u32| missed(index, &request.client, asked, id, every, least);
    let mut found: Vec<Stale> = own.into_iter().filter_map(|id| missed(id, 2)).collect();
    let mut others: Vec<Stale> = siblings
        .into_iter()
        .filter_map(|id| missed(id, 3))
        .filter(|stale| is_existence(index, stale.write))
        .collect();
    // What is there unknown comes before what is gone unknown.
    others.sort_by_key(|stale| (stale.known.is_some(), stale.write));
    others.dedup();
    found.extend(others);
    found
}

/// Whether a write is about whether an object is there.
fn is_existence(index: &Index<'_>, write: usize) -> bool {
    let deleting = |change: &Difference| change.path == "metadata.deletionTimestamp";
    index.written(write).is_some_and(|written| written.verb != Verb::Update)
        || index.changes(write).iter().any(deleting)
}

fn missed(index: &Index<'_>, client: &str, asked: usize, id: ObjectId, every: bool, least: u32) -> Option<Stale> {
    if !index.follows(client, &id.resource, asked) {
        return None;
    }
    // What it says that it rests on counts before what it had been shown.
    let request = index.request_at(asked);
    let base = request
        .filter(|request| request.object().as_ref() == Some(&id))
        .and_then(|request| request.base);
    let known = base.or_else(|| index.known(client, &id, asked).map(|known| known.revision));
    let old = |place: &usize| every || index.at(*place) + UNDER_WAY <= index.at(asked);
    let writes = index.writes_of(&id).iter().rev().copied();
    let write = writes
        .filter(|place| *place < asked)
        .find(|place| index.weight(*place) >= least && old(place))?;
    let revision = index.written(write)?.revision;
    if known.is_some_and(|known| known >= revision) {
        return None;
    }
    // What came and went without ever being shown is not missed.
    if known.is_none() && index.written(write)?.verb == Verb::Delete {
        return None;
    }
    Some(Stale { id, known, write })
}

/// Sentences about what the request at `asked` did not know, and which faults were in the way.
pub fn notes(index: &Index<'_>, asked: usize, every: bool) -> Vec<String> {
    let all = stale(index, asked, every);
    let Some(request) = index.request_at(asked) else {
        return Vec::new();
    };
    let mut notes = Vec::new();
    let mut since = index.at(asked);
    for stale in all.iter().take(NAMED) {
        let Some(written) = index.written(stale.write) else {
            continue;
        };
        let age = index.at(asked).saturating_sub(index.at(stale.write));
        since = since.min(index.at(stale.write));
        let own = index.author(stale.write).and_then(|place| index.request_at(place));
        let by = match own {
            Some(own) if own.client == request.client => " by itself".to_owned(),
            Some(own) => format!(" by {}", own.client),
            None => String::new(),
        };
        let ago = format!("{} before{by} ({})", span(age), deed(index, stale.write));
        notes.push(match stale.known {
            Some(known) => format!(
                "it acted on revision {known} of {}; revision {} had been written {ago}",
                stale.id, written.revision
            ),
            None => format!(
                "it had not been shown {}, written as revision {} {ago}",
                stale.id, written.revision
            ),
        });
    }
    if all.len() > NAMED {
        notes.push(format!(
            "and {} more objects whose newest state it had not been shown",
            all.len() - NAMED
        ));
    }
    if !notes.is_empty() {
        notes.extend(in_the_way(index, &request.client, asked, since));
    }
    notes
}

/// The faults that kept news from `client` between `since` and the place.
fn in_the_way(index: &Index<'_>, client: &str, place: usize, since: Duration) -> Vec<String> {
    let until = index.at(place);
    let hit = index.faults().iter().filter(|fault| {
        let between = |hit: &String| hit == client || hit.starts_with("apiserver/") || hit == "control-plane";
        fault.place < place
            && fault.from <= until
            && fault.until + Duration::from_secs(1) >= since
            && fault.hits.iter().any(between)
    });
    let mut faults: Vec<String> = hit
        .map(|fault| format!("meanwhile, since {:.3} s: {}", fault.from.as_secs_f64(), fault.text))
        .collect();
    if faults.len() > 2 {
        faults.drain(..faults.len() - 2);
    }
    faults
}
