//! `clock`: a machine's wall clock is wrong.

use serde::Deserialize;

use super::{Words, some_time, some_times};
use crate::scenario::between::{Between, Offset, Rate};
use crate::scenario::quantity::Span;
use crate::scenario::simpler::shorter;
use crate::scenario::target::{NodeTarget, Whom};
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// Whose clock is wrong, how, and for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "ClockWire")]
pub struct ClockSpec {
    /// The machine.
    pub node: NodeTarget,
    /// How far it steps, and back in the end.
    pub offset: Between<Offset>,
    /// How fast it goes meanwhile.
    pub drift: Between<Rate>,
    /// For how long.
    pub lasts: Span,
}

const NO_OFFSET: Offset = Offset(0);
const NO_DRIFT: Rate = Rate(1.0);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockWire {
    node: NodeTarget,
    offset: Option<Between<Offset>>,
    drift: Option<Between<Rate>>,
    #[serde(rename = "for", default = "some_time")]
    lasts: Span,
}

impl TryFrom<ClockWire> for ClockSpec {
    type Error = String;

    fn try_from(wire: ClockWire) -> Result<Self, String> {
        if wire.offset.is_none() && wire.drift.is_none() {
            return Err("say how the clock is wrong: by `offset`, by `drift`, or both".to_owned());
        }
        Ok(ClockSpec {
            node: wire.node,
            offset: wire.offset.unwrap_or(NO_OFFSET.into()),
            drift: wire.drift.unwrap_or(NO_DRIFT.into()),
            lasts: wire.lasts,
        })
    }
}

impl Words for ClockSpec {
    fn write(&self) -> Yaml {
        let ClockSpec {
            node,
            offset,
            drift,
            lasts,
        } = self;
        let keys = Keys::default().with("node", Yaml::text_of(node));
        // One of the two must be there, even if it says nothing.
        let steady = *drift == NO_DRIFT.into();
        let keys = keys
            .unless(*offset == NO_OFFSET.into() && !steady, "offset", || Yaml::plain(offset))
            .unless(steady, "drift", || Yaml::plain(drift));
        some_times(keys, lasts).map()
    }

    fn describe(&self) -> String {
        format!("wrong clock of {}", self.node)
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(Some(&self.node), None)
    }

    fn simpler(&self) -> Vec<Self> {
        let steady = (self.drift != NO_DRIFT.into()).then(|| ClockSpec {
            drift: NO_DRIFT.into(),
            ..self.clone()
        });
        let round = [30_000, 60_000, 600_000].map(|size| Offset(size * self.offset.high.0.signum()));
        let nearer = round.into_iter().chain([NO_OFFSET]).filter(|offset| {
            let is_zero = *offset == NO_OFFSET && self.drift == NO_DRIFT.into();
            let farther = offset.0.unsigned_abs() >= self.offset.high.0.unsigned_abs();
            !is_zero && !farther
        });
        let nearer = nearer.map(|offset| ClockSpec {
            offset: offset.into(),
            ..self.clone()
        });
        let shorter = shorter(&self.lasts).map(|lasts| ClockSpec { lasts, ..self.clone() });
        steady.into_iter().chain(nearer).chain(shorter).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        Some(&mut self.lasts)
    }
}
