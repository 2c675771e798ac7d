//! Rules of volumes and of where containers mount them.

use k8s_openapi::api::core::v1::{Container, DownwardAPIVolumeFile, KeyToPath, Volume, VolumeProjection};
use orrery_api::field::Error;
use orrery_api::quantity::Quantity;

use super::super::check::{Unique, items, label, one_of, text};
use super::containers::{field_ref, resource_ref};

/// Fields of a pod that a volume can show as files.
const FILE_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// Finds faults of the volumes at `path`.
pub(super) fn validate(path: &str, volumes: &[Volume]) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut seen = Unique::default();
    for (index, volume) in volumes.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if volume.name.is_empty() {
            errors.push(Error::required(format!("{path}.name"), ""));
        } else {
            errors.extend(label(&format!("{path}.name"), &volume.name));
            errors.extend(seen.check(&format!("{path}.name"), &volume.name));
        }
        errors.extend(sources(&path, volume));
        errors.extend(source(&path, volume));
    }
    errors
}

/// A volume has one source: the rest of its fields besides the name.
fn sources(path: &str, volume: &Volume) -> Vec<Error> {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let names = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .filter(|name| *name != "name");
    let names: Vec<&String> = names.collect();
    if names.is_empty() {
        return vec![Error::required(path, "must specify a volume type")];
    }
    let more = names.iter().skip(1);
    more.map(|name| Error::forbidden(format!("{path}.{name}"), "may not specify more than 1 volume type"))
        .collect()
}

fn source(path: &str, volume: &Volume) -> Vec<Error> {
    let mut errors = Vec::new();
    let required = |path: String, value: &str| value.is_empty().then(|| Error::required(path, ""));
    if let Some(own) = &volume.empty_dir
        && let Some(limit) = &own.size_limit
        && Quantity::try_from(limit).is_ok_and(|limit| limit < Quantity::ZERO)
    {
        let rule = "SizeLimit field must be a valid resource quantity";
        errors.push(Error::forbidden(format!("{path}.emptyDir.sizeLimit"), rule));
    }
    if let Some(own) = &volume.host_path {
        let path = format!("{path}.hostPath");
        errors.extend(required(format!("{path}.path"), &own.path));
        errors.extend(no_backsteps(&format!("{path}.path"), &own.path));
        let kinds = [
            "BlockDevice",
            "CharDevice",
            "Directory",
            "DirectoryOrCreate",
            "File",
            "FileOrCreate",
            "Socket",
        ];
        if !text(&own.type_).is_empty() {
            errors.extend(one_of(&format!("{path}.type"), text(&own.type_), &kinds));
        }
    }
    if let Some(own) = &volume.secret {
        let path = format!("{path}.secret");
        errors.extend(required(format!("{path}.secretName"), text(&own.secret_name)));
        errors.extend(mode(&format!("{path}.defaultMode"), own.default_mode));
        errors.extend(keys(&format!("{path}.items"), items(&own.items)));
    }
    if let Some(own) = &volume.config_map {
        let path = format!("{path}.configMap");
        errors.extend(required(format!("{path}.name"), &own.name));
        errors.extend(mode(&format!("{path}.defaultMode"), own.default_mode));
        errors.extend(keys(&format!("{path}.items"), items(&own.items)));
    }
    if let Some(own) = &volume.persistent_volume_claim {
        errors.extend(required(
            format!("{path}.persistentVolumeClaim.claimName"),
            &own.claim_name,
        ));
    }
    if let Some(own) = &volume.nfs {
        errors.extend(required(format!("{path}.nfs.server"), &own.server));
        errors.extend(required(format!("{path}.nfs.path"), &own.path));
        if !own.path.is_empty() && !own.path.starts_with('/') {
            errors.push(Error::invalid(
                format!("{path}.nfs.path"),
                &own.path,
                "must be an absolute path",
            ));
        }
    }
    if let Some(own) = &volume.downward_api {
        let path = format!("{path}.downwardAPI");
        errors.extend(mode(&format!("{path}.defaultMode"), own.default_mode));
        errors.extend(files(&path, items(&own.items)));
    }
    if let Some(own) = &volume.projected {
        let path = format!("{path}.projected");
        errors.extend(mode(&format!("{path}.defaultMode"), own.default_mode));
        for (index, own) in items(&own.sources).iter().enumerate() {
            errors.extend(projection(&format!("{path}.sources[{index}]"), own));
        }
    }
    errors
}

fn projection(path: &str, projection: &VolumeProjection) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut count = usize::from(projection.cluster_trust_bundle.is_some());
    count += usize::from(projection.pod_certificate.is_some());
    for (name, named) in [
        ("secret", projection.secret.as_ref().map(|own| (&own.name, &own.items))),
        (
            "configMap",
            projection.config_map.as_ref().map(|own| (&own.name, &own.items)),
        ),
    ] {
        let Some((own, list)) = named else { continue };
        count += 1;
        if own.is_empty() {
            errors.push(Error::required(format!("{path}.{name}.name"), ""));
        }
        errors.extend(keys(&format!("{path}.{name}.items"), items(list)));
    }
    if let Some(own) = &projection.downward_api {
        count += 1;
        errors.extend(files(&format!("{path}.downwardAPI"), items(&own.items)));
    }
    if let Some(own) = &projection.service_account_token {
        count += 1;
        let path = format!("{path}.serviceAccountToken");
        let seconds = own.expiration_seconds.unwrap_or_default();
        if seconds < 600 {
            let rule = "may not specify a duration less than 10 minutes";
            errors.push(Error::invalid(format!("{path}.expirationSeconds"), seconds, rule));
        } else if seconds > 1 << 32 {
            let rule = "may not specify a duration larger than 2^32 seconds";
            errors.push(Error::invalid(format!("{path}.expirationSeconds"), seconds, rule));
        }
        if own.path.is_empty() {
            errors.push(Error::required(format!("{path}.path"), ""));
        } else {
            errors.extend(inner_path(&format!("{path}.path"), &own.path));
        }
    }
    match count {
        0 => errors.push(Error::required(
            path,
            "must specify at least one volume projection source",
        )),
        1 => {}
        _ => errors.push(Error::forbidden(
            path,
            "may not specify more than 1 volume type per source",
        )),
    }
    errors
}

fn keys(path: &str, list: &[KeyToPath]) -> Vec<Error> {
    let mut errors = Vec::new();
    for (index, item) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if item.key.is_empty() {
            errors.push(Error::required(format!("{path}.key"), ""));
        }
        errors.extend(file_path(&format!("{path}.path"), &item.path));
        errors.extend(mode(&format!("{path}.mode"), item.mode));
    }
    errors
}

fn files(path: &str, list: &[DownwardAPIVolumeFile]) -> Vec<Error> {
    let mut errors = Vec::new();
    for file in list {
        errors.extend(file_path(&format!("{path}.path"), &file.path));
        match (&file.field_ref, &file.resource_field_ref) {
            (Some(_), Some(_)) => {
                let rule = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(Error::invalid(path, "resource", rule));
            }
            (Some(own), None) => errors.extend(field_ref(&format!("{path}.fieldRef"), &own.field_path, FILE_FIELDS)),
            (None, Some(own)) => {
                if text(&own.container_name).is_empty() {
                    errors.push(Error::required(format!("{path}.resourceFieldRef.containerName"), ""));
                }
                errors.extend(resource_ref(&format!("{path}.resourceFieldRef"), &own.resource));
            }
            (None, None) => errors.push(Error::required(
                path,
                "one of fieldRef and resourceFieldRef is required",
            )),
        }
        errors.extend(mode(&format!("{path}.mode"), file.mode));
    }
    errors
}

fn mode(path: &str, mode: Option<i32>) -> Option<Error> {
    let mode = mode.filter(|mode| !(0..=0o777).contains(mode))?;
    Some(Error::invalid(
        path,
        mode,
        "must be a number between 0 and 0777 (octal), both inclusive",
    ))
}

/// The path of a file in a volume, which keeps names that start with `..` for itself.
fn file_path(path: &str, value: &str) -> Vec<Error> {
    if value.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errors = inner_path(path, value);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.push(Error::invalid(path, value, "must not start with '..'"));
    }
    errors
}

/// A path that does not leave where it starts.
fn inner_path(path: &str, value: &str) -> Vec<Error> {
    let mut errors = Vec::new();
    if value.starts_with('/') {
        errors.push(Error::invalid(path, value, "must be a relative path"));
    }
    errors.extend(no_backsteps(path, value));
    errors
}

fn no_backsteps(path: &str, value: &str) -> Option<Error> {
    let leaves = value.split('/').any(|part| part == "..");
    leaves.then(|| Error::invalid(path, value, "must not contain '..'"))
}

/// Finds faults of the mounts of the container at `path`.
pub(super) fn mounts(path: &str, container: &Container, volumes: &[Volume]) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut places = Unique::default();
    for (index, mount) in items(&container.volume_mounts).iter().enumerate() {
        let at = |name: &str| format!("{path}.volumeMounts[{index}].{name}");
        if mount.name.is_empty() {
            errors.push(Error::required(at("name"), ""));
        } else if !volumes.iter().any(|volume| volume.name == mount.name) {
            errors.push(Error::not_found(at("name"), &mount.name));
        }
        if mount.mount_path.is_empty() {
            errors.push(Error::required(at("mountPath"), ""));
        }
        if places.seen(&mount.mount_path) {
            errors.push(Error::invalid(at("mountPath"), &mount.mount_path, "must be unique"));
        }
        for (name, value) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
            if !text(value).is_empty() {
                errors.extend(inner_path(&at(name), text(value)));
            }
        }
        if !text(&mount.sub_path).is_empty() && !text(&mount.sub_path_expr).is_empty() {
            let rule = "subPathExpr and subPath are mutually exclusive";
            errors.push(Error::invalid(at("subPathExpr"), text(&mount.sub_path_expr), rule));
        }
        if let Some(mode) = &mount.mount_propagation {
            errors.extend(one_of(
                &at("mountPropagation"),
                mode,
                &["Bidirectional", "HostToContainer", "None"],
            ));
            let security = container.security_context.as_ref();
            let is_privileged = security.and_then(|security| security.privileged) == Some(true);
            if mode == "Bidirectional" && !is_privileged {
                let rule = "Bidirectional mount propagation is available only to privileged containers";
                errors.push(Error::forbidden(at("mountPropagation"), rule));
            }
        }
    }
    errors
}
