//! What clients were shown of objects: by their watches when the events arrive, and by their lists.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Happened;
use crate::model::{Asked, Cluster, Entry, Item, ObjectId, Seen, WatchEventKind};
use crate::scenario::WriteKind;

/// Who was shown what.
#[derive(Default)]
pub struct Views {
    streams: BTreeMap<u64, Stream>,
    /// What each client was last shown of each object.
    shown: BTreeMap<String, BTreeMap<ObjectId, Arc<Item>>>,
}

/// A watch.
struct Stream {
    client: String,
    resource: Arc<str>,
    /// How many of its events have arrived.
    arrived: u64,
    /// Those that are under way.
    under_way: VecDeque<Event>,
}

struct Event {
    kind: WatchEventKind,
    revision: u64,
    namespace: String,
    name: String,
}

/// Something that a client was shown.
pub struct View {
    by: String,
    kind: WriteKind,
    id: ObjectId,
    before: Option<Arc<Item>>,
    after: Option<Arc<Item>>,
}

impl View {
    /// What triggers are told of it.
    pub fn happened(&self) -> Happened<'_> {
        Happened::Write {
            by: Some(&self.by),
            kind: self.kind,
            id: &self.id,
            before: self.before.as_deref(),
            after: self.after.as_deref(),
        }
    }
}

impl Views {
    /// Takes in what happens to watches; what clients are shown by that.
    pub fn saw(&mut self, cluster: &Cluster, seen: &Seen<'_>) -> Vec<View> {
        match *seen {
            Seen::WatchOpened {
                stream,
                client,
                selection,
                ..
            } => {
                let watch = Stream {
                    client: client.to_owned(),
                    resource: selection.resource.clone(),
                    arrived: 0,
                    under_way: VecDeque::new(),
                };
                self.streams.insert(stream, watch);
            }
            Seen::Watched {
                stream,
                kind,
                revision,
                namespace,
                name,
            } => {
                if let Some(watch) = self.streams.get_mut(&stream) {
                    watch.under_way.push_back(Event {
                        kind,
                        revision,
                        namespace: namespace.to_owned(),
                        name: name.to_owned(),
                    });
                }
            }
            Seen::Delivered { stream, events } => return self.delivered(cluster, stream, events),
            // It knows nothing any more.
            Seen::Started { process } => {
                self.shown.remove(process);
            }
            _ => {}
        }
        Vec::new()
    }

    fn delivered(&mut self, cluster: &Cluster, stream: u64, events: u64) -> Vec<View> {
        let Some(watch) = self.streams.get_mut(&stream) else {
            return Vec::new();
        };
        let count = (events.saturating_sub(watch.arrived) as usize).min(watch.under_way.len());
        watch.arrived = events;
        let (by, resource) = (watch.client.clone(), watch.resource.clone());
        let arrived: Vec<Event> = watch.under_way.drain(..count).collect();
        let shown = self.shown.entry(by.clone()).or_default();
        let mut views = Vec::new();
        for event in arrived {
            let id = ObjectId {
                resource: resource.clone(),
                namespace: event.namespace,
                name: event.name,
            };
            let after = match event.kind {
                WatchEventKind::Added | WatchEventKind::Modified => {
                    let change = cluster.history(&resource).and_then(|history| {
                        let change = history.at(event.revision, &id.namespace, &id.name)?;
                        change.after.clone()
                    });
                    let Some(item) = change else { continue };
                    Some(item)
                }
                WatchEventKind::Deleted => None,
                WatchEventKind::Bookmark | WatchEventKind::Error => continue,
            };
            views.extend(show(shown, &by, id, after));
        }
        views
    }

    /// Takes in a list that a client was given; what it shows that is new to it.
    pub fn listed(&mut self, cluster: &Cluster, asked: &Asked, items: &[Entry]) -> Vec<View> {
        let Some(selection) = &asked.selection else {
            return Vec::new();
        };
        let by = &asked.client;
        let shown = self.shown.entry(by.clone()).or_default();
        let id = |entry: &Entry| ObjectId {
            resource: selection.resource.clone(),
            namespace: entry.namespace.clone(),
            name: entry.name.clone(),
        };
        let mut views = Vec::new();
        if !asked.paged && selection.namespace.is_empty() && selection.labels.is_none() && selection.fields.is_none() {
            let there: Vec<ObjectId> = items.iter().map(id).collect();
            let known = shown.keys().filter(|id| *id.resource == *selection.resource);
            let gone: Vec<ObjectId> = known.filter(|id| !there.contains(id)).cloned().collect();
            for id in gone {
                views.extend(show(shown, by, id, None));
            }
        }
        for entry in items {
            let id = id(entry);
            let change = cluster.history(&selection.resource).and_then(|history| {
                let change = history.at(entry.revision, &id.namespace, &id.name)?;
                change.after.clone()
            });
            if let Some(item) = change {
                views.extend(show(shown, by, id, Some(item)));
            }
        }
        views
    }
}

/// Notes what a client is shown of an object; what is new to it in that.
fn show(shown: &mut BTreeMap<ObjectId, Arc<Item>>, by: &str, id: ObjectId, after: Option<Arc<Item>>) -> Option<View> {
    let before = match &after {
        Some(item) => shown.insert(id.clone(), item.clone()),
        None => shown.remove(&id),
    };
    let kind = match (&before, &after) {
        (None, None) => return None,
        (None, Some(_)) => WriteKind::Create,
        (Some(_), None) => WriteKind::Delete,
        (Some(before), Some(after)) if before.revision == after.revision => return None,
        (Some(_), Some(_)) => WriteKind::Update,
    };
    Some(View {
        by: by.to_owned(),
        kind,
        id,
        before,
        after,
    })
}
