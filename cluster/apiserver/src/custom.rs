//! Custom resources: kinds of users' own, of which the server knows the names and no fields.
//!
//! An object is kept as it is written (`x-kubernetes-preserve-unknown-fields`), with the subresource `status` and a
//! `generation` that grows when anything but metadata and status changes, as custom resources of Kubernetes have them.
//! A kind may bring a check of its own. There is no schema, and so no defaults, no pruning, no OpenAPI and no strategic
//! merge patch (as in Kubernetes: 415).

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::field;
use orrery_api::meta::Object as _;
use orrery_api::names;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::resource::{Column, ResourceInfo, STATUS, Strategy};
use crate::resources::cells::{AGE, NAME, age};

/// The names of a custom kind: what a `CustomResourceDefinition` says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomResourceDefinition {
    /// The API group, for example `example.com`.
    pub group: String,
    /// The version in the group, for example `v1`.
    pub version: String,
    /// The kind, for example `Website`.
    pub kind: String,
    /// The name in paths, for example `websites`.
    pub plural: String,
    /// The name of one, for example `website`.
    pub singular: String,
    /// Short names for people.
    #[serde(default)]
    pub short_names: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
}

impl CustomResourceDefinition {
    /// The names of the type `K`.
    pub fn of<K: k8s_openapi::Resource>() -> Self
    where
        K::Scope: 'static,
    {
        use std::any::TypeId;
        CustomResourceDefinition {
            group: K::GROUP.to_owned(),
            version: K::VERSION.to_owned(),
            kind: K::KIND.to_owned(),
            plural: K::URL_PATH_SEGMENT.to_owned(),
            singular: K::KIND.to_lowercase(),
            short_names: Vec::new(),
            namespaced: TypeId::of::<K::Scope>() == TypeId::of::<k8s_openapi::NamespaceResourceScope>(),
        }
    }

    /// What is wrong with the names, as Kubernetes would have it.
    fn check(&self) -> Result<(), String> {
        let faults = |what: &str, text: &str, faults: Vec<String>| match faults.as_slice() {
            [] => Ok(()),
            _ => Err(format!(
                "{what} {text:?} of the custom kind {}: {}",
                self.kind,
                faults.join("; ")
            )),
        };
        faults("the group", &self.group, names::dns1123_subdomain(&self.group))?;
        if !self.group.contains('.') {
            return Err(format!(
                "the group {:?} of the custom kind {} has no dot",
                self.group, self.kind
            ));
        }
        faults("the version", &self.version, names::dns1035_label(&self.version))?;
        faults("the plural", &self.plural, names::dns1035_label(&self.plural))?;
        faults("the kind", &self.kind, names::dns1035_label(&self.kind.to_lowercase()))
    }
}

/// What a kind finds wrong with an object.
type Check = Arc<dyn Fn(&Value) -> Vec<field::Error> + Send + Sync>;

/// A custom kind, to be served.
pub struct CustomResource {
    info: &'static ResourceInfo,
    check: Option<Check>,
}

impl fmt::Debug for CustomResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomResource").field("info", self.info).finish()
    }
}

impl CustomResource {
    /// The kind of these names. They are kept for the life of the process.
    ///
    /// # Errors
    ///
    /// Says which name is none.
    pub fn new(definition: &CustomResourceDefinition) -> Result<Self, String> {
        definition.check()?;
        let keep = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        let short_names: Vec<&'static str> = definition.short_names.iter().map(|name| keep(name)).collect();
        let info = ResourceInfo {
            group: keep(&definition.group),
            version: keep(&definition.version),
            kind: keep(&definition.kind),
            plural: keep(&definition.plural),
            singular: keep(&definition.singular),
            short_names: Box::leak(short_names.into_boxed_slice()),
            categories: &[],
            namespaced: definition.namespaced,
            subresources: &[STATUS],
        };
        Ok(CustomResource {
            info: Box::leak(Box::new(info)),
            check: None,
        })
    }

    /// With a check of each new state of an object, its status included.
    pub fn checked(mut self, check: impl Fn(&Value) -> Vec<field::Error> + Send + Sync + 'static) -> Self {
        self.check = Some(Arc::new(check));
        self
    }
}

/// An object of a custom kind: metadata, and whatever else was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CustomObject {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

/// Of no kind in particular: which one it is stands in the object, and in [`CustomResource`].
impl k8s_openapi::Resource for CustomObject {
    const API_VERSION: &'static str = "";
    const GROUP: &'static str = "";
    const KIND: &'static str = "";
    const VERSION: &'static str = "";
    const URL_PATH_SEGMENT: &'static str = "";
    type Scope = k8s_openapi::NamespaceResourceScope;
}

impl Metadata for CustomObject {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl CustomObject {
    fn set_status(&mut self, status: Option<&Value>) {
        match status {
            Some(status) => self.fields.insert("status".to_owned(), status.clone()),
            None => self.fields.remove("status"),
        };
    }

    /// Everything but metadata and status.
    fn wish(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.fields.iter().filter(|(name, _)| *name != "status")
    }
}

static COLUMNS: &[Column] = &[NAME, AGE];

impl Strategy for CustomResource {
    type Object = CustomObject;

    fn info(&self) -> &'static ResourceInfo {
        self.info
    }

    fn set_defaults(&self, object: &mut CustomObject) {
        object
            .fields
            .insert("apiVersion".to_owned(), json!(self.info.api_version()));
        object.fields.insert("kind".to_owned(), json!(self.info.kind));
    }

    fn prepare_create(&self, object: &mut CustomObject) {
        object.set_status(None);
    }

    fn prepare_update(&self, new: &mut CustomObject, old: &CustomObject) {
        new.set_status(old.fields.get("status"));
    }

    fn prepare_status_update(&self, new: &mut CustomObject, old: &CustomObject) {
        let status = new.fields.get("status").cloned();
        *new = old.clone();
        new.set_status(status.as_ref());
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn spec_changed(&self, new: &CustomObject, old: &CustomObject) -> bool {
        new.wish().ne(old.wish())
    }

    fn validate(&self, object: &CustomObject) -> Vec<field::Error> {
        let Some(check) = &self.check else { return Vec::new() };
        check(&json!(object))
    }

    fn validate_status_update(&self, new: &CustomObject, _old: &CustomObject) -> Vec<field::Error> {
        self.validate(new)
    }

    fn qualifies_finalizers(&self) -> bool {
        false
    }

    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &CustomObject, now: Timestamp) -> Vec<Value> {
        vec![json!(object.name()), json!(age(&object.metadata, now))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;

    fn names() -> CustomResourceDefinition {
        CustomResourceDefinition {
            group: "example.com".to_owned(),
            version: "v1".to_owned(),
            kind: "Website".to_owned(),
            plural: "websites".to_owned(),
            singular: "website".to_owned(),
            short_names: vec!["web".to_owned()],
            namespaced: true,
        }
    }

    fn object(value: Value) -> CustomObject {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn names_have_to_be_names_and_new() {
        let wrong = CustomResourceDefinition {
            plural: "Web sites".to_owned(),
            ..names()
        };
        let why = CustomResource::new(&wrong).expect_err("no name");
        assert!(
            why.contains("the plural \"Web sites\" of the custom kind Website"),
            "{why}"
        );
        let core = CustomResourceDefinition {
            group: "core".to_owned(),
            ..names()
        };
        assert!(CustomResource::new(&core).expect_err("no group").contains("has no dot"));
        let twice = || CustomResource::new(&names()).expect("good names");
        let why = Kinds::with(vec![twice(), twice()]).err().expect("the same kind");
        assert_eq!(
            why,
            "the kind Website.example.com (websites.example.com) is served already, as websites.example.com"
        );
    }

    #[test]
    fn wish_and_status_have_a_writer_each() {
        let kind = CustomResource::new(&names()).expect("good names");
        let old = object(json!({"metadata": {"name": "a"}, "spec": {"replicas": 1}, "status": {"ready": 1}}));
        let written = json!({
            "metadata": {"name": "a", "labels": {"b": "c"}}, "spec": {"replicas": 2}, "status": {"ready": 2}
        });
        let mut new = object(written.clone());
        kind.prepare_update(&mut new, &old);
        assert_eq!(new.fields["status"], json!({"ready": 1}));
        assert!(kind.spec_changed(&new, &old));
        let mut new = object(written);
        kind.prepare_status_update(&mut new, &old);
        assert!(!kind.spec_changed(&new, &old));
        assert_eq!(
            (&new.fields["status"], &new.metadata),
            (&json!({"ready": 2}), &old.metadata)
        );
        kind.prepare_create(&mut new);
        kind.set_defaults(&mut new);
        assert_eq!(
            json!(new),
            json!({"apiVersion": "example.com/v1", "kind": "Website", "metadata": {"name": "a"}, "spec": {"replicas": 1}})
        );
    }
}
