//! From a failure to its explanation: what was broken, and the shortest chain of causes that led there.
//!
//! Everything here is a pure function of a [`Recording`](crate::recording::Recording). The chain is the likeliest story
//! that links can tell, not a proof: a component's mind is not recorded, only what it was shown and what it then asked
//! for. What it did not know when it acted is said with each decision.

pub mod causes;
pub mod chain;
pub mod compare;
mod missing;
mod stale;
mod subjects;
#[cfg(test)]
pub(crate) mod tests;
pub mod words;

use crate::model::ObjectId;
use crate::recording::{Ending, Index, What};
use crate::report;
use causes::Link;
use chain::{Step, chain};
use words::{moment, span};

/// Why a run failed.
#[derive(Debug, Clone, Default)]
pub struct Explanation {
    /// What is wrong, in lines.
    pub finding: Vec<String>,
    /// The objects that it is about.
    pub subjects: Vec<ObjectId>,
    /// How it came to that: events from the origin to the failure.
    pub steps: Vec<Step>,
    /// The same in words: a decision each.
    pub told: Vec<Told>,
    /// What else there is to say, in lines.
    pub beside: Vec<String>,
}

/// A step of a chain in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Where it is.
    pub place: usize,
    /// What happened.
    pub line: String,
    /// What is worth noticing: what whoever decided did not know.
    pub notes: Vec<String>,
}

impl Explanation {
    /// The chain and what is beside it, in lines.
    pub fn lines(&self, index: &Index<'_>) -> Vec<String> {
        let mut lines = self.beside.clone();
        if !self.told.is_empty() {
            lines.push("how it came to that:".to_owned());
        }
        for told in &self.told {
            lines.push(format!("{}  {}", moment(index.at(told.place)), told.line));
            lines.extend(told.notes.iter().map(|note| format!("{:>15}  ! {note}", "")));
        }
        lines
    }
}

/// Explains how a recorded run failed; none if it did not.
pub fn explain(index: &Index<'_>) -> Option<Explanation> {
    let mut explanation = Explanation::default();
    match &index.recording.ending {
        Ending::Held => return None,
        Ending::Violated => violated(index, &mut explanation),
        Ending::NotConverged { missing, left, named } => {
            explanation
                .finding
                .push(format!("the cluster {}", report::not_converged(missing)));
            explanation.finding.extend(report::left_broken(left, *named));
            explanation.beside = missing::explain(index, missing);
            let first = missing
                .first()
                .map(|first| subjects::subjects(index, first))
                .unwrap_or_default();
            // What waits for a finalizer waits for whoever put it there.
            let held = first.objects.first().and_then(|id| missing::held_by(index, id));
            if let Some(last) = held.or_else(|| missing::last_places(index, &first).pop()) {
                explanation.steps = chain(index, last, &first.objects);
            }
            explanation.subjects = first.objects;
        }
        Ending::Panicked { component, message } => {
            explanation.finding.push(format!("{component} panicked: {message}"));
            let end = index.recording.events.len();
            let last = index.before(component, end).find(|place| {
                let what = &index.event(*place).what;
                matches!(what, What::Shown { .. } | What::Received { .. } | What::Asked(_))
            });
            if let Some(last) = last {
                explanation.steps = chain(index, last, &[]);
            }
        }
        Ending::Endless { .. } => {
            let how = index.recording.cut();
            explanation.finding.extend(how.map(|how| format!("the run {how}")));
            // What goes round in circles is what was asked last, if anybody asked.
            let mut places = (0..index.recording.events.len()).rev();
            if let Some(last) = places.find(|place| index.request_at(*place).is_some()) {
                explanation.steps = chain(index, last, &[]);
            }
        }
        Ending::Wrong(why) => explanation
            .finding
            .push(format!("the scenario cannot be played: {why}")),
    }
    explanation.told = story(index, &explanation.steps);
    Some(explanation)
}

fn violated(index: &Index<'_>, explanation: &mut Explanation) {
    let events = index.recording.events.iter().enumerate();
    let broken = events.filter_map(|(place, event)| match &event.what {
        What::Broken {
            invariant,
            statement,
            message,
        } => Some((place, invariant, statement, message)),
        _ => None,
    });
    for (number, (place, invariant, statement, message)) in broken.enumerate() {
        let at = index.at(place).as_secs_f64();
        explanation
            .finding
            .push(format!("{invariant} is broken at {at:.6} s: {statement}"));
        explanation.finding.push(format!("  {message}"));
        if number > 0 {
            continue;
        }
        let about = subjects::subjects(index, message);
        if let Some(culprit) = subjects::culprit(index, place, &about) {
            explanation.steps = chain(index, culprit, &about.objects);
            explanation.subjects = about.objects;
        }
    }
}

/// A chain in words: a decision each, with what it rested on and what it did not know.
fn story(index: &Index<'_>, steps: &[Step]) -> Vec<Told> {
    let mut told = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let place = step.place;
        let is_decision = |step: &Step| matches!(index.event(step.place).what, What::Asked(_));
        let mut notes = Vec::new();
        let line = match &index.event(place).what {
            // What a request wrote is told with the request.
            What::Written(_) if step.link == Some(Link::AskedFor) => continue,
            What::Asked(request) => {
                let last = !steps[number + 1..].iter().any(is_decision);
                notes = stale::notes(index, place, last);
                let before = number.checked_sub(1).map(|before| steps[before].place);
                format!(
                    "{}{} {}",
                    request.client,
                    because(index, step, before),
                    words::decision(index, place)
                )
            }
            What::Written(_) if step.link == Some(Link::Silenced) => {
                format!("{}, having heard nothing of it since", words::event(index, place))
            }
            _ => words::event(index, place),
        };
        told.push(Told { place, line, notes });
    }
    told
}

/// Why a request was asked, for the middle of a sentence. `cause` is where the step before is.
fn because(index: &Index<'_>, step: &Step, cause: Option<usize>) -> String {
    let at = index.at(step.place);
    match step.link {
        Some(Link::Told(told)) => {
            let written = cause.and_then(|cause| index.written(cause));
            let revision = written.map_or(0, |written| written.revision);
            // A request that says on which state of its object it rests knows better than what its client was told.
            let request = index.request_at(step.place);
            let base = request
                .and_then(|request| request.base)
                .filter(|base| *base != revision);
            let is_own = |id: ObjectId| written.is_some_and(|written| written.object == id);
            if let Some(base) = base
                && request.and_then(|request| request.object()).is_some_and(is_own)
            {
                return format!(", resting on revision {base},");
            }
            let ago = span(at.saturating_sub(index.at(told)));
            let how = match &index.event(told).what {
                What::Shown { .. } => format!("shown revision {revision}"),
                What::Received { request, .. } if index.is_list(*request) => {
                    format!("having listed revision {revision}")
                }
                _ => format!("having read revision {revision}"),
            };
            format!(", {how} {ago} before,")
        }
        Some(Link::Saw) => ", which sees that,".to_owned(),
        Some(Link::Unheard) => ", which heard nothing of it, tries again:".to_owned(),
        Some(Link::Began) => ", which has just begun,".to_owned(),
        _ => String::new(),
    }
}
