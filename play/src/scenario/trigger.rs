//! What a moment can wait for: a write, as the store or somebody else sees it, a call of a client, time, and
//! combinations.
//!
//! Words only; when it has happened is decided in [`crate::triggers`]. Whatever Sieve's test plans wait for can be
//! said: `scenarios/README.md` has the table.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::call::{CallSpec, CallWire, object_pattern};
use super::quantity;
use super::target::{ComponentTarget, Role, Whom};
use super::unique::{self, Unique};
use super::write::{Keys, time};
use super::yaml::Yaml;

/// Something to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "TriggerWire")]
pub enum Trigger {
    /// A write of an object.
    Write(WriteTrigger),
    /// A call of the API.
    Call {
        /// Which.
        call: CallSpec,
        /// The how manieth of its like, from 1.
        occurrence: u32,
    },
    /// Time that passes.
    After(Duration),
    /// All of these, in any order.
    All(Vec<Trigger>),
    /// One of these.
    Any(Vec<Trigger>),
    /// These, one after the other: each is waited for when the one before it has happened.
    Sequence(Vec<Trigger>),
}

/// A write that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteTrigger {
    /// Which kind of write.
    pub kind: WriteKind,
    /// Of which object: `Kind/namespace/name`, or `Kind/name`; `web-*` for any that begins so.
    pub object: String,
    /// What it must change; anything if nothing is named.
    pub fields: Vec<FieldChange>,
    /// Who must have been shown it; the store if none.
    pub observed_by: Option<ComponentTarget>,
    /// The how manieth such write, from 1.
    pub occurrence: u32,
}

impl WriteTrigger {
    /// Waits for the `occurrence`th write of this kind, as the store sees it.
    pub fn of(kind: WriteKind, object: String, occurrence: u32) -> Self {
        WriteTrigger {
            kind,
            object,
            fields: Vec::new(),
            observed_by: None,
            occurrence,
        }
    }
}

/// A change of a field that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// Its path: `spec.nodeName`, `spec.template.spec.containers.0.image`.
    pub path: String,
    /// What it was; null for absent, anything if none.
    pub from: Option<Value>,
    /// What it is; null for absent, anything else than before if none.
    pub to: Option<Value>,
}

/// A kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    /// A create.
    Create,
    /// An update.
    Update,
    /// A delete.
    Delete,
}

impl WriteKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            WriteKind::Create => "create",
            WriteKind::Update => "update",
            WriteKind::Delete => "delete",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TriggerWire {
    create: Option<String>,
    update: Option<String>,
    delete: Option<String>,
    field: Option<String>,
    #[serde(default, deserialize_with = "known")]
    from: Option<Value>,
    #[serde(default, deserialize_with = "known")]
    to: Option<Value>,
    fields: Option<Unique<Bounds>>,
    observed_by: Option<ComponentTarget>,
    occurrence: Option<u32>,
    call: Option<CallWire>,
    all: Option<Vec<Trigger>>,
    any: Option<Vec<Trigger>>,
    sequence: Option<Vec<Trigger>>,
    #[serde(default, deserialize_with = "quantity::some_duration")]
    after: Option<Duration>,
}

/// What a field was and is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    #[serde(default, deserialize_with = "known")]
    from: Option<Value>,
    #[serde(default, deserialize_with = "known")]
    to: Option<Value>,
}

/// A value that is there, even if it is null.
fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    unique::value(deserializer).map(Some)
}

impl TryFrom<TriggerWire> for Trigger {
    type Error = String;

    fn try_from(wire: TriggerWire) -> Result<Self, String> {
        let fields = fields(wire.field, wire.from, wire.to, wire.fields)?;
        let writes = [
            wire.create.map(|object| (WriteKind::Create, object)),
            wire.update.map(|object| (WriteKind::Update, object)),
            wire.delete.map(|object| (WriteKind::Delete, object)),
        ];
        let is_write = writes.iter().any(Option::is_some);
        let is_about_writes = !fields.is_empty() || wire.observed_by.is_some();
        if is_about_writes && !is_write {
            return Err("`field`, `fields` and `observed-by` go with `create`, `update` or `delete`".to_owned());
        }
        if !is_write && wire.call.is_none() && wire.occurrence.is_some() {
            return Err("`occurrence` goes with `create`, `update`, `delete` or `call`".to_owned());
        }
        let occurrence = wire.occurrence.unwrap_or(1);
        if occurrence == 0 {
            return Err("occurrences are counted from 1".to_owned());
        }
        let mut found = Vec::new();
        for (kind, object) in writes.into_iter().flatten() {
            object_pattern(&object)?;
            found.push(Trigger::Write(WriteTrigger {
                kind,
                object,
                fields: fields.clone(),
                // The store sees whatever is written.
                observed_by: wire.observed_by.clone().filter(|by| by.role != Role::Store),
                occurrence,
            }));
        }
        if let Some(call) = wire.call {
            let call = CallSpec::try_from(call)?;
            found.push(Trigger::Call { call, occurrence });
        }
        for (word, list, combine) in [
            ("all", wire.all, Trigger::All as fn(Vec<Trigger>) -> Trigger),
            ("any", wire.any, Trigger::Any),
            ("sequence", wire.sequence, Trigger::Sequence),
        ] {
            let Some(list) = list else { continue };
            if list.is_empty() {
                return Err(format!("`{word}` is empty: name what is waited for"));
            }
            found.push(combine(list));
        }
        match (found.pop(), found.is_empty(), wire.after) {
            (Some(trigger), true, None) => Ok(trigger),
            (Some(Trigger::Sequence(mut list)), true, Some(after)) => {
                list.push(Trigger::After(after));
                Ok(Trigger::Sequence(list))
            }
            (Some(trigger), true, Some(after)) => Ok(Trigger::Sequence(vec![trigger, Trigger::After(after)])),
            (None, _, Some(after)) => Ok(Trigger::After(after)),
            (None, _, None) => Err(ONE_OF.to_owned()),
            _ => Err(format!("one trigger only: {ONE_OF}")),
        }
    }
}

const ONE_OF: &str = "a trigger is one of `create`, `update`, `delete`, `call`, `all`, `any`, `sequence` and `after`";

fn fields(
    field: Option<String>,
    from: Option<Value>,
    to: Option<Value>,
    several: Option<Unique<Bounds>>,
) -> Result<Vec<FieldChange>, String> {
    let fields: Vec<FieldChange> = match (field, several) {
        (None, None) if from.is_none() && to.is_none() => Vec::new(),
        (None, None) => return Err("`from` and `to` go with `field`".to_owned()),
        (Some(path), None) => vec![FieldChange { path, from, to }],
        (None, Some(Unique(several))) if several.is_empty() => {
            return Err("`fields` is empty: name what must change".to_owned());
        }
        (None, Some(Unique(several))) if from.is_none() && to.is_none() => several
            .into_iter()
            .map(|(path, Bounds { from, to })| FieldChange { path, from, to })
            .collect(),
        _ => return Err("one of `field` (with `from` and `to`) and `fields`".to_owned()),
    };
    match fields
        .iter()
        .find(|field| field.from.is_some() && field.from == field.to)
    {
        Some(field) => Err(format!("{} never changes to what it was", field.path)),
        None => Ok(fields),
    }
}

impl Trigger {
    /// Whether it waits for nothing but what the store sees, and for time.
    pub fn is_about_store(&self) -> bool {
        match self {
            Trigger::Write(write) => write.observed_by.is_none(),
            Trigger::Call { .. } => false,
            Trigger::After(_) => true,
            Trigger::All(parts) | Trigger::Any(parts) | Trigger::Sequence(parts) => {
                parts.iter().all(Trigger::is_about_store)
            }
        }
    }

    /// The trigger as it is written.
    pub(super) fn write(&self) -> Yaml {
        self.keys().map()
    }

    fn keys(&self) -> Keys {
        let list = |word: &str, items: &[Trigger]| {
            Keys::default().with(word, Yaml::List(items.iter().map(Trigger::write).collect()))
        };
        match self {
            Trigger::Write(write) => write.keys(),
            Trigger::Call { call, occurrence } => {
                Keys::default()
                    .with("call", call.write())
                    .unless(*occurrence == 1, "occurrence", || Yaml::plain(occurrence))
            }
            Trigger::After(after) => Keys::default().with("after", time(after)),
            Trigger::All(items) => list("all", items),
            Trigger::Any(items) => list("any", items),
            Trigger::Sequence(items) => match items.as_slice() {
                // The short way to say it.
                [first, Trigger::After(after)] if !matches!(first, Trigger::After(_) | Trigger::Sequence(_)) => {
                    first.keys().with("after", time(after))
                }
                _ => list("sequence", items),
            },
        }
    }

    /// Before this time it cannot have happened: so much passes at least.
    pub fn earliest(&self) -> Duration {
        match self {
            Trigger::Write(_) | Trigger::Call { .. } => Duration::ZERO,
            Trigger::After(after) => *after,
            Trigger::All(items) => items.iter().map(Trigger::earliest).max().unwrap_or_default(),
            Trigger::Any(items) => items.iter().map(Trigger::earliest).min().unwrap_or_default(),
            Trigger::Sequence(items) => {
                let parts = items.iter().map(Trigger::earliest);
                parts.fold(Duration::ZERO, Duration::saturating_add)
            }
        }
    }

    /// Whether some part of it is about what a component was shown.
    pub fn is_about_views(&self) -> bool {
        match self {
            Trigger::Write(write) => write.observed_by.is_some(),
            Trigger::Call { .. } | Trigger::After(_) => false,
            Trigger::All(items) | Trigger::Any(items) | Trigger::Sequence(items) => {
                items.iter().any(Trigger::is_about_views)
            }
        }
    }

    /// Whom it names.
    pub fn whom(&self) -> Whom<'_> {
        match self {
            Trigger::Write(write) => Whom::of(None, write.observed_by.as_ref()),
            Trigger::Call { call, .. } => call.whom(),
            Trigger::After(_) => Whom::default(),
            Trigger::All(items) | Trigger::Any(items) | Trigger::Sequence(items) => Whom {
                nodes: Vec::new(),
                components: items.iter().flat_map(|item| item.whom().components).collect(),
            },
        }
    }
}

impl WriteTrigger {
    fn keys(&self) -> Keys {
        let WriteTrigger {
            kind,
            object,
            fields,
            observed_by,
            occurrence,
        } = self;
        let keys = Keys::default().with(kind.as_str(), Yaml::text(object));
        let keys = match fields.as_slice() {
            [] => keys,
            [field] => bounds(keys.with("field", Yaml::text(&field.path)), field),
            several => {
                let entries = several
                    .iter()
                    .map(|field| (field.path.clone(), bounds(Keys::default(), field).map()));
                keys.with("fields", Yaml::Map(entries.collect()))
            }
        };
        keys.some("observed-by", observed_by.as_ref(), Yaml::text_of)
            .unless(*occurrence == 1, "occurrence", || Yaml::plain(occurrence))
    }
}

fn bounds(keys: Keys, field: &FieldChange) -> Keys {
    keys.some("from", field.from.as_ref(), Yaml::of_json)
        .some("to", field.to.as_ref(), Yaml::of_json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Trigger, String> {
        serde_yaml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_follows_after_a_while_is_a_sequence() {
        let short = read("{ create: Pod/default/*, observed-by: kubelet/node-1, after: 5s }").unwrap();
        let long =
            read("{ sequence: [{ create: Pod/default/*, observed-by: kubelet/node-1 }, { after: 5s }] }").unwrap();
        assert_eq!(short, long);
        assert!(short.is_about_views());
        assert_eq!(
            long.write().flow(),
            "{ create: Pod/default/*, observed-by: kubelet/node-1, after: 5s }"
        );
    }

    #[test]
    fn absent_is_a_value_and_unsaid_is_none() {
        let trigger = read("{ update: Pod/default/web, field: metadata.deletionTimestamp, from: null }").unwrap();
        let Trigger::Write(write) = &trigger else {
            panic!("{trigger:?}")
        };
        assert_eq!(
            (&write.fields[0].from, &write.fields[0].to),
            (&Some(Value::Null), &None)
        );
        assert_eq!(
            trigger.write().flow(),
            "{ update: Pod/default/web, field: metadata.deletionTimestamp, from: null }"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, why) in [
            ("{}", "a trigger is one of"),
            ("{ create: Pod/a, delete: Pod/a }", "one trigger only"),
            ("{ create: web }", "names no object"),
            ("{ update: Pod/a, occurrence: 0 }", "counted from 1"),
            ("{ update: Pod/a, from: 1 }", "go with `field`"),
            ("{ update: Pod/a, field: a, from: 1, to: 1 }", "never changes"),
            ("{ update: Pod/a, fields: {} }", "`fields` is empty"),
            (
                "{ update: Pod/a, fields: { a: { to: 1 }, a: { to: 2 } } }",
                "the key \"a\" is there twice",
            ),
            (
                "{ update: Pod/a, field: a, to: { b: 1, b: 2 } }",
                "the key \"b\" is there twice",
            ),
            ("{ after: 1s, field: a }", "go with `create`"),
            ("{ after: 1s, occurrence: 2 }", "goes with"),
            ("{ all: [] }", "`all` is empty"),
            ("{ any: [{ updat: Pod/a }] }", "unknown field `updat`"),
            ("{ call: { verb: creat } }", "unknown variant `creat`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
