//! What users do to objects of any kind, and to namespaces with all that is in them.

use std::time::Duration;

use orrery_api::clock;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::scenario::{ConditionSpec, DeleteSpec, EditSpec, FinalizerSpec, Manifest, OwnSpec};
use crate::workload::requests::{NAMESPACES, OWN, api_version, named, plural};
use crate::workload::user::User;

/// Creates objects, or merges them into those of the same name.
pub async fn apply(user: &User, manifest: &Manifest) {
    match manifest {
        Manifest::Inline(objects) => {
            for object in objects {
                user.apply(object).await;
            }
        }
        Manifest::File(name) => user.stage.trouble(format!("{name} was never read")),
    }
}

/// What an object's name means; no object's name is trouble.
fn meant<'a>(user: &User, object: &'a str) -> Option<(&'a str, &'a str, &'a str)> {
    let found = named(object);
    if found.is_none() {
        user.stage
            .trouble(format!("{object:?} names no object: write kind/name"));
    }
    found
}

/// Deletes an object.
pub async fn delete(user: &User, spec: &DeleteSpec) {
    if let Some((kind, namespace, name)) = meant(user, &spec.object) {
        user.delete_with(kind, namespace, name, spec.propagation, spec.grace)
            .await;
    }
}

/// Merges something into an object.
pub async fn edit(user: &User, spec: &EditSpec) {
    if let Some((kind, namespace, name)) = meant(user, &spec.object) {
        user.merge(kind, namespace, name, spec.patch.clone()).await;
    }
}

/// Gives an object owners. None of them waits for it when it is deleted in the foreground: no `blockOwnerDeletion`.
pub async fn own(user: &User, spec: &OwnSpec) {
    let Some((kind, namespace, name)) = meant(user, &spec.object) else {
        return;
    };
    let owners: Vec<Value> = user.stage.look(|cluster| {
        let owners = spec.owners.iter().filter_map(|owner| named(owner));
        owners
            .filter_map(|(kind, namespace, name)| {
                let version = api_version(kind);
                let group = version
                    .split_once('/')
                    .map_or(String::new(), |(group, _)| format!(".{group}"));
                let resource = format!("{}{group}", plural(kind));
                let uid = cluster.find(&resource, namespace, name)?.uid().to_owned();
                Some(json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid}))
            })
            .collect()
    });
    let patch = json!({"metadata": {"ownerReferences": owners}});
    user.merge(kind, namespace, name, patch).await;
}

/// Puts a finalizer on an object, unless it is being deleted, or takes it back.
pub async fn finalizer(user: &User, spec: &FinalizerSpec, on: bool) {
    let Some((kind, namespace, name)) = meant(user, &spec.object) else {
        return;
    };
    let change = |object: &Value| {
        let meta = &object["metadata"];
        let mut finalizers = meta["finalizers"].as_array().cloned().unwrap_or_default();
        let is_there = finalizers.iter().any(|own| *own == spec.finalizer);
        if is_there == on || (on && !meta["deletionTimestamp"].is_null()) {
            return None;
        }
        finalizers.retain(|own| *own != spec.finalizer);
        if on {
            finalizers.push(json!(spec.finalizer));
        }
        Some(json!({"metadata": {"finalizers": finalizers}}))
    };
    user.change(kind, namespace, name, change).await;
}

/// Says of an object whether a condition holds; what others say of it stays.
pub async fn set_condition(user: &User, spec: &ConditionSpec) {
    let Some((kind, namespace, name)) = meant(user, &spec.object) else {
        return;
    };
    let mut condition = json!({"type": spec.kind, "status": spec.status.as_str()});
    if plural(kind) == "nodes" {
        // As node-problem-detector does.
        condition["lastHeartbeatTime"] = json!(clock::now_time());
    }
    user.merge_status(kind, namespace, name, json!({"conditions": [condition]}))
        .await;
}

/// Deletes a namespace, and when it is gone creates it again with the deployments, services, config maps and secrets
/// that users had in it. As long as it is not, the user waits.
pub async fn recreate_namespace(user: &User, namespace: &str) {
    let Some((uid, object)) = user.asked_for(&NAMESPACES, "", namespace) else {
        return;
    };
    let mut objects = vec![object];
    for resource in OWN {
        for name in user.names(resource, namespace) {
            objects.extend(user.asked_for(resource, namespace, &name).map(|(_, object)| object));
        }
    }
    user.delete("Namespace", "", namespace).await;
    while user.is_there(&NAMESPACES, "", namespace, &uid) {
        sleep(Duration::from_secs(1)).await;
    }
    for object in &objects {
        user.apply(object).await;
    }
}
