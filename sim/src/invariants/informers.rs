//! C1: an informer's revision never falls in a process's life. C3: in the end every cache equals the store.
//!
//! An informer is a client's watches of one selection. What it has seen is what was *delivered* to it, not what the
//! server said: frames may be under way, or lost with their connection. Judged when a watch begins: not before the last
//! revision that was delivered, bookmarks included. That lets pass: resuming before what the server had said and the
//! client never heard; a new life of a process that begins anew; a leader that was deposed and leads again, whose
//! caches begin anew with the newest list; a process that stood still, which loses what has reached it when it finds its
//! watch over time; and a request for a watch that a server takes up after its client has given it up and asked again.
//!
//! C3 is judged at convergence: the newest watch of each informer has delivered every change that it selects. What has
//! been delivered is in the cache, since informers take events at once; no component shows its cache itself. The changes
//! of the last seconds may still be under way: in a large world some always are, since nodes renew their leases.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Invariant, Report};
use crate::model::{Cluster, Seen, Selection, WatchEventKind};
use crate::scenario::Role;

/// So long a change may be under way at rest.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// Whose, and what it selects.
type Informer = (String, String);

/// See the module.
#[derive(Default)]
pub struct Informers {
    /// The last revision that each has been shown.
    heard: BTreeMap<Informer, u64>,
    /// When the newest watch of each was asked for.
    asked: BTreeMap<Informer, Duration>,
    streams: BTreeMap<u64, Stream>,
    /// The last changes, and when they were made; before them the newest that is no longer under way.
    made: VecDeque<(Duration, u64)>,
}

struct Stream {
    informer: Informer,
    selection: Selection,
    /// Revisions that the server has shown and that are under way, in order.
    under_way: VecDeque<u64>,
    /// How many events have been delivered.
    delivered: u64,
    /// Everything up to here has been delivered; none before the state is known.
    upto: Option<u64>,
}

impl Invariant for Informers {
    fn id(&self) -> &'static str {
        "C1"
    }

    fn statement(&self) -> &'static str {
        "An informer's revision never falls in a process's life."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) => {
                self.made.push_back((cluster.now, change.revision));
                while self.made.get(1).is_some_and(|(at, _)| *at + UNDER_WAY <= cluster.now) {
                    self.made.pop_front();
                }
            }
            Seen::Started { process } => self.heard.retain(|(client, _), _| client != process),
            Seen::WatchOpened {
                stream,
                client,
                selection,
                from,
                asked,
            } => {
                let informer = ((*client).to_owned(), describe(selection));
                let newest = self.asked.entry(informer.clone()).or_default();
                if *asked < *newest {
                    return;
                }
                *newest = *asked;
                let heard = self.heard.get(&informer).copied().unwrap_or(0);
                let stood_still = Role::of(client).is_some_and(|role| cluster.was_paused(role));
                if let Some(from) = from.filter(|from| *from < heard && !stood_still) {
                    let message = format!(
                        "{client} resumes its watch of {} at revision {from}, having been shown revision {heard}",
                        selection.resource
                    );
                    report.broken(self.id(), message, &[client, "apiserver"]);
                }
                let stream_state = Stream {
                    informer,
                    selection: (*selection).clone(),
                    under_way: VecDeque::new(),
                    delivered: 0,
                    upto: *from,
                };
                self.streams.insert(*stream, stream_state);
            }
            Seen::Watched {
                stream, kind, revision, ..
            } => {
                if let Some(state) = self.streams.get_mut(stream) {
                    let shown = if *kind == WatchEventKind::Error { 0 } else { *revision };
                    state.under_way.push_back(shown);
                }
            }
            Seen::Delivered { stream, events } => {
                let Some(state) = self.streams.get_mut(stream) else {
                    return;
                };
                while state.delivered < *events
                    && let Some(revision) = state.under_way.pop_front()
                {
                    state.delivered += 1;
                    state.upto = state.upto.max(Some(revision));
                    match self.heard.get_mut(&state.informer) {
                        Some(heard) => *heard = (*heard).max(revision),
                        None => drop(self.heard.insert(state.informer.clone(), revision)),
                    }
                }
            }
            Seen::WatchClosed { stream } => {
                self.streams.remove(stream);
            }
            _ => {}
        }
    }

    fn missing(&self, cluster: &Cluster, missing: &mut Vec<String>) {
        let old = self.made.iter().take_while(|(at, _)| *at + UNDER_WAY <= cluster.now);
        let Some((_, arrived)) = old.last() else { return };
        // The newest watch of each informer: an older one may be dead without its server knowing.
        let newest: BTreeMap<&Informer, &Stream> =
            self.streams.values().map(|state| (&state.informer, state)).collect();
        for ((client, _), state) in newest {
            let (Some(upto), Some(history)) = (state.upto, cluster.history(&state.selection.resource)) else {
                continue;
            };
            let mut number = history.after(upto);
            while let Ok(next) = history.next(&state.selection, number)
                && let Ok(Some(change)) = history.get(next)
                && change.revision <= *arrived
            {
                if state.selection.shows(change).is_some() {
                    missing.push(format!(
                        "C3: {client} has not heard of {} at revision {}",
                        change.id, change.revision
                    ));
                    break;
                }
                number = next + 1;
            }
        }
    }
}

fn describe(selection: &Selection) -> String {
    format!(
        "{} in {:?}, labels {:?}, fields {:?}",
        selection.resource, selection.namespace, selection.labels, selection.fields
    )
}
