//! The run that a command is about, as the command line names it.

use clap::Args;

use super::limit::Limit;
use super::record::obtain;
use super::yardstick;
use crate::campaign::Streams;
use crate::child::Patience;
use crate::exit;
use crate::mutants;
use crate::recording::Recording;
use crate::run::{End, Settings, compares_ends};
use crate::scenario::Scenario;
use crate::variation::{Redraw, Variation};

/// The run that a command is about.
#[derive(Args)]
pub struct Subject {
    /// The scenario's file.
    pub scenario: String,
    /// The seed; the scenario's own by default, or 1.
    #[arg(long)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub variation: Variation,
}

impl Subject {
    /// Reads the scenario; what to run, with nothing that the command line does not say here. If it has a known bug in
    /// it, this process has it from here on.
    ///
    /// # Errors
    ///
    /// The exit code to end with, when the scenario or the variation is wrong; it has been said why.
    pub fn settings(&self) -> Result<Settings, u8> {
        let scenario = read(&self.scenario, &self.variation)?;
        possible(self.variation.mutant.as_deref().map_or(Ok(()), mutants::switch_on))?;
        let seed = super::seed(self.seed, &scenario);
        Ok(Settings {
            variation: self.variation.clone(),
            ..Settings::new(scenario, seed)
        })
    }

    /// The seed, by the command line or the scenario.
    ///
    /// # Errors
    ///
    /// As of [`Subject::settings`].
    pub fn seed(&self) -> Result<u64, u8> {
        Ok(super::seed(self.seed, &read(&self.scenario, &self.variation)?))
    }

    /// What becomes of the run's end, or says why it cannot be compared, as when there is too little patience for one
    /// of the runs that it is compared with.
    ///
    /// # Errors
    ///
    /// As of [`Subject::settings`].
    pub fn end(&self, scenario: &Scenario, patience: Patience<'_>) -> Result<End, u8> {
        // Runs without faults are played only for whom they are compared with.
        if !compares_ends(scenario, &self.variation) {
            return Ok(End::Ignore);
        }
        possible(yardstick::of(
            &self.scenario,
            scenario,
            self.variation.mutant.as_deref(),
            patience,
        ))
    }

    /// What to run, with what becomes of the run's end, as of [`Subject::end`].
    ///
    /// # Errors
    ///
    /// As of [`Subject::settings`].
    pub fn settings_with_end(&self, patience: Patience<'_>) -> Result<Settings, u8> {
        let settings = self.settings()?;
        let end = self.end(&settings.scenario, patience)?;
        Ok(Settings { end, ..settings })
    }

    /// Records the run, in a process of its own, as far as it comes within the limit.
    ///
    /// # Errors
    ///
    /// As of [`obtain`].
    pub fn recording(&self, limit: Limit) -> Result<Recording, u8> {
        obtain(&self.scenario, self.seed()?, &self.variation, &[], limit)
    }
}

/// What came of something; if nothing, says why.
fn possible<T>(outcome: Result<T, String>) -> Result<T, u8> {
    outcome.map_err(|error| {
        eprintln!("error: {error}");
        exit::WRONG
    })
}

/// Reads a scenario whose run shall be varied, or says what is wrong with one of them.
pub(super) fn read(scenario: &str, variation: &Variation) -> Result<Scenario, u8> {
    let read = super::read(scenario)?;
    let streams = Streams::of(&read);
    let mistyped = |redraw: &Redraw| Some((redraw.stream.clone(), streams.meant_by(&redraw.stream)?.to_owned()));
    if let Some((wrong, near)) = variation.redraw.iter().find_map(mistyped) {
        eprintln!("error: --redraw: {scenario} has no stream {wrong:?} to draw anew; did you mean {near:?}?");
        return Err(exit::WRONG);
    }
    possible(variation.mutant.as_deref().map_or(Ok(()), mutants::check))?;
    Ok(read)
}
