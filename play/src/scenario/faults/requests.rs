//! What befalls requests of clients: `api-errors`, `duplicate`.

use serde::Deserialize;

use super::Words;
use super::which::WhichRequests;
use crate::scenario::quantity::{self, Span};
use crate::scenario::simpler::{shorter, without_one};
use crate::scenario::target::{ClientTarget, Whom};
use crate::scenario::write::{Keys, words};
use crate::scenario::yaml::Yaml;

/// The errors that the API answers with for no fault of its client.
const CODES: [u16; 5] = [409, 429, 500, 503, 504];

/// Whose requests are answered with which errors, and whether they take effect all the same.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "ApiErrorsWire")]
pub struct ApiErrorsSpec {
    /// Whose; everybody's if none.
    pub client: Option<ClientTarget>,
    /// The errors. 409, 429 and 503 say that nothing happened; after 500 and 504 nobody knows.
    pub codes: Vec<u16>,
    /// Whether writes that are answered 500 or 504 take effect; drawn if none.
    pub effect: Option<bool>,
    /// Which requests.
    pub which: WhichRequests,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiErrorsWire {
    client: Option<ClientTarget>,
    codes: Option<Vec<u16>>,
    effect: Option<bool>,
    #[serde(default, deserialize_with = "quantity::some_probability")]
    probability: Option<f64>,
    #[serde(rename = "for")]
    lasts: Option<Span>,
    request: Option<String>,
    nth: Option<Vec<u32>>,
}

impl TryFrom<ApiErrorsWire> for ApiErrorsSpec {
    type Error = String;

    fn try_from(wire: ApiErrorsWire) -> Result<Self, String> {
        let codes = wire.codes.unwrap_or_else(|| CODES.to_vec());
        if codes.is_empty() || codes.iter().any(|code| !CODES.contains(code)) {
            let known = CODES.map(|code| code.to_string()).join(", ");
            return Err(format!("`codes` are some of {known}"));
        }
        Ok(ApiErrorsSpec {
            client: wire.client,
            codes,
            effect: wire.effect,
            which: WhichRequests::read(wire.probability, wire.lasts, wire.request, wire.nth)?,
        })
    }
}

impl Words for ApiErrorsSpec {
    fn write(&self) -> Yaml {
        let ApiErrorsSpec {
            client,
            codes,
            effect,
            which,
        } = self;
        let keys = Keys::default().some("client", client.as_ref(), Yaml::text_of);
        which
            .write(keys)
            .unless(*codes == CODES, "codes", || words(codes, Yaml::plain))
            .some("effect", effect.as_ref(), Yaml::plain)
            .map()
    }

    fn describe(&self) -> String {
        match &self.client {
            Some(client) => format!("errors of the API towards {client}"),
            None => "errors of the API".to_owned(),
        }
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of_client(self.client.as_ref())
    }

    fn simpler(&self) -> Vec<Self> {
        let codes = without_one(&self.codes).into_iter();
        let codes = codes.map(|codes| ApiErrorsSpec { codes, ..self.clone() });
        let never = (self.effect == Some(true)).then(|| ApiErrorsSpec {
            effect: Some(false),
            ..self.clone()
        });
        let which = self.which.simpler().into_iter();
        let which = which.map(|which| ApiErrorsSpec { which, ..self.clone() });
        never.into_iter().chain(codes).chain(which).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        self.which.lasts()
    }

    fn is_by_chance(&self) -> bool {
        self.which.is_by_chance()
    }

    fn nth(&mut self) -> Option<&mut Vec<u32>> {
        self.which.nth()
    }
}

/// Whose writes are carried out twice, as when something between a client and its server tries again by itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "DuplicateWire")]
pub struct DuplicateSpec {
    /// Whose; everybody's if none.
    pub client: Option<ClientTarget>,
    /// So long after the first time.
    pub after: Span,
    /// Which of the two answers the client hears.
    pub answer: Heard,
    /// Which writes.
    pub which: WhichRequests,
}

/// Which of two answers is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heard {
    /// The first: the second time happens behind the client's back, and may come after what it has done since. What is
    /// written without a condition is then as it was before; no component of Kubernetes is made for that.
    First,
    /// The second: the first answer was lost on its way.
    #[default]
    Second,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DuplicateWire {
    client: Option<ClientTarget>,
    after: Option<Span>,
    #[serde(default)]
    answer: Heard,
    #[serde(default, deserialize_with = "quantity::some_probability")]
    probability: Option<f64>,
    #[serde(rename = "for")]
    lasts: Option<Span>,
    request: Option<String>,
    nth: Option<Vec<u32>>,
}

/// How much later the second time is if nobody says so.
const AFTER: Span = Span::millis(10, 1000);

impl TryFrom<DuplicateWire> for DuplicateSpec {
    type Error = String;

    fn try_from(wire: DuplicateWire) -> Result<Self, String> {
        Ok(DuplicateSpec {
            client: wire.client,
            after: wire.after.unwrap_or(AFTER),
            answer: wire.answer,
            which: WhichRequests::read(wire.probability, wire.lasts, wire.request, wire.nth)?,
        })
    }
}

impl Words for DuplicateSpec {
    fn write(&self) -> Yaml {
        let DuplicateSpec {
            client,
            after,
            answer,
            which,
        } = self;
        let keys = Keys::default().some("client", client.as_ref(), Yaml::text_of);
        which
            .write(keys)
            .unless(*after == AFTER, "after", || Yaml::plain(after))
            .unless(*answer == Heard::default(), "answer", || {
                Yaml::plain(match answer {
                    Heard::First => "first",
                    Heard::Second => "second",
                })
            })
            .map()
    }

    fn describe(&self) -> String {
        match &self.client {
            Some(client) => format!("doubled writes of {client}"),
            None => "doubled writes".to_owned(),
        }
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of_client(self.client.as_ref())
    }

    fn simpler(&self) -> Vec<Self> {
        let after = shorter(&self.after).map(|after| DuplicateSpec { after, ..self.clone() });
        let which = self.which.simpler().into_iter();
        let which = which.map(|which| DuplicateSpec { which, ..self.clone() });
        after.chain(which).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        self.which.lasts()
    }

    fn is_by_chance(&self) -> bool {
        self.which.is_by_chance()
    }

    fn nth(&mut self) -> Option<&mut Vec<u32>> {
        self.which.nth()
    }
}
