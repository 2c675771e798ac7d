//! Packet rules that cannot be changed: `packets`.

use serde::Deserialize;

use super::Words;
use crate::scenario::target::{NodeTarget, Whom};
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// On which node changes of the packet rules fail, and how many.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketsSpec {
    /// The node.
    pub node: NodeTarget,
    /// How many of the next changes.
    #[serde(default = "few")]
    pub times: u32,
    /// Whether the first of them is applied by half, and which half; drawn if none.
    #[serde(default)]
    pub half: Option<HalfApplied>,
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

impl Words for PacketsSpec {
    fn write(&self) -> Yaml {
        let PacketsSpec { node, times, half } = self;
        let word = |half: &HalfApplied| {
            Yaml::plain(match half {
                HalfApplied::None => "none",
                HalfApplied::Nat => "nat",
                HalfApplied::Filter => "filter",
            })
        };
        Keys::default()
            .with("node", Yaml::text_of(node))
            .unless(*times == few(), "times", || Yaml::plain(times))
            .some("half", half.as_ref(), word)
            .map()
    }

    fn describe(&self) -> String {
        format!("failing rules of {}", self.node)
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(Some(&self.node), None)
    }

    fn simpler(&self) -> Vec<Self> {
        let once = (self.times > 1).then(|| PacketsSpec {
            times: 1,
            ..self.clone()
        });
        let whole = (self.half != Some(HalfApplied::None)).then(|| PacketsSpec {
            half: Some(HalfApplied::None),
            ..self.clone()
        });
        once.into_iter().chain(whole).collect()
    }
}
