//! What the kubelet says of its node. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use orrery_api::clock::whole_seconds;
use orrery_api::quantity;
use serde::Serialize;
use serde_json::{Value, json};

use crate::options::Options;
use crate::runtime::Pressure;

/// The labels that the kubelet keeps on its node.
pub fn labels(options: &Options) -> BTreeMap<String, String> {
    let own = [
        ("kubernetes.io/hostname", options.node_name.as_str()),
        ("kubernetes.io/os", &options.operating_system),
        ("kubernetes.io/arch", &options.architecture),
        ("beta.kubernetes.io/os", &options.operating_system),
        ("beta.kubernetes.io/arch", &options.architecture),
    ];
    let mut labels: BTreeMap<String, String> = own
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    if options.control_plane {
        labels.insert("node-role.kubernetes.io/control-plane".to_owned(), String::new());
    }
    labels.extend(options.labels.clone());
    labels
}

/// The node as it is registered.
pub fn registration(options: &Options, status: NodeStatus) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(options.node_name.clone()),
            labels: Some(labels(options)),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: options.pod_cidr.clone(),
            pod_cidrs: options.pod_cidr.clone().map(|cidr| vec![cidr]),
            taints: (!options.taints.is_empty()).then(|| options.taints.clone()),
            ..NodeSpec::default()
        }),
        status: Some(status),
    }
}

/// What has to change in the metadata and spec of a node that is there already when a kubelet registers it; none if
/// nothing has. As `tryRegisterWithAPIServer` of Kubernetes' kubelet, but all labels that it was given, and the pods'
/// addresses, are its own to say.
pub fn correction(options: &Options, node: &Node) -> Option<Value> {
    let old = node.metadata.labels.as_ref();
    let missing: BTreeMap<String, String> = labels(options)
        .into_iter()
        .filter(|(name, value)| old.and_then(|old| old.get(name)) != Some(value))
        .collect();
    let mut patch = json!({});
    if !missing.is_empty() {
        patch["metadata"] = json!({"labels": missing});
    }
    let cidr = node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_ref());
    if let (None, Some(own)) = (cidr, &options.pod_cidr) {
        patch["spec"] = json!({"podCIDR": own, "podCIDRs": [own]});
    }
    patch
        .as_object()
        .is_some_and(|patch| !patch.is_empty())
        .then_some(patch)
}

/// How the container runtime does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeHealth {
    /// Its name and version, once it has told: `docker://20.10.24`.
    pub version: String,
    /// Why it cannot run pods now, if it cannot.
    pub trouble: Option<String>,
    /// What its machine is short of, or was until lately.
    pub pressure: Pressure,
}

/// The node's status at `now`, after the status `old`.
pub fn status(options: &Options, runtime: &RuntimeHealth, old: Option<&NodeStatus>, now: Timestamp) -> NodeStatus {
    // As the API server keeps them: another form of the same amount would be a change, heartbeat after heartbeat.
    let canonical =
        |amount: &String| quantity::Quantity::parse(amount).map_or_else(|_| amount.clone(), |own| own.to_string());
    let quantities = |amounts: &BTreeMap<String, String>| -> BTreeMap<String, Quantity> {
        let amounts = amounts.iter();
        amounts
            .map(|(name, amount)| (name.clone(), Quantity(canonical(amount))))
            .collect()
    };
    let address = |type_: &str, address: String| NodeAddress {
        type_: type_.to_owned(),
        address,
    };
    let (memory, disk) = (runtime.pressure.memory, runtime.pressure.disk);
    let claims = [
        if memory {
            (
                "MemoryPressure",
                true,
                "KubeletHasInsufficientMemory",
                "kubelet has insufficient memory available".to_owned(),
            )
        } else {
            (
                "MemoryPressure",
                false,
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available".to_owned(),
            )
        },
        if disk {
            (
                "DiskPressure",
                true,
                "KubeletHasDiskPressure",
                "kubelet has disk pressure".to_owned(),
            )
        } else {
            (
                "DiskPressure",
                false,
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure".to_owned(),
            )
        },
        (
            "PIDPressure",
            false,
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available".to_owned(),
        ),
        match &runtime.trouble {
            None => (
                "Ready",
                true,
                "KubeletReady",
                "kubelet is posting ready status".to_owned(),
            ),
            Some(why) => ("Ready", false, "KubeletNotReady", why.clone()),
        },
    ];
    let before = old.and_then(|old| old.conditions.as_deref()).unwrap_or_default();
    let mut conditions: Vec<NodeCondition> = before
        .iter()
        .filter(|old| !claims.iter().any(|(type_, ..)| *type_ == old.type_))
        .cloned()
        .collect();
    let now = Time(whole_seconds(now));
    conditions.extend(claims.map(|(type_, holds, reason, message)| {
        let status = if holds { "True" } else { "False" };
        let before = before
            .iter()
            .find(|condition| condition.type_ == type_ && condition.status == status);
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: before
                .and_then(|before| before.last_transition_time.clone())
                .or_else(|| Some(now.clone())),
        }
    }));
    NodeStatus {
        capacity: Some(quantities(&options.capacity)),
        allocatable: Some(quantities(options.allocatable.as_ref().unwrap_or(&options.capacity))),
        addresses: Some(vec![
            address("InternalIP", options.node_ip.to_string()),
            address("Hostname", options.node_name.clone()),
        ]),
        conditions: Some(conditions),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: i32::from(options.port),
            }),
        }),
        node_info: Some(NodeSystemInfo {
            architecture: options.architecture.clone(),
            boot_id: options.boot_id.clone(),
            container_runtime_version: runtime.version.clone(),
            kernel_version: options.kernel_version.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: options.kubelet_version.clone(),
            machine_id: options.machine_id.clone(),
            operating_system: options.operating_system.clone(),
            os_image: options.os_image.clone(),
            swap: None,
            system_uuid: options.machine_id.clone(),
        }),
        config: old.and_then(|old| old.config.clone()),
        declared_features: old.and_then(|old| old.declared_features.clone()),
        features: old.and_then(|old| old.features.clone()),
        images: old.and_then(|old| old.images.clone()),
        phase: old.and_then(|old| old.phase.clone()),
        runtime_handlers: old.and_then(|old| old.runtime_handlers.clone()),
        volumes_attached: old.and_then(|old| old.volumes_attached.clone()),
        volumes_in_use: old.and_then(|old| old.volumes_in_use.clone()),
    }
}

/// The merge patch from the status `old` to `new`; none if they differ in heartbeats at most and `heartbeat` is not
/// due.
pub fn difference(old: Option<&NodeStatus>, new: &NodeStatus, heartbeat: bool) -> Option<Value> {
    let Some(old) = old else {
        return Some(json!({"status": new}));
    };
    if !heartbeat && is_alike(old, new) {
        return None;
    }
    // The other fields are taken over from the old status.
    let changed: serde_json::Map<String, Value> = [
        ("addresses", changed_to(&old.addresses, &new.addresses)),
        ("allocatable", changed_to(&old.allocatable, &new.allocatable)),
        ("capacity", changed_to(&old.capacity, &new.capacity)),
        ("conditions", changed_conditions(old, new)),
        (
            "daemonEndpoints",
            changed_to(&old.daemon_endpoints, &new.daemon_endpoints),
        ),
        ("nodeInfo", changed_to(&old.node_info, &new.node_info)),
    ]
    .into_iter()
    .filter_map(|(field, value)| Some((field.to_owned(), value?)))
    .collect();
    (!changed.is_empty()).then(|| json!({"status": changed}))
}

/// The new value of a field, if there is one and it is another one.
fn changed_to<T: PartialEq + Serialize>(old: &Option<T>, new: &Option<T>) -> Option<Value> {
    new.as_ref()
        .filter(|new| old.as_ref() != Some(*new))
        .map(|new| json!(new))
}

/// The conditions that change: those of others are as they were known, and may be something else by now.
fn changed_conditions(old: &NodeStatus, new: &NodeStatus) -> Option<Value> {
    let known = old.conditions.as_deref().unwrap_or_default();
    let all = new.conditions.iter().flatten();
    let changed: Vec<&NodeCondition> = all.filter(|condition| !known.contains(condition)).collect();
    (!changed.is_empty()).then(|| json!(changed))
}

/// Whether the two differ in heartbeats at most, of what the kubelet says in [`status`].
fn is_alike(old: &NodeStatus, new: &NodeStatus) -> bool {
    let conditions = |status: &NodeStatus| status.conditions.as_ref().map_or(0, Vec::len);
    let both = old.conditions.iter().flatten().zip(new.conditions.iter().flatten());
    conditions(old) == conditions(new)
        && both.into_iter().all(|(old, new)| {
            (
                &old.type_,
                &old.status,
                &old.reason,
                &old.message,
                &old.last_transition_time,
            ) == (
                &new.type_,
                &new.status,
                &new.reason,
                &new.message,
                &new.last_transition_time,
            )
        })
        && old.capacity == new.capacity
        && old.allocatable == new.allocatable
        && old.addresses == new.addresses
        && old.daemon_endpoints == new.daemon_endpoints
        && old.node_info == new.node_info
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn well() -> RuntimeHealth {
        RuntimeHealth {
            version: "docker://20.10.24".to_owned(),
            trouble: None,
            pressure: Pressure::default(),
        }
    }

    #[test]
    fn a_machine_that_is_short_of_memory_says_so() {
        let options = Options::default();
        let short = RuntimeHealth {
            pressure: Pressure {
                memory: true,
                disk: false,
            },
            ..well()
        };
        let status = status(&options, &short, None, at(0));
        let conditions = status.conditions.unwrap_or_default();
        let says: Vec<(&str, &str)> = conditions
            .iter()
            .map(|own| (own.type_.as_str(), own.status.as_str()))
            .collect();
        let wanted = [
            ("MemoryPressure", "True"),
            ("DiskPressure", "False"),
            ("PIDPressure", "False"),
            ("Ready", "True"),
        ];
        assert_eq!(says, wanted);
    }

    #[test]
    fn an_unchanged_node_writes_only_its_heartbeat() {
        let options = Options::default();
        let first = status(&options, &well(), None, at(0));
        let later = status(&options, &well(), Some(&first), at(10));
        assert_eq!(difference(Some(&first), &later, false), None);
        let beat = difference(Some(&first), &later, true).expect("a heartbeat");
        assert_eq!(beat["status"].as_object().map(serde_json::Map::len), Some(1), "{beat}");
    }

    #[test]
    fn what_others_say_of_the_node_is_not_written_again() {
        let options = Options::default();
        let mut known = status(&options, &well(), None, at(0));
        let foreign = NodeCondition {
            type_: "KernelDeadlock".to_owned(),
            status: "False".to_owned(),
            ..NodeCondition::default()
        };
        known.conditions.get_or_insert_default().push(foreign);
        let later = status(&options, &well(), Some(&known), at(10));
        let told = |status: &NodeStatus| {
            status
                .conditions
                .iter()
                .flatten()
                .any(|own| own.type_ == "KernelDeadlock")
        };
        assert!(told(&later));
        let beat = difference(Some(&known), &later, true).expect("a heartbeat");
        let written = beat["status"]["conditions"].as_array().expect("conditions");
        let types: Vec<&str> = written.iter().filter_map(|own| own["type"].as_str()).collect();
        assert_eq!(types, ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]);
    }

    #[test]
    fn a_silent_runtime_makes_the_node_not_ready() {
        let options = Options::default();
        let first = status(&options, &well(), None, at(0));
        let ill = RuntimeHealth {
            trouble: Some("container runtime is down".to_owned()),
            ..well()
        };
        let later = status(&options, &ill, Some(&first), at(10));
        let ready = later
            .conditions
            .as_ref()
            .and_then(|all| all.iter().find(|own| own.type_ == "Ready"));
        let ready = ready.expect("a condition");
        assert_eq!(
            (ready.status.as_str(), ready.last_transition_time.clone()),
            ("False", Some(Time(at(10))))
        );
        assert!(difference(Some(&first), &later, false).is_some());
    }

    #[test]
    fn labels_that_others_set_stay() {
        let options = Options {
            control_plane: true,
            ..Options::default()
        };
        let mut node = registration(&options, NodeStatus::default());
        assert_eq!(correction(&options, &node), None);
        let labels = node.metadata.labels.get_or_insert_default();
        labels.insert("mine".to_owned(), "x".to_owned());
        labels.remove("kubernetes.io/os");
        assert_eq!(
            correction(&options, &node),
            Some(json!({"metadata": {"labels": {"kubernetes.io/os": "linux"}}}))
        );
    }
}
