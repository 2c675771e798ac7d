//! Nodes that come and go: `nodes`.

use serde::Deserialize;

use super::{Words, some_time, some_times};
use crate::scenario::quantity::Span;
use crate::scenario::simpler::shorter;
use crate::scenario::target::{NodeTarget, Whom};
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// What happens to a node, for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodesSpec {
    /// The node.
    pub node: NodeTarget,
    /// What happens.
    pub trouble: NodeTrouble,
    /// For how long, unless it is over at once.
    #[serde(rename = "for", default = "some_time")]
    pub lasts: Span,
}

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeTrouble {
    /// An operator deletes the Node object while the machine lives.
    Delete,
    /// The machine is lost, its Node object deleted, and a new machine of the same name comes.
    Replace,
    /// The machine is lost, and comes back with nothing on it under the Node object that it had.
    Wipe,
    /// The kubelet stands still again and again, longer than a node may be silent.
    Flap,
    /// An operator drains the node, and allows pods again in the end.
    Drain,
    /// The machine is short of memory.
    MemoryPressure,
    /// The machine is short of room on its disk.
    DiskPressure,
}

impl NodeTrouble {
    /// Everything that can happen.
    pub const ALL: [NodeTrouble; 7] = [
        NodeTrouble::Delete,
        NodeTrouble::Replace,
        NodeTrouble::Wipe,
        NodeTrouble::Flap,
        NodeTrouble::Drain,
        NodeTrouble::MemoryPressure,
        NodeTrouble::DiskPressure,
    ];

    fn as_str(self) -> &'static str {
        match self {
            NodeTrouble::Delete => "delete",
            NodeTrouble::Replace => "replace",
            NodeTrouble::Wipe => "wipe",
            NodeTrouble::Flap => "flap",
            NodeTrouble::Drain => "drain",
            NodeTrouble::MemoryPressure => "memory-pressure",
            NodeTrouble::DiskPressure => "disk-pressure",
        }
    }

    /// Whether it is over at once.
    pub fn is_a_moment(self) -> bool {
        self == NodeTrouble::Delete
    }
}

impl NodesSpec {
    /// That happens to `node`; what is over at once has no length.
    pub fn new(node: NodeTarget, trouble: NodeTrouble, lasts: Span) -> Self {
        NodesSpec {
            node,
            trouble,
            lasts: if trouble.is_a_moment() { some_time() } else { lasts },
        }
    }
}

impl Words for NodesSpec {
    fn write(&self) -> Yaml {
        let NodesSpec { node, trouble, lasts } = self;
        let keys = Keys::default()
            .with("node", Yaml::text_of(node))
            .with("trouble", Yaml::plain(trouble.as_str()));
        some_times(keys, lasts).map()
    }

    fn describe(&self) -> String {
        format!("node {}: {}", self.node, self.trouble.as_str())
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(Some(&self.node), None)
    }

    fn check(&self) -> Result<(), String> {
        if self.trouble.is_a_moment() && self.lasts != some_time() {
            return Err("delete is over at once: leave `for` out".to_owned());
        }
        Ok(())
    }

    fn simpler(&self) -> Vec<Self> {
        let kept = (self.trouble == NodeTrouble::Replace).then(|| NodesSpec {
            trouble: NodeTrouble::Wipe,
            ..self.clone()
        });
        let lasts = (!self.trouble.is_a_moment()).then(|| shorter(&self.lasts));
        let shorter = lasts.into_iter().flatten();
        let shorter = shorter.map(|lasts| NodesSpec { lasts, ..self.clone() });
        kept.into_iter().chain(shorter).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        (!self.trouble.is_a_moment()).then_some(&mut self.lasts)
    }
}
