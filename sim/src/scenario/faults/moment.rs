//! When something happens: at a time, at a drawn one, or after a write.

use std::time::Duration;

use serde::Deserialize;

use crate::scenario::quantity::Span;
use crate::scenario::write::{Keys, time};
use crate::scenario::yaml::Yaml;

/// When something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// Then.
    At(Duration),
    /// At a moment drawn from the range; what goes on for a while does so all the range long.
    Between(Span),
    /// When a write happened.
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

/// A write that something waits for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "TriggerWire")]
pub struct Trigger {
    /// Which kind of write.
    pub kind: TriggerKind,
    /// Of which object: `Kind/namespace/name`, or `Kind/name`; `web-*` for any that begins so.
    pub object: String,
    /// The how manieth such write, from 1.
    pub occurrence: u32,
}

/// A kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerKind {
    /// A create.
    Create,
    /// An update.
    Update,
    /// A delete.
    Delete,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TriggerWire {
    create: Option<String>,
    update: Option<String>,
    delete: Option<String>,
    occurrence: Option<u32>,
}

impl TryFrom<TriggerWire> for Trigger {
    type Error = String;

    fn try_from(wire: TriggerWire) -> Result<Self, String> {
        let (kind, object) = match (wire.create, wire.update, wire.delete) {
            (Some(object), None, None) => (TriggerKind::Create, object),
            (None, Some(object), None) => (TriggerKind::Update, object),
            (None, None, Some(object)) => (TriggerKind::Delete, object),
            _ => return Err("a trigger is one of `create`, `update` and `delete`".to_owned()),
        };
        if object.split('/').count() < 2 {
            return Err(format!("{object:?} names no object: write Kind/namespace/name"));
        }
        match wire.occurrence.unwrap_or(1) {
            0 => Err("occurrences are counted from 1".to_owned()),
            occurrence => Ok(Trigger {
                kind,
                object,
                occurrence,
            }),
        }
    }
}

impl Moment {
    /// Its one key.
    pub(in crate::scenario) fn write(&self) -> Keys {
        match self {
            Moment::At(at) => Keys::default().with("at", time(at)),
            Moment::Between(between) => Keys::default().with("between", Yaml::plain(between)),
            Moment::When(when) => Keys::default().with("when", when.write()),
        }
    }
}

impl Trigger {
    fn write(&self) -> Yaml {
        let Trigger {
            kind,
            object,
            occurrence,
        } = self;
        let kind = match kind {
            TriggerKind::Create => "create",
            TriggerKind::Update => "update",
            TriggerKind::Delete => "delete",
        };
        Keys::default()
            .with(kind, Yaml::text(object))
            .unless(*occurrence == 1, "occurrence", || Yaml::plain(occurrence))
            .map()
    }
}
