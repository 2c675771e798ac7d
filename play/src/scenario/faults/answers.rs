//! Answers that are lost: `lost-answers`.

use serde::Deserialize;

use super::{Words, some_time, some_times};
use crate::scenario::quantity::{self, Span};
use crate::scenario::served::check_verb_and_resource;
use crate::scenario::simpler::{shorter, without_one};
use crate::scenario::target::{ClientTarget, Whom};
use crate::scenario::write::{Keys, words};
use crate::scenario::yaml::Yaml;

/// Whose answers are lost, and which.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "LostAnswersWire")]
pub struct LostAnswersSpec {
    /// Whose; everybody's if none.
    pub client: Option<ClientTarget>,
    /// Which.
    pub which: WhichAnswers,
}

/// Which answers to writes are lost.
#[derive(Debug, Clone, PartialEq)]
pub enum WhichAnswers {
    /// Any of them, with a probability, for a while.
    Share {
        /// How many.
        probability: f64,
        /// For how long.
        lasts: Span,
    },
    /// Those to certain requests.
    These {
        /// What the requests are: `patch pods/status`.
        write: String,
        /// The how manieth of them since the fault began, from 1.
        requests: Vec<u32>,
        /// What the client notices.
        then: Loss,
    },
}

/// What a client notices of an answer that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The connection is reset.
    #[default]
    Reset,
    /// Nothing, until it gives up.
    Silence,
}

impl Loss {
    /// Its word in scenarios.
    pub fn as_str(self) -> &'static str {
        match self {
            Loss::Reset => "reset",
            Loss::Silence => "silence",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LostAnswersWire {
    client: Option<ClientTarget>,
    #[serde(default, deserialize_with = "quantity::some_probability")]
    probability: Option<f64>,
    #[serde(rename = "for")]
    lasts: Option<Span>,
    write: Option<String>,
    requests: Option<Vec<u32>>,
    then: Option<Loss>,
}

impl TryFrom<LostAnswersWire> for LostAnswersSpec {
    type Error = String;

    fn try_from(wire: LostAnswersWire) -> Result<Self, String> {
        let which = match (wire.write, wire.requests) {
            (None, None) if wire.then.is_none() => WhichAnswers::Share {
                probability: wire.probability.unwrap_or(0.5),
                lasts: wire.lasts.unwrap_or_else(some_time),
            },
            (Some(write), Some(requests)) if wire.probability.is_none() && wire.lasts.is_none() => {
                check_requests(&write, &requests)?;
                WhichAnswers::These {
                    write,
                    requests,
                    then: wire.then.unwrap_or_default(),
                }
            }
            _ => {
                return Err(
                    "say which answers are lost by `probability` and `for`, or by `write` and `requests`".into(),
                );
            }
        };
        Ok(LostAnswersSpec {
            client: wire.client,
            which,
        })
    }
}

fn check_requests(write: &str, requests: &[u32]) -> Result<(), String> {
    let verbs = ["create", "update", "patch", "delete"];
    check_verb_and_resource(write, "write", &verbs)?;
    if requests.is_empty() || requests.contains(&0) {
        return Err("`requests` are counted from 1, and there must be one".to_owned());
    }
    Ok(())
}

impl Words for LostAnswersSpec {
    fn write(&self) -> Yaml {
        let LostAnswersSpec { client, which } = self;
        let keys = Keys::default().some("client", client.as_ref(), Yaml::text_of);
        match which {
            WhichAnswers::Share { probability, lasts } => {
                let keys = keys.unless(*probability == 0.5, "probability", || Yaml::plain(probability));
                some_times(keys, lasts).map()
            }
            WhichAnswers::These { write, requests, then } => {
                let word = || Yaml::plain(then.as_str());
                keys.with("write", Yaml::text(write))
                    .with("requests", words(requests, Yaml::plain))
                    .unless(*then == Loss::default(), "then", word)
                    .map()
            }
        }
    }

    fn describe(&self) -> String {
        "lost answers".to_owned()
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of_client(self.client.as_ref())
    }

    fn is_by_chance(&self) -> bool {
        matches!(self.which, WhichAnswers::Share { .. })
    }

    fn simpler(&self) -> Vec<Self> {
        let simpler = simpler(&self.which).into_iter();
        simpler
            .map(|which| LostAnswersSpec {
                which,
                client: self.client.clone(),
            })
            .collect()
    }
}

fn simpler(which: &WhichAnswers) -> Vec<WhichAnswers> {
    match which {
        WhichAnswers::Share { probability, lasts } => shorter(lasts)
            .map(|lasts| WhichAnswers::Share {
                probability: *probability,
                lasts,
            })
            .collect(),
        WhichAnswers::These { write, requests, then } => {
            let these = |requests: Vec<u32>, then| WhichAnswers::These {
                write: write.clone(),
                requests,
                then,
            };
            let reset = (*then != Loss::Reset).then(|| these(requests.clone(), Loss::Reset));
            let fewer = without_one(requests).into_iter().map(|fewer| these(fewer, *then));
            reset.into_iter().chain(fewer).collect()
        }
    }
}
