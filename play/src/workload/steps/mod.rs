//! What a user does, once: one file a family of steps.

mod deployments;
mod lists;
mod nodes;
mod objects;
mod pods;
mod refusals;

use super::user::User;
use crate::scenario::{Moment, StepAction};

/// Does a step, whose moment has come, and notes what exactly it was. What the server made of it that it must not have
/// made, if so.
pub async fn perform(user: &User, moment: Moment, action: &StepAction) -> Option<String> {
    if let StepAction::Refused(spec) = action {
        user.stage.does(moment, action.clone());
        return refusals::refused(user, spec).await;
    }
    act(user, moment, action).await;
    None
}

/// Does a step that the server is to carry out.
async fn act(user: &User, moment: Moment, action: &StepAction) {
    // What draws something notes what it drew.
    match action {
        StepAction::DeletePod(choice) => return pods::delete(user, moment, choice).await,
        StepAction::LabelPod(spec) => return pods::label(user, moment, spec).await,
        StepAction::Cordon(spec) => return nodes::cordon(user, moment, &spec.node, true).await,
        StepAction::Uncordon(spec) => return nodes::cordon(user, moment, &spec.node, false).await,
        StepAction::Drain(spec) => return nodes::drain(user, moment, spec).await,
        StepAction::Taint(taint) => return nodes::taint(user, moment, taint, true).await,
        StepAction::Untaint(taint) => return nodes::taint(user, moment, taint, false).await,
        StepAction::List(spec) => return lists::list(user, moment, spec).await,
        _ => user.stage.does(moment, action.clone()),
    }
    match action {
        StepAction::Apply(manifest) => objects::apply(user, manifest).await,
        StepAction::Replace(spec) => user.replace(&spec.object).await,
        StepAction::Delete(spec) => objects::delete(user, spec).await,
        StepAction::Edit(spec) => objects::edit(user, spec).await,
        StepAction::Own(spec) => objects::own(user, spec).await,
        StepAction::AddFinalizer(spec) => objects::finalizer(user, spec, true).await,
        StepAction::RemoveFinalizer(spec) => objects::finalizer(user, spec, false).await,
        StepAction::SetCondition(spec) => objects::set_condition(user, spec).await,
        StepAction::RecreateNamespace(choice) => objects::recreate_namespace(user, &choice.namespace).await,
        StepAction::Scale(spec) => deployments::scale(user, spec).await,
        StepAction::SetImage(spec) => deployments::set_image(user, spec).await,
        StepAction::Undo(spec) => deployments::undo(user, spec).await,
        StepAction::Restart(choice) => deployments::restart(user, choice).await,
        StepAction::PauseRollout(choice) => deployments::pause(user, choice, true).await,
        StepAction::ResumeRollout(choice) => deployments::pause(user, choice, false).await,
        StepAction::CreateDeleteSameName(choice) => deployments::delete_and_create(user, choice).await,
        StepAction::DeleteForeground(choice) => deployments::delete_foreground_and_create(user, choice).await,
        // Done elsewhere, or not at once.
        StepAction::DeletePod(_)
        | StepAction::LabelPod(_)
        | StepAction::Cordon(_)
        | StepAction::Uncordon(_)
        | StepAction::Drain(_)
        | StepAction::Taint(_)
        | StepAction::Untaint(_)
        | StepAction::List(_)
        | StepAction::Refused(_)
        | StepAction::Churn(_) => {}
    }
}
