//! When something happens: at a time, at a drawn one, or when something else has happened.

use std::time::Duration;

use crate::scenario::quantity::Span;
use crate::scenario::trigger::Trigger;
use crate::scenario::write::{Keys, time};
use crate::scenario::yaml::Yaml;

/// When something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// Then.
    At(Duration),
    /// At a moment drawn from the range; what goes on for a while does so all the range long.
    Between(Span),
    /// When something has happened.
    When(Trigger),
}

impl Moment {
    pub(in crate::scenario) fn of(
        at: Option<Duration>,
        between: Option<Span>,
        when: Option<Trigger>,
    ) -> Result<Self, String> {
        match (at, between, when) {
            (Some(at), None, None) => Ok(Moment::At(at)),
            (None, Some(between), None) => Ok(Moment::Between(between)),
            (None, None, Some(when)) => Ok(Moment::When(when)),
            (None, None, None) => Err("say when: one of `at`, `between` and `when` is needed".to_owned()),
            _ => Err("say when only once: `at`, `between` and `when` exclude each other".to_owned()),
        }
    }
}

impl Moment {
    /// Sooner it does not come.
    pub fn earliest(&self) -> Duration {
        match self {
            Moment::At(at) => *at,
            Moment::Between(between) => between.low,
            Moment::When(trigger) => trigger.earliest(),
        }
    }

    /// What is waited for, if something is.
    pub fn trigger(&self) -> Option<&Trigger> {
        match self {
            Moment::When(trigger) => Some(trigger),
            Moment::At(_) | Moment::Between(_) => None,
        }
    }

    /// Its one key.
    pub(in crate::scenario) fn write(&self) -> Keys {
        match self {
            Moment::At(at) => Keys::default().with("at", time(at)),
            Moment::Between(between) => Keys::default().with("between", Yaml::plain(between)),
            Moment::When(when) => Keys::default().with("when", when.write()),
        }
    }
}
