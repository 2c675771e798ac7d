//! Which inputs a campaign runs, in which order, and which of them a shard does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Input, Record};
use crate::variation::{Explore, Variation};

/// One seed of so many is explored by priorities, where explorers are mixed.
const ONE_IN: u64 = 4;
/// The depths that these seeds take turns at.
const DEPTHS: u64 = 4;

/// Which inputs a campaign runs: seed after seed, of each seed all scenarios.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The scenarios' files.
    pub scenarios: Vec<String>,
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: u64,
    /// How interleavings are explored.
    pub explorers: Explorers,
    /// Which part of it all is done here.
    pub shard: Shard,
}

impl Plan {
    /// Whether all its seeds are seeds.
    ///
    /// # Errors
    /// Some are beyond the last one; in words.
    pub fn check(&self) -> Result<(), String> {
        if self.from.checked_add(self.seeds.saturating_sub(1)).is_some() {
            return Ok(());
        }
        let (seeds, from, last) = (self.seeds, self.from, u64::MAX);
        Err(format!("{seeds} seeds from {from} on: there are none beyond {last}"))
    }

    /// The inputs of this shard, in order.
    pub fn inputs(&self) -> impl Iterator<Item = Input> + use<> {
        let plan = self.clone();
        let shard = self.shard;
        let scenarios = plan.scenarios.len() as u64;
        let numbers = (0..plan.seeds).flat_map(move |seed| (0..scenarios).map(move |scenario| (seed, scenario)));
        numbers
            // By the sum of both, so that no shard gets all seeds of one scenario.
            .filter(move |(seed, scenario)| shard.has(seed.wrapping_add(*scenario)))
            .map(move |(seed, scenario)| {
                let seed = plan.from.wrapping_add(seed);
                Input {
                    scenario: plan.scenarios[scenario as usize].clone(),
                    seed,
                    variation: plan.varied(seed),
                }
            })
    }

    /// How many inputs there are, without looking at each; a number that is too large for one is the largest.
    pub fn runs(&self) -> u64 {
        let Shard { index, of } = self.shard;
        let of_scenario = |scenario: u64| {
            // The first seed of which this shard has the scenario; then every one that is `of` further on.
            let offset = scenario % of;
            let first = if offset <= index {
                index - offset
            } else {
                of - (offset - index)
            };
            self.seeds.saturating_sub(first).div_ceil(of)
        };
        let scenarios = 0..self.scenarios.len() as u64;
        scenarios.map(of_scenario).fold(0, u64::saturating_add)
    }

    /// The mark of what a guided campaign of this plan runs, led by `seed`. How many seeds it has is not in it: more of
    /// them are the same campaign, which goes on.
    pub fn guided(&self, seed: u64) -> String {
        format!(
            "{seed}, seeds from {}, {}, shard {}",
            self.from, self.explorers, self.shard
        )
    }

    /// Whether it is this plan that had a run made: one of its inputs, or what a campaign of it with the mark `guide`
    /// made up.
    pub fn has(&self, record: &Record, guide: Option<&str>) -> bool {
        if record.guide.as_deref() != guide {
            return false;
        }
        match guide {
            Some(_) => self.scenarios.contains(&record.input.scenario),
            None => self.lists(&record.input),
        }
    }

    /// Whether an input is one of [`Plan::inputs`], of which there may be too many to look through.
    fn lists(&self, input: &Input) -> bool {
        let Some(scenario) = self.scenarios.iter().position(|path| *path == input.scenario) else {
            return false;
        };
        let seed = input.seed.wrapping_sub(self.from);
        seed < self.seeds
            && self.shard.has(seed.wrapping_add(scenario as u64))
            && input.variation == self.varied(input.seed)
    }

    /// What a seed is varied by.
    fn varied(&self, seed: u64) -> Variation {
        Variation {
            explore: self.explorers.of(seed),
            ..Variation::default()
        }
    }
}

/// How the seeds of a campaign explore interleavings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Explorers {
    /// Every fourth seed by priorities, of depths that take turns; the others by chance alone.
    #[default]
    Mixed,
    /// All in the same way.
    All(Explore),
}

impl Explorers {
    /// How a seed explores.
    pub fn of(&self, seed: u64) -> Explore {
        match self {
            Explorers::All(explore) => *explore,
            Explorers::Mixed if seed.is_multiple_of(ONE_IN) => Explore::Pct {
                depth: 1 + (seed / ONE_IN % DEPTHS) as u32,
            },
            Explorers::Mixed => Explore::Random,
        }
    }
}

impl fmt::Display for Explorers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Explorers::Mixed => f.write_str("mixed"),
            Explorers::All(explore) => explore.fmt(f),
        }
    }
}

impl FromStr for Explorers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mixed" => Ok(Explorers::Mixed),
            other => other
                .parse()
                .map(Explorers::All)
                .map_err(|error: String| error.replace("there are", "there are mixed,")),
        }
    }
}

impl TryFrom<String> for Explorers {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Explorers> for String {
    fn from(explorers: Explorers) -> Self {
        explorers.to_string()
    }
}

/// One of several parts of a campaign, `index/of`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    /// Which one.
    pub index: u64,
    /// Of how many.
    pub of: u64,
}

impl Shard {
    /// Whether it does what has this number.
    pub fn has(&self, number: u64) -> bool {
        number % self.of == self.index
    }
}

impl Default for Shard {
    fn default() -> Self {
        Shard { index: 0, of: 1 }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (index, of) = text.split_once('/')?;
            let shard = Shard {
                index: index.parse().ok()?,
                of: of.parse().ok()?,
            };
            (shard.index < shard.of).then_some(shard)
        };
        read().ok_or_else(|| format!("{text:?} is no shard: write i/n with i from 0 to n - 1, for example 0/4"))
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::testing::record;
    use super::*;

    fn plan(scenarios: usize, seeds: u64, from: u64, shard: Shard) -> Plan {
        Plan {
            scenarios: (0..scenarios).map(|number| format!("{number}.yaml")).collect(),
            from,
            seeds,
            explorers: Explorers::Mixed,
            shard,
        }
    }

    proptest! {
        #[test]
        fn shards_are_disjoint_and_complete(scenarios in 1usize..6, seeds in 0u64..40, from in 0u64..1000, of in 1u64..12) {
            let whole: Vec<Input> = plan(scenarios, seeds, from, Shard::default()).inputs().collect();
            prop_assert_eq!(whole.len() as u64, seeds * scenarios as u64);
            let parts = (0..of).map(|index| plan(scenarios, seeds, from, Shard { index, of }));
            let parts: Vec<Vec<Input>> = parts.map(|part| part.inputs().collect()).collect();
            let together: BTreeSet<&Input> = parts.iter().flatten().collect();
            prop_assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), whole.len());
            for (index, part) in (0..of).zip(&parts) {
                let shard = Shard { index, of };
                prop_assert_eq!(plan(scenarios, seeds, from, shard).runs(), part.len() as u64);
            }
            prop_assert_eq!(together, whole.iter().collect());
        }

        #[test]
        fn a_plan_knows_its_own_runs(scenarios in 1usize..4, seeds in 0u64..6, from in 0u64..4, of in 1u64..4, index in 0u64..4) {
            let plan = plan(scenarios, seeds, from, Shard { index: index % of, of });
            let inputs: BTreeSet<Input> = plan.inputs().collect();
            let guide = plan.guided(1);
            for number in 0..4 {
                for seed in 0..12 {
                    let mut record = record(&format!("{number}.yaml"), seed);
                    record.input.variation.explore = Explorers::Mixed.of(seed);
                    prop_assert_eq!(plan.has(&record, None), inputs.contains(&record.input));
                    prop_assert!(!plan.has(&record, Some(&guide)), "nobody guided it");
                    record.guide = Some(guide.clone());
                    prop_assert!(!plan.has(&record, None));
                    prop_assert!(!plan.has(&record, Some(&plan.guided(2))), "another guide");
                    prop_assert_eq!(plan.has(&record, Some(&guide)), number < scenarios);
                }
            }
        }

        #[test]
        fn a_shard_has_its_share_of_every_scenario(scenarios in 1usize..6, of in 1u64..12, index in 0u64..12) {
            let shard = Shard { index: index % of, of };
            let plan = plan(scenarios, of * 3, 1, shard);
            for scenario in &plan.scenarios {
                let own = plan.inputs().filter(|input| input.scenario == *scenario);
                prop_assert_eq!(own.count(), 3);
            }
        }
    }

    #[test]
    fn every_fourth_seed_is_explored_by_priorities() {
        let explored: Vec<String> = (0..18).map(|seed| Explorers::Mixed.of(seed).to_string()).collect();
        assert_eq!(explored.join(" ").matches("random").count(), 13);
        let of = |seed: usize| explored[seed].as_str();
        assert_eq!(
            [of(0), of(4), of(8), of(12), of(16)],
            ["pct:1", "pct:2", "pct:3", "pct:4", "pct:1"]
        );
    }

    #[test]
    fn there_are_no_seeds_beyond_the_last_one() {
        let check = |seeds, from| plan(1, seeds, from, Shard::default()).check();
        assert_eq!(
            (check(1, u64::MAX), check(u64::MAX, 1), check(0, 0)),
            (Ok(()), Ok(()), Ok(()))
        );
        let error = check(2, u64::MAX).unwrap_err();
        assert_eq!(
            error,
            format!("2 seeds from {0} on: there are none beyond {0}", u64::MAX)
        );
    }

    #[test]
    fn more_runs_than_can_be_counted_are_as_many_as_can_be() {
        let runs = |scenarios, shard| plan(scenarios, u64::MAX, 0, shard).runs();
        assert_eq!(runs(3, Shard::default()), u64::MAX);
        let of = u64::MAX;
        assert_eq!(runs(3, Shard { index: 1, of }), 3);
    }

    #[test]
    fn shards_are_read() {
        assert_eq!("2/3".parse(), Ok(Shard { index: 2, of: 3 }));
        for wrong in ["3/3", "0/0", "1", "-1/2", "a/b", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
