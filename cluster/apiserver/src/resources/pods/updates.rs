//! Rules of changes: almost nothing of a pod's spec may change once it is there.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, Toleration};
use orrery_api::field::Error;

use super::super::check::{between, items, subdomain, text};
use super::validation::{self, spaces};

const FROZEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Finds faults of a change of a pod.
pub(super) fn update(new: &Pod, old: &Pod) -> Vec<Error> {
    let default = PodSpec::default();
    let (spec, old_spec) = (
        new.spec.as_ref().unwrap_or(&default),
        old.spec.as_ref().unwrap_or(&default),
    );
    if spec == old_spec {
        return Vec::new();
    }
    let lists = [
        ("spec.containers", &spec.containers[..], &old_spec.containers[..]),
        (
            "spec.initContainers",
            items(&spec.init_containers),
            items(&old_spec.init_containers),
        ),
    ];
    let mut errors = Vec::new();
    for (path, new, old) in lists {
        if new.len() != old.len() {
            errors.push(Error::forbidden(path, "pod updates may not add or remove containers"));
            return errors;
        }
        errors.extend(spaces(path, new.iter().map(|container| &container.image)));
    }
    let deadline = "spec.activeDeadlineSeconds";
    match (spec.active_deadline_seconds, old_spec.active_deadline_seconds) {
        (Some(new), old) => {
            errors.extend(between(deadline, new, 0, i32::MAX.into()));
            if old.is_some_and(|old| new > old) {
                errors.push(Error::invalid(
                    deadline,
                    new,
                    "must be less than or equal to previous value",
                ));
            }
        }
        (None, Some(_)) => {
            let rule = "must not update from a positive integer to nil value";
            errors.push(Error::invalid(deadline, None::<i64>, rule));
        }
        (None, None) => {}
    }
    errors.extend(tolerations(items(&spec.tolerations), items(&old_spec.tolerations)));
    if thawed(spec, old_spec) != *old_spec {
        errors.push(Error::forbidden("spec", FROZEN));
    }
    if errors.is_empty() {
        // What was accepted once stays, so only the changed values are looked at anew.
        errors.extend(
            validation::spec("spec", spec)
                .into_iter()
                .filter(|error| error.field.ends_with(".image")),
        );
    }
    errors
}

/// The new spec with all that may change put back: what differs still may not.
fn thawed(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut spec = new.clone();
    put_back_images(&mut spec.containers, &old.containers);
    if let (Some(new), Some(old)) = (&mut spec.init_containers, &old.init_containers) {
        put_back_images(new, old);
    }
    spec.active_deadline_seconds = old.active_deadline_seconds;
    spec.tolerations = old.tolerations.clone();
    if old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0)
        && new.termination_grace_period_seconds == Some(1)
    {
        spec.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    // A gated pod may be steered to fewer nodes and freed of its gates.
    if items(&new.scheduling_gates)
        .iter()
        .all(|gate| items(&old.scheduling_gates).contains(gate))
    {
        spec.scheduling_gates = old.scheduling_gates.clone();
    }
    if !items(&old.scheduling_gates).is_empty()
        && old
            .node_selector
            .iter()
            .flatten()
            .all(|(key, value)| new.node_selector.as_ref().and_then(|new| new.get(key)) == Some(value))
    {
        spec.node_selector = old.node_selector.clone();
    }
    spec
}

fn put_back_images(new: &mut [Container], old: &[Container]) {
    for (new, old) in new.iter_mut().zip(old) {
        new.image = old.image.clone();
    }
}

/// Old tolerations stay, though they may be for another time; new ones may come.
fn tolerations(new: &[Toleration], old: &[Toleration]) -> Vec<Error> {
    let timeless = |toleration: &Toleration| Toleration {
        toleration_seconds: None,
        ..toleration.clone()
    };
    let kept = old.iter().all(|old| {
        let old = timeless(old);
        new.iter().any(|new| timeless(new) == old)
    });
    if kept {
        return Vec::new();
    }
    vec![Error::forbidden(
        "spec.tolerations",
        "existing toleration can not be modified except its tolerationSeconds",
    )]
}

/// Finds faults of a change of a pod's status.
pub(super) fn status(new: &Pod, old: &Pod) -> Vec<Error> {
    let mut errors = Vec::new();
    let (Some(status), Some(spec)) = (&new.status, &old.spec) else {
        return errors;
    };
    let old = old.status.clone().unwrap_or_default();
    let node = text(&status.nominated_node_name);
    if node != text(&old.nominated_node_name) && !node.is_empty() {
        errors.extend(subdomain("status.nominatedNodeName", node));
    }
    if !text(&old.qos_class).is_empty() && text(&status.qos_class) != text(&old.qos_class) {
        errors.push(Error::invalid(
            "status.qosClass",
            text(&status.qos_class),
            "field is immutable",
        ));
    }
    let policy = text(&spec.restart_policy);
    errors.extend(ends(
        "status.containerStatuses",
        (items(&old.container_statuses), items(&status.container_statuses)),
        policy,
        &spec.containers,
    ));
    errors.extend(ends(
        "status.initContainerStatuses",
        (
            items(&old.init_container_statuses),
            items(&status.init_container_statuses),
        ),
        policy,
        items(&spec.init_containers),
    ));
    errors
}

/// A container that ended for good, by its own restart policy or its pod's, does not come back.
fn ends(
    path: &str,
    (old, new): (&[ContainerStatus], &[ContainerStatus]),
    policy: &str,
    containers: &[Container],
) -> Vec<Error> {
    if policy == "Always" {
        return Vec::new();
    }
    let ended = |status: &ContainerStatus| status.state.as_ref().and_then(|state| state.terminated.clone());
    let policy_of = |name: &str| {
        let own = containers.iter().find(|container| container.name == name);
        own.and_then(|own| own.restart_policy.as_deref()).unwrap_or(policy)
    };
    let mut errors = Vec::new();
    for (index, old) in old.iter().enumerate() {
        let Some(end) = ended(old) else { continue };
        let may_come_back = match policy_of(&old.name) {
            "Always" => true,
            "OnFailure" => end.exit_code != 0,
            _ => false,
        };
        if !may_come_back && new.iter().any(|new| new.name == old.name && ended(new).is_none()) {
            let rule = "may not be transitioned to non-terminated state";
            errors.push(Error::forbidden(format!("{path}[{index}].state"), rule));
        }
    }
    errors
}
