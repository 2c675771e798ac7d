//! The watch cache: what the store holds, indexed for selectors, and the changes since compaction for watches.
//!
//! One task reads the store's watch through a [`Feed`](crate::feed::Feed) and keeps, per kind, the objects (their bytes
//! shared with the store) and the recent events. Lists are served from here, after waiting until the cache has seen the
//! revision they must include. Watchers register with their selectors; an event costs work only for those it may
//! concern.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::StatusCause;
use orrery_api::status::ApiError;
use orrery_api::task::within;
use orrery_api::{log, mutant};
use orrery_store::{Event, EventKind, KeyValue, Range, RangeError, Revision, Store, WatchError};
use tokio::sync::watch;

use crate::feed::{MakeFeed, News};
use crate::kinds::Kinds;
use crate::resource::{AnyObject, AnyResource};
use crate::selection::Selection;
use crate::storage;
use crate::watchers::{Seen, WatchQueue, Watchers};

/// So many of the newest events of a kind keep their lines: watchers that keep up share them, others make their own.
const WITH_LINES: usize = 1000;

/// How long a read waits for the cache to have seen what it must include.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(3);

/// An object as the cache holds it: its bytes, and beside them what selectors look at.
#[derive(Debug)]
pub struct Cached {
    /// The namespace; empty for cluster-wide kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The values of field selectors.
    pub fields: Vec<(&'static str, String)>,
    /// The object as JSON, with its resourceVersion.
    pub bytes: Bytes,
    /// The revision of its last write.
    pub revision: Revision,
    /// The key in the store.
    pub key: String,
}

impl Cached {
    /// Indexes `object`, encoded as `bytes` at `revision`.
    pub fn new(resource: &dyn AnyResource, object: &dyn AnyObject, bytes: Bytes, revision: Revision) -> Self {
        let meta = object.meta();
        let namespace = meta.namespace.clone().unwrap_or_default();
        let name = meta.name.clone().unwrap_or_default();
        Cached {
            key: storage::key(resource, &namespace, &name),
            namespace,
            name,
            labels: meta.labels.clone().unwrap_or_default(),
            fields: resource.fields(object),
            bytes,
            revision,
        }
    }

    /// Reads what the store holds. The error says why it cannot be read.
    pub fn read(resource: &dyn AnyResource, bytes: &Bytes, revision: Revision) -> Result<Self, String> {
        let object = resource.read(bytes)?;
        Ok(Cached::new(resource, object.as_ref(), bytes.clone(), revision))
    }
}

/// A change of one object.
#[derive(Debug)]
pub struct CacheEvent {
    /// The revision of the change.
    pub revision: Revision,
    /// Whether the object is gone.
    pub deleted: bool,
    /// The object after the change; its last state when it is gone.
    pub object: Arc<Cached>,
    /// The object before the change.
    pub previous: Option<Arc<Cached>>,
    /// The event as lines of a watch: added, modified, deleted.
    lines: Mutex<[Option<Bytes>; 3]>,
}

impl CacheEvent {
    /// The event as a watcher sees it, made by `make` for the first of them and shared by the rest.
    pub fn line(&self, seen: Seen, make: impl FnOnce() -> Bytes) -> Bytes {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines[seen as usize].get_or_insert_with(make).clone()
    }

    /// Gives the memory of the lines back.
    fn forget_lines(&self) {
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
    }
}

/// Indexes of objects that were just encoded, for the cache to take instead of decoding them again.
#[derive(Clone, Default)]
pub struct Hints(Arc<Mutex<HintMap>>);

type HintMap = BTreeMap<(Revision, String), Arc<Cached>>;

impl Hints {
    fn lock(&self) -> MutexGuard<'_, HintMap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `cached` until the cache takes it.
    pub fn put(&self, cached: Cached) {
        self.lock()
            .insert((cached.revision, cached.key.clone()), Arc::new(cached));
    }

    fn take(&self, revision: Revision, key: &str) -> Option<Arc<Cached>> {
        self.lock().remove(&(revision, key.to_owned()))
    }

    /// Forgets what was stamped for transactions that never committed.
    fn forget_before(&self, revision: Revision) {
        let mut hints = self.lock();
        *hints = hints.split_off(&(revision, String::new()));
    }
}

#[derive(Default)]
struct Objects {
    objects: BTreeMap<String, Arc<Cached>>,
    /// Every event after `oldest`, in order.
    events: VecDeque<Arc<CacheEvent>>,
    oldest: Revision,
    /// Everything up to here has been seen.
    revision: Revision,
    watchers: Watchers,
}

impl Objects {
    fn add(&mut self, changes: Vec<Arc<CacheEvent>>) {
        let before = self.events.len().saturating_sub(WITH_LINES);
        self.events.extend(changes);
        let after = self.events.len().saturating_sub(WITH_LINES);
        for event in self.events.range(before..after) {
            event.forget_lines();
        }
    }

    /// The first `limit` objects that are selected (all if it is 0), and how many more there are.
    fn select(&self, resource: &dyn AnyResource, selection: &Selection, limit: usize) -> (Vec<Arc<Cached>>, usize) {
        if let Some(name) = selection.fields.exact_value("metadata.name")
            && resource.info().namespaced != selection.namespace.is_empty()
        {
            let one = self.objects.get(&storage::key(resource, &selection.namespace, name));
            return (
                one.filter(|one| selection.matches(one)).cloned().into_iter().collect(),
                0,
            );
        }
        let prefix = storage::namespace_prefix(resource, &selection.namespace);
        let from = self.objects.range(prefix.clone()..);
        let mut selected = from
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter(|(_, object)| selection.matches(object));
        let limit = if limit == 0 { usize::MAX } else { limit };
        let items = selected
            .by_ref()
            .take(limit)
            .map(|(_, object)| object.clone())
            .collect();
        (items, selected.count())
    }
}

struct Kind {
    resource: &'static dyn AnyResource,
    state: Mutex<Objects>,
}

impl Kind {
    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watch cache of one API server.
pub struct WatchCache {
    store: Store,
    feed: MakeFeed,
    backlog: usize,
    kinds: BTreeMap<String, Kind>,
    hints: Hints,
    /// How far the news went; kinds may be behind.
    revision: watch::Sender<Revision>,
    filled_at: AtomicU64,
}

/// A watch that begins: its queue, the objects to show first, and the revision from which it goes on.
pub type Opened = (Arc<WatchQueue>, Vec<Arc<Cached>>, Revision);

/// A list out of the cache.
pub struct Listed {
    /// The objects that match, ordered by key.
    pub items: Vec<Arc<Cached>>,
    /// How many more match than the limit allowed.
    pub rest: usize,
    /// The revision of the list.
    pub revision: Revision,
}

impl WatchCache {
    /// An empty cache of `kinds` over `store`; [`run`](Self::run) fills it with what `feed` tells. A watcher for whom
    /// more than `backlog` events wait is ended.
    pub fn new(store: Store, kinds: Kinds, feed: MakeFeed, backlog: usize) -> Self {
        let kinds = kinds.iter().map(|resource| {
            (
                resource.info().qualified(),
                Kind {
                    resource,
                    state: Mutex::default(),
                },
            )
        });
        WatchCache {
            store,
            feed,
            backlog,
            kinds: kinds.collect(),
            hints: Hints::default(),
            revision: watch::Sender::new(0),
            filled_at: AtomicU64::new(Revision::MAX),
        }
    }

    /// Where writers leave the indexes of what they encode.
    pub fn hints(&self) -> &Hints {
        &self.hints
    }

    /// Whether the cache has seen what was there when it began.
    pub fn is_ready(&self) -> bool {
        *self.revision.borrow() >= self.filled_at.load(Ordering::Acquire)
    }

    fn kind(&self, resource: &dyn AnyResource) -> Result<&Kind, ApiError> {
        self.kinds
            .get(&resource.info().qualified())
            .ok_or_else(ApiError::no_such_path)
    }

    /// Keeps the cache, for ever.
    pub async fn run(&self) {
        loop {
            let revision = self.fill();
            let mut feed = match self.store.watch(storage::ROOT, revision) {
                Ok(watcher) => (self.feed)(watcher),
                // Compacted between the two calls: fill again.
                Err(_) => continue,
            };
            loop {
                match feed.next().await {
                    Ok(news) => self.take(&news),
                    Err(WatchError::Compacted { .. }) => break,
                    Err(_) => {
                        log::line("apiserver", format_args!("the store is closed; the watch cache ends"));
                        return std::future::pending().await;
                    }
                }
            }
        }
    }

    /// Reads everything as of the oldest revision there is, so that the history since then follows as events and a
    /// watch can be resumed over a restart; returns that revision. Watchers are ended, since events may be missing.
    fn fill(&self) -> Revision {
        loop {
            let revision = self.store.compact_revision();
            // Compacted on the way: all kinds must be of one revision.
            if self.fill_at(revision).is_ok() {
                // What is there now must be seen before anything is answered; told before who waits is woken.
                self.filled_at.store(self.store.revision(), Ordering::Release);
                self.revision.send_replace(revision);
                return revision;
            }
        }
    }

    fn fill_at(&self, revision: Revision) -> Result<(), RangeError> {
        for (qualified, kind) in &self.kinds {
            let prefix = format!("{}{qualified}/", storage::ROOT);
            let range = self.store.range(Range::prefix(&prefix).at(revision))?;
            let objects = range.items.iter().filter_map(|kv| {
                let cached = read_or_say(kind.resource, &kv.key, &kv.value, kv.mod_revision)?;
                Some((kv.key.to_string(), Arc::new(cached)))
            });
            let objects: BTreeMap<_, _> = objects.collect();
            let mut state = kind.lock();
            state.watchers.end_all();
            *state = Objects {
                objects,
                oldest: revision,
                revision,
                ..Objects::default()
            };
        }
        Ok(())
    }

    fn take(&self, news: &News) {
        // The changes of one transaction to one kind are shown together: nobody may see a part of it.
        let mut transactions: BTreeMap<(Revision, &str), Vec<&Event>> = BTreeMap::new();
        for event in &news.events {
            let rest = event.kv.key.strip_prefix(storage::ROOT);
            let qualified = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
            transactions.entry((event.revision, qualified)).or_default().push(event);
        }
        for ((revision, qualified), events) in transactions {
            let Some(kind) = self.kinds.get(qualified) else {
                continue;
            };
            let mut state = kind.lock();
            let changes = events
                .into_iter()
                .filter_map(|event| self.change(kind, &mut state, event));
            let changes: Vec<Arc<CacheEvent>> = changes.map(Arc::new).collect();
            state.revision = revision;
            state.watchers.dispatch(&changes);
            state.add(changes);
        }
        let compacted = self.store.compact_revision();
        for (qualified, kind) in &self.kinds {
            let mut state = kind.lock();
            state.revision = news.behind.get(qualified).copied().unwrap_or(news.progress);
            while state.events.front().is_some_and(|event| event.revision <= compacted) {
                state.events.pop_front();
            }
            state.oldest = state.oldest.max(compacted.min(state.revision));
        }
        self.hints.forget_before(news.progress);
        self.revision.send_replace(news.progress);
    }

    /// Makes one change; `None` when what was written cannot be read.
    fn change(&self, kind: &Kind, state: &mut Objects, event: &Event) -> Option<CacheEvent> {
        let key: &str = &event.kv.key;
        let deleted = event.kind == EventKind::Delete;
        let mut object = self
            .hints
            .take(event.revision, key)
            .or_else(|| read_or_say(kind.resource, key, &event.kv.value, event.revision).map(Arc::new))?;
        if deleted && object.revision != object_revision(&object.bytes).unwrap_or(object.revision) {
            // The store removed it by itself (an expired lease): its last state lacks the deletion's revision.
            object = restamped(kind.resource, &object, event.revision);
        }
        let previous = if deleted {
            state.objects.remove(key)
        } else {
            state.objects.insert(key.to_owned(), object.clone())
        };
        Some(CacheEvent {
            revision: event.revision,
            deleted,
            object,
            previous,
            lines: Mutex::default(),
        })
    }

    /// Waits until the cache is filled and has seen everything of a kind up to `revision`; 504 when it has not within a
    /// few seconds, 429 while it is being filled.
    pub async fn catch_up(&self, resource: &dyn AnyResource, revision: Revision) -> Result<(), ApiError> {
        let kind = self.kind(resource)?;
        let is_there = |_: &Revision| kind.lock().revision >= revision.max(self.filled_at.load(Ordering::Acquire));
        if is_there(&0) {
            return Ok(());
        }
        let mut receiver = self.revision.subscribe();
        match within(CATCH_UP_LIMIT, receiver.wait_for(is_there)).await {
            Ok(Ok(_)) => Ok(()),
            _ if !self.is_ready() => Err(ApiError::too_many_requests("storage is (re)initializing", 1)),
            _ => Err(too_large_version(revision, kind.lock().revision)),
        }
    }

    /// The first `limit` objects (all if it is 0) that `selection` selects, as of the cache's revision.
    pub fn list(&self, resource: &dyn AnyResource, selection: &Selection, limit: usize) -> Result<Listed, ApiError> {
        let state = self.kind(resource)?.lock();
        let (items, rest) = state.select(resource, selection, limit);
        Ok(Listed {
            items,
            rest,
            revision: state.revision,
        })
    }

    /// Indexes what the store holds; what has not changed since is here already, and is not decoded again.
    pub fn index(&self, resource: &dyn AnyResource, items: &[KeyValue]) -> Result<Vec<Arc<Cached>>, ApiError> {
        let known: Vec<Option<Arc<Cached>>> = {
            let state = self.kind(resource)?.lock();
            let same = |kv: &KeyValue| {
                let known = state.objects.get(&*kv.key)?;
                (known.revision == kv.mod_revision).then(|| known.clone())
            };
            items.iter().map(same).collect()
        };
        let read = items.iter().zip(known).map(|(kv, known)| match known {
            Some(known) => Ok(known),
            None => Cached::read(resource, &kv.value, kv.mod_revision)
                .map(Arc::new)
                .map_err(ApiError::internal),
        });
        read.collect()
    }

    /// A queue of the events after `revision` (now, when it is `None`) that concern `selection`; with the objects there
    /// are now before them when `initial` is asked for. 410 when the history is gone.
    pub fn watch(
        &self,
        resource: &'static dyn AnyResource,
        selection: Selection,
        revision: Option<Revision>,
        initial: bool,
    ) -> Result<Opened, ApiError> {
        let kind = self.kind(resource)?;
        let mut state = kind.lock();
        let initial = match initial {
            true => state.select(resource, &selection, 0).0,
            false => Vec::new(),
        };
        let after = revision.unwrap_or(state.revision);
        if after < state.oldest || (after < state.revision && mutant::active("O159")) {
            return Err(ApiError::expired(format!(
                "too old resource version: {after} ({})",
                state.oldest
            )));
        }
        let queue = state.watchers.register(selection, self.backlog);
        let is_past =
            |event: &Arc<CacheEvent>| event.revision < after || (event.revision == after && !mutant::active("B04"));
        let from = state.events.partition_point(is_past);
        // All at once: what is past is not held against a watcher that begins.
        let past: Vec<Arc<CacheEvent>> = state.events.range(from..).cloned().collect();
        queue.offer(&past);
        Ok((queue, initial, after))
    }

    /// The revision up to which everything that concerns `queue` has been handed out; `None` while something waits.
    pub fn progress(&self, resource: &dyn AnyResource, queue: &WatchQueue) -> Option<Revision> {
        let state = self.kind(resource).ok()?.lock();
        queue.is_drained().then_some(state.revision)
    }
}

/// 504, as Kubernetes' clients know it: who asked may come back when the server has seen that revision.
pub fn too_large_version(revision: Revision, current: Revision) -> ApiError {
    let mut error = ApiError::timeout(format!(
        "Timeout: Too large resource version: {revision}, current: {current}"
    ));
    let details = error.0.details.get_or_insert_default();
    details.retry_after_seconds = Some(1);
    details.causes = Some(vec![StatusCause {
        reason: Some("ResourceVersionTooLarge".to_owned()),
        message: Some("Too large resource version".to_owned()),
        field: None,
    }]);
    error
}

/// Whether this is [`too_large_version`].
pub fn is_too_large(error: &ApiError) -> bool {
    let causes = error
        .0
        .details
        .iter()
        .flat_map(|details| details.causes.iter().flatten());
    causes
        .into_iter()
        .any(|cause| cause.reason.as_deref() == Some("ResourceVersionTooLarge"))
}

fn read_or_say(resource: &dyn AnyResource, key: &str, bytes: &Bytes, revision: Revision) -> Option<Cached> {
    match Cached::read(resource, bytes, revision) {
        Ok(cached) => Some(cached),
        Err(error) => {
            log::line(
                "apiserver",
                format_args!("cannot read {key} at revision {revision}, it is left out: {error}"),
            );
            None
        }
    }
}

fn object_revision(bytes: &Bytes) -> Option<Revision> {
    #[derive(serde::Deserialize)]
    struct Stub {
        metadata: StubMeta,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct StubMeta {
        resource_version: String,
    }
    serde_json::from_slice::<Stub>(bytes)
        .ok()?
        .metadata
        .resource_version
        .parse()
        .ok()
}

/// `object` with another resourceVersion: its last state as a delete event shows it.
pub fn restamped(resource: &dyn AnyResource, object: &Arc<Cached>, revision: Revision) -> Arc<Cached> {
    match resource.decode(&object.bytes) {
        Ok(mut typed) => {
            typed.meta_mut().resource_version = Some(revision.to_string());
            let bytes = Bytes::from(typed.to_json());
            Arc::new(Cached::new(resource, typed.as_ref(), bytes, revision))
        }
        Err(_) => object.clone(),
    }
}
