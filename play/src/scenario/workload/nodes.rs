//! Nodes: `cordon`, `uncordon`, `drain`, `taint`, `untaint`.

use serde::Deserialize;

use super::Words;
use crate::scenario::quantity::Span;
use crate::scenario::simpler::shorter;
use crate::scenario::target::{NodeTarget, Whom};
use crate::scenario::values::check_taint;
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// Which node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CordonSpec {
    /// The node.
    pub node: NodeTarget,
}

impl Words for CordonSpec {
    fn write(&self) -> Yaml {
        let CordonSpec { node } = self;
        Yaml::one("node", Yaml::text_of(node))
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(Some(&self.node), None)
    }
}

/// Which node is drained, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainSpec {
    /// The node.
    pub node: NodeTarget,
    /// How long the user waits for the pods to be gone before he gives up.
    #[serde(default = "patience")]
    pub timeout: Span,
    /// Whether pods that no controller makes anew are evicted, too.
    #[serde(default)]
    pub force: bool,
}

fn patience() -> Span {
    Span::seconds(60, 60)
}

impl DrainSpec {
    /// A drain with what is usual.
    pub fn of(node: NodeTarget) -> Self {
        DrainSpec {
            node,
            timeout: patience(),
            force: false,
        }
    }
}

impl Words for DrainSpec {
    fn write(&self) -> Yaml {
        let DrainSpec { node, timeout, force } = self;
        Keys::default()
            .with("node", Yaml::text_of(node))
            .unless(*timeout == patience(), "timeout", || Yaml::plain(timeout))
            .unless(!*force, "force", || Yaml::plain(force))
            .map()
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(Some(&self.node), None)
    }

    fn simpler(&self) -> Vec<Self> {
        let plain = self.force.then(|| DrainSpec {
            force: false,
            ..self.clone()
        });
        let shorter = shorter(&self.timeout).map(|timeout| DrainSpec {
            timeout,
            ..self.clone()
        });
        plain.into_iter().chain(shorter).collect()
    }
}

/// Which taint of which node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaintStep {
    /// The node.
    pub node: NodeTarget,
    /// The taint's key.
    #[serde(default = "key")]
    pub key: String,
    /// Its value.
    #[serde(default)]
    pub value: Option<String>,
    /// Its effect: `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

fn key() -> String {
    "example.com/flap".to_owned()
}

impl TaintStep {
    /// The taint that is used where none is named, with an effect.
    pub fn of(node: NodeTarget, effect: &str) -> Self {
        TaintStep {
            node,
            key: key(),
            value: None,
            effect: effect.to_owned(),
        }
    }
}

impl Words for TaintStep {
    fn write(&self) -> Yaml {
        let TaintStep {
            node,
            key: own,
            value,
            effect,
        } = self;
        Keys::default()
            .with("node", Yaml::text_of(node))
            .unless(*own == key(), "key", || Yaml::text(own))
            .some("value", value.as_ref(), Yaml::text)
            .with("effect", Yaml::text(effect))
            .map()
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(Some(&self.node), None)
    }

    fn check(&self) -> Result<(), String> {
        check_taint(&self.key, self.value.as_deref(), &self.effect).map_err(|(_, why)| why)
    }
}
