//! `disk`: the control plane's disk, the only one there is, is slow, full, failing, or reads wrong.

use std::fmt;

use serde::Deserialize;

use super::{Words, some_time, some_times};
use crate::scenario::between::Between;
use crate::scenario::quantity::Span;
use crate::scenario::simpler::{fewer, shorter};
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// What is wrong with the control plane's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "DiskWire")]
pub enum DiskSpec {
    /// Appends, syncs and renames take longer.
    Slow {
        /// By how much.
        by: Span,
        /// For how long.
        lasts: Span,
    },
    /// There is little room left: what does not fit is cut off, and the append fails.
    Full {
        /// How many bytes still fit.
        room: Between<u32>,
        /// For how long.
        lasts: Span,
    },
    /// The next operations of a kind fail.
    Fails {
        /// Which.
        operation: DiskOperation,
        /// How many.
        times: u32,
    },
    /// A bit is wrong in the next files that are read; on the medium it is right.
    Misreads {
        /// In how many.
        times: u32,
    },
    /// A bit of each file is wrong on the medium, until somebody puts it right.
    Rots {
        /// For how long.
        lasts: Span,
    },
}

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskOperation {
    /// An append: nothing is written.
    Append,
    /// A sync: what it was to write may never reach the medium, though the system goes on showing it.
    Sync,
    /// A rename: it may have happened.
    Rename,
    /// A read.
    Read,
}

impl DiskOperation {
    /// All of them.
    pub const ALL: [DiskOperation; 4] = [
        DiskOperation::Append,
        DiskOperation::Sync,
        DiskOperation::Rename,
        DiskOperation::Read,
    ];
}

impl fmt::Display for DiskOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DiskOperation::Append => "append",
            DiskOperation::Sync => "sync",
            DiskOperation::Rename => "rename",
            DiskOperation::Read => "read",
        })
    }
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Flips {
    /// In what is read.
    Reads,
    /// On the medium.
    Medium,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskWire {
    slow: Option<Span>,
    room: Option<Between<u32>>,
    fails: Option<DiskOperation>,
    flips: Option<Flips>,
    times: Option<u32>,
    #[serde(rename = "for")]
    lasts: Option<Span>,
}

impl TryFrom<DiskWire> for DiskSpec {
    type Error = String;

    fn try_from(wire: DiskWire) -> Result<Self, String> {
        let counted = wire.fails.is_some() || wire.flips == Some(Flips::Reads);
        if counted && wire.lasts.is_some() {
            return Err("what fails, and reads that flip, are counted by `times` and have no `for`".to_owned());
        }
        if !counted && wire.times.is_some() {
            return Err("only what fails, and reads that flip, are counted by `times`".to_owned());
        }
        let times = wire.times.unwrap_or(1);
        if times == 0 {
            return Err("`times` must be at least 1".to_owned());
        }
        let lasts = wire.lasts.unwrap_or_else(some_time);
        let mut troubles = Vec::new();
        troubles.extend(wire.slow.map(|by| DiskSpec::Slow { by, lasts }));
        troubles.extend(wire.room.map(|room| DiskSpec::Full { room, lasts }));
        troubles.extend(wire.fails.map(|operation| DiskSpec::Fails { operation, times }));
        troubles.extend(wire.flips.map(|flips| match flips {
            Flips::Reads => DiskSpec::Misreads { times },
            Flips::Medium => DiskSpec::Rots { lasts },
        }));
        match troubles.as_slice() {
            [one] => Ok(*one),
            _ => Err("say one thing that is wrong with the disk: `slow`, `room`, `fails` or `flips`".to_owned()),
        }
    }
}

impl DiskSpec {
    fn lasting(self, lasts: Span) -> Self {
        match self {
            DiskSpec::Slow { by, .. } => DiskSpec::Slow { by, lasts },
            DiskSpec::Full { room, .. } => DiskSpec::Full { room, lasts },
            DiskSpec::Rots { .. } => DiskSpec::Rots { lasts },
            DiskSpec::Fails { .. } | DiskSpec::Misreads { .. } => self,
        }
    }
}

impl Words for DiskSpec {
    fn write(&self) -> Yaml {
        let keys = Keys::default();
        let counted = |keys: Keys, times: &u32| keys.unless(*times == 1, "times", || Yaml::plain(times));
        let keys = match self {
            DiskSpec::Slow { by, lasts } => some_times(keys.with("slow", Yaml::plain(by)), lasts),
            DiskSpec::Full { room, lasts } => some_times(keys.with("room", Yaml::plain(room)), lasts),
            DiskSpec::Fails { operation, times } => counted(keys.with("fails", Yaml::plain(operation)), times),
            DiskSpec::Misreads { times } => counted(keys.with("flips", Yaml::plain("reads")), times),
            DiskSpec::Rots { lasts } => some_times(keys.with("flips", Yaml::plain("medium")), lasts),
        };
        keys.map()
    }

    fn describe(&self) -> String {
        match self {
            DiskSpec::Slow { .. } => "slow disk".to_owned(),
            DiskSpec::Full { .. } => "full disk".to_owned(),
            DiskSpec::Fails { operation, .. } => format!("failing {operation}s of the disk"),
            DiskSpec::Misreads { .. } => "misreading disk".to_owned(),
            DiskSpec::Rots { .. } => "rotten disk".to_owned(),
        }
    }

    fn simpler(&self) -> Vec<Self> {
        let mut simpler = Vec::new();
        match *self {
            DiskSpec::Slow { by, lasts } => simpler.extend(shorter(&by).map(|by| DiskSpec::Slow { by, lasts })),
            // Nothing is easier to understand than no room at all.
            DiskSpec::Full { room, lasts } if room != 0.into() => {
                simpler.push(DiskSpec::Full { room: 0.into(), lasts })
            }
            DiskSpec::Fails { operation, times } => {
                simpler.extend(fewer(times).map(|times| DiskSpec::Fails { operation, times }));
            }
            DiskSpec::Misreads { times } => simpler.extend(fewer(times).map(|times| DiskSpec::Misreads { times })),
            DiskSpec::Full { .. } | DiskSpec::Rots { .. } => {}
        }
        let mut own = *self;
        if let Some(lasts) = own.lasts().copied() {
            simpler.extend(shorter(&lasts).map(|lasts| self.lasting(lasts)));
        }
        simpler
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        match self {
            DiskSpec::Slow { lasts, .. } | DiskSpec::Full { lasts, .. } | DiskSpec::Rots { lasts } => Some(lasts),
            DiskSpec::Fails { .. } | DiskSpec::Misreads { .. } => None,
        }
    }
}
