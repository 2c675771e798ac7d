//! What others than the cluster's own components say of objects: `set-condition`.

use serde::Deserialize;

use super::Words;
use crate::scenario::call::object_pattern;
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// Which condition of which object is to be what, as a controller of somebody's own says it: a readiness gate of a pod,
/// for example.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionSpec {
    /// The object: `kind/name` or `kind/namespace/name`.
    pub object: String,
    /// The condition.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl ConditionStatus {
    /// Its word in Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        }
    }
}

impl Words for ConditionSpec {
    fn write(&self) -> Yaml {
        let ConditionSpec { object, kind, status } = self;
        Keys::default()
            .with("object", Yaml::text(object))
            .with("type", Yaml::text(kind))
            .with("status", Yaml::text(status.as_str()))
            .map()
    }

    fn check(&self) -> Result<(), String> {
        if self.kind.is_empty() {
            return Err("a condition has a `type`, like example.com/open".to_owned());
        }
        object_pattern(&self.object)
    }
}
