//! What users do: steps pinned to a moment, and a churning user that never rests.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::faults::{Moment, Trigger};
use super::quantity::{self, Span};
use super::target::NodeTarget;

/// A step with its moment.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "StepWire")]
pub struct StepPlan {
    /// When.
    pub moment: Moment,
    /// What.
    pub action: StepAction,
}

/// What a user does.
#[derive(Debug, Clone, PartialEq)]
pub enum StepAction {
    /// Creates objects, or merges them into those of the same name.
    Apply(Manifest),
    /// Deletes an object.
    Delete(DeleteSpec),
    /// Gives an object owners.
    Own(OwnSpec),
    /// Changes the number of replicas.
    Scale(ScaleSpec),
    /// Changes a container's image.
    SetImage(SetImageSpec),
    /// Deletes pods.
    DeletePod(PodChoice),
    /// Rolls a deployment over without a change.
    Restart(DeploymentChoice),
    /// Forbids or allows new pods on a node.
    Cordon(CordonSpec),
    /// Allows new pods on a node again.
    Uncordon(CordonSpec),
    /// Deletes a deployment and creates it again under the same name.
    CreateDeleteSameName(DeploymentChoice),
    /// Deletes a deployment in the foreground, waits until it and all that it owned are gone, and creates it again.
    DeleteForeground(DeploymentChoice),
    /// One of these, again and again.
    Churn(ChurnSpec),
}

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
        Ok(match Value::deserialize(deserializer)? {
            Value::String(text) if text.contains('\n') => Manifest::Inline(documents(&text).map_err(D::Error::custom)?),
            Value::String(path) => Manifest::File(path),
            Value::Array(objects) => Manifest::Inline(objects),
            object @ Value::Object(_) => Manifest::Inline(vec![object]),
            _ => return Err(D::Error::custom("`apply` is a file, an object, or a list of objects")),
        })
    }
}

/// The objects of a YAML text of several documents; `List` objects are taken apart.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(|error| error.to_string())?;
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

/// What to delete: `kind/name` or `kind/namespace/name`, alone or with what becomes of its dependents.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "DeleteWire")]
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

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum DeleteWire {
    Object(String),
    Choice {
        object: String,
        propagation: Option<Propagation>,
        grace: Option<u32>,
    },
}

impl From<DeleteWire> for DeleteSpec {
    fn from(wire: DeleteWire) -> Self {
        match wire {
            DeleteWire::Object(object) => DeleteSpec {
                object,
                propagation: None,
                grace: None,
            },
            DeleteWire::Choice {
                object,
                propagation,
                grace,
            } => DeleteSpec {
                object,
                propagation,
                grace,
            },
        }
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
}

fn one() -> usize {
    1
}

/// Which node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CordonSpec {
    /// The node.
    pub node: NodeTarget,
}

/// A user that never rests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChurnSpec {
    /// How often.
    pub every: Span,
    /// What, drawn by the seed.
    pub ops: Vec<ChurnKind>,
}

/// What a churning user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChurnKind {
    /// Changes a deployment's replicas, between 0 and twice its first number.
    Scale,
    /// Deletes a pod.
    DeletePod,
    /// Rolls a deployment over.
    Restart,
    /// Cordons a node, and uncordons it at the next turn.
    Cordon,
    /// Deletes a deployment and creates it again.
    CreateDeleteSameName,
    /// Deletes a deployment in the foreground, waits until it and all that it owned are gone, and creates it again.
    DeleteForeground,
}

fn default_namespace() -> String {
    "default".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StepWire {
    #[serde(default, deserialize_with = "quantity::some_duration")]
    at: Option<Duration>,
    between: Option<Span>,
    when: Option<Trigger>,
    apply: Option<Manifest>,
    delete: Option<DeleteSpec>,
    own: Option<OwnSpec>,
    scale: Option<ScaleSpec>,
    set_image: Option<SetImageSpec>,
    delete_pod: Option<PodChoice>,
    restart: Option<DeploymentChoice>,
    cordon: Option<CordonSpec>,
    uncordon: Option<CordonSpec>,
    create_delete_same_name: Option<DeploymentChoice>,
    delete_foreground: Option<DeploymentChoice>,
    churn: Option<ChurnSpec>,
}

impl TryFrom<StepWire> for StepPlan {
    type Error = String;

    fn try_from(wire: StepWire) -> Result<Self, String> {
        let moment = Moment::of(wire.at, wire.between, wire.when)?;
        let actions = [
            wire.apply.map(StepAction::Apply),
            wire.delete.map(StepAction::Delete),
            wire.own.map(StepAction::Own),
            wire.scale.map(StepAction::Scale),
            wire.set_image.map(StepAction::SetImage),
            wire.delete_pod.map(StepAction::DeletePod),
            wire.restart.map(StepAction::Restart),
            wire.cordon.map(StepAction::Cordon),
            wire.uncordon.map(StepAction::Uncordon),
            wire.create_delete_same_name.map(StepAction::CreateDeleteSameName),
            wire.delete_foreground.map(StepAction::DeleteForeground),
            wire.churn.map(StepAction::Churn),
        ];
        let mut actions = actions.into_iter().flatten();
        let action = match (actions.next(), actions.next()) {
            (Some(action), None) => action,
            (None, _) => return Err("a step needs an action, such as `apply`, `scale` or `delete`".to_owned()),
            _ => return Err("one action a step: write another step for the second".to_owned()),
        };
        if let StepAction::DeletePod(pod) = &action
            && (pod.nth == Some(0) || (pod.nth.is_some() && pod.count != 1))
        {
            return Err("`nth` is counted from 1, and goes without `count`".to_owned());
        }
        if let StepAction::Churn(churn) = &action {
            if churn.ops.is_empty() {
                return Err("`ops` is empty: name at least one operation".to_owned());
            }
            if !matches!(moment, Moment::Between(_)) {
                return Err("`churn` needs `between`: how long the user does not rest".to_owned());
            }
        }
        Ok(StepPlan { moment, action })
    }
}
