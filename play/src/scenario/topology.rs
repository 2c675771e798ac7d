//! Machines and processes of a world.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::nearest;
use super::unique;
use crate::vocabulary::ComponentWords;

/// Machines and processes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Topology {
    /// How many API servers. One has its store in its process; several share a store in a process of its own, and run
    /// on a machine each.
    pub apiservers: u32,
    /// How many schedulers; more than one elect a leader.
    pub schedulers: u32,
    /// How many controller managers; more than one elect a leader.
    pub controller_managers: u32,
    /// How many of each component of users' own; of those that are not named as many as its program says.
    #[serde(deserialize_with = "unique::map")]
    pub components: BTreeMap<String, u32>,
    /// The worker nodes.
    #[serde(deserialize_with = "nodes")]
    pub nodes: Vec<NodeSpec>,
    /// Over how many zones the nodes are spread in turn.
    pub zones: u32,
    /// What a node has that does not say so itself: `cpu`, `memory`, `pods`.
    #[serde(deserialize_with = "unique::map")]
    pub node: BTreeMap<String, String>,
    /// The sizes of the store's files, where they shall be small enough to be seen change.
    pub store: StoreSpec,
}

/// The sizes of the store's files, in bytes; the real ones if none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSpec {
    /// The log goes on in a new file when the last one has so many.
    pub segment: Option<u32>,
    /// A snapshot is written when so many of the log are compacted.
    pub snapshot: Option<u32>,
}

impl Default for Topology {
    fn default() -> Self {
        Topology {
            apiservers: 1,
            schedulers: 1,
            controller_managers: 1,
            components: BTreeMap::new(),
            nodes: numbered(3),
            zones: 1,
            node: BTreeMap::new(),
            store: StoreSpec::default(),
        }
    }
}

impl Topology {
    /// How many there are of a component of a user's own.
    pub fn replicas(&self, component: &ComponentWords) -> u32 {
        let asked = self.components.get(component.name).copied();
        asked.unwrap_or(component.replicas)
    }

    /// The machines of the control plane: `control-plane`, and with several API servers one more for each but the
    /// first.
    pub fn control_planes(&self) -> Vec<String> {
        let more = (2..=self.apiservers).map(|number| format!("control-plane-{number}"));
        std::iter::once("control-plane".to_owned()).chain(more).collect()
    }
}

/// A worker node.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its zone; by default it is given one in turn.
    #[serde(default)]
    pub zone: Option<String>,
    /// Further labels.
    #[serde(default, deserialize_with = "unique::map")]
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    #[serde(default)]
    pub taints: Vec<TaintSpec>,
    /// What it has.
    #[serde(default, deserialize_with = "unique::map")]
    pub capacity: BTreeMap<String, String>,
}

/// A taint of a node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaintSpec {
    /// Its key.
    pub key: String,
    /// Its value.
    #[serde(default)]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Whether a taint can have this effect.
pub(super) fn check_effect(effect: &str) -> Result<(), String> {
    if EFFECTS.contains(&effect) {
        return Ok(());
    }
    Err(format!(
        "no effect {effect:?} of a taint{}",
        nearest::hint(effect, &EFFECTS)
    ))
}

/// So many nodes, called `node-1` and so on.
pub fn numbered(count: u32) -> Vec<NodeSpec> {
    (1..=count)
        .map(|number| NodeSpec {
            name: format!("node-{number}"),
            zone: None,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            capacity: BTreeMap::new(),
        })
        .collect()
}

fn nodes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeSpec>, D::Error> {
    struct NodesVisitor;
    impl<'de> serde::de::Visitor<'de> for NodesVisitor {
        type Value = Vec<NodeSpec>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("how many nodes, or a list of nodes with their names")
        }

        fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Self::Value, E> {
            match u32::try_from(count) {
                Ok(count @ 1..=5000) => Ok(numbered(count)),
                _ => Err(E::custom(format!("{count} nodes: there must be 1 to 5000"))),
            }
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, sequence: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(sequence))
        }
    }
    deserializer.deserialize_any(NodesVisitor)
}
