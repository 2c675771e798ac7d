//! What the walk through a recording must know of an object: who it is, whose it is, where it is, how it is.

use serde::Deserialize;

/// What an object says of itself. Fields that its kind does not have are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its uid.
    pub uid: String,
    /// The uids of its owners.
    pub owners: Vec<String>,
    /// The kind and name of the owner that controls it.
    pub controller: Option<(String, String)>,
    /// The node that a pod is bound to.
    pub node: String,
    /// A pod's address.
    pub ip: String,
    /// A pod's phase.
    pub phase: String,
    /// Whether a pod or node says that it is ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The service that an endpoint slice is of.
    pub service: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Object {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    uid: String,
    deletion_timestamp: Option<String>,
    owner_references: Vec<Owner>,
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Owner {
    kind: String,
    name: String,
    uid: String,
    controller: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    #[serde(rename = "podIP")]
    ip: String,
    phase: String,
    conditions: Vec<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

impl Facts {
    /// Reads an object's JSON; what cannot be read is empty.
    pub fn of(json: &str) -> Self {
        let object: Object = serde_json::from_str(json).unwrap_or_default();
        let controller = object.metadata.owner_references.iter().find(|owner| owner.controller);
        let ready = |condition: &Condition| condition.r#type == "Ready" && condition.status == "True";
        Facts {
            controller: controller.map(|owner| (owner.kind.clone(), owner.name.clone())),
            owners: object
                .metadata
                .owner_references
                .into_iter()
                .map(|owner| owner.uid)
                .collect(),
            node: object.spec.node_name.unwrap_or_default(),
            ip: object.status.ip,
            phase: object.status.phase,
            ready: object.status.conditions.iter().any(ready),
            terminating: object.metadata.deletion_timestamp.is_some(),
            service: object
                .metadata
                .labels
                .get("kubernetes.io/service-name")
                .cloned()
                .unwrap_or_default(),
            uid: object.metadata.uid,
        }
    }
}
