//! A user that never rests: `churn`, with the operations it chooses from.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Words;
use crate::scenario::faults::Moment;
use crate::scenario::nearest;
use crate::scenario::quantity::Span;
use crate::scenario::simpler::without_one;
use crate::scenario::unique;
use crate::scenario::write::{Keys, words};
use crate::scenario::yaml::Yaml;

/// How often a user does what.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChurnSpec {
    /// How often.
    pub every: Span,
    /// What, drawn by the seed.
    pub ops: Ops,
}

/// Which operations a churning user chooses from, and how often each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ops {
    /// These, one as often as the other; one that is named twice comes twice as often.
    Evenly(Vec<ChurnKind>),
    /// These, as often as their weights say.
    Weighted(BTreeMap<ChurnKind, u32>),
    /// Of all there are the seed draws which, and how often each.
    Swarm,
}

/// The list of operations.
macro_rules! kinds {
    ($($(#[$about:meta])* $kind:ident = $word:literal;)*) => {
        /// What a churning user does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ChurnKind {
            $($(#[$about])* $kind,)*
        }

        impl ChurnKind {
            /// Every kind.
            pub const ALL: &[ChurnKind] = &[$(ChurnKind::$kind),*];

            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(ChurnKind::$kind => $word,)*
                }
            }
        }
    };
}

kinds! {
    /// Applies a deployment anew, with another environment.
    Apply = "apply";
    /// Changes a deployment's replicas, between 0 and twice its first number.
    Scale = "scale";
    /// Changes a deployment's image to another one of the scenario's that runs.
    SetImage = "set-image";
    /// Changes a deployment's image to one of the scenario's that ends at once, and rolls back soon.
    BadImage = "bad-image";
    /// Rolls a deployment back.
    Undo = "undo";
    /// Rolls a deployment over.
    Restart = "restart";
    /// Lets a rollout rest for a few turns.
    PauseRollout = "pause-rollout";
    /// Deletes a pod.
    DeletePod = "delete-pod";
    /// Deletes a pod by force: nobody waits until its containers have ended.
    ForceDeletePod = "force-delete-pod";
    /// Takes a pod out of its service by a label, to look into it, and deletes it a few turns later.
    ReleasePod = "release-pod";
    /// Deletes a deployment and creates it again.
    CreateDeleteSameName = "create-delete-same-name";
    /// Deletes a deployment in the foreground, waits until it and all that it owned are gone, and creates it again.
    DeleteForeground = "delete-foreground";
    /// Deletes a deployment and leaves its pods, and creates it again when it is gone.
    DeleteOrphan = "delete-orphan";
    /// Cordons a node, and uncordons it at the next turn.
    Cordon = "cordon";
    /// Drains a node, and uncordons it at the next turn.
    Drain = "drain";
    /// Puts a taint on a node for a few turns.
    Taint = "taint";
    /// Deletes something that a finalizer holds for a few turns, and creates it again when it is gone.
    Finalizer = "finalizer";
    /// Deletes a service, and creates it again at once or at the next turn.
    Service = "service";
    /// Changes a service's selector for a few turns, its ports, or its type.
    EditService = "edit-service";
    /// Changes a config map or a secret, and creates one if there is none.
    EditConfig = "edit-config";
    /// Reads something page by page.
    List = "list";
    /// Creates a namespace with something in it, or deletes it, waits until it is gone, and creates it again.
    Namespace = "namespace";
}

impl ChurnKind {
    fn parse(word: &str) -> Result<Self, String> {
        ChurnKind::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| {
                let known: Vec<&str> = ChurnKind::ALL.iter().map(|kind| kind.as_str()).collect();
                format!("no operation {word:?}{}", nearest::hint(word, &known))
            })
    }
}

impl<'de> Deserialize<'de> for ChurnKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ChurnKind::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Ops {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OpsVisitor;
        impl<'de> Visitor<'de> for OpsVisitor {
            type Value = Ops;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all`, a list of operations, or operations with weights, like { scale: 3, drain: 1 }")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Ops, E> {
                match word {
                    "all" | "swarm" => Ok(Ops::Swarm),
                    word => ChurnKind::parse(word)
                        .map(|kind| Ops::Evenly(vec![kind]))
                        .map_err(E::custom),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Ops, A::Error> {
                let mut kinds = Vec::new();
                while let Some(kind) = items.next_element()? {
                    kinds.push(kind);
                }
                Ok(Ops::Evenly(kinds))
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Ops, A::Error> {
                unique::read(entries).map(Ops::Weighted)
            }
        }
        deserializer.deserialize_any(OpsVisitor)
    }
}

impl Words for ChurnSpec {
    fn write(&self) -> Yaml {
        let ChurnSpec { every, ops } = self;
        let ops = match ops {
            Ops::Swarm => Yaml::plain("all"),
            Ops::Evenly(kinds) => words(kinds, |kind| Yaml::plain(kind.as_str())),
            Ops::Weighted(weights) => Yaml::Map(
                weights
                    .iter()
                    .map(|(kind, weight)| (kind.as_str().to_owned(), Yaml::plain(weight)))
                    .collect(),
            ),
        };
        Keys::default().with("every", Yaml::plain(every)).with("ops", ops).map()
    }

    fn check(&self) -> Result<(), String> {
        let nothing = match &self.ops {
            Ops::Swarm => false,
            Ops::Evenly(kinds) => kinds.is_empty(),
            Ops::Weighted(weights) => weights.values().all(|weight| *weight == 0),
        };
        if nothing {
            return Err("`ops` is empty: name at least one operation".to_owned());
        }
        Ok(())
    }

    fn check_moment(&self, moment: &Moment) -> Result<(), String> {
        if matches!(moment, Moment::Between(_)) {
            return Ok(());
        }
        Err("`churn` needs `between`: how long the user does not rest".to_owned())
    }

    fn simpler(&self) -> Vec<Self> {
        let fewer: Vec<Ops> = match &self.ops {
            Ops::Swarm => ChurnKind::ALL.iter().map(|kind| Ops::Evenly(vec![*kind])).collect(),
            Ops::Evenly(kinds) => without_one(kinds).into_iter().map(Ops::Evenly).collect(),
            Ops::Weighted(weights) => {
                let kinds = weights.iter().filter(|(_, weight)| **weight > 0).map(|(kind, _)| *kind);
                vec![Ops::Evenly(kinds.collect())]
            }
        };
        fewer.into_iter().map(|ops| ChurnSpec { ops, ..self.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_a_word_a_list_or_weights() {
        let read = |text: &str| serde_yaml::from_str::<Ops>(text).map_err(|error| error.to_string());
        assert_eq!(read("all"), Ok(Ops::Swarm));
        assert_eq!(
            read("[scale, drain]"),
            Ok(Ops::Evenly(vec![ChurnKind::Scale, ChurnKind::Drain]))
        );
        let weights = BTreeMap::from([(ChurnKind::Scale, 3), (ChurnKind::EditConfig, 1)]);
        assert_eq!(read("{ scale: 3, edit-config: 1 }"), Ok(Ops::Weighted(weights)));
        for wrong in ["[scal]", "{ scal: 2 }", "scal"] {
            let error = read(wrong).unwrap_err();
            assert!(
                error.contains("no operation \"scal\"; did you mean \"scale\"?"),
                "{wrong}: {error}"
            );
        }
    }
}
