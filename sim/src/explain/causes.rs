//! What an event may have been caused by, as far as a recording shows it, with what each cause costs in likelihood.
//!
//! A write has its request. A request rests on what its client had been shown or told before: the newest that is
//! related to the request's object, by identity, owner, node, service or namespace, and that says something. What a
//! kubelet sees on its machine counts as well. Restarts, unheard answers and nodes that fall silent lead to faults.
//!
//! Costs are guesses put into order, not probabilities: a close relation before a distant one, a wish or an existence
//! before a status, the newest before older ones, what the failure is about before all else.

use std::time::Duration;

use crate::model::ObjectId;
use crate::recording::{Facts, Fault, Index, ProcessState, RuntimeState, What, role_of};

/// So many events of a client are looked at for what a request rests on.
const SIGHT: usize = 6000;
/// So many candidates are considered.
const CANDIDATES: usize = 12;
/// Each step of a chain costs so much.
const STEP: u32 = 10;
/// Each newer thing that would be passed over, and so many of them count.
const PASSED_OVER: u32 = 6;
const PASSED_AT_MOST: u32 = 4;
/// What the failure is not about.
const ASIDE: u32 = 12;
/// Objects that have no more in common than their namespace.
const FAR: u32 = 60;
/// What a fault did may be under way for so long when it is over.
const UNDER_WAY: Duration = Duration::from_secs(5);
/// A node that has been silent for its grace, and somewhat more, is given up: the fault may be over by then.
const GRACE: Duration = Duration::from_secs(60);
/// So long a process has just begun.
const BEGINNING: Duration = Duration::from_secs(10);

/// How a cause worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The request asked for the write.
    AskedFor,
    /// The client was shown or told the write, at this place.
    Told(usize),
    /// The kubelet saw it on its machine.
    Saw,
    /// The client had not heard what became of an earlier request.
    Unheard,
    /// The process had just begun.
    Began,
    /// The fault struck it.
    Struck,
    /// The fault kept silent whoever should have been heard.
    Silenced,
}

/// A possible cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// Where it is.
    pub place: usize,
    /// How unlikely it is.
    pub cost: u32,
    /// How it worked.
    pub link: Link,
}

/// An object with what it says of itself.
pub struct Subject {
    /// Which.
    pub id: ObjectId,
    /// What it says.
    pub facts: Facts,
}

impl Subject {
    /// The subject of a request: the object as written by it, as it stood before, or as it was sent.
    pub fn of_request(index: &Index<'_>, asked: usize) -> Option<Self> {
        let request = index.request_at(asked)?;
        let write = index.writes_by(request.number).first().copied();
        let id = match write.and_then(|write| index.written(write)) {
            Some(written) => written.object.clone(),
            None => request.object().or_else(|| request.path().map(|path| path.id()))?,
        };
        let known = write.or_else(|| index.last_write(&id, asked));
        let facts = known
            .and_then(|write| index.facts(write).cloned())
            .unwrap_or_else(|| Facts::of(&request.body));
        Some(Subject { id, facts })
    }

    /// The subject of a write.
    pub fn of_write(index: &Index<'_>, write: usize) -> Option<Self> {
        let id = index.written(write)?.object.clone();
        let facts = index.facts(write)?.clone();
        Some(Subject { id, facts })
    }
}

/// How far two objects are from each other; none if they have nothing to do with each other.
pub fn distance(index: &Index<'_>, one: &Subject, other: &Subject) -> Option<u32> {
    if one.id == other.id {
        let namesakes = !one.facts.uid.is_empty() && !other.facts.uid.is_empty() && one.facts.uid != other.facts.uid;
        return Some(if namesakes { 6 } else { 0 });
    }
    let owns = |owner: &Subject, owned: &Subject| owned.facts.owners.contains(&owner.facts.uid);
    if owns(one, other) || owns(other, one) {
        return Some(0);
    }
    if one.facts.owners.iter().any(|owner| other.facts.owners.contains(owner)) {
        return Some(4);
    }
    let is_node_of = |node: &Subject, pod: &Subject| &*node.id.resource == "nodes" && pod.facts.node == node.id.name;
    if is_node_of(one, other) || is_node_of(other, one) {
        return Some(4);
    }
    if serves(one, other) || serves(other, one) {
        return Some(4);
    }
    if owns_indirectly(index, one, other) || owns_indirectly(index, other, one) {
        return Some(6);
    }
    let is_namespace_of =
        |space: &Subject, inner: &Subject| &*space.id.resource == "namespaces" && inner.id.namespace == space.id.name;
    if is_namespace_of(one, other) || is_namespace_of(other, one) {
        return Some(8);
    }
    (!one.id.namespace.is_empty() && one.id.namespace == other.id.namespace).then_some(FAR)
}

/// Whether `one` is a service or the endpoints of one, and `other` may be behind it.
fn serves(one: &Subject, other: &Subject) -> bool {
    if one.id.namespace != other.id.namespace {
        return false;
    }
    match (&*one.id.resource, &*other.id.resource) {
        ("services", "endpointslices.discovery.k8s.io") => other.facts.service == one.id.name,
        ("services", "endpoints") => other.id.name == one.id.name,
        ("endpointslices.discovery.k8s.io" | "endpoints", "pods") => true,
        _ => false,
    }
}

fn owns_indirectly(index: &Index<'_>, one: &Subject, other: &Subject) -> bool {
    let between = other.facts.owners.iter().filter_map(|uid| index.by_uid(uid));
    between
        .filter_map(|id| index.facts(*index.writes_of(id).last()?))
        .any(|facts| facts.owners.contains(&one.facts.uid))
}

/// What the event at `place` may have been caused by, where `focus` is what it is all about; anything, if it is empty.
pub fn causes(index: &Index<'_>, place: usize, focus: &[ObjectId]) -> Vec<Cause> {
    let one = |place: usize, link: Link| Cause {
        place,
        cost: STEP,
        link,
    };
    let at = index.at(place);
    match &index.event(place).what {
        What::Written(_) => of_write(index, place),
        What::Asked(request) if is_user(&request.client) => Vec::new(),
        What::Asked(request) => of_request(index, place, &request.client, focus),
        What::Answered { request, .. } | What::Received { request, .. } => index
            .asked(*request)
            .map(|asked| one(asked, Link::AskedFor))
            .into_iter()
            .collect(),
        What::Shown { .. } => {
            let write = index
                .shown_at(place)
                .and_then(|(id, revision)| index.write_shown(&id, revision));
            write.map(|write| one(write, Link::Told(place))).into_iter().collect()
        }
        What::Process {
            state: ProcessState::Started(1),
            ..
        } => Vec::new(),
        What::Process { name, .. } => struck(index, name, place, at).into_iter().collect(),
        What::Power { machine, .. } => struck(index, machine, place, at).into_iter().collect(),
        What::Unanswered { request, .. } => {
            let Some(asked) = index.asked(*request) else {
                return Vec::new();
            };
            let client = index.request_at(asked).map_or("", |request| request.client.as_str());
            // Whatever was in force while it waited.
            let since = index.at(asked);
            let mut found: Vec<Cause> = struck(index, client, place, since).into_iter().collect();
            if found.is_empty() {
                let servers = index
                    .processes()
                    .filter(|(process, _)| process.starts_with("apiserver/"));
                let struck = servers.filter_map(|(server, _)| struck(index, server, place, since));
                found.extend(struck.max_by_key(|cause| cause.place));
            }
            found.push(one(asked, Link::AskedFor));
            found
        }
        What::Runtime {
            machine,
            pod_uid,
            state,
            ..
        } => of_runtime(index, place, machine, pod_uid, state),
        _ => Vec::new(),
    }
}

/// Whether a client is a person, whose requests have no cause within the cluster.
pub fn is_user(client: &str) -> bool {
    !client.contains('/')
}

/// Whether nothing in a recording lies behind the event at `place`, and how satisfying it is to end there.
pub fn origin(index: &Index<'_>, place: usize) -> Option<u32> {
    match &index.event(place).what {
        What::FaultBegins { .. } => Some(0),
        What::Asked(request) if is_user(&request.client) => Some(0),
        What::Process {
            state: ProcessState::Started(1),
            ..
        } => Some(30),
        What::Runtime {
            state: RuntimeState::Ended,
            ..
        } => causes(index, place, &[]).is_empty().then_some(5),
        _ => None,
    }
}

fn of_write(index: &Index<'_>, write: usize) -> Vec<Cause> {
    let mut found = Vec::new();
    if let Some(asked) = index.author(write) {
        found.push(Cause {
            place: asked,
            cost: STEP,
            link: Link::AskedFor,
        });
    }
    let Some(written) = index.written(write) else {
        return found;
    };
    // Whoever declares a node unready acts on what it has not heard.
    let unready = index
        .changes(write)
        .iter()
        .any(|change| change.path == "status.conditions[Ready].status" && change.after != Some("True".into()));
    let node = &written.object.name;
    if &*written.object.resource == "nodes" && unready {
        let since = index.at(write).saturating_sub(GRACE);
        found.extend(struck(index, node, write, since).map(|cause| Cause {
            link: Link::Silenced,
            ..cause
        }));
    }
    found
}

/// The fault that hit `name` last before a place, of those that were in force at `since` or later, or had just ended by
/// then: those still in force at the place come first.
fn struck(index: &Index<'_>, name: &str, place: usize, since: Duration) -> Option<Cause> {
    let at = index.at(place);
    let works = |fault: &&Fault, at: Duration| fault.until + UNDER_WAY >= at;
    let hit = index
        .faults()
        .iter()
        .filter(|fault| fault.place < place && works(fault, since) && fault.hits.contains(name));
    let last = hit.max_by_key(|fault| (works(fault, at), fault.place))?;
    Some(Cause {
        place: last.place,
        cost: STEP,
        link: Link::Struck,
    })
}

fn of_runtime(index: &Index<'_>, place: usize, machine: &str, uid: &str, state: &RuntimeState) -> Vec<Cause> {
    let asked_to_end = || {
        index.runtime_of(uid).iter().rev().find(|own| {
            **own < place
                && matches!(
                    &index.event(**own).what,
                    What::Runtime {
                        state: RuntimeState::Stopping,
                        ..
                    }
                )
        })
    };
    if *state == RuntimeState::Ended && asked_to_end().is_none() {
        // Its machine died, or its script let it end.
        let died = index.faults().iter().rev().find(|fault| {
            fault.place < place
                && fault.hits.contains(machine)
                && index.at(place).saturating_sub(fault.from) < Duration::from_millis(1)
        });
        let cause = died.map(|fault| Cause {
            place: fault.place,
            cost: STEP,
            link: Link::Struck,
        });
        return cause.into_iter().collect();
    }
    let Some(id) = index.by_uid(uid) else {
        return Vec::new();
    };
    let kubelet = format!("kubelet/{machine}");
    let mut found = Vec::new();
    for told in index.before(&kubelet, place) {
        let Some((shown, revision)) = index.shown_at(told) else {
            continue;
        };
        if shown != *id {
            continue;
        }
        let Some(write) = index
            .write_shown(id, revision)
            .filter(|write| index.weight(*write) >= 2)
        else {
            continue;
        };
        found.push(Cause {
            place: write,
            cost: STEP + PASSED_OVER * found.len() as u32,
            link: Link::Told(told),
        });
        if found.len() >= 3 {
            break;
        }
    }
    found
}

/// What a request may rest on.
fn of_request(index: &Index<'_>, asked: usize, client: &str, focus: &[ObjectId]) -> Vec<Cause> {
    let Some(subject) = Subject::of_request(index, asked) else {
        return Vec::new();
    };
    let mut found: Vec<(usize, Cause)> = Vec::new();
    // Of what the failure is about, of what is near, and of what is far away.
    let mut passed = [0u32; 3];
    for place in index.before(client, asked).take(SIGHT) {
        if let What::Process {
            state: ProcessState::Started(_),
            ..
        } = &index.event(place).what
        {
            if index.at(place) + BEGINNING >= index.at(asked) {
                let cause = Cause {
                    place,
                    cost: STEP * 3,
                    link: Link::Began,
                };
                found.push((place, cause));
            }
            // It knows nothing from before.
            break;
        }
        for (write, link) in told(index, client, &subject, asked, place) {
            if is_newer_than_base(index, asked, &subject.id, write) {
                continue;
            }
            let Some((near, saying)) = rate(index, client, &subject, write) else {
                continue;
            };
            let meant = index
                .written(write)
                .is_some_and(|written| focus.contains(&written.object));
            let class = if near >= FAR { 2 } else { usize::from(!meant) };
            if passed[class] as usize >= CANDIDATES || (class == 2 && passed[2] > 0) {
                continue;
            }
            let aside = if meant || focus.is_empty() { 0 } else { ASIDE };
            let cost = STEP + near + saying + aside + PASSED_OVER * passed[class].min(PASSED_AT_MOST);
            passed[class] += u32::from(index.weight(write) >= 2 || class == 2);
            let cause = Cause {
                place: write,
                cost,
                link,
            };
            found.push((place, cause));
        }
        if is_same_try(index, place, asked) {
            let cause = Cause {
                place,
                cost: STEP,
                link: Link::Unheard,
            };
            found.push((place, cause));
        }
    }
    if role_of(client) == "kubelet" {
        let seen = index
            .runtime_of(&subject.facts.uid)
            .iter()
            .rev()
            .filter(|place| **place < asked);
        for (older, place) in (0..).zip(seen.take(3)) {
            let newer = found
                .iter()
                .filter(|(told, cause)| told > place && cause.link != Link::Began)
                .count();
            let cause = Cause {
                place: *place,
                cost: STEP + PASSED_OVER * (older + newer as u32).min(PASSED_AT_MOST),
                link: Link::Saw,
            };
            found.push((*place, cause));
        }
    }
    found.into_iter().map(|(_, cause)| cause).collect()
}

/// Whether a write of `id` is newer than the state of it that the request asked at `asked` says that it rests on.
fn is_newer_than_base(index: &Index<'_>, asked: usize, id: &ObjectId, write: usize) -> bool {
    let base = index.request_at(asked).and_then(|request| request.base);
    let written = index.written(write).filter(|written| written.object == *id);
    matches!((base, written), (Some(base), Some(written)) if written.revision > base)
}

/// Whether what was not answered at `place` is an earlier try of the request asked at `asked`: the same, and its client
/// has not asked for the same between the two.
fn is_same_try(index: &Index<'_>, place: usize, asked: usize) -> bool {
    let What::Unanswered { request, .. } = &index.event(place).what else {
        return false;
    };
    let (Some(lost), Some(now)) = (index.asked(*request), index.request_at(asked)) else {
        return false;
    };
    let is_same = |place: &usize| {
        let other = index.request_at(*place);
        other.is_some_and(|other| other.method == now.method && other.uri == now.uri && other.named == now.named)
    };
    !now.is_read() && is_same(&lost) && index.before(&now.client, asked).find(is_same) == Some(lost)
}

/// The writes that what `client` heard at `place` tells of, as far as a request about `subject` may rest on them.
fn told(index: &Index<'_>, client: &str, subject: &Subject, asked: usize, place: usize) -> Vec<(usize, Link)> {
    let link = Link::Told(place);
    match &index.event(place).what {
        What::Shown { .. } => {
            let write = index
                .shown_at(place)
                .and_then(|(id, revision)| index.write_shown(&id, revision));
            write.map(|write| (write, link)).into_iter().collect()
        }
        What::Received { request, status } if *status < 300 => {
            if let Some((resource, revision)) = index.list_at(client, place) {
                // Of a list, what is closest to the subject: itself, and its owners.
                let owners = subject.facts.owners.iter().filter_map(|uid| index.by_uid(uid));
                let close = std::iter::once(&subject.id).chain(owners);
                return close
                    .filter(|id| *id.resource == *resource)
                    .filter_map(|id| index.write_shown(id, revision))
                    .map(|write| (write, link))
                    .collect();
            }
            let request = index.asked(*request).and_then(|asked| index.request_at(asked));
            let read = request
                .filter(|request| request.is_read())
                .and_then(|request| request.object());
            let write = read.and_then(|id| index.last_write(&id, asked.min(place)));
            write.map(|write| (write, link)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// How far the object of a write is from the subject of a request of `client`, and how little the write says.
fn rate(index: &Index<'_>, client: &str, subject: &Subject, write: usize) -> Option<(u32, u32)> {
    let other = Subject::of_write(index, write)?;
    // Only controllers look at more than at the object itself.
    let near = match role_of(client) {
        "controller-manager" => distance(index, subject, &other)?,
        "scheduler" if &*other.id.resource == "nodes" => 8,
        _ => distance(index, subject, &other).filter(|_| subject.id == other.id)?,
    };
    let saying = match index.weight(write) {
        0 => return None,
        1 => 15,
        2 => 3,
        _ => 0,
    };
    Some((near, saying))
}
