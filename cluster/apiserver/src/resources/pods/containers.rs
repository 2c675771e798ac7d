//! Rules of containers: names, images, ports, environment, resources, privileges.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvFromSource, EnvVar, EnvVarSource, PodSpec, ResourceRequirements, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;
use orrery_api::field::Error;
use orrery_api::names;
use orrery_api::quantity::Quantity;

use super::super::check::{NEGATIVE, Unique, between, items, label, messages, one_of, port_number, protocol, text};
use super::{handlers, volumes};

/// What a container may ask for by a bare name.
const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Fields of a pod that its containers can read from their environment, besides single labels and annotations.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Finds faults of all containers of the pod spec at `path`.
pub(super) fn validate(path: &str, spec: &PodSpec) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut seen = Unique::default();
    let mut host_ports = Unique::default();
    let list = format!("{path}.containers");
    if spec.containers.is_empty() {
        errors.push(Error::required(&list, ""));
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let path = format!("{list}[{index}]");
        errors.extend(common(&path, container, spec, &mut seen, &mut host_ports));
        errors.extend(handlers::lifecycle(
            &format!("{path}.lifecycle"),
            container.lifecycle.as_ref(),
        ));
        errors.extend(handlers::probes(&path, container));
    }
    for (index, container) in items(&spec.init_containers).iter().enumerate() {
        let path = format!("{path}.initContainers[{index}]");
        // The ports of each for itself, as in Kubernetes: they run one by one (and sidecars are no exception there).
        errors.extend(common(&path, container, spec, &mut seen, &mut Unique::default()));
        if text(&container.restart_policy) == "Always" {
            errors.extend(handlers::lifecycle(
                &format!("{path}.lifecycle"),
                container.lifecycle.as_ref(),
            ));
            errors.extend(handlers::probes(&path, container));
        } else {
            let rule = "may not be set for init containers without restartPolicy=Always";
            let set = [
                ("lifecycle", container.lifecycle.is_some()),
                ("livenessProbe", container.liveness_probe.is_some()),
                ("readinessProbe", container.readiness_probe.is_some()),
                ("startupProbe", container.startup_probe.is_some()),
            ];
            let wrong = set.into_iter().filter(|(_, set)| *set);
            errors.extend(wrong.map(|(name, _)| Error::forbidden(format!("{path}.{name}"), rule)));
        }
    }
    errors
}

fn common(path: &str, container: &Container, spec: &PodSpec, seen: &mut Unique, host_ports: &mut Unique) -> Vec<Error> {
    let at = |name: &str| format!("{path}.{name}");
    let mut errors = Vec::new();
    if container.name.is_empty() {
        errors.push(Error::required(at("name"), ""));
    } else {
        errors.extend(label(&at("name"), &container.name));
        errors.extend(seen.check(&at("name"), &container.name));
    }
    if text(&container.image).is_empty() {
        errors.push(Error::required(at("image"), ""));
    }
    let policy = text(&container.termination_message_policy);
    errors.extend(one_of(
        &at("terminationMessagePolicy"),
        policy,
        &["FallbackToLogsOnError", "File"],
    ));
    errors.extend(one_of(
        &at("imagePullPolicy"),
        text(&container.image_pull_policy),
        &["Always", "IfNotPresent", "Never"],
    ));
    if let Some(policy) = &container.restart_policy {
        errors.extend(one_of(&at("restartPolicy"), policy, &["Always", "Never", "OnFailure"]));
    }
    errors.extend(ports(
        &at("ports"),
        items(&container.ports),
        spec.host_network == Some(true),
        host_ports,
    ));
    errors.extend(env(&at("env"), items(&container.env)));
    errors.extend(env_from(&at("envFrom"), items(&container.env_from)));
    errors.extend(volumes::mounts(path, container, items(&spec.volumes)));
    if let Some(own) = &container.resources {
        errors.extend(resources(&at("resources"), own));
    }
    if let Some(own) = &container.security_context {
        errors.extend(security(&at("securityContext"), own));
    }
    errors
}

fn security(path: &str, own: &SecurityContext) -> Vec<Error> {
    let mut errors = Vec::new();
    for (name, id) in [("runAsUser", own.run_as_user), ("runAsGroup", own.run_as_group)] {
        if let Some(id) = id {
            errors.extend(between(&format!("{path}.{name}"), id, 0, i32::MAX.into()));
        }
    }
    if own.allow_privilege_escalation == Some(false) {
        if own.privileged == Some(true) {
            let rule = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(Error::invalid(path, own, rule));
        }
        let capabilities = own.capabilities.as_ref();
        let added = capabilities.map_or(&[][..], |capabilities| items(&capabilities.add));
        // By this name only, as in Kubernetes, which lets `SYS_ADMIN` pass.
        if added.iter().any(|capability| capability == "CAP_SYS_ADMIN") {
            let rule = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(Error::invalid(path, own, rule));
        }
    }
    errors
}

fn ports(path: &str, ports: &[ContainerPort], on_host: bool, host_ports: &mut Unique) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut seen = Unique::default();
    for (index, port) in ports.iter().enumerate() {
        let at = |name: &str| format!("{path}[{index}].{name}");
        let name = text(&port.name);
        if !name.is_empty() {
            let faults = messages(&at("name"), name, names::port_name(name));
            if faults.is_empty() {
                errors.extend(seen.check(&at("name"), name));
            }
            errors.extend(faults);
        }
        if port.container_port == 0 {
            errors.push(Error::required(at("containerPort"), ""));
        } else {
            errors.extend(port_number(&at("containerPort"), port.container_port));
        }
        let host_port = port.host_port.unwrap_or(0);
        if host_port != 0 {
            errors.extend(port_number(&at("hostPort"), host_port));
            let taken = format!("{}/{}/{host_port}", text(&port.protocol), text(&port.host_ip));
            errors.extend(host_ports.check(&at("hostPort"), &taken));
        }
        if on_host && host_port != 0 && host_port != port.container_port {
            let rule = "must match `hostPort` when `hostNetwork` is true";
            errors.push(Error::invalid(at("containerPort"), port.container_port, rule));
        }
        errors.extend(protocol(&at("protocol"), &port.protocol));
    }
    errors
}

fn env(path: &str, variables: &[EnvVar]) -> Vec<Error> {
    let mut errors = Vec::new();
    for (index, variable) in variables.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if variable.name.is_empty() {
            errors.push(Error::required(format!("{path}.name"), ""));
        } else {
            let name = variable.name.as_str();
            errors.extend(messages(&format!("{path}.name"), name, names::env_var_name(name)));
        }
        if let Some(source) = &variable.value_from {
            errors.extend(value_from(
                &format!("{path}.valueFrom"),
                source,
                !text(&variable.value).is_empty(),
            ));
        }
    }
    errors
}

fn value_from(path: &str, source: &EnvVarSource, has_value: bool) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut sources = 0;
    if let Some(own) = &source.field_ref {
        sources += 1;
        errors.extend(field_ref(&format!("{path}.fieldRef"), &own.field_path, ENV_FIELDS));
    }
    if let Some(own) = &source.resource_field_ref {
        sources += 1;
        errors.extend(resource_ref(&format!("{path}.resourceFieldRef"), &own.resource));
    }
    if let Some(own) = &source.config_map_key_ref {
        sources += 1;
        errors.extend(key_ref(&format!("{path}.configMapKeyRef"), &own.name, &own.key));
    }
    if let Some(own) = &source.secret_key_ref {
        sources += 1;
        errors.extend(key_ref(&format!("{path}.secretKeyRef"), &own.name, &own.key));
    }
    sources += i32::from(source.file_key_ref.is_some());
    if sources == 0 {
        let rule = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        errors.push(Error::invalid(path, "", rule));
    } else if has_value {
        errors.push(Error::invalid(
            path,
            "",
            "may not be specified when `value` is not empty",
        ));
    } else if sources > 1 {
        errors.push(Error::invalid(
            path,
            "",
            "may not have more than one field specified at a time",
        ));
    }
    errors
}

/// A field of the pod, by path.
pub(super) fn field_ref(path: &str, field: &str, supported: &[&str]) -> Vec<Error> {
    let path = format!("{path}.fieldPath");
    if field.is_empty() {
        return vec![Error::required(path, "")];
    }
    if let Some((map, rest)) = field.split_once('[') {
        let key = rest.strip_suffix(']').map(|key| key.trim_matches(['\'', '"']));
        return match (map, key) {
            ("metadata.labels" | "metadata.annotations", Some(key)) => messages(&path, key, names::qualified_name(key)),
            _ => vec![Error::invalid(path, field, "does not support subscript")],
        };
    }
    one_of(&path, field, supported)
}

/// A resource of a container.
pub(super) fn resource_ref(path: &str, resource: &str) -> Vec<Error> {
    const KNOWN: [&str; 6] = [
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
    ];
    let path = format!("{path}.resource");
    match resource {
        "" => vec![Error::required(path, "")],
        other if other.contains("hugepages-") => Vec::new(),
        other => one_of(&path, other, &KNOWN),
    }
}

fn key_ref(path: &str, name: &str, key: &str) -> Vec<Error> {
    let mut errors = Vec::new();
    if name.is_empty() {
        errors.push(Error::required(format!("{path}.name"), ""));
    }
    if key.is_empty() {
        errors.push(Error::required(format!("{path}.key"), ""));
    } else {
        errors.extend(messages(&format!("{path}.key"), key, names::config_map_key(key)));
    }
    errors
}

fn env_from(path: &str, sources: &[EnvFromSource]) -> Vec<Error> {
    let mut errors = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let at = format!("{path}[{index}]");
        let prefix = text(&source.prefix);
        if !prefix.is_empty() {
            errors.extend(messages(&format!("{at}.prefix"), prefix, names::env_var_name(prefix)));
        }
        let map = source.config_map_ref.as_ref().map(|own| ("configMapRef", &own.name));
        let secret = source.secret_ref.as_ref().map(|own| ("secretRef", &own.name));
        for (name, _) in [map, secret].into_iter().flatten().filter(|(_, name)| name.is_empty()) {
            errors.push(Error::required(format!("{at}.{name}.name"), ""));
        }
        match (map, secret) {
            (None, None) => {
                errors.push(Error::invalid(
                    path,
                    "",
                    "must specify one of: `configMapRef` or `secretRef`",
                ));
            }
            (Some(_), Some(_)) => {
                errors.push(Error::invalid(
                    path,
                    "",
                    "may not have more than one field specified at a time",
                ));
            }
            _ => {}
        }
    }
    errors
}

/// Finds faults of what a container asks for.
pub(super) fn resources(path: &str, resources: &ResourceRequirements) -> Vec<Error> {
    let mut errors = Vec::new();
    for (list, amounts) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        for (name, amount) in amounts.iter().flatten() {
            errors.extend(resource(&format!("{path}.{list}[{name}]"), name, amount));
        }
    }
    let limit = |name: &str| {
        resources
            .limits
            .as_ref()
            .and_then(|limits: &BTreeMap<String, Wire>| limits.get(name))
    };
    for (name, wire) in resources.requests.iter().flatten() {
        let own = limit(name).map(|limit| (limit, Quantity::try_from(limit), Quantity::try_from(wire)));
        let Some((limit, Ok(most), Ok(request))) = own else {
            continue;
        };
        // Only cpu and memory and their like can be promised beyond what there is.
        let exact = !STANDARD.contains(&name.as_str());
        if exact && request != most {
            let rule = format!("must be equal to {name} limit of {}", limit.0);
            errors.push(Error::invalid(format!("{path}.requests"), &wire.0, rule));
        } else if request > most {
            let rule = format!("must be less than or equal to {name} limit of {}", limit.0);
            errors.push(Error::invalid(format!("{path}.requests"), &wire.0, rule));
        }
    }
    for name in resources.requests.iter().flatten().map(|(name, _)| name) {
        if !STANDARD.contains(&name.as_str()) && limit(name).is_none() {
            let rule = "Limit must be set for non overcommitable resources";
            errors.push(Error::required(format!("{path}.limits"), rule));
        }
    }
    errors
}

fn resource(path: &str, name: &str, amount: &Wire) -> Vec<Error> {
    let mut errors = messages(path, name, names::qualified_name(name));
    let standard = STANDARD.contains(&name) || name.starts_with("hugepages-");
    if !name.contains('/') && !standard {
        let rule = "must be a standard resource type or fully qualified";
        errors.push(Error::invalid(path, name, rule));
        errors.push(Error::invalid(path, name, "must be a standard resource for containers"));
    }
    match Quantity::try_from(amount) {
        Err(error) => errors.push(Error::invalid(path, &amount.0, error.to_string())),
        Ok(quantity) if quantity < Quantity::ZERO => errors.push(Error::invalid(path, &amount.0, NEGATIVE)),
        Ok(quantity) if !standard && quantity.nanos() % 1_000_000_000 != 0 => {
            errors.push(Error::invalid(path, &amount.0, "must be an integer"));
        }
        Ok(_) => {}
    }
    errors
}
