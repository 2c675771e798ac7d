//! Plays a scenario without its faults, to have something to compare the ends of its runs with.
//!
//! Each in a process of its own, as every run, and once for a build and a scenario: what came of it is kept among the
//! temporary files, so that a campaign does not play it anew for every seed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use crate::child::{self, Fate, Patience};
use crate::end_state::{EndState, Yardstick};
use crate::exit;
use crate::fingerprint::Fingerprint;
use crate::run::End;
use crate::scenario::{Heal, InvariantChoice, Scenario};

/// What differs between the ends of these is no difference.
const SEEDS: [u64; 3] = [1, 2, 3];

/// The scenario without its faults, and without what is asked of its end and its way beyond convergence.
pub fn without_faults(mut scenario: Scenario) -> Scenario {
    scenario.faults.clear();
    scenario.network.loss = 0.0;
    scenario.heal = Heal::All;
    scenario.expect.invariants = InvariantChoice::These(Vec::new());
    scenario.expect.end_state = None;
    scenario.expect.creates_and_deletes = None;
    scenario
}

/// How many runs it takes to judge one of the scenario, if nothing of it has been kept.
pub fn runs(scenario: &Scenario) -> u32 {
    match scenario.expect.compares_ends() {
        true => 1 + SEEDS.len() as u32,
        false => 1,
    }
}

/// What is to become of the end of a run of the scenario in the file at `path`, in a build with this mutant.
///
/// # Errors
/// The runs without faults do not hold, cannot be played, or take longer than there is patience for each; in words.
pub fn of(path: &str, scenario: &Scenario, mutant: Option<&str>, patience: Patience<'_>) -> Result<End, String> {
    if !scenario.expect.compares_ends() {
        return Ok(End::Ignore);
    }
    yardstick_within(path, scenario, mutant, patience).map(|yardstick| End::Compare(Arc::new(yardstick)))
}

/// The ends of runs without faults of the scenario in the file at `path`, in a build with this mutant.
///
/// # Errors
/// As of [`of`].
pub fn yardstick(path: &str, scenario: &Scenario, mutant: Option<&str>) -> Result<Yardstick, String> {
    yardstick_within(path, scenario, mutant, Patience::ENDLESS)
}

/// What [`yardstick`] gives, if there is enough patience for each of the runs.
///
/// # Errors
/// As of [`of`]; or one was ended before it did so itself.
pub fn yardstick_within(
    path: &str,
    scenario: &Scenario,
    mutant: Option<&str>,
    patience: Patience<'_>,
) -> Result<Yardstick, String> {
    let kept = kept(scenario, mutant).map_err(|error| format!("the simulator cannot look at itself: {error}"))?;
    let known = std::fs::read(&kept).ok();
    if let Some(yardstick) = known.and_then(|bytes| serde_json::from_slice::<Yardstick>(&bytes).ok()) {
        return Ok(yardstick);
    }
    let mut ends = Vec::new();
    for seed in SEEDS {
        ends.push(play(path, seed, mutant, &kept, patience)?);
    }
    let yardstick = Yardstick::new(ends);
    // Whole or not at all; and what cannot be kept is played again.
    let new = own(&kept, "new");
    let _ = std::fs::write(&new, serde_json::to_vec(&yardstick).unwrap_or_default())
        .and_then(|()| std::fs::rename(&new, &kept));
    Ok(yardstick)
}

/// Where the result is kept: by the build, the scenario with its manifests, and the mutant.
fn kept(scenario: &Scenario, mutant: Option<&str>) -> std::io::Result<PathBuf> {
    // What the file is, and not where it lies: another build may lie there by now.
    let about = Path::new(child::PROGRAM).metadata()?;
    let file = (about.dev(), about.ino(), about.len(), about.modified().ok());
    let mut print = Fingerprint::default();
    print.add(format!("{file:?}").as_bytes());
    print.add(format!("{scenario:?}").as_bytes());
    print.add(mutant.unwrap_or_default().as_bytes());
    Ok(std::env::temp_dir().join(format!("orrery-yardstick-{print}.json")))
}

/// A file of this process' own beside `kept`.
fn own(kept: &Path, what: &str) -> PathBuf {
    kept.with_extension(format!("{}.{what}", std::process::id()))
}

fn play(path: &str, seed: u64, mutant: Option<&str>, kept: &Path, patience: Patience<'_>) -> Result<EndState, String> {
    let file = own(kept, &format!("{seed}.end"));
    let mut arguments = vec!["run".to_owned(), path.to_owned(), "--seed".to_owned(), seed.to_string()];
    arguments.push("--fault-free".to_owned());
    arguments.extend(mutant.into_iter().flat_map(|id| ["--mutant".to_owned(), id.to_owned()]));
    let mut run = child::itself();
    run.args(&arguments).arg("--end-state").arg(&file);
    let watched =
        child::watch(&mut run, patience).map_err(|error| format!("cannot start a second process: {error}"))?;
    let end = std::fs::read(&file).map_err(|error| error.to_string());
    // It lies among temporary files.
    let _ = std::fs::remove_file(&file);
    let command = arguments.join(" ");
    let (status, said) = match watched {
        Fate::Ended { status, output, errors } => (status, output + &errors),
        Fate::Late => {
            let (cannot, seconds) = (cannot_be_compared(path), patience.limit.as_secs());
            return Err(format!(
                "{cannot}, since one did not end within {seconds} s of real time (`{command}`)"
            ));
        }
        Fate::Interrupted => return Err(format!("{}: interrupted", cannot_be_compared(path))),
    };
    if !status.success() {
        return Err(not_to_be_compared(path, &command, status, &said));
    }
    end.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()))
        .map_err(|error| format!("a run without faults left no end: {error}"))
}

fn cannot_be_compared(path: &str) -> String {
    format!("{path} cannot be compared with runs without faults")
}

/// Why a scenario cannot be compared with a run without faults that ended so: it failed, or was not played to its end.
fn not_to_be_compared(path: &str, command: &str, status: ExitStatus, said: &str) -> String {
    let cannot = cannot_be_compared(path);
    match status.code() {
        Some(code) if code == i32::from(exit::WRONG) => {
            // That its end has no place to be written to, for example, is no word on the scenario. In one line, as
            // campaigns tell it.
            let error = said.lines().find_map(|line| line.strip_prefix("error: "));
            let why = error.or_else(|| said.lines().next()).unwrap_or("it did not say why");
            format!("{cannot}, since one could not be played or written down: {why} (`{command}`)")
        }
        Some(_) => format!(
            "{cannot}, since they do not hold either: {} (`{command}`)\n{said}",
            gist(said)
        ),
        None => format!("{cannot}, since one was killed ({status}): `{command}` says\n{said}"),
    }
}

/// What a report says first, in a line: what was wrong, and the first word on it.
fn gist(report: &str) -> String {
    let mut lines = report.lines();
    let what = lines.next().unwrap_or("it did not say why");
    match lines.next().filter(|line| line.starts_with("  ")) {
        Some(more) => format!("{}: {}", what.trim_end_matches(':'), more.trim()),
        None => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_run_that_could_not_be_written_down_is_not_said_to_have_failed() {
        // As wait(2) tells it: the code in the second byte, a signal in the first.
        let said = "held\nerror: no room\n";
        let told = |raw| not_to_be_compared("a.yaml", "run a.yaml", ExitStatus::from_raw(raw), said);
        let cannot = "a.yaml cannot be compared with runs without faults, since";
        assert_eq!(
            told(2 << 8),
            format!("{cannot} one could not be played or written down: no room (`run a.yaml`)")
        );
        assert_eq!(
            told(11 << 8),
            format!("{cannot} they do not hold either: held (`run a.yaml`)\nheld\nerror: no room\n")
        );
        assert!(told(9).starts_with(&format!("{cannot} one was killed (signal: 9")));
    }

    #[test]
    fn what_failed_without_faults_is_told_in_the_first_line() {
        let missing = "did not converge within the bound; what is missing:\n  nine replicas\n  and more\nreplay: run\n";
        let wanted = "did not converge within the bound; what is missing: nine replicas";
        assert_eq!(gist(missing), wanted);
        assert_eq!(
            gist("kubelet/a panicked: why\nreplay: run\n"),
            "kubelet/a panicked: why"
        );
    }
}
