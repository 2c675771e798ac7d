//! What users do to deployments.

use std::time::Duration;

use http::Method;
use orrery_api::clock;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::scenario::{DeploymentChoice, ScaleSpec, SetImageSpec, UndoSpec};
use crate::workload::requests::{DEPLOYMENTS, collection};
use crate::workload::user::{MERGE, STRATEGIC, User, path_to};

const REVISION: &str = "deployment.kubernetes.io/revision";

/// Changes the number of replicas, as `kubectl scale` does: by the subresource.
pub async fn scale(user: &User, spec: &ScaleSpec) {
    let path = format!("{}/scale", path_to("Deployment", &spec.namespace, &spec.deployment));
    let patch = Some((MERGE, json!({"spec": {"replicas": spec.replicas}})));
    user.insist(Method::PATCH, &path, patch, &[404]).await;
}

/// Changes a container's image, as `kubectl set image` does.
pub async fn set_image(user: &User, spec: &SetImageSpec) {
    let patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": spec.container, "image": spec.image}
    ]}}}});
    let path = path_to("Deployment", &spec.namespace, &spec.deployment);
    let patch = Some((STRATEGIC, patch));
    user.insist(Method::PATCH, &path, patch, &[404]).await;
}

/// Rolls a deployment over, as `kubectl rollout restart` does.
pub async fn restart(user: &User, choice: &DeploymentChoice) {
    let now = clock::now_time().0.to_string();
    let patch =
        json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
    user.merge("Deployment", &choice.namespace, &choice.deployment, patch)
        .await;
}

/// Lets a rollout rest, or go on.
pub async fn pause(user: &User, choice: &DeploymentChoice, rest: bool) {
    let patch = json!({"spec": {"paused": rest}});
    user.merge("Deployment", &choice.namespace, &choice.deployment, patch)
        .await;
}

/// Rolls a deployment back, as `kubectl rollout undo` does: its template becomes that of an earlier revision's replica
/// set. One that rests is not rolled back, and where there is nothing to go back to nothing happens.
pub async fn undo(user: &User, spec: &UndoSpec) {
    let path = path_to("Deployment", &spec.namespace, &spec.deployment);
    let Some(deployment) = user.get(&path).await else {
        return;
    };
    let sets = user.get(&collection("apps/v1", "ReplicaSet", &spec.namespace)).await;
    let (Some(sets), false) = (sets, deployment["spec"]["paused"] == json!(true)) else {
        return;
    };
    let Some(mut template) = earlier(&deployment["metadata"]["uid"], &sets, spec.to) else {
        return;
    };
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
    let patch = Some(("application/json-patch+json", patch));
    user.insist(Method::PATCH, &path, patch, &[404]).await;
}

/// The template of revision `to` of the deployment with this uid, or of the one before its newest.
fn earlier(uid: &Value, sets: &Value, to: Option<i64>) -> Option<Value> {
    let owned = sets["items"].as_array()?.iter().filter(|set| {
        let owners = set["metadata"]["ownerReferences"].as_array();
        owners.is_some_and(|owners| {
            owners
                .iter()
                .any(|owner| owner["uid"] == *uid && owner["controller"] == true)
        })
    });
    let mut revisions: Vec<(i64, &Value)> = owned
        .filter_map(|set| {
            let revision = set["metadata"]["annotations"][REVISION].as_str()?;
            Some((revision.parse().ok()?, &set["spec"]["template"]))
        })
        .collect();
    revisions.sort_by_key(|(revision, _)| std::cmp::Reverse(*revision));
    let found = match to {
        Some(to) => revisions.iter().find(|(revision, _)| *revision == to),
        None => revisions.get(1),
    };
    found.map(|(_, template)| (*template).clone())
}

/// Deletes a deployment and applies it again as it was asked for.
pub async fn delete_and_create(user: &User, choice: &DeploymentChoice) {
    let (namespace, name) = (&choice.namespace, &choice.deployment);
    let Some((_, object)) = user.asked_for(&DEPLOYMENTS, namespace, name) else {
        return;
    };
    user.delete("Deployment", namespace, name).await;
    user.apply(&object).await;
}

/// Deletes a deployment in the foreground, and applies it again when it is gone. As long as it is not, the user waits.
pub async fn delete_foreground_and_create(user: &User, choice: &DeploymentChoice) {
    let (namespace, name) = (&choice.namespace, &choice.deployment);
    let Some((uid, object)) = user.asked_for(&DEPLOYMENTS, namespace, name) else {
        return;
    };
    let options = json!({
        "kind": "DeleteOptions", "apiVersion": "v1",
        "propagationPolicy": "Foreground", "preconditions": {"uid": uid}
    });
    let body = Some(("application/json", options));
    user.insist(
        Method::DELETE,
        &path_to("Deployment", namespace, name),
        body,
        &[404, 409],
    )
    .await;
    while user.is_there(&DEPLOYMENTS, namespace, name, &uid) {
        sleep(Duration::from_secs(1)).await;
    }
    user.apply(&object).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_goes_back_to_the_revision_before_its_newest_or_to_the_one_that_is_named() {
        let set = |owner: &str, revision: &str, image: &str| {
            json!({
                "metadata": {"annotations": {REVISION: revision}, "ownerReferences": [{"uid": owner, "controller": true}]},
                "spec": {"template": image}
            })
        };
        let sets = json!({"items": [
            set("a", "9", "nine"), set("a", "10", "ten"), set("b", "11", "another's"), set("a", "8", "eight")
        ]});
        assert_eq!(earlier(&json!("a"), &sets, None), Some(json!("nine")));
        assert_eq!(earlier(&json!("a"), &sets, Some(8)), Some(json!("eight")));
        assert_eq!(earlier(&json!("a"), &sets, Some(3)), None);
        assert_eq!(earlier(&json!("b"), &sets, None), None);
    }
}
