//! What a finding's message is about: objects, uids, machines and revisions that it names.

use std::collections::BTreeSet;

use crate::model::ObjectId;
use crate::recording::{Index, What, object_named};
use crate::workload::plural;

/// What a message names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Subjects {
    /// Objects, in the order of their first mention.
    pub objects: Vec<ObjectId>,
    /// Machines.
    pub machines: BTreeSet<String>,
    /// Revisions.
    pub revisions: BTreeSet<u64>,
}

/// Reads a message.
pub fn subjects(index: &Index<'_>, message: &str) -> Subjects {
    let mut found = Subjects::default();
    let machines: BTreeSet<&str> = index.processes().map(|(_, machine)| machine).collect();
    let words: Vec<&str> = message
        .split(|sign: char| sign.is_whitespace() || matches!(sign, ',' | ';' | '(' | ')' | '[' | ']' | '"' | '\''))
        .map(|word| word.trim_matches(|sign| matches!(sign, ':' | '.')))
        .collect();
    let addresses: Vec<&str> = words.iter().filter_map(|word| address(word)).collect();
    for (place, word) in words.iter().enumerate() {
        // Of two lists of addresses, what is in both is not what is wrong.
        if let Some(address) = address(word)
            && addresses.iter().filter(|other| **other == address).count() == 1
        {
            found.objects.extend(index.pods_at(address).cloned());
        }
        if machines.contains(word) {
            found.machines.insert((*word).to_owned());
        }
        let before = place.checked_sub(1).map_or("", |before| words[before]);
        if matches!(before, "revision" | "revisions" | "at")
            && let Ok(revision) = word.parse()
        {
            found.revisions.insert(revision);
        }
        if let Some(id) = object(index, word)
            && !found.objects.contains(&id)
        {
            found.objects.push(id);
        }
    }
    // What is wrong with a service's endpoints is wrong in its slices.
    let services = found.objects.clone();
    for service in services.iter().filter(|id| &*id.resource == "services") {
        found.objects.extend(index.slices_of(service).cloned());
    }
    found
}

/// The address in a word, without its port.
fn address(word: &str) -> Option<&str> {
    let address = word.split(':').next().unwrap_or(word);
    address.parse::<std::net::Ipv4Addr>().is_ok().then_some(address)
}

/// The object that a word names: by resource and name, by kind and name as users write it, or by uid.
fn object(index: &Index<'_>, word: &str) -> Option<ObjectId> {
    if let Some(id) = index.by_uid(word) {
        return Some(id.clone());
    }
    if let Some(id) = object_named(word).filter(|id| !index.writes_of(id).is_empty()) {
        return Some(id);
    }
    let parts: Vec<&str> = word.split('/').collect();
    let (kind, namespace, name) = match parts.as_slice() {
        [kind, name] => (*kind, "default", *name),
        [kind, namespace, name] => (*kind, *namespace, *name),
        _ => return None,
    };
    let plural = plural(kind);
    let mut all = index.objects();
    all.find(|id| {
        id.resource.split('.').next() == Some(plural.as_str())
            && id.name == name
            && (id.namespace.is_empty() || id.namespace == namespace)
    })
    .cloned()
}

/// The event that broke the invariant which was found broken at `broken`: the one just before, if it is about the
/// message's subjects; otherwise the last that is.
pub fn culprit(index: &Index<'_>, broken: usize, subjects: &Subjects) -> Option<usize> {
    let concerned = |place: &usize| concerns(index, *place, subjects);
    let before = (0..broken)
        .rev()
        .find(|place| !matches!(index.event(*place).what, What::Broken { .. } | What::Said { .. }))?;
    if concerned(&before) {
        return Some(before);
    }
    let written = subjects.revisions.iter().rev().find_map(|revision| {
        let mut writes = index.writes_at(*revision);
        writes.find(|write| *write < broken && concerned(write))
    });
    let recent = (0..broken).rev().take(20_000);
    written.or_else(|| recent.clone().find(concerned)).or(Some(before))
}

/// Whether an event is about one of the subjects' objects.
pub fn concerns(index: &Index<'_>, place: usize, subjects: &Subjects) -> bool {
    let named = |id: &ObjectId| subjects.objects.contains(id);
    match &index.event(place).what {
        What::Written(written) => named(&written.object) && index.weight(place) > 0,
        What::Asked(request) => !request.is_read() && request.object().is_some_and(|id| named(&id)),
        What::Answered { request, .. } => {
            let asked = index.asked(*request).and_then(|asked| index.request_at(asked));
            asked.and_then(|request| request.object()).is_some_and(|id| named(&id))
        }
        What::Shown { .. } => index.shown_at(place).is_some_and(|(id, _)| named(&id)),
        What::Runtime { pod_uid, .. } => index.by_uid(pod_uid).is_some_and(named),
        _ => false,
    }
}
