//! What users do: steps pinned to a moment, and a churning user that never rests.
//!
//! Each family of steps has a file, in which a kind of step says all its [`Words`]: how it is written, whom it names,
//! what is simpler. One line in the list below makes it a part of the format. What it does to a world is in
//! `crate::workload`.

mod churn;
mod conditions;
mod deployments;
mod lists;
mod nodes;
mod objects;
mod pods;
mod refusals;

use serde::Deserialize;
use serde_json::Value;

use super::actions::actions;
use super::faults::Moment;
use super::place::Part;
use super::target::Whom;
use super::write::Keys;
use super::yaml::Yaml;

pub use churn::{ChurnKind, ChurnSpec, Ops};
pub use conditions::{ConditionSpec, ConditionStatus};
pub use deployments::{DeploymentChoice, ScaleSpec, SetImageSpec, UndoSpec};
pub use lists::ListSpec;
pub use nodes::{CordonSpec, DrainSpec, TaintStep};
pub use objects::{DeleteSpec, EditSpec, FinalizerSpec, Manifest, NamespaceChoice, OwnSpec, Propagation, ReplaceSpec};
pub use pods::{LabelSpec, PodChoice};
pub use refusals::{Attempt, RefusedSpec, identity_of};

pub(super) use objects::documents;

/// What a kind of step says of itself.
pub trait Words {
    /// Its value, in the shortest way that is read as an equal one. Take the step apart by name, without `..`: a new
    /// field shall not compile until it can be written.
    fn write(&self) -> Yaml;

    /// Whom it names.
    fn whom(&self) -> Whom<'_> {
        Whom::default()
    }

    /// What is wrong with it beyond its types.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// What is wrong with its moment.
    fn check_moment(&self, _: &Moment) -> Result<(), String> {
        Ok(())
    }

    /// Variants that are simpler in one place, the simplest first.
    fn simpler(&self) -> Vec<Self>
    where
        Self: Sized,
    {
        Vec::new()
    }
}

actions! {
    /// What a user does.
    StepAction, read by StepWire:

    /// Creates objects, or merges them into those of the same name.
    apply: Apply(Manifest) = "apply";
    /// Puts an object in the place of the one of its name.
    replace: Replace(ReplaceSpec) = "replace";
    /// Deletes an object.
    delete: Delete(DeleteSpec) = "delete";
    /// Merges something into an object.
    edit: Edit(EditSpec) = "edit";
    /// Gives an object owners.
    own: Own(OwnSpec) = "own";
    /// Lets an object not go before the finalizer is taken back.
    add_finalizer: AddFinalizer(FinalizerSpec) = "add-finalizer";
    /// Takes a finalizer back.
    remove_finalizer: RemoveFinalizer(FinalizerSpec) = "remove-finalizer";
    /// Says of an object whether a condition holds.
    set_condition: SetCondition(ConditionSpec) = "set-condition";
    /// Changes the number of replicas.
    scale: Scale(ScaleSpec) = "scale";
    /// Changes a container's image.
    set_image: SetImage(SetImageSpec) = "set-image";
    /// Rolls a deployment back to an earlier revision.
    undo: Undo(UndoSpec) = "undo";
    /// Rolls a deployment over without a change.
    restart: Restart(DeploymentChoice) = "restart";
    /// Lets a deployment's rollout rest.
    pause_rollout: PauseRollout(DeploymentChoice) = "pause-rollout";
    /// Lets a deployment's rollout go on.
    resume_rollout: ResumeRollout(DeploymentChoice) = "resume-rollout";
    /// Deletes pods.
    delete_pod: DeletePod(PodChoice) = "delete-pod";
    /// Gives a pod other labels.
    label_pod: LabelPod(LabelSpec) = "label-pod";
    /// Forbids new pods on a node.
    cordon: Cordon(CordonSpec) = "cordon";
    /// Allows new pods on a node again.
    uncordon: Uncordon(CordonSpec) = "uncordon";
    /// Forbids new pods on a node and evicts those that are there, as `kubectl drain` does.
    drain: Drain(DrainSpec) = "drain";
    /// Puts a taint on a node.
    taint: Taint(TaintStep) = "taint";
    /// Takes a taint off a node.
    untaint: Untaint(TaintStep) = "untaint";
    /// Deletes a deployment and creates it again under the same name.
    create_delete_same_name: CreateDeleteSameName(DeploymentChoice) = "create-delete-same-name";
    /// Deletes a deployment in the foreground, waits until it and all that it owned are gone, and creates it again.
    delete_foreground: DeleteForeground(DeploymentChoice) = "delete-foreground";
    /// Deletes a namespace, waits until all that was in it is gone, and creates it and that again.
    recreate_namespace: RecreateNamespace(NamespaceChoice) = "recreate-namespace";
    /// Reads a collection page by page.
    list: List(ListSpec) = "list";
    /// Asks for what the server must refuse.
    refused: Refused(RefusedSpec) = "refused";
    /// Some of these, again and again.
    churn: Churn(ChurnSpec) = "churn";
}

impl StepAction {
    /// The objects that it applies; none of other steps, and of a manifest that was not read yet.
    pub fn applied(&self) -> &[Value] {
        match self {
            StepAction::Apply(Manifest::Inline(objects)) => objects,
            _ => &[],
        }
    }

    /// The object that it sends as it is, beside those that it applies, and the keys that lead to it.
    pub(super) fn sent(&self) -> Option<(&'static [Part], &Value)> {
        match self {
            StepAction::Replace(spec) => Some((&[Part::Key("replace")], &spec.object)),
            StepAction::Refused(spec) => {
                let object = spec.created()?;
                Some((&[Part::Key("refused"), Part::Key("create")], object))
            }
            _ => None,
        }
    }

    /// What it merges into which object.
    pub(super) fn edited(&self) -> Option<&EditSpec> {
        match self {
            StepAction::Edit(edit) => Some(edit),
            StepAction::Refused(RefusedSpec {
                request: Attempt::Edit(edit),
                ..
            }) => Some(edit),
            _ => None,
        }
    }
}

/// A step with its moment.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "StepWire")]
pub struct StepPlan {
    /// When.
    pub moment: Moment,
    /// What.
    pub action: StepAction,
}

impl StepPlan {
    pub(super) fn write(&self) -> Yaml {
        let StepPlan { moment, action } = self;
        moment.write().with(action.key(), action.as_ref().write()).map()
    }
}

impl TryFrom<StepWire> for StepPlan {
    type Error = String;

    fn try_from(wire: StepWire) -> Result<Self, String> {
        let nothing = format!("a step needs an action, one of {}", KEYS.join(", "));
        let several = "one action a step: write another step for the second";
        let (moment, action) = wire.read(&nothing, several)?;
        Ok(StepPlan { moment, action })
    }
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// The key that says in which namespace.
fn in_namespace(keys: Keys, namespace: &str) -> Keys {
    keys.unless(namespace == "default", "namespace", || Yaml::text(namespace))
}
