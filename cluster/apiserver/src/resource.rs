//! How a kind is declared: its names and facts, and the rules of its own. Everything else of the server is generic.
//!
//! [`Strategy`] is written per kind, typed; [`AnyResource`] is the same without the type, for the generic handlers.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::field;
use orrery_api::meta::Object;
use orrery_api::shared;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The names and facts of a kind: one row of the API.
#[derive(Debug)]
pub struct ResourceInfo {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The version in the group.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The name in paths.
    pub plural: &'static str,
    /// The name of one.
    pub singular: &'static str,
    /// Short names for people.
    pub short_names: &'static [&'static str],
    /// Categories, for example `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// The subresources.
    pub subresources: &'static [Subresource],
}

impl ResourceInfo {
    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `deployments.apps`, or `pods`: how errors name the resource.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// `Deployment.apps`, or `Pod`: how errors name the kind.
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() {
            self.kind.to_owned()
        } else {
            format!("{}.{}", self.kind, self.group)
        }
    }

    /// Whether a whole collection can be deleted: every kind's but that of namespaces.
    pub fn deletes_collections(&self) -> bool {
        self.plural != "namespaces"
    }

    /// Whether the kind has the subresource `name`.
    pub fn has(&self, name: &str) -> bool {
        self.subresources.iter().any(|subresource| subresource.name == name)
    }
}

/// A part of an object with a path, rights and perhaps a kind of its own.
#[derive(Debug)]
pub struct Subresource {
    /// The name in the path.
    pub name: &'static str,
    /// Group, version and kind of what is sent; the parent's own where `None`.
    pub kind: Option<(&'static str, &'static str, &'static str)>,
    /// The verbs, for discovery.
    pub verbs: &'static [&'static str],
}

/// `status`: written by the controller of the kind only.
pub const STATUS: Subresource = Subresource {
    name: "status",
    kind: None,
    verbs: &["get", "patch", "update"],
};
/// `scale`: the number of replicas, the same for every kind that has them.
pub const SCALE: Subresource = Subresource {
    name: "scale",
    kind: Some(("autoscaling", "v1", "Scale")),
    verbs: &["get", "patch", "update"],
};

/// A column of the table that `kubectl get` shows.
#[derive(Debug)]
pub struct Column {
    /// The title.
    pub name: &'static str,
    /// `string`, `integer` or `date`.
    pub kind: &'static str,
    /// `name` for the name column, else empty.
    pub format: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
    /// What it means.
    pub description: &'static str,
}

/// The scale of an object: what the subresource `scale` reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleView {
    /// Replicas wanted.
    pub wanted: i32,
    /// Replicas there are.
    pub current: i32,
    /// The pods' selector as a string.
    pub selector: String,
}

/// The rules of one kind. All pure; sources are the kind's API reference and API conventions.
pub trait Strategy: Send + Sync + 'static {
    /// The kind's type.
    type Object: Object + Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static;

    /// The kind's names and facts.
    fn info(&self) -> &'static ResourceInfo;

    /// Sets what the user left out. Applied to every write, after decoding or patching; idempotent.
    fn set_defaults(&self, _object: &mut Self::Object) {}

    /// Resets what a client may not set on create (status, mostly).
    fn prepare_create(&self, _object: &mut Self::Object) {}

    /// Resets what a client may not change by an ordinary update: status stays as it was.
    fn prepare_update(&self, _new: &mut Self::Object, _old: &Self::Object) {}

    /// Resets what a client may not change by a write to `status`: spec stays as it was. (The server has already put
    /// back the metadata, but for labels, annotations, finalizers and owner references of `new`, as Kubernetes does
    /// kind by kind: put back what your kind does not allow.)
    fn prepare_status_update(&self, _new: &mut Self::Object, _old: &Self::Object) {}

    /// Whether the desired state differs, so that `generation` grows. False for kinds without generation.
    fn spec_changed(&self, _new: &Self::Object, _old: &Self::Object) -> bool {
        false
    }

    /// Whether objects of the kind carry a `generation`.
    fn has_generation(&self) -> bool {
        false
    }

    /// Finds faults of a new object (metadata is checked by the server).
    fn validate(&self, object: &Self::Object) -> Vec<field::Error>;

    /// Finds faults of a change (metadata is checked by the server).
    fn validate_update(&self, new: &Self::Object, _old: &Self::Object) -> Vec<field::Error> {
        self.validate(new)
    }

    /// Finds faults of a change of status.
    fn validate_status_update(&self, _new: &Self::Object, _old: &Self::Object) -> Vec<field::Error> {
        Vec::new()
    }

    /// Whether names need only be path segments (as roles'), not DNS subdomains; services are DNS-1035 labels.
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    /// Whether finalizers must be Kubernetes' own or have a domain: those of every kind but custom ones.
    fn qualifies_finalizers(&self) -> bool {
        true
    }

    /// Whether an update may leave out the resourceVersion, and then overwrites whatever there is.
    fn allows_unconditional_update(&self) -> bool {
        true
    }

    /// What users hear whenever they touch a kind that is on its way out.
    fn deprecation(&self) -> Option<&'static str> {
        None
    }

    /// Whether the answer to a deletion that is done is the object; else it is a `Status`.
    fn returns_deleted(&self) -> bool {
        false
    }

    /// Warnings that the client's user sees of an object as it was written; `old` is what a change began with.
    fn warnings(&self, _new: &Self::Object, _old: Option<&Self::Object>) -> Vec<String> {
        Vec::new()
    }

    /// The values by which field selectors find the object, besides `metadata.name` and `metadata.namespace`.
    fn fields(&self, _object: &Self::Object) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The field selectors of the kind besides `metadata.name` and `metadata.namespace`.
    fn field_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// The table's columns.
    fn columns(&self) -> &'static [Column];

    /// The table's cells, one a column.
    fn cells(&self, object: &Self::Object, now: Timestamp) -> Vec<Value>;

    /// The object's scale, for kinds with the subresource.
    fn scale(&self, _object: &Self::Object) -> Option<ScaleView> {
        None
    }

    /// Sets the number of replicas wanted.
    fn set_scale(&self, _object: &mut Self::Object, _replicas: i32) {}

    /// The seconds that a deleted object stays to be stopped in order; `None` for kinds that go at once.
    fn grace_period(&self, _object: &Self::Object, _requested: Option<i64>) -> Option<i64> {
        None
    }
}

/// How names of a kind are formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// An RFC 1123 subdomain.
    Subdomain,
    /// An RFC 1123 label.
    Label,
    /// An RFC 1035 label.
    Label1035,
    /// Anything that can stand in a path.
    PathSegment,
}

/// An object without its type.
pub trait AnyObject: Any + Send + Sync {
    /// The metadata.
    fn meta(&self) -> &ObjectMeta;
    /// The metadata, to change.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    /// The object as JSON.
    fn to_json(&self) -> Vec<u8>;
    /// The object as a JSON value.
    fn to_value(&self) -> Value;
    /// Whether `other` is of the same kind and says the same in every field.
    fn equals(&self, other: &dyn AnyObject) -> bool;
    /// A copy.
    fn boxed_clone(&self) -> Box<dyn AnyObject>;
    /// For downcasting.
    fn as_any(&self) -> &dyn Any;
    /// For downcasting.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<K: Object + Serialize + Clone + PartialEq + Send + Sync + 'static> AnyObject for K {
    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.metadata_mut()
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("objects have string keys and finite numbers")
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("objects have string keys and finite numbers")
    }

    fn equals(&self, other: &dyn AnyObject) -> bool {
        other.as_any().downcast_ref() == Some(self)
    }

    fn boxed_clone(&self) -> Box<dyn AnyObject> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// [`Strategy`] without its type. Objects passed in must be of the resource's own kind.
#[allow(missing_docs, reason = "each method is the method of Strategy with the same name")]
pub trait AnyResource: Send + Sync {
    fn info(&self) -> &'static ResourceInfo;
    /// Reads an object of the store, which is decoded once for all who read it; the error says what does not fit.
    fn read(&self, json: &Bytes) -> Result<Arc<dyn AnyObject>, String>;
    /// Makes known what an object was just encoded as: nobody need decode it.
    fn know(&self, object: Box<dyn AnyObject>, json: &Bytes);
    /// Reads an object to be changed; the error says what does not fit.
    fn decode(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, String>;
    /// Reads an object from a value.
    fn decode_value(&self, value: &Value) -> Result<Box<dyn AnyObject>, String>;
    fn set_defaults(&self, object: &mut dyn AnyObject);
    fn prepare_create(&self, object: &mut dyn AnyObject);
    fn prepare_update(&self, new: &mut dyn AnyObject, old: &dyn AnyObject);
    fn prepare_status_update(&self, new: &mut dyn AnyObject, old: &dyn AnyObject);
    fn spec_changed(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> bool;
    fn has_generation(&self) -> bool;
    fn validate(&self, object: &dyn AnyObject) -> Vec<field::Error>;
    fn validate_update(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> Vec<field::Error>;
    fn validate_status_update(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> Vec<field::Error>;
    fn name_rule(&self) -> NameRule;
    fn qualifies_finalizers(&self) -> bool;
    fn allows_unconditional_update(&self) -> bool;
    fn deprecation(&self) -> Option<&'static str>;
    fn returns_deleted(&self) -> bool;
    fn warnings(&self, new: &dyn AnyObject, old: Option<&dyn AnyObject>) -> Vec<String>;
    fn fields(&self, object: &dyn AnyObject) -> Vec<(&'static str, String)>;
    fn field_names(&self) -> &'static [&'static str];
    fn columns(&self) -> &'static [Column];
    fn cells(&self, object: &dyn AnyObject, now: Timestamp) -> Vec<Value>;
    fn scale(&self, object: &dyn AnyObject) -> Option<ScaleView>;
    fn set_scale(&self, object: &mut dyn AnyObject, replicas: i32);
    fn grace_period(&self, object: &dyn AnyObject, requested: Option<i64>) -> Option<i64>;
}

fn typed<K: 'static>(object: &dyn AnyObject) -> &K {
    object
        .as_any()
        .downcast_ref()
        .expect("the object is of the resource's own kind")
}

fn typed_mut<K: 'static>(object: &mut dyn AnyObject) -> &mut K {
    object
        .as_any_mut()
        .downcast_mut()
        .expect("the object is of the resource's own kind")
}

impl<S: Strategy> AnyResource for S {
    fn info(&self) -> &'static ResourceInfo {
        Strategy::info(self)
    }

    fn read(&self, json: &Bytes) -> Result<Arc<dyn AnyObject>, String> {
        shared::decode::<S::Object>(json)
            .map(|object| object as _)
            .map_err(|error| error.to_string())
    }

    fn know(&self, object: Box<dyn AnyObject>, json: &Bytes) {
        let object: Box<dyn Any> = object;
        if let Ok(object) = object.downcast::<S::Object>() {
            let decoded = || serde_json::from_slice::<S::Object>(json).ok();
            debug_assert!(
                decoded().as_ref() == Some(&*object),
                "an object is what it is encoded as"
            );
            shared::know::<S::Object>(json, Arc::from(object));
        }
    }

    fn decode(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, String> {
        shared::read::<S::Object>(json)
            .map(|object| Box::new(object) as _)
            .map_err(|error| error.to_string())
    }

    fn decode_value(&self, value: &Value) -> Result<Box<dyn AnyObject>, String> {
        S::Object::deserialize(value)
            .map(|object| Box::new(object) as _)
            .map_err(|error| error.to_string())
    }

    fn set_defaults(&self, object: &mut dyn AnyObject) {
        Strategy::set_defaults(self, typed_mut(object));
    }

    fn prepare_create(&self, object: &mut dyn AnyObject) {
        Strategy::prepare_create(self, typed_mut(object));
    }

    fn prepare_update(&self, new: &mut dyn AnyObject, old: &dyn AnyObject) {
        Strategy::prepare_update(self, typed_mut(new), typed(old));
    }

    fn prepare_status_update(&self, new: &mut dyn AnyObject, old: &dyn AnyObject) {
        Strategy::prepare_status_update(self, typed_mut(new), typed(old));
    }

    fn spec_changed(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> bool {
        Strategy::spec_changed(self, typed(new), typed(old))
    }

    fn has_generation(&self) -> bool {
        Strategy::has_generation(self)
    }

    fn validate(&self, object: &dyn AnyObject) -> Vec<field::Error> {
        Strategy::validate(self, typed(object))
    }

    fn validate_update(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> Vec<field::Error> {
        Strategy::validate_update(self, typed(new), typed(old))
    }

    fn validate_status_update(&self, new: &dyn AnyObject, old: &dyn AnyObject) -> Vec<field::Error> {
        Strategy::validate_status_update(self, typed(new), typed(old))
    }

    fn name_rule(&self) -> NameRule {
        Strategy::name_rule(self)
    }

    fn qualifies_finalizers(&self) -> bool {
        Strategy::qualifies_finalizers(self)
    }

    fn allows_unconditional_update(&self) -> bool {
        Strategy::allows_unconditional_update(self)
    }

    fn deprecation(&self) -> Option<&'static str> {
        Strategy::deprecation(self)
    }

    fn returns_deleted(&self) -> bool {
        Strategy::returns_deleted(self)
    }

    fn warnings(&self, new: &dyn AnyObject, old: Option<&dyn AnyObject>) -> Vec<String> {
        Strategy::warnings(self, typed(new), old.map(typed))
    }

    fn fields(&self, object: &dyn AnyObject) -> Vec<(&'static str, String)> {
        Strategy::fields(self, typed(object))
    }

    fn field_names(&self) -> &'static [&'static str] {
        Strategy::field_names(self)
    }

    fn columns(&self) -> &'static [Column] {
        Strategy::columns(self)
    }

    fn cells(&self, object: &dyn AnyObject, now: Timestamp) -> Vec<Value> {
        Strategy::cells(self, typed(object), now)
    }

    fn scale(&self, object: &dyn AnyObject) -> Option<ScaleView> {
        Strategy::scale(self, typed(object))
    }

    fn set_scale(&self, object: &mut dyn AnyObject, replicas: i32) {
        Strategy::set_scale(self, typed_mut(object), replicas);
    }

    fn grace_period(&self, object: &dyn AnyObject, requested: Option<i64>) -> Option<i64> {
        Strategy::grace_period(self, typed(object), requested)
    }
}
