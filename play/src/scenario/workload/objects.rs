//! Objects of any kind: `apply`, `replace`, `delete`, `edit`, `own`, `add-finalizer`, `remove-finalizer`,
//! `recreate-namespace`.

use serde::Deserialize;
use serde_json::Value;

use super::Words;
use crate::scenario::call::object_pattern;
use crate::scenario::unique::{self, Json};
use crate::scenario::write::{Keys, words};
use crate::scenario::yaml::Yaml;

/// Objects to apply.
#[derive(Debug, Clone, PartialEq)]
pub enum Manifest {
    /// A file, beside the scenario.
    File(String),
    /// Objects written in the scenario, or read from the file.
    Inline(Vec<Value>),
}

impl<'de> Deserialize<'de> for Manifest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        Ok(match unique::value(deserializer)? {
            Value::String(text) if text.contains('\n') => Manifest::Inline(documents(&text).map_err(D::Error::custom)?),
            Value::String(path) => Manifest::File(path),
            Value::Array(objects) => Manifest::Inline(objects),
            object @ Value::Object(_) => Manifest::Inline(vec![object]),
            _ => return Err(D::Error::custom("`apply` is a file, an object, or a list of objects")),
        })
    }
}

/// The objects of a YAML text of several documents; `List` objects are taken apart.
pub fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = unique::value(document).map_err(|error| error.to_string())?;
        match value {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
                if let Some(Value::Array(items)) = list.remove("items") {
                    objects.extend(items);
                }
            }
            other => objects.push(other),
        }
    }
    Ok(objects)
}

impl Words for Manifest {
    fn write(&self) -> Yaml {
        let object = |object: &Value| Yaml::Wrapped(Box::new(Yaml::of_json(object)));
        match self {
            Manifest::File(name) => Yaml::text(name),
            Manifest::Inline(objects) => match objects.as_slice() {
                [one] => object(one),
                _ => words(objects, object),
            },
        }
    }
}

/// An object that takes the place of the one of its name, as `kubectl replace` does it: what it does not say is taken
/// away, or the server's to say.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Json")]
pub struct ReplaceSpec {
    /// The whole object.
    pub object: Value,
}

impl From<Json> for ReplaceSpec {
    fn from(Json(object): Json) -> Self {
        ReplaceSpec { object }
    }
}

impl Words for ReplaceSpec {
    fn write(&self) -> Yaml {
        let ReplaceSpec { object } = self;
        Yaml::Wrapped(Box::new(Yaml::of_json(object)))
    }

    fn check(&self) -> Result<(), String> {
        if !self.object.is_object() {
            return Err("`replace` is one object".to_owned());
        }
        Ok(())
    }
}

/// What to delete: `kind/name` or `kind/namespace/name`, alone or with what becomes of its dependents.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Json")]
pub struct DeleteSpec {
    /// The object.
    pub object: String,
    /// What becomes of its dependents; the server's default if none.
    pub propagation: Option<Propagation>,
    /// How long it may take, in seconds; 0 forces it.
    pub grace: Option<u32>,
}

/// What becomes of the dependents of an object that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Propagation {
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// What is deleted and how, as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteWire {
    object: String,
    propagation: Option<Propagation>,
    grace: Option<u32>,
}

impl TryFrom<Json> for DeleteSpec {
    type Error = String;

    /// By hand, and not as one of two types that fit, so that the error says what is wrong with the one that was meant.
    fn try_from(Json(value): Json) -> Result<Self, String> {
        let DeleteWire {
            object,
            propagation,
            grace,
        } = match value {
            Value::String(object) => DeleteWire {
                object,
                propagation: None,
                grace: None,
            },
            choice => DeleteWire::deserialize(choice).map_err(|error| error.to_string())?,
        };
        Ok(DeleteSpec {
            object,
            propagation,
            grace,
        })
    }
}

impl Words for DeleteSpec {
    fn write(&self) -> Yaml {
        let DeleteSpec {
            object,
            propagation,
            grace,
        } = self;
        if propagation.is_none() && grace.is_none() {
            return Yaml::text(object);
        }
        let propagation_word = |propagation: &Propagation| {
            Yaml::plain(match propagation {
                Propagation::Background => "Background",
                Propagation::Foreground => "Foreground",
                Propagation::Orphan => "Orphan",
            })
        };
        Keys::default()
            .with("object", Yaml::text(object))
            .some("propagation", propagation.as_ref(), propagation_word)
            .some("grace", grace.as_ref(), Yaml::plain)
            .map()
    }

    fn check(&self) -> Result<(), String> {
        object_pattern(&self.object)
    }

    fn simpler(&self) -> Vec<Self> {
        let plain = DeleteSpec {
            propagation: None,
            grace: None,
            ..self.clone()
        };
        (plain != *self).then_some(plain).into_iter().collect()
    }
}

/// What is merged into which object, as `kubectl patch --type=merge` does: null takes a field away.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditSpec {
    /// The object: `kind/name` or `kind/namespace/name`.
    pub object: String,
    /// What is merged into it.
    #[serde(deserialize_with = "unique::value")]
    pub patch: Value,
}

impl Words for EditSpec {
    fn write(&self) -> Yaml {
        let EditSpec { object, patch } = self;
        Keys::default()
            .with("object", Yaml::text(object))
            .with("patch", Yaml::of_json(patch))
            .map()
    }

    fn check(&self) -> Result<(), String> {
        if !self.patch.is_object() {
            return Err("`patch` is a part of the object, like { spec: { replicas: 2 } }".to_owned());
        }
        object_pattern(&self.object)
    }
}

/// Which object gets which owners: each `kind/name` or `kind/namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnSpec {
    /// The object.
    pub object: String,
    /// Its owners from now on; those that do not exist are left out.
    pub owners: Vec<String>,
}

impl Words for OwnSpec {
    fn write(&self) -> Yaml {
        let OwnSpec { object, owners } = self;
        Keys::default()
            .with("object", Yaml::text(object))
            .with("owners", words(owners, Yaml::text))
            .map()
    }

    fn check(&self) -> Result<(), String> {
        object_pattern(&self.object)?;
        self.owners.iter().try_for_each(|owner| object_pattern(owner))
    }
}

/// Which finalizer of which object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalizerSpec {
    /// The object: `kind/name` or `kind/namespace/name`.
    pub object: String,
    /// The finalizer.
    #[serde(default = "hold")]
    pub finalizer: String,
}

fn hold() -> String {
    "example.com/hold".to_owned()
}

impl FinalizerSpec {
    /// The finalizer that is used where none is named, of an object.
    pub fn of(object: String) -> Self {
        FinalizerSpec {
            object,
            finalizer: hold(),
        }
    }
}

impl Words for FinalizerSpec {
    fn write(&self) -> Yaml {
        let FinalizerSpec { object, finalizer } = self;
        Keys::default()
            .with("object", Yaml::text(object))
            .unless(*finalizer == hold(), "finalizer", || Yaml::text(finalizer))
            .map()
    }

    fn check(&self) -> Result<(), String> {
        if !self.finalizer.contains('/') {
            return Err(format!("a finalizer has a domain, like {}", hold()));
        }
        object_pattern(&self.object)
    }
}

/// A namespace by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceChoice {
    /// Its name.
    pub namespace: String,
}

impl Words for NamespaceChoice {
    fn write(&self) -> Yaml {
        let NamespaceChoice { namespace } = self;
        Yaml::one("namespace", Yaml::text(namespace))
    }

    fn check(&self) -> Result<(), String> {
        if self.namespace == "default" || self.namespace.starts_with("kube-") {
            return Err(format!("the namespace {} cannot be deleted", self.namespace));
        }
        Ok(())
    }
}
