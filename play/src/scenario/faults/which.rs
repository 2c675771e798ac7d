//! Which requests a fault befalls: a share of all of them for a while, or some by number.

use crate::scenario::quantity::Span;
use crate::scenario::served::check_verb_and_resource;
use crate::scenario::simpler::{shorter, without_one};
use crate::scenario::write::{Keys, words};
use crate::scenario::yaml::Yaml;

use super::{some_time, some_times};

/// How many requests meet with a fault if nobody says so.
const SHARE: f64 = 0.3;

/// Which requests of those that a fault is about.
#[derive(Debug, Clone, PartialEq)]
pub enum WhichRequests {
    /// Any of them, with a probability, for a while.
    Share {
        /// How many.
        probability: f64,
        /// For how long.
        lasts: Span,
    },
    /// Certain ones.
    These {
        /// What they are: `patch pods/status`, `list nodes`.
        request: String,
        /// The how manieth of them since the fault began, from 1.
        nth: Vec<u32>,
    },
}

impl WhichRequests {
    /// As it is read from `probability` and `for`, or `request` and `nth`.
    pub(super) fn read(
        probability: Option<f64>,
        lasts: Option<Span>,
        request: Option<String>,
        nth: Option<Vec<u32>>,
    ) -> Result<Self, String> {
        match (request, nth) {
            (None, None) => Ok(WhichRequests::Share {
                probability: probability.unwrap_or(SHARE),
                lasts: lasts.unwrap_or_else(some_time),
            }),
            (Some(request), Some(nth)) if probability.is_none() && lasts.is_none() => {
                check(&request, &nth)?;
                Ok(WhichRequests::These { request, nth })
            }
            _ => Err("say which requests by `probability` and `for`, or by `request` and `nth`".to_owned()),
        }
    }

    pub(super) fn write(&self, keys: Keys) -> Keys {
        match self {
            WhichRequests::Share { probability, lasts } => {
                let keys = keys.unless(*probability == SHARE, "probability", || Yaml::plain(probability));
                some_times(keys, lasts)
            }
            WhichRequests::These { request, nth } => keys
                .with("request", Yaml::text(request))
                .with("nth", words(nth, Yaml::plain)),
        }
    }

    pub(super) fn simpler(&self) -> Vec<Self> {
        match self {
            WhichRequests::Share { probability, lasts } => {
                let all = (*probability < 1.0).then_some(WhichRequests::Share {
                    probability: 1.0,
                    lasts: *lasts,
                });
                let shorter = shorter(lasts).map(|lasts| WhichRequests::Share {
                    probability: *probability,
                    lasts,
                });
                all.into_iter().chain(shorter).collect()
            }
            WhichRequests::These { request, nth } => {
                let first = (*nth != [1]).then(|| vec![1]);
                let fewer = first.into_iter().chain(without_one(nth));
                let these = fewer.map(|nth| WhichRequests::These {
                    request: request.clone(),
                    nth,
                });
                these.collect()
            }
        }
    }

    /// How long it lasts, if that is said.
    pub(super) fn lasts(&mut self) -> Option<&mut Span> {
        match self {
            WhichRequests::Share { lasts, .. } => Some(lasts),
            WhichRequests::These { .. } => None,
        }
    }

    /// The numbers, if there are some.
    pub(super) fn nth(&mut self) -> Option<&mut Vec<u32>> {
        match self {
            WhichRequests::Share { .. } => None,
            WhichRequests::These { nth, .. } => Some(nth),
        }
    }

    /// Whether chance decides, request by request.
    pub(super) fn is_by_chance(&self) -> bool {
        matches!(self, WhichRequests::Share { .. })
    }
}

fn check(request: &str, nth: &[u32]) -> Result<(), String> {
    let verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
    check_verb_and_resource(request, "request", &verbs)?;
    if nth.is_empty() || nth.contains(&0) {
        return Err("`nth` counts from 1, and there must be one".to_owned());
    }
    Ok(())
}
