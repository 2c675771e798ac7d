//! Reads, beside the links, what requests, answers and watches say.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use memchr::memchr;
use orrery_api::message::Request;
use orrery_api::{fields, labels};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::head::{self, Meta};
use crate::model::{Answered, Asked, Entry, Path, Seen, Selection, WatchEventKind};
use crate::world::World;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Delete {
    grace_period_seconds: Option<i64>,
    preconditions: Preconditions,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Eviction {
    delete_options: Delete,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// The parameters of a query, decoded.
pub fn parameters(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// What `request` of `client` asks for.
pub fn describe(client: &str, request: &Request, at: Duration) -> Asked {
    let path = Path::parse(request.uri().path());
    let parameters = parameters(request.uri().query().unwrap_or_default());
    let parameter = |name: &str| {
        parameters
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    };
    let agent = request
        .headers()
        .get(http::header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    let mut asked = Asked {
        number: 0,
        client: client.to_owned(),
        user_agent: agent.unwrap_or_default().to_owned(),
        method: request.method().clone(),
        path,
        version_asked: parameter("resourceVersion")
            .or_else(|| parameter("continue"))
            .or_else(|| parameter("watch")),
        selection: None,
        paged: ["limit", "continue"].iter().any(|name| parameter(name).is_some()),
        continues: parameter("continue"),
        named: None,
        base: None,
        uid: None,
        grace: parameter("gracePeriodSeconds").and_then(|grace| grace.parse().ok()),
        patch: merges(request).then(|| request.body().clone()),
        strategic: content_type(request) == STRATEGIC,
        floor: 0,
        at,
    };
    let is_collection = asked.path.as_ref().is_some_and(|path| path.name.is_empty());
    if request.method() == http::Method::GET && is_collection && parameter("watch").is_none() {
        asked.selection = asked.path.as_ref().and_then(|path| {
            let [labels, fields] = ["labelSelector", "fieldSelector"].map(parameter);
            selection(path, labels.as_deref(), fields.as_deref())
        });
    }
    let is_whole = request.method() == http::Method::PUT || (request.method() == http::Method::POST && is_collection);
    // A binding is of the pod of this uid alone.
    let is_binding = is_binding(&asked);
    if is_whole || is_binding || asked.patch.is_some() {
        let meta = head::read(request.body()).unwrap_or_default().metadata;
        asked.base = meta
            .resource_version
            .parse()
            .ok()
            .filter(|base| *base > 0 && !is_binding);
        // A patch that names no base may be refused for contention alone, whatever uid it names.
        asked.uid = meta.uid.filter(|uid| (is_whole || is_binding) && !uid.is_empty());
        asked.named = Some(meta.name).filter(|name| is_collection && !name.is_empty());
    } else if let Some(options) = deletion(request, &asked) {
        asked.grace = options.grace_period_seconds.or(asked.grace);
        asked.uid = options.preconditions.uid;
        asked.base = options
            .preconditions
            .resource_version
            .and_then(|version| version.parse().ok());
    }
    asked
}

/// The content types of patches that name the fields they change.
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

fn content_type(request: &Request) -> &str {
    let kind = request.headers().get(http::header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}

/// Whether a request is a patch that names the fields it changes.
fn merges(request: &Request) -> bool {
    request.method() == http::Method::PATCH && [MERGE, STRATEGIC].contains(&content_type(request))
}

/// How what a request deletes or evicts is to go, if it says so.
fn deletion(request: &Request, asked: &Asked) -> Option<Delete> {
    if asked.method == http::Method::DELETE {
        return serde_json::from_slice(request.body()).ok();
    }
    let is_eviction = asked.method == http::Method::POST && asked.path.as_ref()?.subresource == "eviction";
    let eviction = is_eviction.then(|| serde_json::from_slice::<Eviction>(request.body()));
    Some(eviction?.ok()?.delete_options)
}

fn is_binding(asked: &Asked) -> bool {
    let path = asked.path.as_ref();
    asked.method == http::Method::POST && path.is_some_and(|path| path.subresource == "binding")
}

fn selection(path: &Path, labels: Option<&str>, fields: Option<&str>) -> Option<Selection> {
    Some(Selection {
        resource: path.resource.clone(),
        namespace: path.namespace.clone(),
        labels: labels.map(labels::Selector::parse).transpose().ok()?,
        fields: fields.map(fields::Selector::parse).transpose().ok()?,
    })
}

/// Notes in `answered` what the object or list in `bytes` shows.
pub fn show(bytes: &[u8], answered: &mut Answered) {
    let Some(shown) = head::read(bytes) else { return };
    answered.revision = shown.metadata.resource_version.parse().ok();
    answered.name = shown.metadata.name;
    answered.next = shown.metadata.next;
    let entry = |metadata: Meta| Entry {
        namespace: metadata.namespace,
        name: metadata.name,
        revision: metadata.resource_version.parse().unwrap_or(0),
    };
    answered.items = shown.items.map(|items| items.into_iter().map(entry).collect());
}

/// So many lines are remembered: what is shown to a thousand watchers at once is read once.
const REMEMBERED: usize = 8;

/// What a line says, and of which object; none if that cannot be read.
type LineRead = Option<(WatchEventKind, Arc<Meta>)>;

thread_local! {
    /// The last lines that were read. A world has a thread of its own.
    static LINES: RefCell<VecDeque<(Bytes, LineRead)>> = const { RefCell::new(VecDeque::new()) };
}

/// A line of a watch. The server shares its memory among all who are shown it.
fn read_once(line: &Bytes) -> LineRead {
    LINES.with_borrow_mut(|lines| {
        let same = |known: &Bytes| known.as_ptr() == line.as_ptr() && known.len() == line.len();
        if let Some((_, read)) = lines.iter().find(|(known, _)| same(known)) {
            return read.clone();
        }
        let read = read_line(line).map(|(kind, meta)| (kind, Arc::new(meta)));
        if lines.len() == REMEMBERED {
            lines.pop_front();
        }
        lines.push_back((line.clone(), read.clone()));
        read
    })
}

/// A line of a watch: what it says, and of which object.
fn read_line(line: &[u8]) -> Option<(WatchEventKind, Meta)> {
    #[derive(Deserialize)]
    struct Line<'a> {
        r#type: &'a str,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    let kind = |name: &[u8]| match name {
        b"ADDED" => WatchEventKind::Added,
        b"MODIFIED" => WatchEventKind::Modified,
        b"DELETED" => WatchEventKind::Deleted,
        b"BOOKMARK" => WatchEventKind::Bookmark,
        _ => WatchEventKind::Error,
    };
    // As changes are written: then there is no need to look for the object's end.
    if let Some(rest) = line.strip_prefix(br#"{"type":""#)
        && let Some(end) = memchr(b'"', rest)
        && let Some(object) = rest[end..].strip_prefix(br#"","object":"#)
    {
        return Some((kind(&rest[..end]), head::read(object)?.metadata));
    }
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let head = head::read(line.object.get().as_bytes())?;
    Some((kind(line.r#type.as_bytes()), head.metadata))
}

/// Follows one watch.
pub struct WatchTap {
    world: Arc<World>,
    /// The watch's number.
    pub stream: u64,
    /// Who the watch is where interleavings are explored: `kubelet/node-1 watches pods`.
    actor: String,
    /// How many events it has shown.
    events: u64,
    /// What was shown and is no whole line yet.
    unread: Bytes,
}

impl WatchTap {
    /// A tap on the watch that `client` asked for; none if it is no watch (logs).
    pub fn open(world: &Arc<World>, client: &str, uri: &Uri, asked: &Asked) -> Option<Self> {
        let parameters = parameters(uri.query().unwrap_or_default());
        let parameter = |name: &str| {
            parameters
                .iter()
                .find(|(own, _)| own == name)
                .map(|(_, value)| value.as_str())
        };
        if !matches!(parameter("watch"), Some("true" | "1")) {
            return None;
        }
        let path = asked.path.as_ref()?;
        let from = parameter("resourceVersion")
            .and_then(|version| version.parse().ok())
            .filter(|from| *from > 0);
        let selection = selection(path, parameter("labelSelector"), parameter("fieldSelector"))?;
        let stream = world.next_number();
        world.witness.observe(
            world,
            &Seen::WatchOpened {
                stream,
                client,
                selection: &selection,
                from,
                asked: asked.at,
            },
        );
        Some(WatchTap {
            world: world.clone(),
            stream,
            actor: format!("{client} watches {}", path.resource),
            events: 0,
            unread: Bytes::new(),
        })
    }

    /// Which watch it is, and how many events it has shown.
    pub fn shown(&self) -> (u64, u64) {
        (self.stream, self.events)
    }

    /// How late what it shows arrives, by its priority.
    pub fn lateness(&self) -> Duration {
        self.world.lateness(&self.actor)
    }

    /// Takes in a frame.
    pub fn see(&mut self, bytes: &Bytes) {
        if self.unread.is_empty() {
            self.unread = bytes.clone();
        } else {
            self.unread = [&self.unread[..], &bytes[..]].concat().into();
        }
        while let Some(end) = memchr(b'\n', &self.unread) {
            let line = self.unread.split_to(end + 1);
            let Some((kind, meta)) = read_once(&line) else {
                continue;
            };
            if kind == WatchEventKind::Error {
                self.world.coverage.saw("a relist after 410");
            }
            self.events += 1;
            let revision = meta.resource_version.parse().unwrap_or(0);
            let seen = Seen::Watched {
                stream: self.stream,
                kind,
                revision,
                namespace: &meta.namespace,
                name: &meta.name,
            };
            self.world.witness.observe(&self.world, &seen);
        }
    }
}

impl Drop for WatchTap {
    fn drop(&mut self) {
        self.world
            .witness
            .observe(&self.world, &Seen::WatchClosed { stream: self.stream });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_and_evictions_say_what_goes_and_how() {
        let grace = |method: http::Method, path: &str, body: &'static str| {
            let request = http::Request::builder()
                .method(method)
                .uri(path)
                .body(Bytes::from_static(body.as_bytes()));
            let asked = describe("user", &request.unwrap(), Duration::ZERO);
            (asked.grace, asked.uid)
        };
        let pod = "/api/v1/namespaces/default/pods/a";
        let options = r#"{"gracePeriodSeconds": 0, "preconditions": {"uid": "u"}}"#;
        let named = (Some(0), Some("u".to_owned()));
        assert_eq!(grace(http::Method::DELETE, pod, options), named);
        assert_eq!(
            grace(http::Method::DELETE, &format!("{pod}?gracePeriodSeconds=7"), ""),
            (Some(7), None)
        );
        let eviction =
            r#"{"kind": "Eviction", "deleteOptions": {"gracePeriodSeconds": 0, "preconditions": {"uid": "u"}}}"#;
        assert_eq!(grace(http::Method::POST, &format!("{pod}/eviction"), eviction), named);
        assert_eq!(
            grace(http::Method::POST, &format!("{pod}/eviction"), "{}"),
            (None, None)
        );
    }
}
