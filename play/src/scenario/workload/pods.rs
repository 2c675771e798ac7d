//! Pods: `delete-pod`, `label-pod`.

use std::collections::BTreeMap;

use orrery_api::labels::Selector;
use serde::Deserialize;

use super::{Words, default_namespace, in_namespace};
use crate::scenario::unique;
use crate::scenario::values::check_label;
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// Which pod.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodChoice {
    /// Only pods with this label, `key=value`.
    #[serde(default)]
    pub labels: Option<String>,
    /// The namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// How many of them, drawn by the seed.
    #[serde(default = "one")]
    pub count: usize,
    /// The how manieth of them by age, from 1, instead of drawn ones; the youngest if there are fewer.
    #[serde(default)]
    pub nth: Option<u32>,
    /// How long it may take to end, in seconds; the pod's own time if none, and 0 forces it.
    #[serde(default)]
    pub grace: Option<u32>,
}

fn one() -> usize {
    1
}

impl Words for PodChoice {
    fn write(&self) -> Yaml {
        let PodChoice {
            labels,
            namespace,
            count,
            nth,
            grace,
        } = self;
        in_namespace(Keys::default().some("labels", labels.as_ref(), Yaml::text), namespace)
            .unless(*count == 1, "count", || Yaml::plain(count))
            .some("nth", nth.as_ref(), Yaml::plain)
            .some("grace", grace.as_ref(), Yaml::plain)
            .map()
    }

    fn check(&self) -> Result<(), String> {
        if self.count == 0 {
            return Err("`count` is how many pods are deleted: at least 1".to_owned());
        }
        check_selector(self.labels.as_deref())?;
        if self.nth == Some(0) || (self.nth.is_some() && self.count != 1) {
            return Err("`nth` is counted from 1, and goes without `count`".to_owned());
        }
        Ok(())
    }

    fn simpler(&self) -> Vec<Self> {
        let oldest = PodChoice {
            nth: Some(1),
            count: 1,
            ..self.clone()
        };
        let patient = PodChoice {
            grace: None,
            ..self.clone()
        };
        let variants = [oldest, patient].into_iter();
        variants.filter(|variant| variant != self).collect()
    }
}

/// Whether labels can be looked for.
fn check_selector(labels: Option<&str>) -> Result<(), String> {
    match labels.map(|labels| (labels, Selector::parse(labels))) {
        Some((labels, Err(why))) => Err(format!("{labels:?} are no labels: {why}")),
        _ => Ok(()),
    }
}

/// Which pod gets which labels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelSpec {
    /// Only pods with these labels, such as `key=value`.
    #[serde(default)]
    pub labels: Option<String>,
    /// The namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The how manieth of them by age, from 1, instead of a drawn one; the youngest if there are fewer.
    #[serde(default)]
    pub nth: Option<u32>,
    /// The labels that it gets; null takes one away.
    #[serde(deserialize_with = "unique::map")]
    pub set: BTreeMap<String, Option<String>>,
}

impl Words for LabelSpec {
    fn write(&self) -> Yaml {
        let LabelSpec {
            labels,
            namespace,
            nth,
            set,
        } = self;
        let word = |value: &Option<String>| value.as_ref().map_or(Yaml::plain("null"), Yaml::text);
        let set = set.iter().map(|(key, value)| (key.clone(), word(value)));
        in_namespace(Keys::default().some("labels", labels.as_ref(), Yaml::text), namespace)
            .some("nth", nth.as_ref(), Yaml::plain)
            .with("set", Yaml::Map(set.collect()))
            .map()
    }

    fn check(&self) -> Result<(), String> {
        if self.nth == Some(0) {
            return Err("`nth` is counted from 1".to_owned());
        }
        if self.set.is_empty() {
            return Err("`set` is empty: name at least one label".to_owned());
        }
        check_selector(self.labels.as_deref())?;
        for (key, value) in &self.set {
            check_label(key, value.as_deref()).map_err(|(_, why)| why)?;
        }
        Ok(())
    }

    fn simpler(&self) -> Vec<Self> {
        let oldest = LabelSpec {
            nth: Some(1),
            ..self.clone()
        };
        (oldest != *self).then_some(oldest).into_iter().collect()
    }
}
