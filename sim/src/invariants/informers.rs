//! C1: an informer's revision never falls in a process's life. C3: in the end every cache equals the store.
//!
//! An informer is a client's watches of one selection. What it has seen is what was *delivered* to it, not what the
//! server said: frames may be under way, or lost with their connection. Judged when a watch begins: not before the last
//! revision that was delivered, bookmarks included. That lets pass: resuming before what the server had said and the
//! client never heard; a new life of a process that begins anew; a leader that was deposed and leads again, whose
//! caches begin anew with the newest list; a process that stood still, which loses what has reached it when it finds
//! its watch over time; and a request for a watch that a server takes up after its client has given it up and asked
//! again.
//!
//! C3 is judged at convergence: the newest watch of each informer has delivered every change that it selects. What has
//! been delivered is in the cache, since informers take events at once; no component shows its cache itself. The
//! changes of the last seconds may still be under way: in a large world some always are, since nodes renew their
//! leases. And whatever a component of the house has watched since it began its work, it watches still: all but single
//! objects, which kubelets follow for as long as their pods need them. A leader that was deposed does not work.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::{Invariant, Missing, Report};
use crate::model::{Cluster, Seen, Selection, WatchEventKind};
use crate::scenario::Role;

/// So long a change may be under way at rest.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// Whose, and what it selects.
type Name = (String, String);

/// What is known of an informer, over all its watches.
struct Informer {
    name: Name,
    /// The last revision that it has been shown.
    heard: u64,
    /// When its newest watch was asked for.
    asked: Duration,
    /// Whether it has watched since its process began its work.
    begun: bool,
    /// Whether it goes on for as long as its process works.
    lasts: bool,
}

/// See the module.
#[derive(Default)]
pub struct Informers {
    informers: Vec<Informer>,
    /// Where each stands among these.
    places: FxHashMap<Name, usize>,
    streams: BTreeMap<u64, Stream>,
    /// The last changes, and when they were made; before them the newest that is no longer under way.
    made: VecDeque<(Duration, u64)>,
}

struct Stream {
    /// Its place among the informers.
    informer: usize,
    selection: Selection,
    /// Revisions that the server has shown and that are under way, in order.
    under_way: VecDeque<u64>,
    /// How many events have been delivered.
    delivered: u64,
    /// Everything up to here has been delivered; none before the state is known.
    upto: Option<u64>,
}

impl Informers {
    fn place(&mut self, client: &str, selection: &Selection) -> usize {
        let name = (client.to_owned(), describe(selection));
        *self.places.entry(name).or_insert_with_key(|name| {
            let of_house = Role::of(client).is_some_and(Role::is_of_house);
            let mut fields = selection.fields.iter().flat_map(|fields| fields.paths());
            self.informers.push(Informer {
                name: name.clone(),
                heard: 0,
                asked: Duration::ZERO,
                begun: false,
                lasts: of_house && fields.all(|path| path != "metadata.name"),
            });
            self.informers.len() - 1
        })
    }

    /// The process begins its work.
    fn begins(&mut self, process: &str) {
        let own = self.informers.iter_mut().filter(|informer| informer.name.0 == process);
        own.for_each(|informer| informer.begun = false);
    }
}

/// Whether a process works: it does not if it has twins and one of them leads.
fn works(process: &str, cluster: &Cluster) -> bool {
    let lease = Role::of(process).and_then(Role::lease);
    let lease = lease.and_then(|lease| cluster.find("leases.coordination.k8s.io", "kube-system", lease));
    let holder = lease.and_then(|lease| lease.lease_holder());
    holder.is_none_or(|holder| holder.rsplit_once('_').is_some_and(|(leader, _)| leader == process))
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
            Seen::Started { process } => {
                let own = self.informers.iter_mut().filter(|informer| informer.name.0 == *process);
                own.for_each(|informer| informer.heard = 0);
                self.begins(process);
            }
            Seen::Leads { process } => self.begins(process),
            Seen::WatchOpened {
                stream,
                client,
                selection,
                from,
                asked,
            } => {
                let place = self.place(client, selection);
                let informer = &mut self.informers[place];
                if *asked < informer.asked {
                    return;
                }
                informer.asked = *asked;
                informer.begun = true;
                let heard = informer.heard;
                if let Some(from) = from.filter(|from| *from < heard && !cluster.was_paused(client)) {
                    let message = format!(
                        "{client} resumes its watch of {} at revision {from}, having been shown revision {heard}",
                        selection.resource
                    );
                    report.broken(self.id(), message, &[client, "apiserver"]);
                }
                let stream_state = Stream {
                    informer: place,
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
                    let heard = &mut self.informers[state.informer].heard;
                    *heard = revision.max(*heard);
                }
            }
            Seen::WatchClosed { stream } => {
                self.streams.remove(stream);
            }
            _ => {}
        }
    }

    fn missing(&self, cluster: &Cluster, missing: &mut Missing) {
        let open: BTreeSet<usize> = self.streams.values().map(|stream| stream.informer).collect();
        let informers = self.informers.iter().enumerate();
        let ended = informers.filter(|(place, informer)| informer.begun && informer.lasts && !open.contains(place));
        for (_, Informer { name, .. }) in ended.filter(|(_, informer)| works(&informer.name.0, cluster)) {
            missing.push_on(&name.0, format!("C3: {} watches no longer: {}", name.0, name.1));
        }
        let old = self.made.iter().take_while(|(at, _)| *at + UNDER_WAY <= cluster.now);
        let Some((_, arrived)) = old.last() else { return };
        // The newest watch of each informer: an older one may be dead without its server knowing.
        let named = |state: &Stream| &self.informers[state.informer].name;
        let newest: BTreeMap<&Name, &Stream> = self.streams.values().map(|state| (named(state), state)).collect();
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
                    let what = format!(
                        "C3: {client} has not heard of {} at revision {}",
                        change.id, change.revision
                    );
                    missing.push_on(client, what);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::{History, pod};

    #[test]
    fn only_a_process_that_stood_still_itself_may_have_lost_what_has_reached_it() {
        let selection = Selection {
            resource: "pods".into(),
            namespace: String::new(),
            labels: None,
            fields: None,
        };
        let opened = |stream| Seen::WatchOpened {
            stream,
            client: "kubelet/node-1",
            selection: &selection,
            from: Some(1),
            asked: Duration::ZERO,
        };
        let shown = Seen::Watched {
            stream: 1,
            kind: WatchEventKind::Added,
            revision: 2,
            namespace: "default",
            name: "a",
        };
        let paused = |process: &str| {
            let history = History::of(|id| id == "C1").see(&opened(1));
            let history = history.put("pods", pod("a", "node-1", "Pending")).see(&shown);
            let history = history.see(&Seen::Delivered { stream: 1, events: 1 });
            let history = history.know(|cluster| cluster.pause(process, Duration::from_secs(10)));
            history.at(20).see(&opened(2)).broken()
        };
        assert!(paused("kubelet/node-1").is_empty());
        assert_eq!(paused("kubelet/node-2"), ["C1"]);
    }
}
