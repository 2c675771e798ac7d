//! What pods and pod templates say when their authors left it out.
//!
//! Sources: the API reference of Pod v1 and Kubernetes' documentation of each field.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, HTTPGetAction, LifecycleHandler, ObjectFieldSelector, PodSpec, Probe,
    ResourceFieldSelector, ResourceRequirements, Volume, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::super::check::text;

/// The mode of files in volumes: `rw-r--r--`.
const FILE_MODE: i32 = 0o644;
/// How long a projected token is good for, in seconds.
const TOKEN_SECONDS: i64 = 3600;

/// Sets `field` unless it says something; absent and empty are the same.
fn set(field: &mut Option<String>, default: &str) {
    if text(field).is_empty() {
        *field = Some(default.to_owned());
    }
}

/// Sets the defaults of the spec of a pod or of a pod template.
pub(in super::super) fn spec(spec: &mut PodSpec) {
    set(&mut spec.restart_policy, "Always");
    set(&mut spec.dns_policy, "ClusterFirst");
    set(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds
        .get_or_insert(super::DEFAULT_GRACE_PERIOD);
    spec.security_context.get_or_insert_default();
    service_account(spec);
    for each in spec.init_containers.iter_mut().flatten() {
        container(each);
    }
    for each in &mut spec.containers {
        container(each);
    }
    for each in spec.ephemeral_containers.iter_mut().flatten() {
        set(&mut each.termination_message_path, "/dev/termination-log");
        set(&mut each.termination_message_policy, "File");
        let policy = pull_policy(text(&each.image));
        set(&mut each.image_pull_policy, policy);
        each.resources.get_or_insert_default();
        each.env.iter_mut().flatten().for_each(env);
    }
    spec.volumes.iter_mut().flatten().for_each(volume);
}

/// Sets the defaults that only pods get, not templates.
pub(super) fn pod_only(spec: &mut PodSpec) {
    spec.enable_service_links.get_or_insert(true);
    let host_network = spec.host_network == Some(true);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        if let Some(resources) = &mut container.resources {
            requests_from_limits(resources);
        }
        if host_network {
            container.ports.iter_mut().flatten().for_each(on_the_host);
        }
    }
    if let Some(resources) = &mut spec.resources {
        requests_from_limits(resources);
    }
}

/// The account under its two names: the older one follows the newer.
pub(super) fn service_account(spec: &mut PodSpec) {
    if text(&spec.service_account_name).is_empty() {
        spec.service_account_name = spec.service_account.clone();
    }
    spec.service_account = spec.service_account_name.clone();
}

/// What is limited and not requested is requested at its limit.
fn requests_from_limits(resources: &mut ResourceRequirements) {
    let Some(limits) = resources.limits.as_ref().filter(|limits| !limits.is_empty()) else {
        return;
    };
    let requests = resources.requests.get_or_insert_default();
    for (name, limit) in limits {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

/// A port of a pod in its node's network is the node's port.
fn on_the_host(port: &mut ContainerPort) {
    if port.host_port.unwrap_or(0) == 0 {
        port.host_port = Some(port.container_port);
    }
}

fn container(container: &mut Container) {
    set(&mut container.termination_message_path, "/dev/termination-log");
    set(&mut container.termination_message_policy, "File");
    let policy = pull_policy(text(&container.image));
    set(&mut container.image_pull_policy, policy);
    container.resources.get_or_insert_default();
    for port in container.ports.iter_mut().flatten() {
        set(&mut port.protocol, "TCP");
    }
    container.env.iter_mut().flatten().for_each(env);
    let probes = [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ];
    probes.into_iter().flatten().for_each(probe);
    if let Some(lifecycle) = &mut container.lifecycle {
        [&mut lifecycle.post_start, &mut lifecycle.pre_stop]
            .into_iter()
            .flatten()
            .for_each(handler);
    }
}

/// `latest`, said or unsaid, is pulled always; what is tagged or digested otherwise, only when it is not there.
pub(super) fn pull_policy(image: &str) -> &'static str {
    if image.is_empty() || image.contains('@') {
        return "IfNotPresent";
    }
    // A colon before the last slash parts the registry's port from its host.
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn probe(probe: &mut Probe) {
    for (field, default) in [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ] {
        if field.unwrap_or(0) == 0 {
            *field = Some(default);
        }
    }
    if let Some(get) = &mut probe.http_get {
        http_get(get);
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn handler(handler: &mut LifecycleHandler) {
    if let Some(get) = &mut handler.http_get {
        http_get(get);
    }
}

fn http_get(get: &mut HTTPGetAction) {
    set(&mut get.path, "/");
    set(&mut get.scheme, "HTTP");
}

fn env(variable: &mut EnvVar) {
    if let Some(source) = &mut variable.value_from {
        source.field_ref.iter_mut().for_each(field_ref);
        source.resource_field_ref.iter_mut().for_each(resource_ref);
    }
}

fn field_ref(reference: &mut ObjectFieldSelector) {
    set(&mut reference.api_version, "v1");
}

fn resource_ref(reference: &mut ResourceFieldSelector) {
    reference.divisor.get_or_insert_with(|| Quantity("0".to_owned()));
}

fn volume(volume: &mut Volume) {
    if is_sourceless(volume) {
        volume.empty_dir.get_or_insert_default();
    }
    if let Some(source) = &mut volume.secret {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.config_map {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.host_path {
        source.type_.get_or_insert_default();
    }
    if let Some(source) = &mut volume.downward_api {
        source.default_mode.get_or_insert(FILE_MODE);
        for file in source.items.iter_mut().flatten() {
            file.field_ref.iter_mut().for_each(field_ref);
            file.resource_field_ref.iter_mut().for_each(resource_ref);
        }
    }
    if let Some(source) = &mut volume.projected {
        source.default_mode.get_or_insert(FILE_MODE);
        source.sources.iter_mut().flatten().for_each(projection);
    }
    if let Some(source) = &mut volume.image {
        let policy = pull_policy(text(&source.reference));
        set(&mut source.pull_policy, policy);
    }
    if let Some(template) = volume
        .ephemeral
        .as_mut()
        .and_then(|source| source.volume_claim_template.as_mut())
    {
        set(&mut template.spec.volume_mode, "Filesystem");
    }
}

fn projection(projection: &mut VolumeProjection) {
    if let Some(token) = &mut projection.service_account_token {
        token.expiration_seconds.get_or_insert(TOKEN_SECONDS);
    }
    for file in projection
        .downward_api
        .iter_mut()
        .filter_map(|source| source.items.as_mut())
        .flatten()
    {
        file.field_ref.iter_mut().for_each(field_ref);
        file.resource_field_ref.iter_mut().for_each(resource_ref);
    }
}

/// Whether a volume names no source of any kind.
fn is_sourceless(volume: &Volume) -> bool {
    let bare = Volume {
        name: volume.name.clone(),
        ..Volume::default()
    };
    *volume == bare
}
