//! Questions to a recording. What was written is asked of [`writes`], who asked for it and what a client had been shown
//! of an object of [`clients`], whom a fault hit of [`faults`].

mod clients;
mod faults;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::{Event, ProcessState, Recording, What};
use crate::model::ObjectId;
use crate::scenario::Role;
use clients::{List, Story};
use writes::Write;

pub use clients::{Known, Watch};
pub use faults::Fault;

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
        index.end_with_the_chaos();
        index
    }

    fn take(&mut self, place: usize, event: &Event, states: &mut BTreeMap<ObjectId, Value>) {
        match &event.what {
            What::Written(written) => self.take_write(place, written, states),
            What::Asked(request) => self.take_asked(place, request),
            What::Answered {
                request,
                status,
                revision,
            } => self.take_answer(place, *request, *status, *revision),
            What::Received { request, status } => self.take_received(place, *request, *status),
            What::Unanswered { request, .. } => self.take_unanswered(place, *request),
            What::WatchOpened {
                stream,
                client,
                resource,
                ..
            } => self.take_opened(place, *stream, client, resource),
            What::Shown { stream, .. } => self.take_shown(place, *stream),
            What::Process { name, machine, .. } => {
                self.machines.insert(name.clone(), machine.clone());
                self.of_client(name, place);
            }
            What::FaultBegins { fault, text, kind, .. } => {
                self.take_fault_begin(place, event.at, *fault, kind, text);
            }
            What::FaultEnds { fault } => self.take_fault_end(event.at, *fault),
            What::Runtime { pod_uid, .. } => self.runtime.entry(pod_uid.clone()).or_default().push(place),
            What::WatchClosed { .. }
            | What::Power { .. }
            | What::Healed { .. }
            | What::Said { .. }
            | What::Broken { .. } => {}
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
}

/// The component that a process is: `kubelet` of `kubelet/node-1`; the name itself for users.
pub fn role_of(client: &str) -> &str {
    Role::of(client).map_or(client, |role| role.as_str())
}
