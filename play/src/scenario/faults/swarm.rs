//! Faults that the seed draws: `swarm: all`, or of some kinds: `swarm: [crash, partition]`.

use serde::Deserialize;

use super::{Moment, Words};
use crate::scenario::simpler::without_one;
use crate::scenario::write::words;
use crate::scenario::yaml::Yaml;

/// The list of the kinds that a swarm draws.
macro_rules! kinds {
    ($($(#[$about:meta])* $kind:ident = $word:literal;)*) => {
        /// A kind of fault that the swarm draws.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        pub enum FaultKind {
            $($(#[$about])* #[serde(rename = $word)] $kind,)*
        }

        impl FaultKind {
            /// Every kind.
            pub const ALL: &[FaultKind] = &[$(FaultKind::$kind),*];

            /// Its word in scenarios.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(FaultKind::$kind => $word,)*
                }
            }
        }
    };
}

kinds! {
    /// See [`FaultAction::Crash`](super::FaultAction::Crash).
    Crash = "crash";
    /// See [`FaultAction::Restart`](super::FaultAction::Restart).
    Restart = "restart";
    /// See [`FaultAction::Pause`](super::FaultAction::Pause).
    Pause = "pause";
    /// See [`FaultAction::Partition`](super::FaultAction::Partition).
    Partition = "partition";
    /// See [`FaultAction::LostAnswers`](super::FaultAction::LostAnswers).
    LostAnswers = "lost-answers";
    /// See [`FaultAction::ApiLag`](super::FaultAction::ApiLag); only where there are several API servers.
    ApiLag = "api-lag";
    /// See [`FaultAction::Lag`](super::FaultAction::Lag).
    Lag = "lag";
    /// See [`FaultAction::SlowLink`](super::FaultAction::SlowLink).
    SlowLink = "slow-link";
    /// See [`FaultAction::Loss`](super::FaultAction::Loss).
    Loss = "loss";
    /// See [`FaultAction::Reset`](super::FaultAction::Reset).
    Reset = "reset";
    /// See [`FaultAction::Duplicate`](super::FaultAction::Duplicate).
    Duplicate = "duplicate";
    /// See [`FaultAction::ApiErrors`](super::FaultAction::ApiErrors).
    ApiErrors = "api-errors";
    /// See [`FaultAction::DropWatches`](super::FaultAction::DropWatches).
    DropWatches = "drop-watches";
    /// See [`FaultAction::SlowReader`](super::FaultAction::SlowReader).
    SlowReader = "slow-reader";
    /// See [`FaultAction::Disk`](super::FaultAction::Disk).
    Disk = "disk";
    /// See [`FaultAction::Clock`](super::FaultAction::Clock).
    Clock = "clock";
    /// See [`FaultAction::Compact`](super::FaultAction::Compact).
    Compact = "compact";
    /// See [`FaultAction::Packets`](super::FaultAction::Packets).
    Packets = "packets";
    /// See [`FaultAction::Flows`](super::FaultAction::Flows).
    Flows = "flows";
    /// See [`FaultAction::HandOver`](super::FaultAction::HandOver); only where there are twins.
    HandOver = "hand-over";
    /// See [`FaultAction::Containers`](super::FaultAction::Containers).
    Containers = "containers";
    /// See [`FaultAction::Runtime`](super::FaultAction::Runtime).
    Runtime = "runtime";
    /// See [`FaultAction::Nodes`](super::FaultAction::Nodes).
    Nodes = "nodes";
}

/// Which kinds a swarm draws from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "SwarmWire")]
pub struct SwarmSpec {
    /// The kinds.
    pub kinds: Vec<FaultKind>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`all`, or a list of kinds of faults")]
enum SwarmWire {
    Word(String),
    Kinds(Vec<String>),
}

impl TryFrom<SwarmWire> for SwarmSpec {
    type Error = String;

    fn try_from(wire: SwarmWire) -> Result<Self, String> {
        let kinds = match wire {
            SwarmWire::Word(word) if word == "all" => FaultKind::ALL.to_vec(),
            SwarmWire::Word(word) => return Err(format!("{word:?} is no swarm: write `all`, or a list of kinds")),
            SwarmWire::Kinds(words) => words.iter().map(|word| kind(word)).collect::<Result<_, _>>()?,
        };
        Ok(SwarmSpec { kinds })
    }
}

/// The kind of this word. The error is worded as serde words it, so that it gets its place and the nearest word.
fn kind(word: &str) -> Result<FaultKind, String> {
    let found = FaultKind::ALL.iter().find(|kind| kind.as_str() == word);
    found.copied().ok_or_else(|| {
        let known: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("unknown variant `{word}`, expected one of `{}`", known.join("`, `"))
    })
}

impl Words for SwarmSpec {
    fn write(&self) -> Yaml {
        let SwarmSpec { kinds } = self;
        if kinds == FaultKind::ALL {
            return Yaml::plain("all");
        }
        words(kinds, |kind| Yaml::plain(kind.as_str()))
    }

    fn describe(&self) -> String {
        "swarm".to_owned()
    }

    fn check_moment(&self, moment: &Moment) -> Result<(), String> {
        match moment {
            Moment::Between(_) => Ok(()),
            _ => Err("a swarm needs `between`: how long it may strike".to_owned()),
        }
    }

    fn simpler(&self) -> Vec<Self> {
        let fewer = without_one(&self.kinds).into_iter();
        fewer.map(|kinds| SwarmSpec { kinds }).collect()
    }
}
