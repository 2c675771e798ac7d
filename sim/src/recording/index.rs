//! Questions to a recording: who asked for a write, what a client had been shown of an object, whom a fault hit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::{Difference, Event, Facts, ProcessState, Recording, Request, Verb, What, Written, differences};
use crate::model::ObjectId;
use crate::scenario::Role;

/// A recording with what is needed to find one's way through it. Places are positions in its events.
pub struct Index<'a> {
    /// The recording.
    pub recording: &'a Recording,
    writes: BTreeMap<usize, Write>,
    objects: BTreeMap<ObjectId, Vec<usize>>,
    uids: BTreeMap<String, ObjectId>,
    owned: BTreeMap<String, BTreeSet<ObjectId>>,
    requests: BTreeMap<u64, Story>,
    authors: BTreeMap<usize, u64>,
    watches: BTreeMap<u64, Watch>,
    clients: BTreeMap<String, Vec<usize>>,
    shown: BTreeMap<(String, ObjectId), Vec<Known>>,
    lists: BTreeMap<String, Vec<List>>,
    runtime: BTreeMap<String, Vec<usize>>,
    machines: BTreeMap<String, String>,
    faults: Vec<Fault>,
}

/// What is known of a write.
struct Write {
    facts: Facts,
    changes: Vec<Difference>,
    before: Option<usize>,
    weight: u32,
}

/// A request's way.
#[derive(Debug, Clone, Default)]
struct Story {
    asked: usize,
    answered: Option<usize>,
    ended: Option<usize>,
    writes: Vec<usize>,
}

/// A watch: whose, and of what.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Whose it is.
    pub client: String,
    /// The resource, with its group.
    pub resource: String,
    /// Where it was opened.
    pub opened: usize,
}

/// What a client knows of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The revision of the object's state.
    pub revision: u64,
    /// Where it came to know.
    pub place: usize,
}

struct List {
    place: usize,
    revision: u64,
    resource: String,
    namespace: String,
}

/// A fault, and whom it hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its number.
    pub number: u64,
    /// What it does, and to whom.
    pub text: String,
    /// Where it begins.
    pub place: usize,
    /// When it begins.
    pub from: Duration,
    /// When it ends: with the chaos at the latest.
    pub until: Duration,
    /// The processes and machines that it names.
    pub hits: BTreeSet<String>,
}

impl<'a> Index<'a> {
    /// Reads a recording.
    pub fn new(recording: &'a Recording) -> Self {
        let mut index = Index {
            recording,
            writes: BTreeMap::new(),
            objects: BTreeMap::new(),
            uids: BTreeMap::new(),
            owned: BTreeMap::new(),
            requests: BTreeMap::new(),
            authors: BTreeMap::new(),
            watches: BTreeMap::new(),
            clients: BTreeMap::new(),
            shown: BTreeMap::new(),
            lists: BTreeMap::new(),
            runtime: BTreeMap::new(),
            machines: BTreeMap::new(),
            faults: Vec::new(),
        };
        let mut states = BTreeMap::new();
        for (place, event) in recording.events.iter().enumerate() {
            index.take(place, event, &mut states);
        }
        index.find_open_authors();
        index.find_victims();
        index
    }

    /// Writes whose request nobody answered any more, because its server died or the run was over: they are the last
    /// request's for the same object.
    fn find_open_authors(&mut self) {
        let open: Vec<(usize, u64, ObjectId)> = self
            .requests
            .iter()
            .filter(|(_, story)| story.answered.is_none())
            .filter_map(|(number, story)| {
                let request = self.request_at(story.asked).filter(|request| !request.is_read())?;
                Some((story.asked, *number, request.object()?))
            })
            .collect();
        let orphans: Vec<usize> = self
            .writes
            .keys()
            .filter(|place| !self.authors.contains_key(place))
            .copied()
            .collect();
        for place in orphans {
            let Some(written) = self.written(place) else { continue };
            let author = open
                .iter()
                .rev()
                .find(|(asked, _, id)| *asked < place && *id == written.object);
            if let Some((_, number, _)) = author {
                self.authors.insert(place, *number);
                if let Some(story) = self.requests.get_mut(number) {
                    story.writes.push(place);
                }
            }
        }
    }

    fn take(&mut self, place: usize, event: &Event, states: &mut BTreeMap<ObjectId, Value>) {
        match &event.what {
            What::Written(written) => self.take_write(place, written, states),
            What::Asked(request) => {
                self.of_client(&request.client, place);
                let story = Story {
                    asked: place,
                    ..Story::default()
                };
                self.requests.insert(request.number, story);
            }
            What::Answered {
                request,
                status,
                revision,
            } => self.take_answer(place, *request, *status, *revision),
            What::Received { request, status } => self.take_received(place, *request, *status),
            What::Unanswered { request, .. } => {
                if let Some(story) = self.requests.get_mut(request) {
                    story.ended = Some(place);
                    let asked = story.asked;
                    self.with_client_of(asked, place);
                }
            }
            What::WatchOpened {
                stream,
                client,
                resource,
                ..
            } => {
                let (client, resource) = (client.clone(), resource.clone());
                self.watches.insert(
                    *stream,
                    Watch {
                        client,
                        resource,
                        opened: place,
                    },
                );
            }
            What::Shown {
                stream,
                revision,
                namespace,
                name,
                ..
            } => {
                let Some(watch) = self.watches.get(stream) else { return };
                let client = watch.client.clone();
                if !name.is_empty() {
                    let id = ObjectId {
                        resource: watch.resource.as_str().into(),
                        namespace: namespace.clone(),
                        name: name.clone(),
                    };
                    let known = Known {
                        revision: *revision,
                        place,
                    };
                    self.shown.entry((client.clone(), id)).or_default().push(known);
                }
                self.of_client(&client, place);
            }
            What::Process { name, machine, .. } => {
                self.machines.insert(name.clone(), machine.clone());
                self.of_client(name, place);
            }
            What::FaultBegins { fault, text, kind, .. } => self.faults.push(Fault {
                number: *fault,
                text: if text.is_empty() { kind.clone() } else { text.clone() },
                place,
                from: event.at,
                until: self.recording.lasted,
                hits: BTreeSet::new(),
            }),
            What::FaultEnds { fault } => {
                for own in self.faults.iter_mut().filter(|own| own.number == *fault) {
                    own.until = event.at;
                }
            }
            What::Healed { .. } => {
                for own in &mut self.faults {
                    own.until = own.until.min(event.at);
                }
            }
            What::Runtime { pod_uid, .. } => self.runtime.entry(pod_uid.clone()).or_default().push(place),
            What::WatchClosed { .. } | What::Power { .. } | What::Said { .. } | What::Broken { .. } => {}
        }
    }

    fn of_client(&mut self, client: &str, place: usize) {
        self.clients.entry(client.to_owned()).or_default().push(place);
    }

    fn with_client_of(&mut self, asked: usize, place: usize) {
        if let Some(client) = self.request_at(asked).map(|request| request.client.clone()) {
            self.of_client(&client, place);
        }
    }

    fn take_write(&mut self, place: usize, written: &Written, states: &mut BTreeMap<ObjectId, Value>) {
        let now: Value = serde_json::from_str(&written.value).unwrap_or_default();
        let facts = Facts::of(&written.value);
        let before = self
            .objects
            .get(&written.object)
            .and_then(|places| places.last())
            .copied();
        let changes = match (written.verb, states.get(&written.object)) {
            (Verb::Update, Some(then)) => differences(then, &now, false),
            _ => Vec::new(),
        };
        if written.verb == Verb::Delete {
            states.remove(&written.object);
        } else {
            states.insert(written.object.clone(), now);
        }
        self.uids.insert(facts.uid.clone(), written.object.clone());
        for owner in &facts.owners {
            self.owned
                .entry(owner.clone())
                .or_default()
                .insert(written.object.clone());
        }
        self.objects.entry(written.object.clone()).or_default().push(place);
        let weight = weight(written, &changes);
        self.writes.insert(
            place,
            Write {
                facts,
                changes,
                before,
                weight,
            },
        );
    }

    /// Links an answer to the writes that it tells of: those of the revision that it shows, otherwise those of the
    /// request's object, since the request was asked, that nobody else asked for.
    fn take_answer(&mut self, place: usize, number: u64, status: u16, revision: Option<u64>) {
        let Some(story) = self.requests.get(&number).cloned() else {
            return;
        };
        let Some(request) = self.request_at(story.asked).cloned() else {
            return;
        };
        let mut writes = Vec::new();
        if !request.is_read() && (200..300).contains(&status) {
            let range = self.writes.range(story.asked..place);
            let free: Vec<usize> = range
                .map(|(place, _)| *place)
                .filter(|place| !self.authors.contains_key(place))
                .collect();
            let exact = |place: &&usize| self.written(**place).map(|written| written.revision) == revision;
            writes = free.iter().filter(exact).copied().collect();
            if writes.is_empty() {
                writes = free
                    .into_iter()
                    .filter(|place| self.may_have_written(&request, *place))
                    .collect();
                if request.object().is_some() {
                    // One object, one write: the last that is not another's.
                    writes = writes.last().copied().into_iter().collect();
                }
            }
        }
        for write in &writes {
            self.authors.insert(*write, number);
        }
        if let Some(story) = self.requests.get_mut(&number) {
            story.answered = Some(place);
            story.writes = writes;
        }
    }

    fn may_have_written(&self, request: &Request, place: usize) -> bool {
        let (Some(path), Some(written)) = (request.path(), self.written(place)) else {
            return false;
        };
        let id = &written.object;
        match request.object() {
            Some(object) => object == *id,
            None => path.resource == id.resource && (path.namespace.is_empty() || path.namespace == id.namespace),
        }
    }

    fn take_received(&mut self, place: usize, number: u64, status: u16) {
        let Some(story) = self.requests.get_mut(&number) else {
            return;
        };
        story.ended = Some(place);
        let (asked, answered) = (story.asked, story.answered);
        let Some(request) = self.request_at(asked).cloned() else {
            return;
        };
        self.of_client(&request.client, place);
        let revision = answered.and_then(|place| match &self.recording.events[place].what {
            What::Answered { revision, .. } => *revision,
            _ => None,
        });
        let (Some(revision), Some(path), true) = (revision, request.path(), status < 300) else {
            return;
        };
        match request.object() {
            Some(id) => {
                let known = Known { revision, place };
                self.shown.entry((request.client.clone(), id)).or_default().push(known);
            }
            None if request.is_read() => self.lists.entry(request.client.clone()).or_default().push(List {
                place,
                revision,
                resource: path.resource.to_string(),
                namespace: path.namespace,
            }),
            None => {}
        }
    }

    /// Finds whom faults hit: the processes and machines, and the processes' kinds, that their texts name.
    fn find_victims(&mut self) {
        let names: BTreeSet<&String> = self
            .machines
            .iter()
            .flat_map(|(process, machine)| [process, machine])
            .collect();
        for fault in &mut self.faults {
            let words: BTreeSet<&str> = fault
                .text
                .split(|sign: char| sign.is_whitespace() || matches!(sign, ',' | ';' | '(' | ')' | ':'))
                .collect();
            let everybody = words.contains("everybody");
            let named = |name: &str| {
                let role = name.split('/').next().unwrap_or_default();
                words.contains(name) || everybody || (name.contains('/') && words.contains(role))
            };
            fault.hits = names
                .iter()
                .filter(|name| named(name))
                .map(|name| (*name).clone())
                .collect();
            // Whoever is on a machine that is hit is hit, too.
            for (process, machine) in &self.machines {
                if fault.hits.contains(machine) {
                    fault.hits.insert(process.clone());
                }
            }
        }
    }

    /// The event at a place.
    pub fn event(&self, place: usize) -> &'a Event {
        &self.recording.events[place]
    }

    /// When the event at a place happened.
    pub fn at(&self, place: usize) -> Duration {
        self.event(place).at
    }

    /// The write at a place.
    pub fn written(&self, place: usize) -> Option<&'a Written> {
        match &self.recording.events.get(place)?.what {
            What::Written(written) => Some(written),
            _ => None,
        }
    }

    /// The request asked at a place.
    pub fn request_at(&self, place: usize) -> Option<&'a Request> {
        match &self.recording.events.get(place)?.what {
            What::Asked(request) => Some(request),
            _ => None,
        }
    }

    /// What a write says of its object.
    pub fn facts(&self, write: usize) -> Option<&Facts> {
        self.writes.get(&write).map(|write| &write.facts)
    }

    /// What a write changed.
    pub fn changes(&self, write: usize) -> &[Difference] {
        self.writes.get(&write).map_or(&[], |write| &write.changes)
    }

    /// The write of the same object before this one.
    pub fn write_before(&self, write: usize) -> Option<usize> {
        self.writes.get(&write)?.before
    }

    /// How much a write says: 0 a sign of life, 1 a status, 2 a phase or readiness, 3 a wish or an existence.
    pub fn weight(&self, write: usize) -> u32 {
        self.writes.get(&write).map_or(0, |write| write.weight)
    }

    /// All writes.
    pub fn all_writes(&self) -> impl Iterator<Item = usize> + '_ {
        self.writes.keys().copied()
    }

    /// The writes of an object.
    pub fn writes_of(&self, id: &ObjectId) -> &[usize] {
        self.objects.get(id).map_or(&[], Vec::as_slice)
    }

    /// Every object that was ever written.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectId> {
        self.objects.keys()
    }

    /// The last write of an object before a place.
    pub fn last_write(&self, id: &ObjectId, before: usize) -> Option<usize> {
        self.writes_of(id).iter().rev().find(|place| **place < before).copied()
    }

    /// The write that made the state of `id` that was shown at `revision`.
    pub fn write_shown(&self, id: &ObjectId, revision: u64) -> Option<usize> {
        let writes = self.writes_of(id).iter().rev();
        writes
            .copied()
            .find(|place| self.written(*place).is_some_and(|written| written.revision <= revision))
    }

    /// The writes of a revision.
    pub fn writes_at(&self, revision: u64) -> impl Iterator<Item = usize> + '_ {
        self.all_writes()
            .filter(move |place| self.written(*place).is_some_and(|written| written.revision == revision))
    }

    /// The object that has or had a uid.
    pub fn by_uid(&self, uid: &str) -> Option<&ObjectId> {
        self.uids.get(uid).filter(|_| !uid.is_empty())
    }

    /// The pods whose last known address is `ip`, and that were not removed.
    pub fn pods_at(&self, ip: &str) -> impl Iterator<Item = &ObjectId> {
        let pods = self.objects.iter().filter(|(id, _)| &*id.resource == "pods");
        pods.filter(move |(_, writes)| {
            let last = writes.last().copied();
            last.is_some_and(|last| {
                self.facts(last).is_some_and(|facts| facts.ip == ip)
                    && self.written(last).is_some_and(|written| written.verb != Verb::Delete)
            })
        })
        .map(|(id, _)| id)
    }

    /// The endpoint slices of a service.
    pub fn slices_of(&self, service: &ObjectId) -> impl Iterator<Item = &ObjectId> {
        let slices = self
            .objects
            .iter()
            .filter(|(id, _)| &*id.resource == "endpointslices.discovery.k8s.io");
        slices
            .filter(move |(id, writes)| {
                let facts = writes.last().and_then(|last| self.facts(*last));
                id.namespace == service.namespace && facts.is_some_and(|facts| facts.service == service.name)
            })
            .map(|(id, _)| id)
    }

    /// The objects that belong, or belonged, to the owner with `uid`.
    pub fn owned(&self, uid: &str) -> impl Iterator<Item = &ObjectId> {
        self.owned.get(uid).into_iter().flatten()
    }

    /// The request that asked for a write: where it was asked.
    pub fn author(&self, write: usize) -> Option<usize> {
        let number = self.authors.get(&write)?;
        self.requests.get(number).map(|story| story.asked)
    }

    /// Where a request was asked.
    pub fn asked(&self, request: u64) -> Option<usize> {
        self.requests.get(&request).map(|story| story.asked)
    }

    /// The writes that a request made.
    pub fn writes_by(&self, request: u64) -> &[usize] {
        self.requests.get(&request).map_or(&[], |story| &story.writes)
    }

    /// Where the server answered a request.
    pub fn answered(&self, request: u64) -> Option<usize> {
        self.requests.get(&request)?.answered
    }

    /// Where a request's answer came, or was given up.
    pub fn ended(&self, request: u64) -> Option<usize> {
        self.requests.get(&request)?.ended
    }

    /// A watch.
    pub fn watch(&self, stream: u64) -> Option<&Watch> {
        self.watches.get(&stream)
    }

    /// The object that a watch showed at a place, with its revision.
    pub fn shown_at(&self, place: usize) -> Option<(ObjectId, u64)> {
        let What::Shown {
            stream,
            revision,
            namespace,
            name,
            ..
        } = &self.event(place).what
        else {
            return None;
        };
        let watch = self.watch(*stream)?;
        let id = ObjectId {
            resource: watch.resource.as_str().into(),
            namespace: namespace.clone(),
            name: name.clone(),
        };
        Some((id, *revision)).filter(|(id, _)| !id.name.is_empty())
    }

    /// What a client did and was told before a place, the newest first.
    pub fn before(&self, client: &str, place: usize) -> impl Iterator<Item = usize> + '_ {
        let places = self.clients.get(client).map_or(&[][..], Vec::as_slice);
        let end = places.partition_point(|own| *own < place);
        places[..end].iter().rev().copied()
    }

    /// The clients that there are.
    pub fn clients(&self) -> impl Iterator<Item = &str> {
        self.clients.keys().map(String::as_str)
    }

    /// What happened to the sandboxes and containers of a pod.
    pub fn runtime_of(&self, uid: &str) -> &[usize] {
        self.runtime.get(uid).map_or(&[], Vec::as_slice)
    }

    /// The machine of a process.
    pub fn machine_of(&self, process: &str) -> Option<&str> {
        self.machines.get(process).map(String::as_str)
    }

    /// The processes with their machines.
    pub fn processes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.machines
            .iter()
            .map(|(process, machine)| (process.as_str(), machine.as_str()))
    }

    /// The faults, in the order of their begin.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// When the process last started before a place, and for the how many-th time.
    pub fn started(&self, process: &str, before: usize) -> Option<(usize, u32)> {
        self.before(process, before)
            .find_map(|place| match &self.event(place).what {
                What::Process {
                    state: ProcessState::Started(times),
                    ..
                } => Some((place, *times)),
                _ => None,
            })
    }

    /// The newest state of `id` that a client had been shown, or been answered, before a place, since it last started.
    pub fn known(&self, client: &str, id: &ObjectId, before: usize) -> Option<Known> {
        let since = self.started(client, before).map_or(0, |(place, _)| place);
        let shown = self.shown.get(&(client.to_owned(), id.clone())).into_iter().flatten();
        let shown = shown
            .filter(|known| known.place < before && known.place > since)
            .copied();
        let lists = self.lists.get(client).into_iter().flatten();
        let listed = lists.filter(|list| {
            list.place < before
                && list.place > since
                && list.resource == *id.resource
                && (list.namespace.is_empty() || list.namespace == id.namespace)
        });
        let listed = listed.filter_map(|list| {
            let write = self.write_shown(id, list.revision)?;
            Some(Known {
                revision: self.written(write)?.revision,
                place: list.place,
            })
        });
        shown
            .chain(listed)
            .max_by_key(|known| (known.revision, std::cmp::Reverse(known.place)))
    }

    /// Whether a client follows objects of `resource` at all: it has listed or watched them before a place.
    pub fn follows(&self, client: &str, resource: &str) -> bool {
        let watches = self.watches.values();
        let mut own = watches.filter(|watch| watch.client == client);
        own.any(|watch| watch.resource == resource)
    }

    /// Whether a request asks for many objects.
    pub fn is_list(&self, request: u64) -> bool {
        let asked = self.asked(request).and_then(|asked| self.request_at(asked));
        asked.is_some_and(|request| request.is_read() && request.object().is_none())
    }

    /// The list whose answer a client received at a place: the resource and the revision.
    pub fn list_at(&self, client: &str, place: usize) -> Option<(&str, u64)> {
        let lists = self.lists.get(client)?;
        let found = lists.iter().find(|list| list.place == place)?;
        Some((&found.resource, found.revision))
    }
}

/// How much a write says, see [`Index::weight`].
fn weight(written: &Written, changes: &[Difference]) -> u32 {
    if matches!(&*written.object.resource, "events" | "events.events.k8s.io") {
        return 0;
    }
    if written.verb != Verb::Update {
        return 3;
    }
    let telling = |change: &Difference| {
        let path = change.path.as_str();
        match path {
            "metadata.generation" | "status.observedGeneration" => 1,
            _ if path.starts_with("metadata.annotations") => 2,
            "status.phase" | "status.podIP" => 2,
            _ if path.starts_with("status.conditions[Ready]") && path.ends_with("status") => 2,
            _ if path.starts_with("status.images") => 0,
            _ if path.starts_with("status") => 1,
            _ => 3,
        }
    };
    changes.iter().map(telling).max().unwrap_or(0)
}

/// The component that a process is: `kubelet` of `kubelet/node-1`; the name itself for users.
pub fn role_of(client: &str) -> &str {
    Role::of(client).map_or(client, |role| role.as_str())
}
