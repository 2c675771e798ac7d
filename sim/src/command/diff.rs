//! `diff`: two runs, or two traces, and where they part.
//!
//! Traces are compared event by event, without the running hashes. Of runs it is also said which decision is the first
//! that only one of them took, and how the stores differ at both moments.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use clap::Args;

use super::limit::Limit;
use super::record::obtain;
use super::subject::read;
use super::traces::{self, Compared, Parted, Trace};
use crate::campaign::Input;
use crate::exit;
use crate::explain::chain::Step;
use crate::explain::{compare, words};
use crate::recording::{Ending, Index, Recording};
use crate::variation::Variation;

/// So many objects are shown, and so many fields of each.
const OBJECTS: usize = 12;
const FIELDS: usize = 6;

/// Compares two runs, each `SCENARIO@SEED`, or files written by `run --trace`: the first event where they part.
///
/// With `--redraw`, `--explore` or `--mutant` B is the varied run; if it is not named, it is A varied. Ends with 0 if
/// they are the same, with 1 if they differ, with 11 if one of them did not end in time, or 13 if its process died, and
/// until then they are the same.
#[derive(Args)]
pub struct Diff {
    /// The one: `SCENARIO@SEED` or a trace's file.
    #[arg(value_name = "A")]
    one: String,
    /// The other.
    #[arg(value_name = "B", required_unless_present_any = ["redraw", "explore", "mutant"])]
    other: Option<String>,
    #[command(flatten)]
    variation: Variation,
    #[command(flatten)]
    limit: Limit,
    /// Vary A in the same way as B.
    #[arg(long)]
    both: bool,
}

/// What is compared.
#[derive(Debug, PartialEq, Eq)]
enum Side {
    Run(Input),
    File(String),
}

impl Side {
    fn parse(text: &str, variation: &Variation) -> Self {
        match text.rsplit_once('@').map(|(scenario, seed)| (scenario, seed.parse())) {
            Some((scenario, Ok(seed))) => Side::Run(Input {
                variation: variation.clone(),
                ..Input::new(scenario, seed)
            }),
            _ => Side::File(text.to_owned()),
        }
    }

    /// Its trace, for no longer than the limit.
    fn trace(&self, limit: Duration) -> Result<Trace, u8> {
        match self {
            Side::File(path) => {
                let unreadable = |error| {
                    eprintln!("error: {path} is no run (SCENARIO@SEED) and cannot be read as a trace: {error}");
                    exit::WRONG
                };
                let mut trace = BufReader::new(File::open(path).map_err(unreadable)?);
                if !is_trace(trace.fill_buf().map_err(unreadable)?) {
                    eprintln!("error: {path} is no trace; if it is a scenario, say which run of it: {path}@SEED");
                    return Err(exit::WRONG);
                }
                Ok((Box::new(trace), None))
            }
            Side::Run(input) => {
                read(&input.scenario, &input.variation)?;
                traces::played(input, limit).map_err(|error| {
                    eprintln!("error: cannot start a second process: {error}");
                    exit::WRONG
                })
            }
        }
    }
}

/// Whether a file that starts so is a trace, if perhaps an empty one: its first word is a moment.
fn is_trace(start: &[u8]) -> bool {
    let word = start.split(|byte| *byte == b' ').next().unwrap_or_default();
    word.is_empty() || std::str::from_utf8(word).is_ok_and(|word| word.parse::<f64>().is_ok())
}

impl Diff {
    /// Does it; the exit code.
    pub fn execute(&self) -> u8 {
        self.compare().unwrap_or_else(|code| code)
    }

    /// What is compared, or says that it cannot be varied.
    fn sides(&self) -> Result<[Side; 2], u8> {
        let plain = Variation::default();
        let first = if self.both { &self.variation } else { &plain };
        let other = self.other.as_ref().unwrap_or(&self.one);
        let sides = [Side::parse(&self.one, first), Side::parse(other, &self.variation)];
        for (side, variation) in sides.iter().zip([first, &self.variation]) {
            if let Side::File(path) = side
                && *variation != plain
            {
                eprintln!("error: --redraw, --explore and --mutant vary runs, and {path} is none: write SCENARIO@SEED");
                return Err(exit::WRONG);
            }
        }
        Ok(sides)
    }

    fn compare(&self) -> Result<u8, u8> {
        let sides = self.sides()?;
        let limit = self.limit.time();
        let traces = [sides[0].trace(limit)?, sides[1].trace(limit)?];
        let compared = traces::compare(traces, limit, without_hash).map_err(|error| {
            eprintln!("error: cannot read a trace: {error}");
            exit::WRONG
        })?;
        let Compared { parted, codes, lost } = compared;
        if let Some((side, code, how)) = lost {
            println!("the same as far as it came: {} {how}", ["A", "B"][side]);
            return Ok(code);
        }
        if parted.over() == [true; 2] {
            // So much of them is the same, but it is no run.
            let unplayed = sides.iter().zip(codes).find_map(|(side, code)| match side {
                Side::Run(input) if code == Some(exit::WRONG.into()) => Some(input),
                _ => None,
            });
            if let Some(input) = unplayed {
                eprintln!("error: {}", super::why_unplayed(input));
                return Err(exit::WRONG);
            }
            println!("the same: every event");
            return Ok(exit::HELD);
        }
        for line in lines(&parted) {
            println!("{line}");
        }
        if let [Side::Run(one), Side::Run(other)] = &sides {
            let recordings = [
                obtain(&one.scenario, one.seed, &one.variation, &[], self.limit)?,
                obtain(&other.scenario, other.seed, &other.variation, &[], self.limit)?,
            ];
            for (name, recording) in ["A", "B"].iter().zip(&recordings) {
                if let Some(how) = recording.cut() {
                    println!("{name} {how}");
                }
            }
            let [one, other] = [Index::new(&recordings[0]), Index::new(&recordings[1])];
            if let Some(at) = at(&parted) {
                print_state("at that moment", &one, &other, [at, at]);
            }
            print_decision(&one, &other);
            for recording in &recordings {
                is_played(recording)?;
            }
        }
        Ok(exit::DIFFERENT)
    }
}

/// Says why a run was not played to its end, if so.
fn is_played(recording: &Recording) -> Result<(), u8> {
    let Ending::Wrong(why) = &recording.ending else {
        return Ok(());
    };
    let (scenario, seed) = (&recording.scenario, recording.seed);
    eprintln!("error: seed {seed} of {scenario} cannot be played: {why}");
    Err(exit::WRONG)
}

/// Says which faults struck only one of the runs.
fn print_faults(one: &Index<'_>, other: &Index<'_>) {
    for (name, index, counterpart) in [("A", one, other), ("B", other, one)] {
        let known: BTreeSet<&str> = counterpart.faults().iter().map(|fault| &*fault.text).collect();
        for fault in index.faults().iter().filter(|fault| !known.contains(&*fault.text)) {
            println!("  only {name}  {}  {}", words::moment(fault.from), fault.text);
        }
    }
}

/// Says which decision only one of the runs took first, and how the stores differ then.
fn print_decision(one: &Index<'_>, other: &Index<'_>) {
    let all = |index: &Index<'_>| -> Vec<Step> {
        let places = index.all_writes();
        places.map(|place| Step { place, link: None }).collect()
    };
    let first = compare::parting(one, &all(one), other);
    let second = compare::parting(other, &all(other), one);
    let (left, right) = (first.as_ref(), second.as_ref());
    let ours = match (left, right) {
        (Some(left), Some(right)) => one.at(left.place) <= other.at(right.place),
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (None, None) => {
            println!("both take the same decisions; what differs is when");
            print_faults(one, other);
            return;
        }
    };
    let (index, counterpart, parting, name) = if ours {
        (one, other, first, "A")
    } else {
        (other, one, second, "B")
    };
    let Some(parting) = parting else { return };
    println!("the first decision that only {name} takes:");
    let line =
        |index: &Index<'_>, place: usize| format!("{}  {}", words::moment(index.at(place)), words::event(index, place));
    println!("  {name}  {}", line(index, parting.place));
    let at = index.at(parting.place);
    let there = match parting.instead {
        Some(place) => {
            println!("  {}  {}", if ours { "B" } else { "A" }, line(counterpart, place));
            counterpart.at(place)
        }
        None => at,
    };
    let moments = if ours { [at, there] } else { [there, at] };
    print_state("just before", one, other, moments);
}

fn print_state(when: &str, one: &Index<'_>, other: &Index<'_>, at: [Duration; 2]) {
    let differences = compare::states(one, at[0], other, at[1]);
    if differences.is_empty() {
        println!("the stores {when} hold the same");
        return;
    }
    println!("the stores {when}, A against B:");
    for (about, fields) in differences.iter().take(OBJECTS) {
        println!("  {about}");
        for field in fields.iter().take(FIELDS) {
            println!("    {field}");
        }
        if fields.len() > FIELDS {
            println!("    and {} more fields", fields.len() - FIELDS);
        }
    }
    if differences.len() > OBJECTS {
        println!("  and {} more objects", differences.len() - OBJECTS);
    }
}

/// Where two traces part, in words.
fn lines(parted: &Parted) -> Vec<String> {
    let mut lines = vec![format!("they part at event {}:", parted.same + 1)];
    lines.extend(parted.before.iter().map(|line| format!("     {line}")));
    for (name, side) in ["A", "B"].iter().zip(&parted.after) {
        if side.is_empty() {
            lines.push(format!("  {name}  (the end)"));
        }
        lines.extend(side.iter().map(|line| format!("  {name}  {line}")));
    }
    lines
}

/// When they part: the earlier of both.
fn at(parted: &Parted) -> Option<Duration> {
    let seconds = |line: &String| line.split(' ').next()?.parse::<f64>().ok();
    let first = parted.after.iter().filter_map(|side| side.first().and_then(seconds));
    first.reduce(f64::min).map(Duration::from_secs_f64)
}

/// An event without the running hash at its end.
fn without_hash(line: &str) -> &str {
    let line = line.trim_end();
    let event = line.strip_suffix(']').and_then(|line| line.rsplit_once(" ["));
    event.map_or(line, |(event, _)| event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parted(one: &str, other: &str) -> Parted {
        traces::part(&mut one.as_bytes(), &mut other.as_bytes(), without_hash).unwrap()
    }

    #[test]
    fn traces_part_at_the_first_event_that_differs() {
        let one = "0.100000000 store: 2 put [aa]\n0.200000000 user: GET /x [bb]\n0.300000000 user: more [cc]\n";
        let other = "0.100000000 store: 2 put [ff]\n0.250000000 user: GET /y [ee]\n";
        let parted = parted(one, other);
        assert_eq!(at(&parted), Some(Duration::from_millis(200)));
        insta::assert_snapshot!(lines(&parted).join("\n"), @r"
        they part at event 2:
             0.100000000 store: 2 put
          A  0.200000000 user: GET /x
          A  0.300000000 user: more
          B  0.250000000 user: GET /y
        ");
    }

    #[test]
    fn equal_traces_do_not_part_and_a_shorter_one_does_at_its_end() {
        let lengths = |one, other| {
            let parted = parted(one, other);
            (parted.same, parted.after.map(|side| side.len()))
        };
        assert_eq!(lengths("1.0 a: b [x]\n", "1.0 a: b [y]\n"), (1, [0, 0]));
        let longer = "1.0 a: b [x]\n2.0 a: c [z]\n";
        assert_eq!(lengths("1.0 a: b [x]\n", longer), (1, [0, 1]));
        assert_eq!(lengths("1.0 a: b [x]\n2.0 a", longer), (1, [0, 1]));
        assert_eq!(lengths("1.0 a: b [x]\n2.0", "1.0 a: b [x]\n2"), (1, [0, 0]));
    }

    #[test]
    fn a_scenario_without_its_seed_is_no_trace() {
        assert!(is_trace(b"0.100000000 store: 2 put [aa]\n"));
        assert!(is_trace(b""));
        assert!(!is_trace(b"name: node-failure\n"));
    }

    #[test]
    fn a_side_is_a_run_or_a_file() {
        let plain = Variation::default();
        let run = Side::Run(Input::new("scenarios/a@b.yaml", 7));
        assert_eq!(Side::parse("scenarios/a@b.yaml@7", &plain), run);
        let file = Side::File("trace@home.txt".to_owned());
        assert_eq!(Side::parse("trace@home.txt", &plain), file);
    }

    #[test]
    fn a_varied_run_is_compared_with_the_plain_one_unless_both_are_to_be_varied() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            diff: Diff,
        }
        let sides = |words: &[&str]| {
            let line = <Line as clap::Parser>::try_parse_from([&["diff"], words].concat());
            line.map_err(|_| exit::WRONG).and_then(|line| line.diff.sides())
        };
        let varied = |sides: Result<[Side; 2], u8>| {
            sides.map(|sides| {
                sides.map(|side| matches!(side, Side::Run(input) if input.variation != Variation::default()))
            })
        };
        assert_eq!(varied(sides(&["a@7", "--redraw", "tasks=2"])), Ok([false, true]));
        assert_eq!(varied(sides(&["a@7", "--explore", "pct:3"])), Ok([false, true]));
        assert_eq!(varied(sides(&["a@7", "--mutant", "B41"])), Ok([false, true]));
        assert_eq!(
            varied(sides(&["a@7", "b@8", "--redraw", "tasks=2", "--both"])),
            Ok([true, true])
        );
        assert_eq!(varied(sides(&["a@7", "b@8"])), Ok([false, false]));
        for wrong in [&["a@7"][..], &["a@7", "b.txt", "--redraw", "tasks=2"]] {
            assert_eq!(varied(sides(wrong)), Err(exit::WRONG), "{wrong:?}");
        }
    }
}
