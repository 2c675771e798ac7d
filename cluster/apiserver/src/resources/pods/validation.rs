//! Rules of pods and pod templates: the spec as a whole.
//!
//! What it deliberately leaves out: Windows options, sysctls, and sources of volumes that nothing here can mount.

use k8s_openapi::api::core::v1::{Pod, PodSecurityContext, PodSpec};
use orrery_api::field::Error;
use orrery_api::names;

use super::super::check::{between, ip, items, label, labels, messages, non_negative, one_of, subdomain, text};
use super::{containers, placement, volumes};

/// The mark of a pod that a kubelet runs from a file of its own.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Finds faults of a new pod.
pub(super) fn pod(pod: &Pod) -> Vec<Error> {
    let default = PodSpec::default();
    let own = pod.spec.as_ref().unwrap_or(&default);
    let mut errors = spec("spec", own);
    let mirror = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(MIRROR));
    if let Some(value) = mirror
        && text(&own.node_name).is_empty()
    {
        let rule = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(Error::invalid(format!("metadata.annotations[{MIRROR}]"), value, rule));
    }
    errors.extend(spaces(
        "spec.containers",
        own.containers.iter().map(|container| &container.image),
    ));
    let init = items(&own.init_containers);
    errors.extend(spaces(
        "spec.initContainers",
        init.iter().map(|container| &container.image),
    ));
    if !items(&own.ephemeral_containers).is_empty() {
        errors.push(Error::forbidden("spec.ephemeralContainers", "cannot be set on create"));
    }
    if !items(&own.scheduling_gates).is_empty() && !text(&own.node_name).is_empty() {
        let rule = "cannot be set until all schedulingGates have been cleared";
        errors.push(Error::forbidden("spec.nodeName", rule));
    }
    errors
}

/// Images of pods, unlike those of templates, are exact.
pub(super) fn spaces<'a>(path: &str, images: impl Iterator<Item = &'a Option<String>>) -> Vec<Error> {
    let spaced = images
        .enumerate()
        .filter(|(_, image)| text(image).trim() != text(image));
    let rule = "must not have leading or trailing whitespace";
    spaced
        .map(|(index, image)| Error::invalid(format!("{path}[{index}].image"), image, rule))
        .collect()
}

/// Finds faults of the spec of a pod, or of a pod template, that stands at `path`.
pub(in super::super) fn spec(path: &str, spec: &PodSpec) -> Vec<Error> {
    let at = |name: &str| format!("{path}.{name}");
    let mut errors = volumes::validate(&at("volumes"), items(&spec.volumes));
    errors.extend(containers::validate(path, spec));
    errors.extend(one_of(
        &at("restartPolicy"),
        text(&spec.restart_policy),
        &["Always", "Never", "OnFailure"],
    ));
    errors.extend(dns(path, spec));
    errors.extend(labels(&at("nodeSelector"), spec.node_selector.as_ref()));
    errors.extend(host(path, spec));
    if let Some(context) = &spec.security_context {
        errors.extend(security(&at("securityContext"), context));
    }
    for (index, secret) in items(&spec.image_pull_secrets).iter().enumerate() {
        if secret.name.is_empty() {
            errors.push(Error::required(at(&format!("imagePullSecrets[{index}].name")), ""));
        }
    }
    for (name, value) in [
        ("serviceAccountName", &spec.service_account_name),
        ("nodeName", &spec.node_name),
        ("priorityClassName", &spec.priority_class_name),
        ("runtimeClassName", &spec.runtime_class_name),
    ] {
        if !text(value).is_empty() {
            errors.extend(subdomain(&at(name), text(value)));
        }
    }
    for (name, value) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        if !text(value).is_empty() {
            errors.extend(label(&at(name), text(value)));
        }
    }
    if let Some(seconds) = spec.active_deadline_seconds {
        errors.extend(between(&at("activeDeadlineSeconds"), seconds, 1, i32::MAX.into()));
    }
    if let Some(policy) = &spec.preemption_policy {
        errors.extend(one_of(
            &at("preemptionPolicy"),
            policy,
            &["Never", "PreemptLowerPriority"],
        ));
    }
    for (index, gate) in items(&spec.readiness_gates).iter().enumerate() {
        let kind = gate.condition_type.as_str();
        let path = at(&format!("readinessGates[{index}].conditionType"));
        errors.extend(messages(&path, kind, names::qualified_name(kind)));
    }
    errors.extend(placement::validate(path, spec));
    errors
}

fn dns(path: &str, spec: &PodSpec) -> Vec<Error> {
    let policy = text(&spec.dns_policy);
    let known = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    let mut errors = one_of(&format!("{path}.dnsPolicy"), policy, &known);
    let servers = spec
        .dns_config
        .as_ref()
        .map_or(&[][..], |config| items(&config.nameservers));
    let list = format!("{path}.dnsConfig.nameservers");
    if policy == "None" && spec.dns_config.is_none() {
        let rule = "must provide `dnsConfig` when `dnsPolicy` is None";
        errors.push(Error::required(format!("{path}.dnsConfig"), rule));
    } else if policy == "None" && servers.is_empty() {
        let rule = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(Error::required(&list, rule));
    }
    if servers.len() > 3 {
        errors.push(Error::invalid(&list, servers, "must not have more than 3 nameservers"));
    }
    for (index, server) in servers.iter().enumerate() {
        errors.extend(ip(&format!("{list}[{index}]"), server));
    }
    for (index, alias) in items(&spec.host_aliases).iter().enumerate() {
        errors.extend(ip(&format!("{path}.hostAliases[{index}].ip"), &alias.ip));
        for (at, name) in items(&alias.hostnames).iter().enumerate() {
            errors.extend(subdomain(&format!("{path}.hostAliases[{index}].hostnames[{at}]"), name));
        }
    }
    errors
}

/// What a pod shares with its node.
fn host(path: &str, spec: &PodSpec) -> Vec<Error> {
    let mut errors = Vec::new();
    if spec.host_pid == Some(true) && spec.share_process_namespace == Some(true) {
        let rule = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(
            format!("{path}.securityContext.shareProcessNamespace"),
            true,
            rule,
        ));
    }
    if spec.host_users == Some(false) {
        for (name, shared) in [
            ("hostNetwork", spec.host_network),
            ("hostPID", spec.host_pid),
            ("hostIPC", spec.host_ipc),
        ] {
            if shared == Some(true) {
                let rule = "when `hostUsers` is false";
                errors.push(Error::forbidden(format!("{path}.{name}"), rule));
            }
        }
    }
    errors
}

fn security(path: &str, context: &PodSecurityContext) -> Vec<Error> {
    let mut errors = Vec::new();
    for (name, id) in [
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
        ("fsGroup", context.fs_group),
    ] {
        if let Some(id) = id {
            errors.extend(between(&format!("{path}.{name}"), id, 0, i32::MAX.into()));
        }
    }
    for (index, group) in items(&context.supplemental_groups).iter().enumerate() {
        errors.extend(non_negative(&format!("{path}.supplementalGroups[{index}]"), *group));
    }
    if let Some(policy) = &context.fs_group_change_policy {
        errors.extend(one_of(
            &format!("{path}.fsGroupChangePolicy"),
            policy,
            &["Always", "OnRootMismatch"],
        ));
    }
    errors
}
