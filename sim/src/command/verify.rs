//! `verify`: the same run in two processes, compared event by event as they happen, in constant memory.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use clap::Args;

/// So many equal events are shown before the first that differs.
const CONTEXT: usize = 5;

/// Runs a scenario twice and compares.
#[derive(Args)]
pub struct Verify {
    /// The scenario's file.
    scenario: String,
    /// The seed; the scenario's own by default, or 1.
    #[arg(long)]
    seed: Option<u64>,
}

impl Verify {
    /// Does it; the exit code.
    pub fn execute(&self) -> u8 {
        let seed = match super::read(&self.scenario) {
            Ok(scenario) => super::seed(self.seed, &scenario),
            Err(code) => return code,
        };
        let (mut one, mut other) = match (self.child(seed), self.child(seed)) {
            (Ok(one), Ok(other)) => (one, other),
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("error: cannot start a second process: {error}");
                return 2;
            }
        };
        let result = compare(&mut one, &mut other);
        let same = match result {
            Ok(events) => {
                println!("the same: {events} events in both runs of seed {seed}");
                true
            }
            Err(difference) => {
                println!("not deterministic: {difference}");
                for child in [&mut one, &mut other] {
                    // It may have ended by itself.
                    let _ = child.kill();
                }
                false
            }
        };
        let codes = [one.wait(), other.wait()].map(|status| status.ok().and_then(|status| status.code()));
        if !same || codes[0] != codes[1] {
            return 12;
        }
        // What the run itself found is not this command's business, but a scenario that cannot be played is.
        if codes[0] == Some(2) { 2 } else { 0 }
    }

    fn child(&self, seed: u64) -> std::io::Result<Child> {
        Command::new(std::env::current_exe()?)
            .args(["run", &self.scenario, "--seed", &seed.to_string(), "--trace", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
    }
}

/// Compares the children's lines; how many there were, or how they differ.
fn compare(one: &mut Child, other: &mut Child) -> Result<u64, String> {
    let reader = |child: &mut Child| child.stdout.take().map(BufReader::new).ok_or("no output".to_owned());
    let (mut left, mut right) = (reader(one)?, reader(other)?);
    let mut recent: VecDeque<String> = VecDeque::new();
    let (mut a, mut b) = (String::new(), String::new());
    for number in 0.. {
        a.clear();
        b.clear();
        left.read_line(&mut a).map_err(|error| error.to_string())?;
        right.read_line(&mut b).map_err(|error| error.to_string())?;
        if a != b {
            let show = |line: &str| {
                if line.is_empty() {
                    "(the end)".to_owned()
                } else {
                    line.trim_end().to_owned()
                }
            };
            let before: Vec<String> = recent.iter().map(|line| format!("    {line}")).collect();
            return Err(format!(
                "event {} differs, after\n{}\n  first:  {}\n  second: {}",
                number + 1,
                before.join("\n"),
                show(&a),
                show(&b)
            ));
        }
        if a.is_empty() {
            return Ok(number);
        }
        if recent.len() == CONTEXT {
            recent.pop_front();
        }
        recent.push_back(a.trim_end().to_owned());
    }
    Ok(0)
}
