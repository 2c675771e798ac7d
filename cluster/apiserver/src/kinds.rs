//! The kinds that a server serves: those of the house, and custom ones that whoever assembles it adds.
//!
//! The list is made once, before the server, and stays: kinds do not come and go while it runs, and
//! `CustomResourceDefinition` is not itself an object that is served.

use orrery_api::status::ApiError;
use serde_json::Value;

use crate::body::{FieldValidation, read_checked};
use crate::custom::CustomResource;
use crate::resource::AnyResource;
use crate::resources::RESOURCES;
use crate::write;

/// The kinds that a server serves.
#[derive(Clone, Copy)]
pub struct Kinds(&'static [&'static dyn AnyResource]);

impl Default for Kinds {
    /// Those of the house.
    fn default() -> Self {
        Kinds(RESOURCES)
    }
}

impl Kinds {
    /// Those of the house and `custom`, for the life of the process.
    ///
    /// # Errors
    ///
    /// Two kinds have the same names; in words.
    pub fn with(custom: Vec<CustomResource>) -> Result<Self, String> {
        let mut all = RESOURCES.to_vec();
        for resource in custom {
            let resource: &'static dyn AnyResource = Box::leak(Box::new(resource));
            let own = resource.info();
            let same = |other: &&&dyn AnyResource| {
                let other = other.info();
                other.group == own.group && (other.plural == own.plural || other.kind == own.kind)
            };
            if let Some(other) = all.iter().find(same) {
                return Err(format!(
                    "the kind {} ({}) is served already, as {}",
                    own.qualified_kind(),
                    own.qualified(),
                    other.info().qualified()
                ));
            }
            all.push(resource);
        }
        Ok(Kinds(Box::leak(all.into_boxed_slice())))
    }

    /// Each of them, the house's first.
    pub fn iter(self) -> impl Iterator<Item = &'static dyn AnyResource> {
        self.0.iter().copied()
    }

    /// The kind with this group, version and plural name.
    pub fn find(self, group: &str, version: &str, plural: &str) -> Option<&'static dyn AnyResource> {
        self.iter().find(|resource| {
            let info = resource.info();
            info.group == group && info.version == version && info.plural == plural
        })
    }

    /// Whether an object could be created, by the rules of its kind alone: whatever else there is, and without a
    /// server. Objects of kinds that are not served are not judged.
    ///
    /// # Errors
    ///
    /// What the server would answer.
    pub fn judge(self, object: &Value) -> Result<(), ApiError> {
        let said = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let is_own = |resource: &&dyn AnyResource| {
            let info = resource.info();
            info.kind == said("/kind") && info.api_version() == said("/apiVersion")
        };
        let Some(resource) = self.iter().find(is_own) else {
            return Ok(());
        };
        let mut read = read_checked(resource, object.clone(), FieldValidation::Warn, &mut Vec::new())?;
        let namespace = match said("/metadata/namespace") {
            "" => "default",
            own => own,
        };
        write::place(resource, read.as_mut(), namespace)?;
        write::complete(resource, read.as_mut(), |_| true)
    }

    /// The group versions, the core group first, each once.
    pub(crate) fn group_versions(self) -> Vec<(&'static str, &'static str)> {
        let mut all: Vec<(&str, &str)> = Vec::new();
        for resource in self.iter() {
            let pair = (resource.info().group, resource.info().version);
            if !all.contains(&pair) {
                all.push(pair);
            }
        }
        all.sort_unstable();
        all
    }

    /// The kinds of a group version, by plural name.
    pub(crate) fn of(self, group: &str, version: &str) -> Vec<&'static dyn AnyResource> {
        let own =
            |resource: &&'static dyn AnyResource| resource.info().group == group && resource.info().version == version;
        let mut all: Vec<&'static dyn AnyResource> = self.iter().filter(own).collect();
        all.sort_by_key(|resource| resource.info().plural);
        all
    }
}
