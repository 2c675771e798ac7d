//! Which objects a list or watch is about: a namespace, a label selector, a field selector.

use orrery_api::fields;
use orrery_api::labels;
use orrery_api::status::ApiError;

use crate::cache::Cached;
use crate::request::{Query, ResourcePath};
use crate::resource::AnyResource;

/// Which objects a list or watch is about.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Only this namespace; all when empty.
    pub namespace: String,
    /// Only objects with these labels.
    pub labels: Option<labels::Selector>,
    /// Only objects with these fields.
    pub fields: fields::Selector,
}

impl Selection {
    /// What a request's path and query select; 400 for selectors that cannot be read or that the kind does not know.
    pub fn of(path: &ResourcePath, query: &Query) -> Result<Self, ApiError> {
        let labels = query
            .get("labelSelector")
            .map(labels::Selector::parse)
            .transpose()
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let mut text = query.get("fieldSelector").unwrap_or_default().to_owned();
        if !path.name.is_empty() {
            // The old `watch/` paths and watches of one object.
            let own = format!("metadata.name={}", fields::escape(&path.name));
            text = if text.is_empty() { own } else { format!("{text},{own}") };
        }
        let fields = fields::Selector::parse(&text).map_err(|error| ApiError::bad_request(error.to_string()))?;
        refuse_unknown(path.resource, query, &fields)?;
        let mut namespace = path.namespace.clone();
        if namespace.is_empty()
            && let Some(only) = fields.exact_value("metadata.namespace")
        {
            namespace = only.to_owned();
        }
        Ok(Selection {
            namespace,
            labels,
            fields,
        })
    }

    /// Whether every object of the kind (in the namespace) is selected.
    pub fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_everything()
    }

    /// Whether `object` is selected.
    pub fn matches(&self, object: &Cached) -> bool {
        (self.namespace.is_empty() || self.namespace == object.namespace)
            && self.fields.matches(|path| match path {
                "metadata.name" => Some(object.name.as_str()),
                "metadata.namespace" => Some(object.namespace.as_str()),
                path => object
                    .fields
                    .iter()
                    .find(|(name, _)| *name == path)
                    .map(|(_, value)| value.as_str()),
            })
            && self.labels.as_ref().is_none_or(|labels| labels.matches(&object.labels))
    }
}

fn refuse_unknown(resource: &dyn AnyResource, query: &Query, fields: &fields::Selector) -> Result<(), ApiError> {
    let known = resource.field_names();
    let info = resource.info();
    for path in fields.paths() {
        if !matches!(path, "metadata.name" | "metadata.namespace") && !known.contains(&path) {
            // Kubernetes' words for kinds that say nothing of fields, and for those that have some.
            let why = if known.is_empty() {
                format!("{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
            } else {
                format!("field label not supported: {path}")
            };
            return Err(ApiError::bad_request(format!(
                "Unable to find \"{}/{}, Resource={}\" that match label selector {:?}, field selector {:?}: {why}",
                info.group,
                info.version,
                info.plural,
                query.get("labelSelector").unwrap_or_default(),
                fields.to_string(),
            )));
        }
    }
    Ok(())
}
