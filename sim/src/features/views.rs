//! How old the picture was on which somebody wrote: controller, the last event it had got, and how much it had not got
//! yet.
//!
//! A view is what one client has seen of one resource through its watch. It lags by the events that its watch has sent
//! and that have not arrived. What the watch itself does not know yet is not counted, nor what the client has got and
//! not looked at.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::requests::{caller, verb};
use super::{Found, bucket};
use crate::model::{Asked, Seen, WatchEventKind};

/// What every client has seen of every resource.
#[derive(Debug, Default)]
pub struct Views {
    views: Vec<View>,
    /// By client and resource: where its view stands among these.
    places: BTreeMap<(String, Arc<str>), usize>,
    /// Which view a watch feeds.
    streams: BTreeMap<u64, usize>,
}

#[derive(Debug, Default)]
struct View {
    stream: u64,
    /// Sent and not arrived: when, and what.
    under_way: VecDeque<(Duration, WatchEventKind)>,
    /// How many have arrived.
    arrived: u64,
    last: Option<WatchEventKind>,
    /// Since when there is no watch.
    cut: Option<Duration>,
}

impl Views {
    /// Takes in what watches tell.
    pub fn observe(&mut self, seen: &Seen<'_>, now: Duration) {
        match seen {
            Seen::WatchOpened {
                stream,
                client,
                selection,
                ..
            } => {
                let key = ((*client).to_owned(), selection.resource.clone());
                let view = View {
                    stream: *stream,
                    ..View::default()
                };
                let place = *self.places.entry(key).or_insert(self.views.len());
                match self.views.get_mut(place) {
                    Some(old) => *old = view,
                    None => self.views.push(view),
                }
                self.streams.insert(*stream, place);
            }
            Seen::Watched { stream, kind, .. } => {
                if let Some(view) = self.view(*stream) {
                    view.under_way.push_back((now, *kind));
                }
            }
            Seen::Delivered { stream, events } => {
                if let Some(view) = self.view(*stream) {
                    while view.arrived < *events {
                        view.arrived += 1;
                        let kind = view.under_way.pop_front().map(|(_, kind)| kind);
                        // A bookmark tells a client nothing that it would act on.
                        view.last = kind.filter(|kind| *kind != WatchEventKind::Bookmark).or(view.last);
                    }
                }
            }
            Seen::WatchClosed { stream } => {
                if let Some(view) = self.view(*stream) {
                    view.cut = Some(now);
                }
                self.streams.remove(stream);
            }
            _ => {}
        }
    }

    /// The view that a watch feeds, unless another one has taken its place.
    fn view(&mut self, stream: u64) -> Option<&mut View> {
        let view = self.views.get_mut(*self.streams.get(&stream)?)?;
        (view.stream == stream).then_some(view)
    }

    /// Notes on which pictures a write rests: that of its own resource, and the oldest one that the writer has.
    pub fn write(&self, asked: &Asked, now: Duration, found: &mut Found) {
        let Some(path) = asked.path.as_ref().filter(|_| asked.method != Method::GET) else {
            return;
        };
        let (caller, verb, resource) = (caller(asked), verb(asked), &path.resource);
        if matches!(&**resource, "events" | "leases.coordination.k8s.io") {
            return;
        }
        if let Some(place) = self.places.get(&(asked.client.clone(), resource.clone())) {
            let view = &self.views[*place];
            let (lag, age) = view.lag(now);
            let last = view.last.map_or("no event", word);
            found.add(format_args!(
                "view: {caller} {verb} {resource} after {last}, {lag} behind, {age}"
            ));
        }
        let own = self.places.range((asked.client.clone(), Arc::from(""))..);
        let own = own.take_while(|((client, _), _)| *client == asked.client);
        let oldest = own
            .map(|((_, resource), place)| (self.views[*place].oldest(now), resource))
            .max_by_key(|(age, _)| *age);
        if let Some((age, of)) = oldest.filter(|(age, _)| *age >= OLD) {
            let age = word_of_age(age);
            found.add(format_args!(
                "view: {caller} {verb} {resource} while its {of} are {age}"
            ));
        }
    }
}

/// A picture that is older than this is worth noting whatever is written on it.
const OLD: Duration = Duration::from_millis(500);

impl View {
    /// How many events it is behind, and for how long.
    fn lag(&self, now: Duration) -> (&'static str, &'static str) {
        (bucket(self.under_way.len()), word_of_age(self.oldest(now)))
    }

    /// For how long it is behind.
    fn oldest(&self, now: Duration) -> Duration {
        let sent = self.under_way.front().map(|(at, _)| *at);
        sent.into_iter()
            .chain(self.cut)
            .min()
            .map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }
}

fn word(kind: WatchEventKind) -> &'static str {
    match kind {
        WatchEventKind::Added => "ADDED",
        WatchEventKind::Modified => "MODIFIED",
        WatchEventKind::Deleted => "DELETED",
        WatchEventKind::Bookmark => "BOOKMARK",
        WatchEventKind::Error => "ERROR",
    }
}

fn word_of_age(age: Duration) -> &'static str {
    match age.as_millis() {
        0 => "current",
        1..500 => "just old",
        500..3_000 => "a second old",
        3_000..15_000 => "ten seconds old",
        _ => "a minute old",
    }
}
