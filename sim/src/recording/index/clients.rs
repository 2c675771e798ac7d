//! What clients asked, were answered and were shown: whose request a write is, and what a client knew of an object.

use super::Index;
use crate::model::ObjectId;
use crate::recording::{Request, What};

/// A request's way.
#[derive(Debug, Clone, Default)]
pub(super) struct Story {
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

/// A list that a client was answered.
pub(super) struct List {
    place: usize,
    revision: u64,
    resource: String,
    namespace: String,
}

impl<'a> Index<'a> {
    /// A request is asked.
    pub(super) fn take_asked(&mut self, place: usize, request: &Request) {
        self.of_client(&request.client, place);
        let story = Story {
            asked: place,
            ..Story::default()
        };
        self.requests.insert(request.number, story);
    }

    /// Links an answer to the writes that it tells of: those of the revision that it shows, otherwise those of the
    /// request's object, since the request was asked, that nobody else asked for.
    pub(super) fn take_answer(&mut self, place: usize, number: u64, status: u16, revision: Option<u64>) {
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

    /// A client hears the answer to a request.
    pub(super) fn take_received(&mut self, place: usize, number: u64, status: u16) {
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

    /// A request's client gives up.
    pub(super) fn take_unanswered(&mut self, place: usize, number: u64) {
        let Some(story) = self.requests.get_mut(&number) else {
            return;
        };
        story.ended = Some(place);
        let asked = story.asked;
        if let Some(client) = self.request_at(asked).map(|request| request.client.clone()) {
            self.of_client(&client, place);
        }
    }

    /// A watch is opened.
    pub(super) fn take_opened(&mut self, place: usize, stream: u64, client: &str, resource: &str) {
        let watch = Watch {
            client: client.to_owned(),
            resource: resource.to_owned(),
            opened: place,
        };
        self.watches.insert(stream, watch);
    }

    /// A client is shown something by a watch.
    pub(super) fn take_shown(&mut self, place: usize, stream: u64) {
        let Some(watch) = self.watches.get(&stream) else { return };
        let client = watch.client.clone();
        if let Some((id, revision)) = self.shown_at(place) {
            let known = Known { revision, place };
            self.shown.entry((client.clone(), id)).or_default().push(known);
        }
        self.of_client(&client, place);
    }

    /// Finds the authors of writes whose request nobody answered any more, because its server died or the run was over:
    /// they are the last request's for the same object.
    pub(super) fn find_open_authors(&mut self) {
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

    /// Something happens to a client, or it does something.
    pub(super) fn of_client(&mut self, client: &str, place: usize) {
        self.clients.entry(client.to_owned()).or_default().push(place);
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

    /// The request asked at a place.
    pub fn request_at(&self, place: usize) -> Option<&'a Request> {
        match &self.recording.events.get(place)?.what {
            What::Asked(request) => Some(request),
            _ => None,
        }
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

    /// The newest state of `id` that a client had been shown, or been answered, before a place, since it last started.
    pub fn known(&self, client: &str, id: &ObjectId, before: usize) -> Option<Known> {
        self.all_known(client, id, before)
            .into_iter()
            .max_by_key(|known| (known.revision, std::cmp::Reverse(known.place)))
    }

    /// Where a client, since it last started, was first shown or answered `id` at `revision` or later.
    pub fn known_since(&self, client: &str, id: &ObjectId, revision: u64, before: usize) -> Option<usize> {
        let known = self.all_known(client, id, before).into_iter();
        known
            .filter(|known| known.revision >= revision)
            .map(|known| known.place)
            .min()
    }

    fn all_known(&self, client: &str, id: &ObjectId, before: usize) -> Vec<Known> {
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
        shown.chain(listed).collect()
    }

    /// Whether a client follows objects of `resource` at all: it has listed or watched them before a place.
    pub fn follows(&self, client: &str, resource: &str, before: usize) -> bool {
        let watches = |watch: &Watch| watch.client == client && watch.resource == resource && watch.opened < before;
        let lists = |list: &List| list.resource == resource && list.place < before;
        let mut listed = self.lists.get(client).into_iter().flatten();
        self.watches.values().any(watches) || listed.any(lists)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::tests::Tape;
    use crate::recording::Ending;

    #[test]
    fn a_client_follows_what_it_has_listed_or_begun_to_watch_and_not_before() {
        let mut tape = Tape::begin();
        let list = tape.ask("scheduler/1", "GET", "/api/v1/pods", "");
        tape.answer(list, Some(1));
        let recording = tape.end(Ending::Held);
        let index = Index::new(&recording);
        let end = recording.events.len();
        let first = |wanted: fn(&What) -> bool| recording.events.iter().position(|event| wanted(&event.what));
        let opened = first(|what| matches!(what, What::WatchOpened { .. })).expect("a watch");
        let listed = first(|what| matches!(what, What::Received { .. })).expect("an answer");
        for (client, resource, place) in [
            ("controller-manager/1", "replicasets.apps", opened),
            ("scheduler/1", "pods", listed),
        ] {
            let follows = |before| index.follows(client, resource, before);
            assert_eq!(
                (follows(place), follows(place + 1), follows(end)),
                (false, true, true),
                "{client}"
            );
        }
        assert!(!index.follows("scheduler/1", "nodes", end));
        assert!(!index.follows("kubelet/node-1", "pods", end));
    }
}
