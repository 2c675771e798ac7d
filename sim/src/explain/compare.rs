//! Two runs of nearly the same: the first decision of one that the other never took.
//!
//! Decisions are compared by who took them and what they say, without names and addresses that each run draws anew, and
//! without the moments that it stamps. The so many-th decision of a kind has its counterpart in the so many-th of the
//! other run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use orrery_api::random::is_uid;
use serde_json::Value;

use super::causes::is_user;
use super::chain::Step;
use super::words;
use crate::campaign::signature::is_generated;
use crate::model::ObjectId;
use crate::recording::{Difference, Index, Verb, differences, role_of};

/// A decision without what each run draws anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decision {
    /// Which component took it.
    pub role: String,
    /// About what.
    pub about: String,
    /// What.
    pub what: String,
}

/// Where a run parts from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parting {
    /// The decision's place in the first run.
    pub place: usize,
    /// What the other run decided about the same thing instead, if anything.
    pub instead: Option<usize>,
}

/// The decision that a write is; none for signs of life and mere statuses.
pub fn decision(index: &Index<'_>, write: usize) -> Option<Decision> {
    let written = index.written(write)?;
    if index.weight(write) < 2 || &*written.object.resource == "leases.coordination.k8s.io" {
        return None;
    }
    let client = index.author(write).and_then(|asked| index.request_at(asked));
    let role = client.map_or("", |request| role_of(&request.client)).to_owned();
    let about = about(index, write, &written.object);
    let what = match written.verb {
        Verb::Create => "creates it".to_owned(),
        Verb::Delete => "removes it".to_owned(),
        Verb::Update => {
            let drawn = [
                "IP",
                "ID",
                "uid",
                "node",
                "Node",
                "address",
                "hash",
                "image",
                "message",
                "generation",
            ];
            let told = index.changes(write).iter().filter(|change| {
                !drawn.iter().any(|word| change.path.contains(word)) || change.path == "spec.unschedulable"
            });
            let told: BTreeSet<String> = told.map(undrawn).collect();
            let told: Vec<String> = told.into_iter().collect();
            if told.is_empty() {
                "changes it".to_owned()
            } else {
                told.join(", ")
            }
        }
    };
    Some(Decision { role, about, what })
}

/// A change without the names, addresses and moments in it that each run draws or stamps.
fn undrawn(change: &Difference) -> String {
    let plain = |value: &Value| match value.as_str().and_then(drawn) {
        Some(kind) => kind.into(),
        None => value.clone(),
    };
    let change = Difference {
        path: undrawn_path(&change.path),
        before: change.before.as_ref().map(plain),
        after: change.after.as_ref().map(plain),
    };
    change.to_string()
}

/// A path without what is drawn of its keys. An endpoint's name is.
fn undrawn_path(path: &str) -> String {
    let (mut text, mut rest) = (String::new(), path);
    while let Some((before, (key, after))) = rest
        .split_once('[')
        .and_then(|(before, rest)| Some((before, rest.split_once(']')?)))
    {
        let is_endpoint = text.is_empty() && before == "endpoints";
        let key = if is_endpoint { "" } else { drawn(key).unwrap_or(key) };
        text.push_str(&format!("{before}[{key}]"));
        rest = after;
    }
    text + rest
}

/// What a text is that each run draws or stamps anew, if it looks like that.
fn drawn(text: &str) -> Option<&'static str> {
    if has_shape(text, "0000-00-00T00:00:00") {
        return Some("a moment");
    }
    if is_uid(text) {
        return Some("a uid");
    }
    let address = text.split([':', '/']).next().unwrap_or(text);
    if text.parse::<IpAddr>().is_ok() || address.parse::<IpAddr>().is_ok() {
        return Some("an address");
    }
    // A hash of a template is longer, and the same in all runs.
    let is_suffix = |end: &str| end.len() == 5 && is_generated(end);
    let is_generated = text.rsplit_once('-').is_some_and(|(_, end)| is_suffix(end));
    is_generated.then_some("a generated name")
}

/// Whether a text begins like `shape`, in which 0 stands for any digit.
fn has_shape(text: &str, shape: &str) -> bool {
    let fits = |(letter, wanted): (u8, u8)| match wanted {
        b'0' => letter.is_ascii_digit(),
        _ => letter == wanted,
    };
    text.len() >= shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

/// An object by its owner, where its own name is drawn.
fn about(index: &Index<'_>, write: usize, id: &ObjectId) -> String {
    match index.facts(write).and_then(|facts| facts.controller.as_ref()) {
        Some((kind, name)) if &*id.resource == "pods" => format!("pods of {kind} {name}"),
        Some((_, name)) if id.name.starts_with(name.as_str()) && &*id.resource != "replicasets.apps" => {
            format!("{} of {name}", id.resource)
        }
        _ => id.to_string(),
    }
}

/// The first decision of `steps` (places of one run, in order of time) that `other` never took.
pub fn parting(one: &Index<'_>, steps: &[Step], other: &Index<'_>) -> Option<Parting> {
    let theirs: Vec<(usize, Decision)> = other
        .all_writes()
        .filter_map(|write| Some((write, decision(other, write)?)))
        .collect();
    let mut counts: BTreeMap<Decision, usize> = BTreeMap::new();
    let mut wanted: BTreeMap<usize, (Decision, usize)> = BTreeMap::new();
    for write in one.all_writes() {
        if let Some(decision) = decision(one, write) {
            let count = counts.entry(decision.clone()).or_default();
            *count += 1;
            wanted.insert(write, (decision, *count));
        }
    }
    let mut reached = 0;
    let mut places: Vec<usize> = steps.iter().map(|step| step.place).collect();
    places.sort_unstable();
    for place in places {
        let Some((own, number)) = wanted.get(&place) else {
            continue;
        };
        let counterpart = theirs.iter().filter(|(_, decision)| decision == own).nth(number - 1);
        if let Some((found, _)) = counterpart {
            reached = reached.max(*found);
            continue;
        }
        let instead = theirs
            .iter()
            .find(|(write, decision)| *write > reached && decision.role == own.role && decision.about == own.about);
        return Some(Parting {
            place,
            instead: instead.map(|(write, _)| *write),
        });
    }
    None
}

/// The parting in words; `which` names the other run.
pub fn describe(one: &Index<'_>, parting: &Parting, other: &Index<'_>, which: &str) -> Vec<String> {
    let line =
        |index: &Index<'_>, place: usize| format!("{}  {}", words::moment(index.at(place)), words::event(index, place));
    let by_user = one
        .author(parting.place)
        .and_then(|asked| one.request_at(asked))
        .is_some_and(|request| is_user(&request.client));
    let what = if by_user { "step" } else { "decision" };
    let mut lines = vec![
        format!("the first {what} on the way that {which} does not take:"),
        format!("  here   {}", line(one, parting.place)),
    ];
    lines.push(match parting.instead {
        Some(place) => format!("  there  {}", line(other, place)),
        None => "  there  nothing of the kind happens".to_owned(),
    });
    lines
}

/// How the stores of two runs differ at a moment of each: what is compared, and the fields that are not the same. Left
/// out are events and leases, and what each run draws anew.
pub fn states(
    one: &Index<'_>,
    before: Duration,
    other: &Index<'_>,
    also_before: Duration,
) -> Vec<(String, Vec<Difference>)> {
    let (left, right) = (state(one, before), state(other, also_before));
    let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        match (left.get(name), right.get(name)) {
            (Some(_), None) => found.push((format!("{name}: only in A"), Vec::new())),
            (None, Some(_)) => found.push((format!("{name}: only in B"), Vec::new())),
            (Some(mine), Some(theirs)) => {
                let mut fields = differences(mine, theirs, true);
                fields.retain(|field| !is_drawn(&field.path) && !is_drawn_anew(field));
                if !fields.is_empty() {
                    found.push((name.clone(), fields));
                }
            }
            (None, None) => {}
        }
    }
    found
}

/// Whether both values are of the same kind of what each run draws.
fn is_drawn_anew(field: &Difference) -> bool {
    let kind = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).and_then(drawn);
    let before = kind(&field.before);
    before.is_some() && before == kind(&field.after)
}

/// Names are drawn, too.
fn is_drawn(path: &str) -> bool {
    matches!(
        path,
        "metadata.name" | "metadata.generateName" | "metadata.generation" | "status.observedGeneration"
    )
}

/// What the store held before a moment. Objects with drawn names are told apart by the order of their creation.
fn state(index: &Index<'_>, before: Duration) -> BTreeMap<String, Value> {
    let mut found: Vec<(usize, String, Value)> = Vec::new();
    for id in index.objects() {
        if matches!(
            &*id.resource,
            "events" | "events.events.k8s.io" | "leases.coordination.k8s.io"
        ) {
            continue;
        }
        let writes = index.writes_of(id);
        let Some(last) = writes.iter().rev().find(|write| index.at(**write) < before).copied() else {
            continue;
        };
        let Some(written) = index.written(last).filter(|written| written.verb != Verb::Delete) else {
            continue;
        };
        let value = serde_json::from_str(&written.value).unwrap_or_default();
        found.push((writes[0], about(index, last, id), value));
    }
    found.sort_by_key(|(created, _, _)| *created);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut state = BTreeMap::new();
    for (_, about, value) in found {
        let count = counts.entry(about.clone()).or_default();
        *count += 1;
        let name = if about.contains(" of ") {
            format!("{about}, number {count}")
        } else {
            about
        };
        state.insert(name, value);
    }
    state
}

/// The first decision about one of `subjects` that the other run takes and this one never does: its place there.
pub fn never_taken(one: &Index<'_>, subjects: &[ObjectId], other: &Index<'_>) -> Option<usize> {
    let names: BTreeSet<String> = subjects
        .iter()
        .filter_map(|id| Some(about(one, *one.writes_of(id).last()?, id)))
        .collect();
    let meant = |write: &usize| decision(other, *write).is_some_and(|decision| names.contains(&decision.about));
    let steps: Vec<Step> = other
        .all_writes()
        .filter(meant)
        .map(|place| Step { place, link: None })
        .collect();
    parting(other, &steps, one).map(|parting| parting.place)
}
