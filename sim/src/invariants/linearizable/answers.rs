//! Whether one answer is right, and what it says that its request did.

use std::sync::Arc;

use http::Method;

use super::patches::Patch;
use super::window::Window;
use super::writes::Writes;
use crate::model::{Answered, Asked, Change, Cluster, Item, ObjectId, Path};

/// What a request did, as its answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// The change at this revision.
    Made(u64),
    /// The change at this revision, or it found that made.
    Perhaps(u64),
    /// Whatever it was asked for, or nothing.
    Unknown,
}

type Judgement = Result<Effect, String>;

/// Judges an answer to a request that began to be carried out at the revision `since`. The error says what is wrong.
pub fn judge(asked: &Asked, answer: &Answered, since: u64, cluster: &Cluster, writes: &Writes) -> Judgement {
    let Some(path) = &asked.path else {
        return Ok(Effect::Nothing);
    };
    // A new store is at revision 1 before its first write.
    if let Some(shown) = answer.revision.filter(|shown| *shown > cluster.revision.max(1)) {
        return Err(format!(
            "revision {shown} is of the future: the store is at {}",
            cluster.revision
        ));
    }
    let case = Case {
        asked,
        answer,
        path,
        since,
        cluster,
        writes,
    };
    match (&asked.method, answer.status) {
        (_, 500..) => Ok(Effect::Unknown),
        // Nobody looked whether it was due, but what was refused must not have happened.
        _ if answer.by_fault => Ok(Effect::Nothing),
        (_, 404) => case.not_found(),
        (&Method::GET, 200) if !path.name.is_empty() => case.read(),
        (&Method::GET, _) => Ok(Effect::Nothing),
        (&Method::POST, 409) if path.name.is_empty() => case.taken(),
        (&Method::POST, 403) if path.name.is_empty() => case.closed(),
        (_, 409) => case.conflict(),
        (_, 400..) => Ok(Effect::Nothing),
        (&Method::POST, _) if path.name.is_empty() => case.created(),
        (&Method::POST, _) if path.subresource == "binding" => case.bound(),
        (&Method::POST, _) if path.subresource == "eviction" => case.deleted(),
        (&Method::DELETE, _) if path.name.is_empty() => Ok(Effect::Unknown),
        (&Method::DELETE, _) => case.deleted(),
        (&Method::PUT | &Method::PATCH, _) => case.changed(),
        _ => Ok(Effect::Unknown),
    }
}

struct Case<'a> {
    asked: &'a Asked,
    answer: &'a Answered,
    path: &'a Path,
    since: u64,
    cluster: &'a Cluster,
    writes: &'a Writes,
}

impl<'a> Case<'a> {
    /// The states of an object that were there while the request was carried out.
    fn window(&self, id: &ObjectId) -> Option<Window<'a>> {
        Window::of(self.cluster, id, self.since)
    }

    /// Whether the answer shows just this object.
    fn shows(&self, item: &Item) -> bool {
        // A scale is another object in the shape of this one.
        self.path.subresource == "scale" || self.answer.body == item.bytes
    }

    /// `Nothing` if it was so, else what should have been.
    fn due(&self, so: bool, otherwise: impl FnOnce() -> String) -> Judgement {
        if so { Ok(Effect::Nothing) } else { Err(otherwise()) }
    }

    fn read(&self) -> Judgement {
        let id = self.path.id();
        let (Some(shown), Some(window)) = (self.answer.revision, self.window(&id)) else {
            return Ok(Effect::Nothing);
        };
        if let Some(state) = window.state(shown) {
            return self.due(self.shows(state), || {
                format!("it is not what was written at revision {shown}")
            });
        }
        if self.asked.version_asked.is_none() {
            return Err(format!(
                "its state of revision {shown} was not there any more at revision {}",
                self.since
            ));
        }
        let Some(history) = self.cluster.history(&id.resource).filter(|all| all.oldest() <= shown) else {
            return Ok(Effect::Nothing);
        };
        let change = history.at(shown, &id.namespace, &id.name);
        let state = change.and_then(|change| change.after.as_ref());
        self.due(state.is_some_and(|state| self.shows(state)), || {
            format!("it never had this state of revision {shown}")
        })
    }

    fn not_found(&self) -> Judgement {
        // Where nothing is served nothing is found: neither an object that another version of the API shows, nor the
        // namespace of one to be created.
        if !self.path.served {
            return Ok(Effect::Nothing);
        }
        let is_create = self.asked.method == Method::POST && self.path.name.is_empty();
        let id = if is_create {
            if self.path.namespace.is_empty() {
                return Ok(Effect::Nothing);
            }
            namespace(&self.path.namespace)
        } else if self.path.name.is_empty() || self.asked.version_asked.is_some() {
            return Ok(Effect::Nothing);
        } else {
            self.path.id()
        };
        let Some(window) = self.window(&id) else {
            return Ok(Effect::Nothing);
        };
        self.due(window.was_absent(), || {
            format!("{id} was there all the time since revision {}", self.since)
        })
    }

    /// 409 to a create: the name is taken.
    fn taken(&self) -> Judgement {
        let Some(name) = &self.asked.named else {
            return Ok(Effect::Nothing);
        };
        let id = ObjectId {
            name: name.clone(),
            ..self.path.id()
        };
        let Some(window) = self.window(&id).filter(|_| self.answer.says("AlreadyExists")) else {
            return Ok(Effect::Nothing);
        };
        self.due(window.was(|state| state.is_some()), || {
            format!("there was no {id} at any time since revision {}", self.since)
        })
    }

    /// 403 to a create: the namespace goes.
    fn closed(&self) -> Judgement {
        let id = namespace(&self.path.namespace);
        let Some(window) = self.window(&id).filter(|_| self.answer.says("NamespaceTerminating")) else {
            return Ok(Effect::Nothing);
        };
        let going = |state: Option<&Arc<Item>>| state.is_none_or(|item| item.is_terminating());
        self.due(window.was(going), || {
            format!("{id} was open since revision {}", self.since)
        })
    }

    /// 409 to anything else: the object was not as the request would have it.
    fn conflict(&self) -> Judgement {
        let Some(window) = self.window(&self.path.id()) else {
            return Ok(Effect::Nothing);
        };
        let (base, uid) = (self.asked.base, self.asked.uid.as_deref());
        // A binding is refused for more than the pod's being another one.
        if (base.is_none() && uid.is_none()) || self.path.subresource == "binding" {
            return Ok(Effect::Nothing);
        }
        let other = |state: Option<&Arc<Item>>| {
            state.is_none_or(|item| {
                base.is_some_and(|base| base != item.revision) || uid.is_some_and(|uid| uid != item.uid())
            })
        };
        self.due(window.was(other), || {
            format!("it was just so since revision {}: {base:?}, {uid:?}", self.since)
        })
    }

    fn created(&self) -> Judgement {
        let Some(revision) = self.answer.revision else {
            return Ok(Effect::Unknown);
        };
        let id = ObjectId {
            name: self.answer.name.clone(),
            ..self.path.id()
        };
        let Some(window) = self.window(&id) else {
            return Ok(Effect::Unknown);
        };
        match window.change(revision) {
            Some(change) if change.is_create() => self.made(&id, revision, change.after.as_ref()),
            _ => Err(format!("{id} was not created at revision {revision}")),
        }
    }

    /// The change at `revision` is this request's and nobody else's.
    fn made(&self, id: &ObjectId, revision: u64, after: Option<&Arc<Item>>) -> Judgement {
        if after.is_some_and(|item| !self.shows(item)) {
            return Err(format!("it is not what was written at revision {revision}"));
        }
        let window = self.window(id);
        let change = window.as_ref().and_then(|window| window.change(revision));
        if change.is_some_and(|change| !self.writes.may_be_of(self.answer.execution, change)) {
            return Err(format!("the change at revision {revision} is another's"));
        }
        Ok(Effect::Made(revision))
    }

    fn changed(&self) -> Judgement {
        let id = self.path.id();
        let (Some(shown), Some(window)) = (self.answer.revision, self.window(&id)) else {
            return Ok(Effect::Unknown);
        };
        if let Some(change) = window.change(shown) {
            let is_base = self.asked.base.is_none_or(|base| base == shown);
            if self.asked.method == Method::PUT && !is_base {
                return self.made(&id, shown, change.after.as_ref());
            }
            if change.after.as_ref().is_some_and(|item| !self.shows(item)) {
                return Err(format!("it is not what was written at revision {shown}"));
            }
            self.has_what_it_names(shown)?;
            return match self.stray(change) {
                Some(field) => Err(format!(
                    "at revision {shown} it changed {field}, which it does not name"
                )),
                None => Ok(Effect::Perhaps(shown)),
            };
        }
        // It found nothing to change.
        match window.state(shown) {
            Some(item) if self.shows(item) => self.has_what_it_names(shown).map(|()| Effect::Nothing),
            Some(_) => Err(format!("it is not what was written at revision {shown}")),
            None => Err(format!(
                "it did not have revision {shown} since revision {}",
                self.since
            )),
        }
    }

    /// Whether the object that a patch is answered with is as the patch names it.
    fn has_what_it_names(&self, shown: u64) -> Result<(), String> {
        let lacking = Patch::of(self.asked).and_then(|patch| patch.lacking(&self.answer.body));
        match lacking {
            Some(field) => Err(format!("at revision {shown} its {field} is not as the patch names it")),
            None => Ok(()),
        }
    }

    /// What a patch changed without naming it, if the change has turned out to be nobody else's.
    fn stray(&self, change: &Change) -> Option<String> {
        let (before, after) = (change.before.as_ref()?, change.after.as_ref()?);
        if !self.writes.turned_out_to_be_of(self.answer.execution, change) {
            return None;
        }
        Patch::of(self.asked)?.stray(&before.bytes, &after.bytes)
    }

    fn bound(&self) -> Judgement {
        let id = self.path.id();
        let Some(window) = self.window(&id) else {
            return Ok(Effect::Unknown);
        };
        let binds = window.changes().find(|change| {
            let node = |item: &Option<Arc<Item>>| item.as_ref().is_some_and(|item| !item.node_name().is_empty());
            let is_meant = |item: &Arc<Item>| self.asked.uid.as_deref().is_none_or(|uid| uid == item.uid());
            !node(&change.before)
                && node(&change.after)
                && change.after.as_ref().is_some_and(is_meant)
                && self.writes.may_be_of(self.answer.execution, change)
        });
        match binds {
            Some(change) => Ok(Effect::Made(change.revision)),
            None => Err(format!("it was bound by nobody since revision {}", self.since)),
        }
    }

    /// Whether it is the deletion of a pod that nobody waits for.
    fn is_forced(&self) -> bool {
        let pods = &*self.path.resource == "pods" && self.path.subresource.is_empty();
        pods && self.asked.method == Method::DELETE && self.asked.grace == Some(0)
    }

    /// A deletion, or an eviction, that was accepted.
    fn deleted(&self) -> Judgement {
        let id = self.path.id();
        let Some(window) = self.window(&id) else {
            return Ok(Effect::Unknown);
        };
        if let Some(shown) = self.answer.revision {
            // It is marked, or gone with its last state shown.
            let state = window.state(shown);
            if self.is_forced() && state.is_some_and(|item| item.meta.finalizers.iter().flatten().next().is_none()) {
                return Err(format!("it was deleted by force, and there at revision {shown}"));
            }
            return match (window.change(shown), state) {
                (Some(change), _) if goes(change.after.as_ref()) => Ok(Effect::Perhaps(shown)),
                (None, Some(item)) if item.is_terminating() => Ok(Effect::Nothing),
                _ => Err(format!("it was not being deleted at revision {shown}")),
            };
        }
        let mut going = window
            .changes()
            .filter(|change| self.writes.may_be_of(self.answer.execution, change));
        let otherwise = || format!("it was not deleted since revision {}", self.since);
        if self.path.subresource == "eviction" {
            return match going.find(|change| goes(change.after.as_ref())) {
                Some(change) => Ok(Effect::Perhaps(change.revision)),
                None => self.due(window.was(goes), otherwise),
            };
        }
        let removals: Vec<_> = going.filter(|change| change.after.is_none()).collect();
        match removals[..] {
            [] => Err(otherwise()),
            [only] => Ok(Effect::Made(only.revision)),
            // It was held up for so long that the object went and came back meanwhile.
            _ => {
                let own = removals
                    .iter()
                    .find(|change| self.writes.turned_out_to_be_of(self.answer.execution, change));
                Ok(own.map_or(Effect::Unknown, |own| Effect::Made(own.revision)))
            }
        }
    }
}

/// Whether an object is being deleted, or gone.
fn goes(state: Option<&Arc<Item>>) -> bool {
    state.is_none_or(|item| item.is_terminating())
}

fn namespace(name: &str) -> ObjectId {
    ObjectId {
        resource: Arc::from("namespaces"),
        namespace: String::new(),
        name: name.to_owned(),
    }
}
