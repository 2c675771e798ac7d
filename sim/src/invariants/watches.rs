//! W1–W6: a watch is ordered, without duplicates, without splits, without gaps, resumable from any revision it has
//! shown, and a bookmark comes after everything it covers.
//!
//! Whoever is told that a revision is too old (410), of a watch or of a list, must have asked for one that is
//! compacted: no cache of a server forgets sooner than the store, however far it is behind.
//!
//! Each watch is followed beside the store's history: what it says next must be the next change that it selects, with
//! the right verb (an object that begins or ceases to match is added or deleted). A watch that begins with the state
//! (no `resourceVersion`) is judged from its first bookmark on. Not judged: watches that lag further than the history
//! that is kept, selections by fields that the model does not know, and refusals by a fault (`drop-watches`).

use std::collections::BTreeMap;

use super::{Invariant, Report};
use crate::model::{Answered, Asked, Cluster, Seen, Selection, WatchEventKind};

/// See the module.
#[derive(Default)]
pub struct Watches {
    streams: BTreeMap<u64, Followed>,
}

struct Followed {
    client: String,
    selection: Selection,
    /// The last revision shown.
    shown: u64,
    /// The number of the next change to look at; none while the state is being sent.
    next: Option<u64>,
}

impl Invariant for Watches {
    fn id(&self) -> &'static str {
        "W"
    }

    fn statement(&self) -> &'static str {
        "A watch is ordered, without duplicates, without splits, without gaps, and can be resumed; a bookmark comes after everything it covers."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::WatchOpened {
                stream,
                client,
                selection,
                from,
                ..
            } => {
                if !selection.is_understood() {
                    return;
                }
                let next = from.map(|from| cluster.history(&selection.resource).map_or(0, |all| all.after(from)));
                self.streams.insert(
                    *stream,
                    Followed {
                        client: (*client).to_owned(),
                        selection: (*selection).clone(),
                        shown: from.unwrap_or(0),
                        next,
                    },
                );
            }
            Seen::Answered(asked, answer) => {
                if let Some((from, compacted)) = refused(asked, answer) {
                    let message = format!(
                        "{} was told that revision {from} is too old, though the history goes back to {compacted}",
                        asked.client
                    );
                    report.broken(self.id(), message, &[&asked.client, "apiserver", "store"]);
                }
            }
            Seen::WatchClosed { stream } => {
                self.streams.remove(stream);
            }
            Seen::Watched {
                stream,
                kind,
                revision,
                namespace,
                name,
            } => {
                let Some(followed) = self.streams.get_mut(stream) else {
                    return;
                };
                let wrong = match followed.step(*kind, *revision, namespace, name, cluster) {
                    Step::Right => return,
                    Step::Unknown => None,
                    Step::Wrong(wrong) => Some(wrong),
                };
                let followed = self.streams.remove(stream);
                if let (Some(followed), Some(wrong)) = (followed, wrong) {
                    let message = format!(
                        "the watch of {} by {} showed {kind:?} of {namespace}/{name} at revision {revision}: {wrong}",
                        followed.selection.resource, followed.client
                    );
                    report.broken(self.id(), message, &[&followed.client, "apiserver", "store"]);
                }
            }
            _ => {}
        }
    }
}

/// The revision that a watch or a list was refused for its age though its history is there, and where that begins.
fn refused(asked: &Asked, answer: &Answered) -> Option<(u64, u64)> {
    // A watch that cannot begin is an answer of one line.
    let is_line = || asked.is_watch() && answer.body.starts_with(br#"{"type":"ERROR""#) && answer.says(r#""code":410"#);
    if answer.by_fault || !(answer.status == 410 || is_line()) {
        return None;
    }
    let from = asked.version_asked.as_deref()?.parse().ok()?;
    let compacted = answer.compacted.filter(|compacted| from >= *compacted)?;
    Some((from, compacted))
}

enum Step {
    Right,
    Unknown,
    Wrong(String),
}

impl Followed {
    fn step(&mut self, kind: WatchEventKind, revision: u64, namespace: &str, name: &str, cluster: &Cluster) -> Step {
        if kind == WatchEventKind::Error {
            return Step::Right;
        }
        let Some(history) = cluster.history(&self.selection.resource) else {
            return Step::Right;
        };
        let Some(mut next) = self.next else {
            if kind == WatchEventKind::Bookmark {
                self.shown = revision;
                self.next = Some(history.after(revision));
            }
            return Step::Right;
        };
        let bookmark = kind == WatchEventKind::Bookmark;
        if revision < self.shown || (revision == self.shown && !bookmark) {
            return Step::Wrong(format!("it had already shown revision {}", self.shown));
        }
        loop {
            let change = match history.next(&self.selection, next) {
                Err(_) => return Step::Unknown,
                Ok(number) => {
                    next = number;
                    history.get(number).ok().flatten()
                }
            };
            let expected = change.and_then(|change| Some((change, self.selection.shows(change)?)));
            match (change, expected) {
                (Some(change), _) if bookmark && change.revision > revision => break,
                (None, _) if bookmark => break,
                (None, _) => return Step::Wrong("the store has no such change".to_owned()),
                (Some(_), None) => next += 1,
                (Some(change), Some((_, expected))) => {
                    let same =
                        change.revision == revision && change.id.name == name && change.id.namespace == namespace;
                    if same && expected == kind {
                        next += 1;
                        break;
                    }
                    return Step::Wrong(format!(
                        "the next change was {expected:?} of {} at revision {}",
                        change.id, change.revision
                    ));
                }
            }
        }
        self.next = Some(next);
        self.shown = revision;
        Step::Right
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{History, asked};
    use super::*;

    #[test]
    fn a_watch_that_is_not_resumed_though_its_history_is_there_breaks_w() {
        let line = br#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#;
        let told = |from: &str, answer: Answered| {
            let watch = Asked {
                version_asked: Some(from.to_owned()),
                ..asked("scheduler/1", http::Method::GET, "/api/v1/pods")
            };
            let history = History::of(|id| id == "W");
            history.see(&Seen::Answered(&watch, &answer)).broken()
        };
        let refusal = || Answered {
            status: 200,
            body: line.as_slice().into(),
            compacted: Some(50),
            ..Answered::default()
        };
        assert_eq!(told("50", refusal()), ["W"]);
        assert!(told("49", refusal()).is_empty());
        // So it is with lists of a certain revision.
        let status = |status| Answered { status, ..refusal() };
        assert_eq!(told("70", status(410)), ["W"]);
        let mut list = status(410);
        list.body = b"".as_slice().into();
        assert_eq!(told("70", list.clone()), ["W"]);
        list.status = 504;
        assert!(told("70", list).is_empty());
        // A fault said so, or the store does not run any more.
        let by_fault = Answered {
            by_fault: true,
            ..refusal()
        };
        let unknown = Answered {
            compacted: None,
            ..refusal()
        };
        assert!(told("70", by_fault).is_empty());
        assert!(told("70", unknown).is_empty());
        assert!(told("true", refusal()).is_empty());
    }
}
