//! Packet rules that cannot be changed, or only slowly, or that somebody else removes: `packets`.

use serde::Deserialize;

use super::{Words, some_time, some_times};
use crate::scenario::quantity::Span;
use crate::scenario::simpler::shorter;
use crate::scenario::target::{NodeTarget, Whom};
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// On which node something is wrong with the packet rules, and what.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "PacketsWire")]
pub struct PacketsSpec {
    /// The node.
    pub node: NodeTarget,
    /// What is wrong there.
    pub trouble: PacketsTrouble,
}

/// What is wrong with the packet rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketsTrouble {
    /// The next changes of them fail.
    Fails {
        /// How many.
        times: u32,
        /// Whether the first of them is applied by half, and which half; drawn if none.
        half: Option<HalfApplied>,
    },
    /// Changes of them take longer.
    Slow {
        /// By how much.
        by: Span,
        /// For how long.
        lasts: Span,
    },
    /// Somebody else removes them all, once.
    Flushed,
}

/// Which half of a change of the packet rules is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HalfApplied {
    /// Nothing of it.
    None,
    /// The table `nat`.
    Nat,
    /// The table `filter`.
    Filter,
}

/// How many changes of the rules fail if nobody says so.
fn few() -> u32 {
    3
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PacketsWire {
    node: NodeTarget,
    times: Option<u32>,
    half: Option<HalfApplied>,
    slow: Option<Span>,
    #[serde(default)]
    flushed: bool,
    #[serde(rename = "for")]
    lasts: Option<Span>,
}

impl TryFrom<PacketsWire> for PacketsSpec {
    type Error = String;

    fn try_from(wire: PacketsWire) -> Result<Self, String> {
        let counted = wire.times.is_some() || wire.half.is_some();
        if wire.flushed && (counted || wire.slow.is_some() || wire.lasts.is_some()) {
            return Err("rules that are `flushed` are so once, and nothing else is wrong with them".to_owned());
        }
        let trouble = match wire.slow {
            None if wire.flushed => PacketsTrouble::Flushed,
            Some(_) if counted => return Err("rules are `slow` for a time, or fail so many `times`".to_owned()),
            Some(by) => PacketsTrouble::Slow {
                by,
                lasts: wire.lasts.unwrap_or_else(some_time),
            },
            None if wire.lasts.is_some() => {
                return Err("rules that fail are counted by `times` and have no `for`".to_owned());
            }
            None => PacketsTrouble::Fails {
                times: wire.times.unwrap_or_else(few),
                half: wire.half,
            },
        };
        Ok(PacketsSpec {
            node: wire.node,
            trouble,
        })
    }
}

impl PacketsSpec {
    fn with(&self, trouble: PacketsTrouble) -> Self {
        PacketsSpec {
            node: self.node.clone(),
            trouble,
        }
    }
}

impl Words for PacketsSpec {
    fn write(&self) -> Yaml {
        let PacketsSpec { node, trouble } = self;
        let word = |half: &HalfApplied| {
            Yaml::plain(match half {
                HalfApplied::None => "none",
                HalfApplied::Nat => "nat",
                HalfApplied::Filter => "filter",
            })
        };
        let keys = Keys::default().with("node", Yaml::text_of(node));
        match trouble {
            PacketsTrouble::Fails { times, half } => keys
                .unless(*times == few(), "times", || Yaml::plain(times))
                .some("half", half.as_ref(), word)
                .map(),
            PacketsTrouble::Slow { by, lasts } => some_times(keys.with("slow", Yaml::plain(by)), lasts).map(),
            PacketsTrouble::Flushed => keys.with("flushed", Yaml::plain(true)).map(),
        }
    }

    fn describe(&self) -> String {
        match self.trouble {
            PacketsTrouble::Fails { .. } => format!("failing rules of {}", self.node),
            PacketsTrouble::Slow { .. } => format!("slow rules of {}", self.node),
            PacketsTrouble::Flushed => format!("flushed rules of {}", self.node),
        }
    }

    fn check(&self) -> Result<(), String> {
        match self.trouble {
            PacketsTrouble::Fails { times: 0, .. } => Err("`times` is how many changes fail: at least 1".to_owned()),
            _ => Ok(()),
        }
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(Some(&self.node), None)
    }

    fn simpler(&self) -> Vec<Self> {
        let simpler: Vec<PacketsTrouble> = match self.trouble {
            PacketsTrouble::Fails { times, half } => {
                let once = (times > 1).then_some(PacketsTrouble::Fails { times: 1, half });
                let whole = (half != Some(HalfApplied::None)).then_some(PacketsTrouble::Fails {
                    times,
                    half: Some(HalfApplied::None),
                });
                once.into_iter().chain(whole).collect()
            }
            PacketsTrouble::Slow { by, lasts } => {
                let plain = (by.low != by.high).then(|| Span::from(by.high));
                let quicker = plain.into_iter().map(|by| PacketsTrouble::Slow { by, lasts });
                quicker
                    .chain(shorter(&lasts).map(|lasts| PacketsTrouble::Slow { by, lasts }))
                    .collect()
            }
            PacketsTrouble::Flushed => Vec::new(),
        };
        simpler.into_iter().map(|trouble| self.with(trouble)).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        match &mut self.trouble {
            PacketsTrouble::Fails { .. } | PacketsTrouble::Flushed => None,
            PacketsTrouble::Slow { lasts, .. } => Some(lasts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_slow_for_a_time_or_fail_so_many_times_or_are_flushed_once() {
        let read = |text: &str| serde_yaml::from_str::<PacketsSpec>(text).map_err(|error| error.to_string());
        let fails = |times, half| PacketsTrouble::Fails { times, half };
        assert_eq!(read("{ node: any }").unwrap().trouble, fails(few(), None));
        let half = read("{ node: any, times: 1, half: nat }").unwrap();
        assert_eq!(half.trouble, fails(1, Some(HalfApplied::Nat)));
        let slow = read("{ node: any, slow: 100ms..2s, for: 20s }").unwrap();
        let expected = PacketsTrouble::Slow {
            by: Span::millis(100, 2000),
            lasts: Span::seconds(20, 20),
        };
        assert_eq!(slow.trouble, expected);
        assert_eq!(
            read("{ node: any, flushed: true }").unwrap().trouble,
            PacketsTrouble::Flushed
        );
        assert!(read("{ node: any, flushed: true, times: 2 }").is_err());
        for wrong in ["{ node: any, slow: 1s, times: 2 }", "{ node: any, times: 2, for: 1s }"] {
            assert!(read(wrong).unwrap_err().contains("`times`"), "{wrong}");
        }
    }
}
