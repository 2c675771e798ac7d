//! Which request made which change: each change of the store has one that could have made it, each acknowledged write
//! has made one, and each refused one none.
//!
//! A change is put down to every write of its object that is under way. Answers narrow that down. When nothing is left
//! that could have made a change, something wrote that was told it did not, or did twice what it was told to have done
//! once. So it is when all that could have made a change are patches, and none of them names what it changed: then
//! somebody's change was undone by a patch that was made of an older state. What the API server writes of its own
//! accord (`bootstrap.rs`; events whose time is over) is left out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rustc_hash::FxHashMap;

use super::answers::Effect;
use super::patches::Patch;
use crate::invariants::AFTERLIFE;
use crate::model::{Asked, Change, ObjectId};

/// So long a change waits to be claimed.
const KEPT: Duration = Duration::from_secs(120);

/// A write under way.
#[derive(Debug)]
struct Open {
    subject: ObjectId,
    creates: bool,
    /// Whether it may change many objects.
    many: bool,
    since: u64,
    client: String,
    /// What it sends, if it is a patch that names all that it changes.
    patch: Option<Patch>,
    /// The changes that it may have made.
    made: Vec<u64>,
    /// When it is forgotten, once its fate is sealed.
    until: Option<Duration>,
}

/// A change, and the requests that may have made it.
#[derive(Debug)]
struct Made {
    change: Arc<Change>,
    by: Vec<u64>,
    /// Whether it is known that one of these may have changed what it did.
    judged: bool,
    claimed: Option<u64>,
    at: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Writes {
    open: BTreeMap<u64, Open>,
    /// The open ones by what they are about: an object, or a collection (whose name is empty).
    by_subject: FxHashMap<ObjectId, Vec<u64>>,
    made: BTreeMap<u64, Vec<Made>>,
    /// Lost ones that are still open, in the order of their loss.
    lost: Vec<u64>,
}

impl Writes {
    /// A request begins to be carried out, when the store is at `since`.
    pub fn begin(&mut self, execution: u64, asked: &Asked, since: u64) {
        let Some(path) = asked.path.as_ref().filter(|_| asked.method != Method::GET) else {
            return;
        };
        let mut subject = path.id();
        if subject.name.is_empty() {
            // A name that the server generates is not known yet: it may be any of the collection.
            subject.name = asked.named.clone().unwrap_or_default();
        }
        self.by_subject.entry(subject.clone()).or_default().push(execution);
        let open = Open {
            creates: path.name.is_empty() && asked.method == Method::POST,
            many: path.name.is_empty() && asked.method == Method::DELETE,
            subject,
            since,
            client: asked.client.clone(),
            patch: Patch::of(asked),
            made: Vec::new(),
            until: None,
        };
        self.open.insert(execution, open);
    }

    /// The store's revision when a write began to be carried out.
    pub fn since(&self, execution: u64) -> Option<u64> {
        self.open.get(&execution).map(|open| open.since)
    }

    /// Whether a change may be the work of `execution`, and nobody else's for certain.
    pub fn may_be_of(&self, execution: u64, change: &Change) -> bool {
        let made = self.made.get(&change.revision).into_iter().flatten();
        let mut made = made.filter(|made| made.change.id == change.id);
        // What is not kept any more is not held against anybody.
        made.next()
            .is_none_or(|made| made.claimed.is_none() && made.by.contains(&execution))
    }

    /// Whether nobody but `execution` can have made a change, which was not known at once.
    pub fn turned_out_to_be_of(&self, execution: u64, change: &Change) -> bool {
        let mut made = self.made.get(&change.revision).into_iter().flatten();
        made.any(|made| made.change.id == change.id && made.by == [execution] && !made.judged)
    }

    /// What a change changed though all that may have made it are patches and none names it; an error if not all are.
    fn stray(&self, change: &Change, by: &[u64]) -> Result<Option<String>, ()> {
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return Err(());
        };
        let mut stray = None;
        for execution in by {
            let patch = self
                .open
                .get(execution)
                .and_then(|open| open.patch.as_ref())
                .ok_or(())?;
            stray = patch.stray(&before.bytes, &after.bytes);
            if stray.is_none() {
                return Ok(None);
            }
        }
        Ok(stray)
    }

    /// A change is durable; what is wrong with it.
    pub fn changed(&mut self, change: &Arc<Change>, now: Duration) -> Option<String> {
        self.forget(now);
        let collection = ObjectId {
            name: String::new(),
            ..change.id.clone()
        };
        let everywhere = ObjectId {
            namespace: String::new(),
            ..collection.clone()
        };
        let mut by = Vec::new();
        for subject in [&change.id, &collection, &everywhere] {
            for execution in self.by_subject.get(subject).into_iter().flatten() {
                if let Some(open) = self.open.get_mut(execution)
                    && open.creates == change.is_create()
                    && !by.contains(execution)
                {
                    by.push(*execution);
                    open.made.push(change.revision);
                }
            }
        }
        if is_the_servers_own(change) {
            return None;
        }
        if by.is_empty() {
            return Some(format!(
                "{} was {} at revision {}, though nobody asked for that",
                change.id,
                verb(change),
                change.revision
            ));
        }
        let stray = self.stray(change, &by);
        self.made.entry(change.revision).or_default().push(Made {
            change: change.clone(),
            by,
            judged: stray.is_ok(),
            claimed: None,
            at: now,
        });
        let field = stray.ok()??;
        Some(format!(
            "{} was changed at revision {} in {field}, which no patch under way names",
            change.id, change.revision
        ))
    }

    /// Nobody will answer a request: it may have happened, or be about to.
    pub fn lose(&mut self, execution: u64, now: Duration) {
        if let Some(open) = self.open.get_mut(&execution) {
            open.until = Some(now + AFTERLIFE);
            self.lost.push(execution);
        }
    }

    /// A request is answered, and that tells what it did; what is wrong with it.
    pub fn end(&mut self, execution: u64, effect: Effect, now: Duration) -> Option<String> {
        if effect == Effect::Unknown {
            self.lose(execution, now);
            return None;
        }
        let open = self.close(execution)?;
        if open.many {
            return None;
        }
        let own = match effect {
            Effect::Made(revision) | Effect::Perhaps(revision) => Some(revision),
            _ => None,
        };
        for revision in &open.made {
            for made in self.made.get_mut(revision).into_iter().flatten() {
                if Some(*revision) == own {
                    if matches!(effect, Effect::Made(_)) && made.by.contains(&execution) {
                        made.claimed = Some(execution);
                        made.by = vec![execution];
                    }
                    continue;
                }
                let before = made.by.len();
                made.by.retain(|other| *other != execution);
                if made.by.is_empty() && before > 0 {
                    let told = match own {
                        Some(own) => format!("was told that its write is of revision {own}"),
                        None => "was told that it changed nothing".to_owned(),
                    };
                    return Some(format!(
                        "{} was {} at revision {revision} by {}, which {told}",
                        made.change.id,
                        verb(&made.change),
                        open.client
                    ));
                }
            }
        }
        None
    }

    fn close(&mut self, execution: u64) -> Option<Open> {
        let open = self.open.remove(&execution)?;
        if let Some(others) = self.by_subject.get_mut(&open.subject) {
            others.retain(|other| *other != execution);
            if others.is_empty() {
                self.by_subject.remove(&open.subject);
            }
        }
        Some(open)
    }

    /// Forgets what was long ago.
    fn forget(&mut self, now: Duration) {
        while let Some(first) = self.lost.first().copied() {
            let until = self.open.get(&first).and_then(|open| open.until);
            if until.is_some_and(|until| until > now) {
                break;
            }
            self.lost.remove(0);
            self.close(first);
        }
        while let Some(first) = self.made.first_entry() {
            if first.get().first().is_some_and(|made| made.at + KEPT > now) {
                break;
            }
            first.remove();
        }
    }
}

fn verb(change: &Change) -> &'static str {
    match (&change.before, &change.after) {
        (None, _) => "created",
        (_, None) => "deleted",
        _ => "changed",
    }
}

/// What the API server keeps by itself.
fn is_the_servers_own(change: &Change) -> bool {
    let id = &change.id;
    match &*id.resource {
        "namespaces" => matches!(
            id.name.as_str(),
            "default" | "kube-node-lease" | "kube-public" | "kube-system"
        ),
        "services" | "endpoints" | "endpointslices.discovery.k8s.io" => {
            id.namespace == "default" && id.name == "kubernetes"
        }
        "events" => change.after.is_none(),
        _ => false,
    }
}
