//! A recording of a run: what happened, in order and in a form that programs can walk through.
//!
//! A [`trace`](crate::trace) tells runs apart; a recording lets one be explained. It holds every write of the store
//! with the object's whole state, every request with its answer, every watch event when its client was *shown* it,
//! faults with their begin and end, what became of processes, machines, sandboxes and containers, what components said,
//! and what was found broken. Nobody records unless asked to ([`Recorder`] is off by default and then costs a
//! comparison), and recording changes nothing: the trace's hash is the same with and without.
//!
//! What happens inside of a component (its queues, what it compares) is not seen. A decision is seen as the request
//! that it leads to. [`Index`] answers questions about a recording.

mod facts;
mod index;
mod recorder;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use facts::Facts;
pub use index::{Fault, Index, Known, Watch, role_of};
pub use orrery_play::fields::{Difference, brief, differences};
pub use recorder::Recorder;

use crate::exit;
use crate::model::{ObjectId, Path};

/// What happened in one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recording {
    /// The scenario's file.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// How it ended.
    pub ending: Ending,
    /// The trace's hash.
    pub hash: String,
    /// How long it took, in simulated time.
    #[serde(with = "nanos")]
    pub lasted: Duration,
    /// What happened, in order.
    pub events: Vec<Event>,
}

impl Recording {
    /// That it is not whole, in words that follow the run's name; none if it is.
    pub fn cut(&self) -> Option<String> {
        let Ending::Endless { seconds } = self.ending else {
            return None;
        };
        let at = self.lasted.as_secs_f64();
        Some(format!(
            "did not end within {seconds} s of real time, and was cut at {at:.6} s of its own"
        ))
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Everything held.
    Held,
    /// An invariant was broken; the events say which.
    Violated,
    /// The cluster did not reach what was asked for.
    NotConverged {
        /// What is missing.
        missing: Vec<String>,
        /// Machines that stayed broken.
        left: Vec<String>,
        /// Whether the scenario names them.
        #[serde(default)]
        named: bool,
    },
    /// A component panicked.
    Panicked {
        /// Which.
        component: String,
        /// What it said, and where.
        message: String,
    },
    /// It did not end: what is recorded is what happened until it was cut.
    Endless {
        /// After so many seconds of real time.
        seconds: u64,
    },
    /// The scenario cannot be played.
    Wrong(String),
}

impl Ending {
    /// The exit code that tells it.
    pub fn code(&self) -> u8 {
        match self {
            Ending::Held => exit::HELD,
            Ending::Violated => exit::VIOLATED,
            Ending::NotConverged { .. } | Ending::Endless { .. } => exit::NOT_CONVERGED,
            Ending::Panicked { .. } => exit::PANICKED,
            Ending::Wrong(_) => exit::WRONG,
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// When, since the beginning.
    #[serde(with = "nanos")]
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum What {
    /// A write of the store is durable.
    Written(Written),
    /// A request left its client.
    Asked(Request),
    /// The server answered; the answer is under way.
    Answered {
        /// Which request.
        request: u64,
        /// The HTTP status.
        status: u16,
        /// The revision that the answer shows, of a success.
        revision: Option<u64>,
    },
    /// The answer reached the client.
    Received {
        /// Which request.
        request: u64,
        /// The HTTP status.
        status: u16,
    },
    /// The client will hear no answer.
    Unanswered {
        /// Which request.
        request: u64,
        /// Why: `answer lost`, `request lost`, `refused`, `reset`.
        why: String,
    },
    /// A watch began.
    WatchOpened {
        /// A number of its own.
        stream: u64,
        /// Whose it is.
        client: String,
        /// The resource, with its group.
        resource: String,
        /// Only this namespace, unless empty.
        namespace: String,
        /// After which revision; none when it begins with the state.
        from: Option<u64>,
    },
    /// A client was shown a line of a watch.
    Shown {
        /// Which watch.
        stream: u64,
        /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
        kind: String,
        /// The revision it shows.
        revision: u64,
        /// The object's namespace.
        namespace: String,
        /// The object's name; empty for a bookmark.
        name: String,
    },
    /// A watch is over.
    WatchClosed {
        /// Which.
        stream: u64,
    },
    /// A process started, was killed, stands still or goes on.
    Process {
        /// Which.
        name: String,
        /// Where it runs.
        machine: String,
        /// What became of it.
        state: ProcessState,
    },
    /// A machine lost or got power.
    Power {
        /// Which.
        machine: String,
        /// Whether it has power now.
        up: bool,
    },
    /// A fault began to strike.
    FaultBegins {
        /// A number of its own.
        fault: u64,
        /// What the scenario calls it.
        kind: String,
        /// What it does, and to whom.
        text: String,
    },
    /// A fault is over.
    FaultEnds {
        /// Which.
        fault: u64,
    },
    /// The chaos is over.
    Healed {
        /// The machines that stay broken.
        left: Vec<String>,
    },
    /// Something became of a sandbox or container.
    Runtime {
        /// Where.
        machine: String,
        /// Of which pod.
        pod_uid: String,
        /// The sandbox or container.
        id: String,
        /// What became of it.
        state: RuntimeState,
    },
    /// A component, or the simulator, said something.
    Said {
        /// Who.
        actor: String,
        /// What.
        text: String,
    },
    /// An invariant was broken; the event before this one shows how.
    Broken {
        /// Its id.
        invariant: String,
        /// What it says.
        statement: String,
        /// What is wrong, with uids and revisions.
        message: String,
    },
}

/// A write of the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Written {
    /// The transaction's revision.
    pub revision: u64,
    /// Which object.
    #[serde(with = "object")]
    pub object: ObjectId,
    /// What was done to it.
    pub verb: Verb,
    /// The object as JSON after the write; its last state, if it was deleted.
    pub value: String,
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// The object is new.
    Create,
    /// It changed.
    Update,
    /// It is gone.
    Delete,
}

/// A request as it left its client.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Request {
    /// A number of its own.
    pub number: u64,
    /// Which process asks.
    pub client: String,
    /// The method.
    pub method: String,
    /// The path and the query.
    pub uri: String,
    /// The name in the body of a create.
    pub named: String,
    /// The resourceVersion of the object sent.
    pub base: Option<u64>,
    /// The uid that a delete is conditional on.
    pub uid: Option<String>,
    /// What was sent; not longer than [`recorder::BODY`].
    pub body: String,
}

impl Request {
    /// What its path names, if that is a resource.
    pub fn path(&self) -> Option<Path> {
        Path::parse(self.uri.split('?').next().unwrap_or_default())
    }

    /// The object it is about: named by its path, or by its body; none for collections.
    pub fn object(&self) -> Option<ObjectId> {
        let mut id = self.path()?.id();
        if id.name.is_empty() {
            id.name.clone_from(&self.named);
        }
        Some(id).filter(|id| !id.name.is_empty())
    }

    /// Whether it only reads.
    pub fn is_read(&self) -> bool {
        self.method == "GET"
    }

    /// Whether it asks for a watch.
    pub fn is_watch(&self) -> bool {
        self.uri
            .split(['?', '&'])
            .any(|part| matches!(part, "watch=true" | "watch=1"))
    }
}

/// What became of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessState {
    /// It started for the so many-th time.
    Started(u32),
    /// It was killed.
    Killed,
    /// It stands still.
    Paused,
    /// It goes on.
    Resumed,
}

/// What became of a sandbox or container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeState {
    /// The sandbox is up.
    SandboxUp,
    /// The sandbox is down.
    SandboxDown,
    /// The container of this name runs.
    Started(String),
    /// The kubelet asks for the container's end.
    Stopping,
    /// The container ended.
    Ended,
}

impl fmt::Display for RuntimeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuntimeState::SandboxUp => f.write_str("sandbox is up"),
            RuntimeState::SandboxDown => f.write_str("sandbox is down"),
            RuntimeState::Started(name) => write!(f, "container {name} runs"),
            RuntimeState::Stopping => f.write_str("container is asked to end"),
            RuntimeState::Ended => f.write_str("container ended"),
        }
    }
}

/// Times as nanoseconds.
mod nanos {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(at.as_nanos() as u64)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}

/// Objects as `pods/default/web-1`.
mod object {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::ObjectId;

    pub fn serialize<S: Serializer>(id: &ObjectId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectId, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::object_named(&text).ok_or_else(|| D::Error::custom(format!("{text:?} names no object")))
    }
}

/// Reads `pods/default/web-1` or `nodes/node-1`.
pub fn object_named(text: &str) -> Option<ObjectId> {
    ObjectId::of_key(&format!("/registry/{text}")).filter(|id| !id.name.is_empty())
}
