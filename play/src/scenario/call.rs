//! Calls of the API: whose, what they do, to what, and at which of their ends somebody listens.

use serde::Deserialize;

use super::served::{check_kind, check_requested};
use super::target::{ClientTarget, Whom};
use super::write::Keys;
use super::yaml::Yaml;

/// Verbs, as Kubernetes calls them.
pub const VERBS: [&str; 8] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];

/// Which calls of the API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "CallWire")]
pub struct CallSpec {
    /// Whose; anybody's if none.
    pub client: Option<ClientTarget>,
    /// Which verb, one of [`VERBS`]; any if none.
    pub verb: Option<String>,
    /// Of which resource, by its plural, with the subresource if there is one: `pods/binding`; any if none.
    pub resource: Option<String>,
    /// Of which object: `namespace/name` or `name`; `web-*` for any that begins so; any if none.
    pub object: Option<String>,
    /// At which of its ends.
    pub when: CallEnd,
}

/// An end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallEnd {
    /// Before the request leaves its client.
    #[default]
    Before,
    /// When the answer, a success, has come back.
    After,
}

/// A call as it is read; kept apart because triggers read it, too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallWire {
    pub client: Option<ClientTarget>,
    pub verb: Option<String>,
    pub resource: Option<String>,
    pub object: Option<String>,
    pub when: Option<CallEnd>,
}

impl TryFrom<CallWire> for CallSpec {
    type Error = String;

    fn try_from(wire: CallWire) -> Result<Self, String> {
        if let Some(verb) = wire.verb.as_deref().filter(|verb| !VERBS.contains(verb)) {
            // Worded as serde words it, so that it gets its place and the nearest word.
            return Err(format!(
                "unknown variant `{verb}`, expected one of `{}`",
                VERBS.join("`, `")
            ));
        }
        if wire.object.as_ref().is_some_and(|object| object.split('/').count() > 2) {
            return Err("the object of a call is `namespace/name` or `name`: its kind is the resource".to_owned());
        }
        wire.resource.as_deref().map_or(Ok(()), check_requested)?;
        Ok(CallSpec {
            client: wire.client,
            verb: wire.verb,
            resource: wire.resource,
            object: wire.object,
            when: wire.when.unwrap_or_default(),
        })
    }
}

impl CallSpec {
    pub(super) fn keys(&self) -> Keys {
        let CallSpec {
            client,
            verb,
            resource,
            object,
            when,
        } = self;
        Keys::default()
            .some("client", client.as_ref(), Yaml::text_of)
            .some("verb", verb.as_ref(), Yaml::text)
            .some("resource", resource.as_ref(), Yaml::text)
            .some("object", object.as_ref(), Yaml::text)
            .unless(*when == CallEnd::default(), "when", || Yaml::plain("after"))
    }

    pub(super) fn write(&self) -> Yaml {
        self.keys().map()
    }

    /// Whom it names.
    pub fn whom(&self) -> Whom<'_> {
        Whom::of_client(self.client.as_ref())
    }
}

/// Whether a pattern names objects that are served: `Kind/namespace/name` or `Kind/name`.
pub(super) fn object_pattern(object: &str) -> Result<(), String> {
    match *object.split('/').collect::<Vec<_>>() {
        [kind, _] | [kind, _, _] => check_kind(kind),
        _ => Err(format!("{object:?} names no object: write Kind/namespace/name")),
    }
}
