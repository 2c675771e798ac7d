//! What a run is varied by beside its seed: streams of chance that are drawn anew, how interleavings are explored, and
//! a known bug that is put back.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use clap::Args;
use serde::{Deserialize, Serialize};

/// So many priority change points and one more, where none are named.
const DEPTH: u32 = 3;

/// What a run is varied by beside its seed. With the scenario, the seed and the build it makes the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Variation {
    /// Draw these streams of chance anew and leave the others: `fault/2=17,kubelet/node-1=3`.
    #[arg(long, value_delimiter = ',', value_name = "STREAM=NUMBER")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redraw: Vec<Redraw>,
    /// How unlucky interleavings are looked for: `random`, or by priorities, `pct:3`.
    #[arg(long, default_value_t, value_name = "EXPLORER")]
    #[serde(skip_serializing_if = "Explore::is_random")]
    pub explore: Explore,
    /// Put this known bug into the components; only in a build with the feature `mutants`.
    #[arg(long, value_name = "ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mutant: Option<String>,
}

impl Variation {
    /// The redraws by stream; of two for one stream the last one counts.
    pub fn redraws(&self) -> BTreeMap<String, u64> {
        let redraws = self.redraw.iter();
        redraws.map(|redraw| (redraw.stream.clone(), redraw.number)).collect()
    }

    /// What of it is no choice that a pinned scenario could name: how interleavings are explored, and the known bug.
    pub fn not_pinned(&self) -> Self {
        Variation {
            redraw: Vec::new(),
            ..self.clone()
        }
    }

    /// The arguments of a command line that asks for it.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if !self.redraw.is_empty() {
            let redraws: Vec<String> = self.redraw.iter().map(Redraw::to_string).collect();
            arguments.extend(["--redraw".to_owned(), redraws.join(",")]);
        }
        if !self.explore.is_random() {
            arguments.extend(["--explore".to_owned(), self.explore.to_string()]);
        }
        if let Some(mutant) = &self.mutant {
            arguments.extend(["--mutant".to_owned(), mutant.clone()]);
        }
        arguments
    }
}

/// A stream of chance that is drawn anew, as a number says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Redraw {
    /// The stream's path, for example `fault/2`; `tasks` is the order of tasks that are ready at the same time.
    pub stream: String,
    /// As what.
    pub number: u64,
}

impl fmt::Display for Redraw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.stream, self.number)
    }
}

impl FromStr for Redraw {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (stream, number) = text.split_once('=')?;
            let number = number.parse().ok()?;
            let stream = stream.to_owned();
            (!stream.is_empty()).then_some(Redraw { stream, number })
        };
        read().ok_or_else(|| format!("{text:?} is no redraw: write it like fault/2=17"))
    }
}

impl TryFrom<String> for Redraw {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Redraw> for String {
    fn from(redraw: Redraw) -> Self {
        redraw.to_string()
    }
}

/// How unlucky interleavings are looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Explore {
    /// By chance alone: latencies, and the order of tasks that are ready at the same time.
    #[default]
    Random,
    /// By priorities on top, see [`crate::link::Priorities`].
    Pct {
        /// A bug that needs so many ordered events is looked for: there are one fewer priority change points.
        depth: u32,
    },
}

impl Explore {
    /// Whether it is chance alone.
    pub fn is_random(&self) -> bool {
        *self == Explore::Random
    }
}

impl fmt::Display for Explore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Explore::Random => f.write_str("random"),
            Explore::Pct { depth } => write!(f, "pct:{depth}"),
        }
    }
}

impl FromStr for Explore {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let depth = |depth: &str| depth.parse().ok().filter(|depth| (1..=100).contains(depth));
        match text.split_once(':') {
            None if text == "random" => Some(Explore::Random),
            None if text == "pct" => Some(Explore::Pct { depth: DEPTH }),
            Some(("pct", wanted)) => depth(wanted).map(|depth| Explore::Pct { depth }),
            _ => None,
        }
        .ok_or_else(|| {
            format!("{text:?} is no explorer: there are random, pct, and pct:DEPTH with a depth from 1 to 100")
        })
    }
}

impl TryFrom<String> for Explore {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Explore> for String {
    fn from(explore: Explore) -> Self {
        explore.to_string()
    }
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Parser};
    use proptest::prelude::*;

    use super::*;

    fn variation() -> impl Strategy<Value = Variation> {
        let redraw = ("[a-z]{1,6}(/[a-z0-9-]{1,6}){0,2}", any::<u64>());
        let redraw = redraw.prop_map(|(stream, number)| Redraw { stream, number });
        let explore = prop_oneof![
            Just(Explore::Random),
            (1u32..=100).prop_map(|depth| Explore::Pct { depth })
        ];
        let mutant = proptest::option::of("[A-Z][0-9]{2}");
        (proptest::collection::vec(redraw, 0..4), explore, mutant).prop_map(|(redraw, explore, mutant)| Variation {
            redraw,
            explore,
            mutant,
        })
    }

    proptest! {
        #[test]
        fn a_variation_is_read_back_from_its_own_words(variation in variation()) {
            let words = std::iter::once("run".to_owned()).chain(variation.arguments());
            let command = Variation::augment_args(clap::Command::new("run"));
            let matches = command.try_get_matches_from(words).unwrap();
            prop_assert_eq!(&Variation::from_arg_matches(&matches).unwrap(), &variation);
            let json = serde_json::to_string(&variation).unwrap();
            prop_assert_eq!(serde_json::from_str::<Variation>(&json).unwrap(), variation);
        }
    }

    #[test]
    fn what_is_no_variation_is_said_to_be_none() {
        #[derive(Debug, Parser)]
        struct Line {
            #[command(flatten)]
            variation: Variation,
        }
        let line = Line::try_parse_from(["run"]).unwrap();
        assert_eq!(line.variation, Variation::default());
        for wrong in ["pct:0", "pct:101", "pct:", "priority", ""] {
            assert!(wrong.parse::<Explore>().is_err(), "{wrong}");
        }
        for wrong in ["fault/2", "fault/2=", "=3", "fault/2=-1", ""] {
            assert!(wrong.parse::<Redraw>().is_err(), "{wrong}");
        }
        assert_eq!("pct".parse::<Explore>(), Ok(Explore::Pct { depth: DEPTH }));
    }
}
