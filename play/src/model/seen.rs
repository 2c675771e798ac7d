//! What the world sees happen: the words in which invariants are told of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use orrery_api::{fields, labels};
use serde::Deserialize;

use super::item::{Item, ObjectId};
use crate::vocabulary::vocabulary;

/// One committed write of one object.
#[derive(Debug, Clone)]
pub struct Change {
    /// The transaction's revision.
    pub revision: u64,
    /// Which object.
    pub id: ObjectId,
    /// How it stood before; none if it is new.
    pub before: Option<Arc<Item>>,
    /// How it stands now; none if it is gone.
    pub after: Option<Arc<Item>>,
}

impl Change {
    /// The newest state there is: that after the write, or the last one of a deleted object.
    pub fn newest(&self) -> Option<&Arc<Item>> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// Whether it created the object.
    pub fn is_create(&self) -> bool {
        self.before.is_none() && self.after.is_some()
    }
}

/// What a request's path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The resource, with its group.
    pub resource: Arc<str>,
    /// The namespace; empty for all.
    pub namespace: String,
    /// The object; empty for a collection.
    pub name: String,
    /// The subresource; empty for none.
    pub subresource: String,
    /// Whether servers have anything there: this version of the resource, in this place, with this subresource.
    pub served: bool,
}

impl Path {
    /// Reads `/api/v1/namespaces/default/pods/web/status?…`; none for paths of no resource.
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, plural, rest) = match rest {
            ["namespaces"] | ["namespaces", _] | ["namespaces", _, "status" | "finalize", ..] => {
                ("", "namespaces", &rest[1..])
            }
            ["namespaces", namespace, plural, rest @ ..] => (*namespace, *plural, rest),
            [plural, rest @ ..] => ("", *plural, rest),
            [] => return None,
        };
        let resource = if group.is_empty() {
            plural.to_owned()
        } else {
            format!("{plural}.{group}")
        };
        let served = vocabulary().kinds.find(group, version, plural).is_some_and(|kind| {
            let is_placed = match (kind.info().namespaced, rest) {
                (true, []) => true,
                (true, _) => !namespace.is_empty(),
                (false, _) => namespace.is_empty(),
            };
            is_placed
                && match rest {
                    [] | [_] => true,
                    [_, subresource] => kind.info().has(subresource),
                    _ => false,
                }
        });
        Some(Path {
            resource: Arc::from(resource),
            namespace: namespace.to_owned(),
            name: rest.first().copied().unwrap_or_default().to_owned(),
            subresource: rest.get(1).copied().unwrap_or_default().to_owned(),
            served,
        })
    }

    /// The object it names.
    pub fn id(&self) -> ObjectId {
        ObjectId {
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

impl Asked {
    /// The verb, in Kubernetes' words.
    pub fn verb(&self) -> &'static str {
        let one = self.path.as_ref().is_some_and(|path| !path.name.is_empty());
        match self.method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if one => "delete",
            Method::DELETE => "deletecollection",
            _ if one => "get",
            _ if self.selection.is_some() => "list",
            _ => "watch",
        }
    }

    /// Whether an object is what it is conditional on: of that uid, and at that revision. If not, it is refused.
    pub fn is_for(&self, item: &Item) -> bool {
        self.uid.as_deref().is_none_or(|uid| uid == item.uid()) && self.base.is_none_or(|base| base == item.revision)
    }

    /// What it writes, as scenarios say it: `patch pods/status`; none if it only reads.
    pub fn write(&self) -> Option<String> {
        let verb = match self.method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => return None,
        };
        let path = self.path.as_ref()?;
        let resource = path.resource.split('.').next().unwrap_or_default();
        Some(if path.subresource.is_empty() {
            format!("{verb} {resource}")
        } else {
            format!("{verb} {resource}/{}", path.subresource)
        })
    }

    /// What it asks for, as scenarios say it: `patch pods/status`, `list nodes`; none if it is about no resource.
    pub fn request(&self) -> Option<String> {
        if self.method != Method::GET {
            return self.write();
        }
        let path = self.path.as_ref()?;
        let verb = match (path.name.is_empty(), self.is_watch()) {
            (false, _) => "get",
            (true, true) => "watch",
            (true, false) => "list",
        };
        let resource = path.resource.split('.').next().unwrap_or_default();
        let slash = if path.subresource.is_empty() { "" } else { "/" };
        Some(format!("{verb} {resource}{slash}{}", path.subresource))
    }

    /// Whether it asks to watch.
    pub fn is_watch(&self) -> bool {
        let whole = self.path.as_ref().is_some_and(|path| path.name.is_empty());
        // What a list is of is always known.
        self.method == Method::GET && whole && self.selection.is_none()
    }
}

/// A request as it leaves its client.
#[derive(Debug, Clone)]
pub struct Asked {
    /// A number of its own, if the run is recorded.
    pub number: u64,
    /// Which process asks: `scheduler/1`, `kubelet/node-2`, `user`.
    pub client: String,
    /// How the request calls its sender.
    pub user_agent: String,
    /// The method.
    pub method: Method,
    /// What it is about, if that is a resource.
    pub path: Option<Path>,
    /// The state asked for: the parameter `resourceVersion`, if it is there.
    pub version_asked: Option<String>,
    /// What a list is of; none for other requests.
    pub selection: Option<Selection>,
    /// Whether a list is of a page only.
    pub paged: bool,
    /// The token by which a page goes on from another one: the parameter `continue`, if it is there.
    pub continues: Option<String>,
    /// The name in the object that is to be created, unless the server shall generate one.
    pub named: Option<String>,
    /// The resourceVersion of the object sent, or that a delete is conditional on.
    pub base: Option<u64>,
    /// The uid of the object sent, or that a delete is conditional on.
    pub uid: Option<String>,
    /// The grace period of a delete, in seconds.
    pub grace: Option<i64>,
    /// What a merge patch, strategic or not, sends.
    pub patch: Option<Bytes>,
    /// Whether that is a strategic one, which merges lists by the keys of their elements.
    pub strategic: bool,
    /// The store's revision when it left.
    pub floor: u64,
    /// When it left.
    pub at: Duration,
}

/// An answer as the server gives it.
#[derive(Debug, Clone, Default)]
pub struct Answered {
    /// Which time that a request was carried out this answers.
    pub execution: u64,
    /// The HTTP status.
    pub status: u16,
    /// The revision that the answer's metadata shows, of a success.
    pub revision: Option<u64>,
    /// The object's name, of a success.
    pub name: String,
    /// The objects that a list shows.
    pub items: Option<Vec<Entry>>,
    /// The token by which the next page of a list is asked for; none if there is no more.
    pub next: Option<String>,
    /// The answer itself; empty for a stream.
    pub body: Bytes,
    /// Whether it is an error that a fault put in the place of the server's own answer.
    pub by_fault: bool,
    /// How far the store was compacted when it was given; none if the store did not run.
    pub compacted: Option<u64>,
}

impl Answered {
    /// The uid of the object that the answer shows, or that its status is about.
    pub fn uid(&self) -> Option<String> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Uid {
            uid: String,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Told {
            metadata: Uid,
            details: Uid,
        }
        let told: Told = serde_json::from_slice(&self.body).ok()?;
        [told.metadata.uid, told.details.uid]
            .into_iter()
            .find(|uid| !uid.is_empty())
    }

    /// Whether the answer has this word in it.
    pub fn says(&self, word: &str) -> bool {
        self.body.windows(word.len()).any(|part| part == word.as_bytes())
    }
}

/// An object as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The revision of its last write.
    pub revision: u64,
}

/// What a list or a watch selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The resource, with its group.
    pub resource: Arc<str>,
    /// Only this namespace, unless empty.
    pub namespace: String,
    /// Only objects with these labels.
    pub labels: Option<labels::Selector>,
    /// Only objects with these fields.
    pub fields: Option<fields::Selector>,
}

impl Selection {
    /// Whether the model knows all the fields it selects by.
    pub fn is_understood(&self) -> bool {
        const ALL: [&str; 2] = ["metadata.name", "metadata.namespace"];
        const PODS: [&str; 4] = [
            "spec.nodeName",
            "status.phase",
            "spec.schedulerName",
            "spec.serviceAccountName",
        ];
        let known = |path: &str| ALL.contains(&path) || (&*self.resource == "pods" && PODS.contains(&path));
        self.fields.iter().flat_map(|fields| fields.paths()).all(known)
    }

    /// Whether `item` is selected.
    pub fn matches(&self, item: &Item) -> bool {
        (self.namespace.is_empty() || self.namespace == item.id.namespace)
            && self
                .fields
                .as_ref()
                .is_none_or(|fields| fields.matches(|path| item.field(path)))
            && self.labels.as_ref().is_none_or(|labels| selects(labels, item))
    }

    /// What a watch must show of `change`, if anything.
    pub fn shows(&self, change: &Change) -> Option<WatchEventKind> {
        let before = change.before.as_ref().is_some_and(|item| self.matches(item));
        let after = change.after.as_ref().is_some_and(|item| self.matches(item));
        match (before, after) {
            (false, true) => Some(WatchEventKind::Added),
            (true, true) => Some(WatchEventKind::Modified),
            (true, false) => Some(WatchEventKind::Deleted),
            (false, false) => None,
        }
    }
}

/// Whether a selector selects `item`: judged by Kubernetes' documentation of label selectors, and not by what the
/// components use.
pub fn selects(selector: &labels::Selector, item: &Item) -> bool {
    !selector.is_nothing()
        && selector
            .requirements()
            .iter()
            .all(|one| meets(one, item.label(one.key())))
}

fn meets(requirement: &labels::Requirement, label: Option<&str>) -> bool {
    use labels::Operator;
    let is_named = || requirement.values().any(|value| Some(value) == label);
    let integers = || -> Option<(i64, i64)> {
        let bound = requirement.values().next()?;
        Some((label?.parse().ok()?, bound.parse().ok()?))
    };
    match requirement.operator() {
        Operator::In | Operator::Equals | Operator::DoubleEquals => is_named(),
        Operator::NotIn | Operator::NotEquals => !is_named(),
        Operator::Exists => label.is_some(),
        Operator::DoesNotExist => label.is_none(),
        Operator::GreaterThan => integers().is_some_and(|(label, bound)| label > bound),
        Operator::LessThan => integers().is_some_and(|(label, bound)| label < bound),
    }
}

/// What a line of a watch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchEventKind {
    /// New, or matching now.
    Added,
    /// Changed.
    Modified,
    /// Gone, or matching no more.
    Deleted,
    /// Nothing more up to this revision.
    Bookmark,
    /// The watch ends with an error.
    Error,
}

/// Who calls a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A pod of this address.
    Pod(Ipv4Addr),
    /// A process of the node.
    Node,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// It goes to this address.
    Arrives {
        /// Whose.
        at: SocketAddrV4,
        /// Whether who is called sees the node as the caller.
        masqueraded: bool,
    },
    /// It is refused, and the caller told.
    Refused,
    /// Nobody hears of it.
    Lost,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Seen<'a> {
    /// A write is durable.
    Change(&'a Arc<Change>),
    /// The store was opened again: at which revision, and how it differs from what it had acknowledged.
    Reopened {
        /// The revision it came back with.
        revision: u64,
        /// What is not as it was acknowledged.
        differences: &'a [String],
    },
    /// A request left its client.
    Asked(&'a Asked),
    /// A server begins to carry a request out that is no mere read.
    Begun {
        /// A number of its own: a request may be carried out more than once.
        execution: u64,
        /// The request.
        asked: &'a Asked,
    },
    /// A server died over a request that was begun.
    Lost {
        /// Its number.
        execution: u64,
    },
    /// The server answered.
    Answered(&'a Asked, &'a Answered),
    /// A watch began.
    WatchOpened {
        /// A number of its own.
        stream: u64,
        /// Whose it is.
        client: &'a str,
        /// What it selects.
        selection: &'a Selection,
        /// After which revision; none when it begins with the state.
        from: Option<u64>,
        /// When its request left.
        asked: Duration,
    },
    /// A watch said something.
    Watched {
        /// The watch.
        stream: u64,
        /// What.
        kind: WatchEventKind,
        /// The revision it shows.
        revision: u64,
        /// The object's namespace.
        namespace: &'a str,
        /// The object's name.
        name: &'a str,
    },
    /// What a watch had said has arrived at its client.
    Delivered {
        /// The watch.
        stream: u64,
        /// How many of its events in all.
        events: u64,
    },
    /// A process starts, knowing nothing.
    Started {
        /// Its name.
        process: &'a str,
    },
    /// A component that works alone, or leads its twins, takes up its work, knowing nothing. One that has lost its
    /// lease and holds it again does so, too.
    Leads {
        /// The process's name.
        process: &'a str,
    },
    /// A client of a UDP service has sent a packet.
    Flow {
        /// Where the client is.
        machine: &'a str,
        /// The service.
        service: &'a ObjectId,
        /// The service's address, or the node's with the port that the service has there.
        sent_to: SocketAddrV4,
        /// Where the packet went, if anywhere; where it was sent when nobody translated it.
        goes_to: Option<SocketAddrV4>,
    },
    /// A client of a service has opened a connection.
    Connected {
        /// Where the client is.
        machine: &'a str,
        /// The service.
        service: &'a ObjectId,
        /// Where it goes, if anywhere.
        goes_to: Option<SocketAddrV4>,
    },
    /// Somebody has called a port of a service: a pod, or a node at its node port.
    Called {
        /// The node whose rules led the call.
        machine: &'a str,
        /// The service.
        service: &'a ObjectId,
        /// The port's name; empty if it has none.
        port: &'a str,
        /// Who calls.
        caller: Caller,
        /// Whether the call is to the port on the node, and not to the service's own address.
        at_node_port: bool,
        /// What became of it.
        call: Call,
    },
    /// A watch is over.
    WatchClosed {
        /// The watch.
        stream: u64,
    },
    /// A sandbox is up.
    SandboxReady {
        /// Where.
        machine: &'a str,
        /// Of which pod.
        pod_uid: &'a str,
        /// The sandbox.
        sandbox: &'a str,
        /// Its address.
        ip: Option<IpAddr>,
    },
    /// A sandbox is no more.
    SandboxGone {
        /// The sandbox.
        sandbox: &'a str,
    },
    /// A container runs.
    ContainerStarted {
        /// Where.
        machine: &'a str,
        /// Of which pod.
        pod_uid: &'a str,
        /// In which sandbox.
        sandbox: &'a str,
        /// Its id.
        container: &'a str,
        /// Its name in the pod.
        name: &'a str,
        /// Its image, as the kubelet asked for it: the pod's may be another by now.
        image: &'a str,
        /// After how long it answers.
        answers: Duration,
        /// When the kubelet asked for it: a runtime that hangs carries it out later.
        asked: Duration,
    },
    /// A kubelet asks for the end of a container that runs.
    ContainerStopping {
        /// Where.
        machine: &'a str,
        /// Of which pod.
        pod_uid: &'a str,
        /// Its id.
        container: &'a str,
        /// How long it is left to end by itself.
        grace: Duration,
    },
    /// A kubelet asks for a command to be run in a container, as a hook or a probe wants it. The runtime may be in no
    /// state to do so.
    CommandAsked {
        /// Where.
        machine: &'a str,
        /// The container's id.
        container: &'a str,
        /// The command.
        command: &'a [String],
        /// How long it may take.
        timeout: Duration,
    },
    /// A kubelet that has waited for it hears what came of a command.
    CommandAnswered {
        /// The container's id.
        container: &'a str,
        /// The command.
        command: &'a [String],
        /// Its exit code; none if the runtime could not run it.
        code: Option<i32>,
    },
    /// A container that runs answers nobody from now on, or answers again.
    ContainerSilent {
        /// Its id.
        container: &'a str,
        /// Whether it is silent.
        silent: bool,
    },
    /// A container has ended.
    ContainerEnded {
        /// Its id.
        container: &'a str,
        /// Its exit code.
        code: i32,
    },
    /// The runtime no longer knows of a container: nobody can see any more that it was.
    ContainerRemoved {
        /// Its id.
        container: &'a str,
    },
}
