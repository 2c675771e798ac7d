//! Machines that are cut off: `partition`.

use serde::Deserialize;

use super::{Words, some_time, some_times};
use crate::scenario::quantity::Span;
use crate::scenario::simpler::shorter;
use crate::scenario::target::{NodeTarget, Whom};
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// Which machine is cut off, in which direction, for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionSpec {
    /// The machine.
    pub node: NodeTarget,
    /// What is cut.
    #[serde(default)]
    pub direction: Direction,
    /// For how long.
    #[serde(rename = "for", default = "some_time")]
    pub lasts: Span,
}

/// What a partition cuts, as the machine sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// What others send it.
    In,
    /// What it sends.
    Out,
}

impl Words for PartitionSpec {
    fn write(&self) -> Yaml {
        let PartitionSpec { node, direction, lasts } = self;
        let word = || {
            Yaml::plain(match direction {
                Direction::Both => "both",
                Direction::In => "in",
                Direction::Out => "out",
            })
        };
        let keys = Keys::default().with("node", Yaml::text_of(node)).unless(
            *direction == Direction::default(),
            "direction",
            word,
        );
        some_times(keys, lasts).map()
    }

    fn describe(&self) -> String {
        format!("partition of {}", self.node)
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(Some(&self.node), None)
    }

    fn simpler(&self) -> Vec<Self> {
        let both = (self.direction != Direction::Both).then(|| PartitionSpec {
            direction: Direction::Both,
            ..self.clone()
        });
        let shorter = shorter(&self.lasts).map(|lasts| PartitionSpec { lasts, ..self.clone() });
        both.into_iter().chain(shorter).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        Some(&mut self.lasts)
    }
}
