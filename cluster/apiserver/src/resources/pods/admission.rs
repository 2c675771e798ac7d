//! What admission adds to pods on create: account, priority, and tolerations of short outages; and what it refuses.
//!
//! Sources: the documentation of the admission controllers ServiceAccount, Priority, DefaultTolerationSeconds and
//! RuntimeClass.

use k8s_openapi::api::core::v1::{Pod, Toleration};
use orrery_api::mutant;

use super::super::check::text;

/// The account of pods that name none.
const DEFAULT_ACCOUNT: &str = "default";
/// How long a pod stays on a node that is not ready or cannot be reached, in seconds.
pub const DEFAULT_TOLERATION_SECONDS: i64 = 300;
/// The taints of a node that does not work, which every pod tolerates for a while.
const OUTAGES: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
/// The priority classes that are always there, and their priorities.
const PRIORITY_CLASSES: [(&str, i32); 2] = [
    ("system-cluster-critical", 2_000_000_000),
    ("system-node-critical", 2_000_001_000),
];

/// What all of them, and having none, say about preemption.
const PREEMPTION_POLICY: &str = "PreemptLowerPriority";

/// Gives the pod the account `default` unless it names one.
pub fn default_service_account(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    super::defaults::service_account(spec);
    if text(&spec.service_account_name).is_empty() {
        spec.service_account_name = Some(DEFAULT_ACCOUNT.to_owned());
        spec.service_account = Some(DEFAULT_ACCOUNT.to_owned());
    }
}

/// The account that the pod asks for by name. Not `default`: that one comes right after its namespace, and a pod that
/// is there before it waits for it.
pub fn named_service_account(pod: &Pod) -> Option<String> {
    let account = text(&pod.spec.as_ref()?.service_account_name);
    (!account.is_empty() && account != DEFAULT_ACCOUNT).then(|| account.to_owned())
}

/// Lets the pod tolerate an outage of its node for five minutes, unless it says how long itself.
pub fn add_default_tolerations(pod: &mut Pod) {
    let tolerations = pod.spec.get_or_insert_default().tolerations.get_or_insert_default();
    for key in OUTAGES {
        let tolerated = tolerations.iter().any(|own| {
            (text(&own.key).is_empty() || text(&own.key) == key) && matches!(text(&own.effect), "" | "NoExecute")
        });
        if !tolerated {
            tolerations.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(match mutant::active("O161") {
                    true => 30,
                    false => DEFAULT_TOLERATION_SECONDS,
                }),
                value: None,
            });
        }
    }
}

/// Sets priority and preemption policy by the pod's priority class: 0 without one. The error says, in Kubernetes'
/// words, that there is no such class, or that the pod itself says something else.
pub fn set_priority(pod: &mut Pod) -> Result<(), String> {
    let spec = pod.spec.get_or_insert_default();
    let class = text(&spec.priority_class_name);
    let priority = match PRIORITY_CLASSES.iter().find(|(name, _)| *name == class) {
        Some((_, priority)) => *priority,
        None if class.is_empty() => 0,
        None => return Err(format!("no PriorityClass with name {class} was found")),
    };
    if let Some(own) = spec.priority.filter(|own| *own != priority) {
        return Err(format!(
            "the integer value of priority ({own}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        ));
    }
    let own = text(&spec.preemption_policy);
    if !own.is_empty() && own != PREEMPTION_POLICY {
        return Err(format!(
            "the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission controller computed {PREEMPTION_POLICY} from the given PriorityClass name"
        ));
    }
    spec.priority = Some(priority);
    spec.preemption_policy = Some(PREEMPTION_POLICY.to_owned());
    Ok(())
}

/// Refuses a pod that wants a runtime of its own: there are no RuntimeClasses. The error says so in Kubernetes' words.
pub fn check_runtime_class(pod: &Pod) -> Result<(), String> {
    match pod.spec.as_ref().map_or("", |spec| text(&spec.runtime_class_name)) {
        "" => Ok(()),
        class => Err(format!("pod rejected: RuntimeClass {class:?} not found")),
    }
}
