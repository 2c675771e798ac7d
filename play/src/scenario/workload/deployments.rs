//! Deployments: `scale`, `set-image`, `undo`, `restart`, `pause-rollout`, `resume-rollout`, and deleting them to create
//! them again.

use serde::Deserialize;

use super::{Words, default_namespace, in_namespace};
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// A deployment by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentChoice {
    /// Its name.
    pub deployment: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
}

fn named(deployment: &str, namespace: &str) -> Keys {
    in_namespace(Keys::default().with("deployment", Yaml::text(deployment)), namespace)
}

impl Words for DeploymentChoice {
    fn write(&self) -> Yaml {
        let DeploymentChoice { deployment, namespace } = self;
        named(deployment, namespace).map()
    }
}

/// How many replicas.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleSpec {
    /// The deployment.
    pub deployment: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// How many.
    pub replicas: i32,
}

impl Words for ScaleSpec {
    fn write(&self) -> Yaml {
        let ScaleSpec {
            deployment,
            namespace,
            replicas,
        } = self;
        named(deployment, namespace)
            .with("replicas", Yaml::plain(replicas))
            .map()
    }

    fn check(&self) -> Result<(), String> {
        if self.replicas < 0 {
            return Err(format!("`replicas` is how many there are: {} cannot be", self.replicas));
        }
        Ok(())
    }

    fn simpler(&self) -> Vec<Self> {
        let fewer = [0, 1, 2, 3].into_iter().filter(|replicas| *replicas < self.replicas);
        fewer
            .map(|replicas| ScaleSpec {
                replicas,
                ..self.clone()
            })
            .collect()
    }
}

/// Which image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetImageSpec {
    /// The deployment.
    pub deployment: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The container.
    pub container: String,
    /// The image.
    pub image: String,
}

impl Words for SetImageSpec {
    fn write(&self) -> Yaml {
        let SetImageSpec {
            deployment,
            namespace,
            container,
            image,
        } = self;
        named(deployment, namespace)
            .with("container", Yaml::text(container))
            .with("image", Yaml::text(image))
            .map()
    }
}

/// Which deployment is rolled back, how far.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoSpec {
    /// The deployment.
    pub deployment: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// To which revision; the one before the newest if none.
    pub to: Option<i64>,
}

impl Words for UndoSpec {
    fn write(&self) -> Yaml {
        let UndoSpec {
            deployment,
            namespace,
            to,
        } = self;
        named(deployment, namespace).some("to", to.as_ref(), Yaml::plain).map()
    }

    fn check(&self) -> Result<(), String> {
        match self.to {
            Some(revision) if revision < 1 => Err("revisions are counted from 1".to_owned()),
            _ => Ok(()),
        }
    }
}
