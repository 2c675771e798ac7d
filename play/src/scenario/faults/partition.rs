//! Machines that are cut off: `partition`.

use serde::Deserialize;

use super::{Words, some_time, some_times};
use crate::scenario::quantity::Span;
use crate::scenario::simpler::{shorter, without_one};
use crate::scenario::target::{NodeTarget, Whom};
use crate::scenario::write::{Keys, words};
use crate::scenario::yaml::Yaml;

/// Who is cut off from whom, in which direction, for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "PartitionWire")]
pub struct PartitionSpec {
    /// Who from whom.
    pub parts: Parts,
    /// What is cut.
    pub direction: Direction,
    /// For how long.
    pub lasts: Span,
}

/// Who is cut off from whom.
#[derive(Debug, Clone, PartialEq)]
pub enum Parts {
    /// A machine from all others.
    Node(NodeTarget),
    /// Two groups of machines from each other: `between: [[node-1, node-2], [control-plane]]`.
    Groups(Vec<NodeTarget>, Vec<NodeTarget>),
    /// Some of the machines from the rest, as the seed draws it: `between: any`.
    Any,
}

/// What a partition cuts, as the machine or the first group sees it.
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartitionWire {
    node: Option<NodeTarget>,
    between: Option<BetweenWire>,
    #[serde(default)]
    direction: Direction,
    #[serde(rename = "for", default = "some_time")]
    lasts: Span,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`any`, or two lists of machines")]
enum BetweenWire {
    Word(String),
    Groups(Vec<Vec<NodeTarget>>),
}

impl TryFrom<PartitionWire> for PartitionSpec {
    type Error = String;

    fn try_from(wire: PartitionWire) -> Result<Self, String> {
        let parts = match (wire.node, wire.between) {
            (Some(node), None) => Parts::Node(node),
            (None, Some(BetweenWire::Word(word))) if word == "any" => Parts::Any,
            (None, Some(BetweenWire::Word(word))) => {
                return Err(format!("{word:?} is no group: write `any`, or two lists of machines"));
            }
            (None, Some(BetweenWire::Groups(groups))) => match <[_; 2]>::try_from(groups) {
                Ok([one, other]) => Parts::Groups(one, other),
                Err(_) => return Err("a partition lies between two groups of machines".to_owned()),
            },
            _ => return Err("say who is cut off by `node` or by `between`".to_owned()),
        };
        Ok(PartitionSpec {
            parts,
            direction: wire.direction,
            lasts: wire.lasts,
        })
    }
}

impl Words for PartitionSpec {
    fn write(&self) -> Yaml {
        let PartitionSpec {
            parts,
            direction,
            lasts,
        } = self;
        let word = || {
            Yaml::plain(match direction {
                Direction::Both => "both",
                Direction::In => "in",
                Direction::Out => "out",
            })
        };
        let keys = match parts {
            Parts::Node(node) => Keys::default().with("node", Yaml::text_of(node)),
            Parts::Any => Keys::default().with("between", Yaml::plain("any")),
            Parts::Groups(one, other) => {
                let groups = [one, other];
                Keys::default().with("between", words(&groups, |group| words(group, Yaml::text_of)))
            }
        };
        let keys = keys.unless(*direction == Direction::default(), "direction", word);
        some_times(keys, lasts).map()
    }

    fn describe(&self) -> String {
        let names = |group: &[NodeTarget]| {
            let names: Vec<String> = group.iter().map(ToString::to_string).collect();
            names.join(", ")
        };
        match &self.parts {
            Parts::Node(node) => format!("partition of {node}"),
            Parts::Groups(one, other) => format!("partition of {} from {}", names(one), names(other)),
            Parts::Any => "partition".to_owned(),
        }
    }

    fn whom(&self) -> Whom<'_> {
        match &self.parts {
            Parts::Node(node) => Whom::of(Some(node), None),
            Parts::Groups(one, other) => Whom {
                nodes: one.iter().chain(other).collect(),
                ..Whom::default()
            },
            Parts::Any => Whom::default(),
        }
    }

    fn check(&self) -> Result<(), String> {
        let Parts::Groups(one, other) = &self.parts else {
            return Ok(());
        };
        if one.is_empty() || other.is_empty() || one.contains(&NodeTarget::Any) || other.contains(&NodeTarget::Any) {
            return Err("the groups of a partition are of machines by their names".to_owned());
        }
        if let Some(twice) = one.iter().find(|node| other.contains(node)) {
            return Err(format!("{twice} cannot be on both sides of a partition"));
        }
        let speaks = |node: &NodeTarget| matches!(node, NodeTarget::Named(name) if name.starts_with("control-plane"));
        if one.iter().chain(other).any(speaks) {
            return Ok(());
        }
        Err("workers do not speak with each other: a machine of the control plane must be on one side".to_owned())
    }

    fn simpler(&self) -> Vec<Self> {
        let with = |parts: Parts| PartitionSpec { parts, ..self.clone() };
        let parts: Vec<Parts> = match &self.parts {
            Parts::Node(_) | Parts::Any => Vec::new(),
            Parts::Groups(one, other) => {
                let fewer = without_one(one).into_iter();
                let fewer = fewer.map(|fewer| Parts::Groups(fewer, other.clone()));
                fewer
                    .chain(
                        without_one(other)
                            .into_iter()
                            .map(|fewer| Parts::Groups(one.clone(), fewer)),
                    )
                    .filter(|parts| with(parts.clone()).check().is_ok())
                    .collect()
            }
        };
        let both = (self.direction != Direction::Both).then(|| PartitionSpec {
            direction: Direction::Both,
            ..self.clone()
        });
        let shorter = shorter(&self.lasts).map(|lasts| PartitionSpec { lasts, ..self.clone() });
        both.into_iter()
            .chain(parts.into_iter().map(with))
            .chain(shorter)
            .collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        Some(&mut self.lasts)
    }
}
