//! Tracked flows that do not go: `flows`.

use serde::Deserialize;

use super::{Words, some_time, some_times};
use crate::scenario::quantity::Span;
use crate::scenario::simpler::shorter;
use crate::scenario::target::{NodeTarget, Whom};
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// On which node tracked flows linger, for how long, and how many requests to forget some fail.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowsSpec {
    /// The node.
    pub node: NodeTarget,
    /// How many of the next requests to forget flows fail.
    #[serde(default = "few")]
    pub times: u32,
    /// For how long no flow ends by itself.
    #[serde(rename = "for", default = "some_time")]
    pub lasts: Span,
}

fn few() -> u32 {
    3
}

impl Words for FlowsSpec {
    fn write(&self) -> Yaml {
        let FlowsSpec { node, times, lasts } = self;
        let keys = Keys::default()
            .with("node", Yaml::text_of(node))
            .unless(*times == few(), "times", || Yaml::plain(times));
        some_times(keys, lasts).map()
    }

    fn describe(&self) -> String {
        format!("lingering flows of {}", self.node)
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(Some(&self.node), None)
    }

    fn simpler(&self) -> Vec<Self> {
        let fewer = [0, 1].into_iter().filter(|times| *times < self.times);
        let fewer = fewer.map(|times| FlowsSpec { times, ..self.clone() });
        let shorter = shorter(&self.lasts).map(|lasts| FlowsSpec { lasts, ..self.clone() });
        fewer.chain(shorter).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        Some(&mut self.lasts)
    }
}
