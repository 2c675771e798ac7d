//! The corpus of a guided campaign: inputs that reached something new, and how new inputs are made of them.
//!
//! An input's energy is that of its rare features: what few runs have reached is tried in other circumstances more
//! often. A mutation draws a few streams of chance anew and leaves the others: the faults of the input strike as they
//! did, but the users do something else; or only the third strike of the swarm is another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use orrery_api::random::Random;
use serde::{Deserialize, Serialize};

use super::Summary;
use super::folder::replace;
use super::streams::Streams;
use super::{Explorers, Input, Plan};
use crate::scenario::Scenario;
use crate::variation::{Explore, Redraw, Variation};

/// How often an input is a new seed, and no mutation.
const FRESH: f64 = 0.25;
/// How often a mutation explores interleavings in another way.
const EXPLORES: f64 = 0.15;
/// An input has no more redraws than these: its command line stays readable.
const REDRAWS: usize = 10;
/// Numbers of redraws are small for the same reason.
const NUMBERS: u64 = 10_000;

/// An input that reached something new, as it lies on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The input.
    #[serde(flatten)]
    pub input: Input,
    /// What it was the first to reach.
    pub new: Vec<String>,
    /// All that it reached.
    pub features: Vec<String>,
}

/// The inputs of one scenario that are worth mutating.
#[derive(Debug, Default)]
pub struct Corpus {
    candidates: Vec<Candidate>,
    numbers: BTreeMap<String, usize>,
    /// How many runs had each feature, by its number, as far as this corpus was told. Where a campaign goes on, of the
    /// runs before it was told only of those that were kept.
    counts: Vec<u64>,
}

#[derive(Debug)]
struct Candidate {
    input: Input,
    features: Vec<usize>,
    /// How often it was mutated.
    tried: u64,
}

impl Corpus {
    /// Takes in a run; the new entry, if it reached something new.
    pub fn learn(&mut self, input: &Input, features: &[String]) -> Option<Entry> {
        let mut new = Vec::new();
        let mut own = Vec::with_capacity(features.len());
        for name in features {
            let number = match self.numbers.get(name) {
                Some(number) => *number,
                None => {
                    new.push(name.clone());
                    self.numbers.insert(name.clone(), self.counts.len());
                    self.counts.push(0);
                    self.counts.len() - 1
                }
            };
            self.counts[number] += 1;
            own.push(number);
        }
        if new.is_empty() {
            return None;
        }
        self.candidates.push(Candidate {
            input: input.clone(),
            features: own,
            tried: 0,
        });
        Some(Entry {
            input: input.clone(),
            new,
            features: features.to_vec(),
        })
    }

    /// How many inputs there are.
    fn size(&self) -> usize {
        self.candidates.len()
    }

    /// How much an input is worth: the rarer its features are, and the less often it was tried, the more.
    fn energy(&self, candidate: &Candidate) -> f64 {
        // Squares, so that hundreds of features that every run has do not outweigh one that two runs have.
        let counts = candidate.features.iter().map(|number| self.counts[*number] as f64);
        let rarity: f64 = counts.map(|count| 1.0 / (count * count)).sum();
        rarity / (1.0 + candidate.tried as f64)
    }

    /// One of the inputs, by energy.
    fn choose(&mut self, random: &Random) -> Option<Input> {
        let energies: Vec<f64> = self.candidates.iter().map(|candidate| self.energy(candidate)).collect();
        let mut left = random.fraction() * energies.iter().sum::<f64>();
        let chosen = energies.iter().position(|energy| {
            left -= energy;
            left < 0.0
        });
        let last = self.candidates.len().checked_sub(1)?;
        let candidate = &mut self.candidates[chosen.unwrap_or(last)];
        candidate.tried += 1;
        Some(candidate.input.clone())
    }

    /// A new input: one of the corpus, mutated; none if there is nothing to mutate.
    pub fn mutate(&mut self, streams: &Streams, random: &Random) -> Option<Input> {
        let mut input = self.choose(random)?;
        let redraws = &mut input.variation.redraw;
        let mut number = 1;
        while number < 4 && random.chance(0.5) {
            number += 1;
        }
        for _ in 0..number {
            let stream = streams.choose(random)?.clone();
            redraws.retain(|redraw| redraw.stream != stream);
            redraws.push(Redraw {
                stream,
                number: random.below(NUMBERS),
            });
        }
        let surplus = redraws.len().saturating_sub(REDRAWS);
        redraws.drain(..surplus);
        if random.chance(EXPLORES) {
            input.variation.explore = match random.below(5) as u32 {
                0 => Explore::Random,
                depth => Explore::Pct { depth },
            };
        }
        Some(input)
    }
}

/// What a guided campaign knows: a corpus for each scenario, on disk if it has a folder.
pub struct Guide {
    random: Random,
    explorers: Explorers,
    scenarios: Vec<(String, Streams, Corpus)>,
    folder: Option<PathBuf>,
    /// The number of the next input, and the first that is not to be given.
    next: u64,
    end: u64,
    /// The numbers of inputs that were run before.
    done: BTreeSet<u64>,
    /// The first new seed, and how far it is to the next.
    from: u64,
    step: u64,
    /// The number of the next file in the folder.
    next_file: u64,
}

impl Guide {
    /// The guide of a campaign of `seed`, as long as `plan`, whose seeds the new inputs take. Shards go different ways.
    pub fn new(seed: u64, plan: &Plan, scenarios: &[(&str, &Scenario)]) -> Self {
        // Of the plan's seeds a shard has those whose place, divided by how many shards there are, leaves its index.
        let turns = plan.seeds.saturating_sub(plan.shard.index).div_ceil(plan.shard.of);
        let scenarios: Vec<(String, Streams, Corpus)> = scenarios
            .iter()
            .map(|(path, scenario)| ((*path).to_owned(), Streams::of(scenario), Corpus::default()))
            .collect();
        Guide {
            random: Random::from_number(seed)
                .stream("campaign")
                .stream(&plan.shard.to_string()),
            explorers: plan.explorers,
            end: turns.saturating_mul(scenarios.len() as u64),
            scenarios,
            folder: None,
            next: 0,
            done: BTreeSet::new(),
            from: plan.from.wrapping_add(plan.shard.index),
            step: plan.shard.of,
            next_file: 0,
        }
    }

    /// Keeps the corpus in `folder`, and goes on with what is there already. What cannot be read of it is left out and
    /// told, in words.
    ///
    /// # Errors
    /// The folder cannot be read or written; in words.
    pub fn keep_in(&mut self, folder: &Path) -> Result<Vec<String>, String> {
        let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(folder).map_err(wrong)?;
        let mut files: Vec<PathBuf> = fs::read_dir(folder)
            .map_err(wrong)?
            .filter_map(|file| file.ok().map(|file| file.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        files.sort();
        let mut damage = Vec::new();
        for file in &files {
            match read_entry(file) {
                Ok(entry) => {
                    if let Some((_, _, corpus)) = self.of(&entry.input) {
                        corpus.learn(&entry.input, &entry.features);
                    }
                }
                Err(why) => damage.push(format!("{} cannot be read, it is left out: {why}", file.display())),
            }
        }
        // Some may have been removed, and none shall be written over.
        let last = files.iter().filter_map(|file| number_in_name(file)).max();
        self.next_file = last.map_or(0, |last| last.saturating_add(1));
        self.folder = Some(folder.to_owned());
        Ok(damage)
    }

    /// Leaves out what was run before, in whatever order it ended. A seed is run once; of mutations it is not known
    /// which numbers they had, but how many there were: as many are not to be made any more.
    pub fn skip<'a>(&mut self, done: impl IntoIterator<Item = &'a Input>) {
        let mut mutations = 0_usize;
        for input in done {
            match self.number_of(input) {
                Some(number) => {
                    self.done.insert(number);
                }
                None => mutations += 1,
            }
        }
        let made = (0..self.end).filter(|number| !self.done.contains(number) && !self.is_fresh(*number));
        let made: Vec<u64> = made.take(mutations).collect();
        self.done.extend(made);
    }

    /// The number of an input that is a new seed; none if it is a mutation.
    fn number_of(&self, input: &Input) -> Option<u64> {
        if !input.variation.redraw.is_empty() {
            return None;
        }
        let place = self.scenarios.iter().position(|(path, _, _)| *path == input.scenario)?;
        let turn = input.seed.wrapping_sub(self.from) / self.step;
        let number = turn
            .checked_mul(self.scenarios.len() as u64)?
            .checked_add(place as u64)?;
        Some(number).filter(|number| self.seed(*number) == input.seed)
    }

    /// The seed that the input of a number has, unless it is a mutation.
    fn seed(&self, number: u64) -> u64 {
        let turn = number / self.scenarios.len() as u64;
        self.from.wrapping_add(turn.wrapping_mul(self.step))
    }

    /// What the input of a number is drawn from.
    fn stream(&self, number: u64) -> Random {
        self.random.stream(&number.to_string())
    }

    /// Whether the input of a number is a new seed, whatever the corpus has.
    fn is_fresh(&self, number: u64) -> bool {
        self.stream(number).chance(FRESH)
    }

    fn of(&mut self, input: &Input) -> Option<&mut (String, Streams, Corpus)> {
        self.scenarios.iter_mut().find(|(path, _, _)| *path == input.scenario)
    }

    /// How many inputs are to come.
    pub fn left(&self) -> u64 {
        let done = self.done.range(self.next..self.end.max(self.next)).count() as u64;
        self.end.saturating_sub(self.next) - done
    }

    /// How many inputs the corpora have.
    pub fn size(&self) -> usize {
        self.scenarios.iter().map(|(_, _, corpus)| corpus.size()).sum()
    }

    fn save(folder: &Path, number: u64, entry: &Entry) -> Result<(), String> {
        let file = folder.join(format!("{number:06}.json"));
        let text = serde_json::to_string(entry).map_err(|error| error.to_string())?;
        replace(&file, (text + "\n").as_bytes())
            .map_err(|error| format!("{} cannot be written: {error}", file.display()))
    }
}

/// Reads an entry; the error says in words why it is none.
fn read_entry(file: &Path) -> Result<Entry, String> {
    let text = fs::read(file).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// The number of an entry's file.
fn number_in_name(file: &Path) -> Option<u64> {
    file.file_stem()?.to_str()?.parse().ok()
}

impl super::runner::Source for Guide {
    fn next(&mut self) -> Option<Input> {
        let number = (self.next..self.end).find(|number| !self.done.contains(number))?;
        self.next = number + 1;
        let (random, seed) = (self.stream(number), self.seed(number));
        let turns = self.scenarios.len() as u64;
        let (path, streams, corpus) = &mut self.scenarios[(number % turns) as usize];
        let mutated = if random.chance(FRESH) {
            None
        } else {
            corpus.mutate(streams, &random)
        };
        Some(mutated.unwrap_or_else(|| Input {
            scenario: path.clone(),
            seed,
            variation: Variation {
                explore: self.explorers.of(seed),
                ..Variation::default()
            },
        }))
    }

    fn learn(&mut self, input: &Input, summary: &Summary) -> Result<(), String> {
        let corpus = self.of(input).map(|(_, _, corpus)| corpus);
        let Some(entry) = corpus.and_then(|corpus| corpus.learn(input, &summary.features)) else {
            return Ok(());
        };
        if let Some(folder) = &self.folder {
            Guide::save(folder, self.next_file, &entry)?;
        }
        self.next_file += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Shard;
    use super::super::runner::Source;
    use super::*;

    const SCENARIO: &str = "
name: a
topology: { nodes: 2 }
faults:
  - at: 1s
    restart: scheduler
  - between: 0s..10s
    swarm: all
duration: 10s
";

    fn scenario() -> Scenario {
        crate::scenario::read("a.yaml", SCENARIO, |_| Err("nothing".to_owned())).unwrap()
    }

    fn plan(seeds: u64) -> Plan {
        Plan {
            scenarios: vec!["a.yaml".to_owned()],
            from: 1,
            seeds,
            explorers: Explorers::Mixed,
            shard: Shard::default(),
        }
    }

    fn names(features: &[&str]) -> Vec<String> {
        features.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_what_reaches_something_new_enters_the_corpus() {
        let mut corpus = Corpus::default();
        let input = |seed| Input::new("a.yaml", seed);
        assert_eq!(
            corpus.learn(&input(1), &names(&["a", "b"])).unwrap().new,
            names(&["a", "b"])
        );
        assert_eq!(corpus.learn(&input(2), &names(&["a"])), None);
        assert_eq!(corpus.learn(&input(3), &names(&["b", "c"])).unwrap().new, names(&["c"]));
        assert_eq!(corpus.size(), 2);
    }

    #[test]
    fn rare_features_give_energy_and_trying_in_vain_takes_it() {
        let mut corpus = Corpus::default();
        corpus.learn(&Input::new("a.yaml", 1), &names(&["common"]));
        corpus.learn(&Input::new("a.yaml", 2), &names(&["common", "rare"]));
        for seed in 3..20 {
            corpus.learn(&Input::new("a.yaml", seed), &names(&["common"]));
        }
        let random = Random::from_number(1);
        let chosen: Vec<u64> = (0..100).map(|_| corpus.choose(&random).unwrap().seed).collect();
        let rare = chosen.iter().filter(|seed| **seed == 2).count();
        assert!(rare > 50, "{rare}");
        assert!(rare < 100, "the other one is tried when this one led nowhere so often");
    }

    #[test]
    fn a_mutation_is_the_entry_with_a_few_streams_drawn_anew() {
        let streams = Streams::of(&scenario());
        let mut corpus = Corpus::default();
        corpus.learn(&Input::new("a.yaml", 7), &names(&["a"]));
        let random = Random::from_number(2);
        for _ in 0..200 {
            let input = corpus.mutate(&streams, &random).unwrap();
            assert_eq!((input.scenario.as_str(), input.seed), ("a.yaml", 7));
            assert!((1..=4).contains(&input.variation.redraw.len()));
            assert_eq!(
                input.variation.redraws().len(),
                input.variation.redraw.len(),
                "no stream twice"
            );
            corpus.learn(&input, &names(&["a"]));
        }
    }

    #[test]
    fn a_guided_campaign_is_a_function_of_its_seed_and_results() {
        let play = |seed: u64, folder: Option<&Path>| {
            let scenario = scenario();
            let mut guide = Guide::new(seed, &plan(60), &[("a.yaml", &scenario)]);
            if let Some(folder) = folder {
                guide.keep_in(folder).unwrap();
            }
            let mut inputs = Vec::new();
            while let Some(input) = guide.next() {
                let mut summary = Summary::died(&input, "");
                summary.features = vec![format!("feature {}", input.variation.redraw.len())];
                guide.learn(&input, &summary).unwrap();
                inputs.push(input);
            }
            (inputs, guide.size())
        };
        let place = tempfile::tempdir().unwrap();
        let (inputs, entries) = play(5, Some(place.path()));
        assert_eq!(inputs.len(), 60);
        assert_eq!((inputs.clone(), entries), play(5, None));
        assert_ne!(inputs, play(6, None).0);
        let mutated = inputs.iter().filter(|input| !input.variation.redraw.is_empty());
        assert!((30..60).contains(&mutated.count()));

        let again = |seeds: u64, done: &[&Input]| {
            let scenario = scenario();
            let mut guide = Guide::new(5, &plan(seeds), &[("a.yaml", &scenario)]);
            guide.keep_in(place.path()).unwrap();
            assert_eq!(guide.size(), entries, "the corpus is what was left on disk");
            guide.skip(done.iter().copied());
            let left = guide.left();
            let inputs: Vec<Input> = std::iter::from_fn(|| guide.next()).collect();
            assert_eq!(inputs.len() as u64, left);
            inputs
        };
        assert_eq!(again(70, &inputs.iter().collect::<Vec<_>>()).len(), 10);

        // Two of several at once were not done when it was killed, and later ones were.
        let is_seed = |input: &&Input| input.variation.redraw.is_empty();
        let seed = inputs.iter().rfind(is_seed).expect("a new seed");
        let mutation = inputs.iter().find(|input| !is_seed(input)).expect("a mutation");
        let done: Vec<&Input> = inputs
            .iter()
            .filter(|input| ![seed, mutation].contains(input))
            .collect();
        let rest = again(60, &done);
        assert_eq!(rest.len(), 2);
        assert!(rest.contains(seed));
        assert!(rest.iter().all(|input| !done.contains(&input)), "{rest:?}");
    }

    #[test]
    fn a_damaged_entry_is_left_out_and_no_other_is_written_over() {
        let place = tempfile::tempdir().unwrap();
        let file = |number: u64| place.path().join(format!("{number:06}.json"));
        let mut corpus = Corpus::default();
        for number in [2, 5, 9] {
            let entry = corpus.learn(&Input::new("a.yaml", number), &[format!("feature {number}")]);
            Guide::save(place.path(), number, &entry.unwrap()).unwrap();
        }
        fs::write(file(5), "{").unwrap();
        let last = fs::read(file(9)).unwrap();

        let scenario = scenario();
        let mut guide = Guide::new(1, &plan(10), &[("a.yaml", &scenario)]);
        let damage = guide.keep_in(place.path()).unwrap();
        assert_eq!(damage.len(), 1);
        assert!(damage[0].contains("000005.json cannot be read"), "{damage:?}");
        assert_eq!(guide.size(), 2);

        let input = Input::new("a.yaml", 1);
        let mut summary = Summary::died(&input, "");
        summary.features = names(&["another"]);
        guide.learn(&input, &summary).unwrap();
        assert_eq!(fs::read(file(9)).unwrap(), last);
        assert_eq!(read_entry(&file(10)).unwrap().input, input);
    }

    #[test]
    fn the_shards_of_a_guided_campaign_have_the_seeds_that_were_asked_for() {
        let scenario = scenario();
        for (seeds, of) in [(10, 1), (10, 3), (3, 3), (2, 5), (7, 4)] {
            let mut all = Vec::new();
            for index in 0..of {
                let plan = Plan {
                    shard: Shard { index, of },
                    ..plan(seeds)
                };
                // Where nothing is learned there is nothing to mutate.
                let mut guide = Guide::new(1, &plan, &[("a.yaml", &scenario)]);
                all.extend(std::iter::from_fn(|| guide.next()).map(|input| input.seed));
            }
            all.sort_unstable();
            assert_eq!(all, (1..=seeds).collect::<Vec<u64>>(), "{seeds} seeds, {of} shards");
        }
    }
}
