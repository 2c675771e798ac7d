//! A pod's volumes: from the spec and the objects it names to [`Volume`]s. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Container, DownwardAPIVolumeFile, KeyToPath, Pod, Volume as Spec};
use orrery_api::quantity::Quantity;

use crate::downward::{self, Surroundings};
use crate::env::expand;
use crate::runtime::{HostPathKind, Mount, MountPropagation, Volume, VolumeContent, VolumeFile};
use crate::sources::{Data, Sources};

/// The permission bits of files unless the pod says otherwise.
const DEFAULT_MODE: i32 = 0o644;

type Files = BTreeMap<String, VolumeFile>;

/// The volumes of a pod, or why one cannot be made: its name and the reason.
pub fn volumes(pod: &Pod, sources: &Sources, around: &Surroundings<'_>) -> Result<Vec<Volume>, (String, String)> {
    let specs = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.volumes.as_deref())
        .unwrap_or_default();
    let security = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let fs_group = security.and_then(|security| u32::try_from(security.fs_group?).ok());
    specs
        .iter()
        .map(|spec| match content(pod, spec, sources, around) {
            Ok(content) => Ok(Volume {
                name: spec.name.clone(),
                content,
                fs_group,
            }),
            Err(why) => Err((spec.name.clone(), why)),
        })
        .collect()
}

fn content(pod: &Pod, spec: &Spec, sources: &Sources, around: &Surroundings<'_>) -> Result<VolumeContent, String> {
    let mut files = Files::new();
    if let Some(source) = &spec.empty_dir {
        let size_limit = source
            .size_limit
            .as_ref()
            .and_then(|limit| Quantity::try_from(limit).ok());
        return Ok(VolumeContent::EmptyDir {
            memory: source.medium.as_deref() == Some("Memory"),
            size_limit: size_limit
                .and_then(|limit| u64::try_from(limit.value()).ok())
                .filter(|limit| *limit > 0),
        });
    } else if let Some(source) = &spec.host_path {
        return Ok(VolumeContent::HostPath {
            path: source.path.clone(),
            kind: host_path_kind(source.type_.as_deref().unwrap_or_default())?,
        });
    } else if let Some(source) = &spec.config_map {
        let data = sources.config_maps.get(&source.name);
        let optional = source.optional == Some(true);
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        project(
            data,
            ("configmap", &source.name),
            source.items.as_deref(),
            mode,
            optional,
            &mut files,
        )?;
    } else if let Some(source) = &spec.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let data = sources.secrets.get(name);
        let optional = source.optional == Some(true);
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        project(
            data,
            ("secret", name),
            source.items.as_deref(),
            mode,
            optional,
            &mut files,
        )?;
    } else if let Some(source) = &spec.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        downward_files(pod, source.items.as_deref(), mode, around, &mut files)?;
    } else if let Some(source) = &spec.projected {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        for part in source.sources.iter().flatten() {
            if let Some(from) = &part.config_map {
                let data = sources.config_maps.get(&from.name);
                let optional = from.optional == Some(true);
                project(
                    data,
                    ("configmap", &from.name),
                    from.items.as_deref(),
                    mode,
                    optional,
                    &mut files,
                )?;
            } else if let Some(from) = &part.secret {
                let data = sources.secrets.get(&from.name);
                let optional = from.optional == Some(true);
                project(
                    data,
                    ("secret", &from.name),
                    from.items.as_deref(),
                    mode,
                    optional,
                    &mut files,
                )?;
            } else if let Some(from) = &part.downward_api {
                downward_files(pod, from.items.as_deref(), mode, around, &mut files)?;
            } else if let Some(from) = &part.service_account_token {
                let token = sources.tokens.get(from.audience.as_deref().unwrap_or_default());
                let token = token.cloned().unwrap_or_default();
                insert(&mut files, &from.path, Bytes::from(token), mode)?;
            } else {
                return Err("this source of a projected volume is not supported".to_owned());
            }
        }
    } else if let Some(source) = &spec.persistent_volume_claim {
        let path = sources.claims.get(&source.claim_name).and_then(Option::as_ref);
        let path = path.ok_or_else(|| {
            format!(
                "claim \"{}\" is not bound to a volume on this node's disk",
                source.claim_name
            )
        })?;
        return Ok(VolumeContent::HostPath {
            path: path.clone(),
            kind: HostPathKind::DirectoryOrCreate,
        });
    } else {
        return Err("volumes of this kind are not supported".to_owned());
    }
    Ok(VolumeContent::Files(files))
}

fn host_path_kind(kind: &str) -> Result<HostPathKind, String> {
    Ok(match kind {
        "" => HostPathKind::Any,
        "DirectoryOrCreate" => HostPathKind::DirectoryOrCreate,
        "Directory" => HostPathKind::Directory,
        "FileOrCreate" => HostPathKind::FileOrCreate,
        "File" => HostPathKind::File,
        "Socket" => HostPathKind::Socket,
        "CharDevice" => HostPathKind::CharDevice,
        "BlockDevice" => HostPathKind::BlockDevice,
        kind => return Err(format!("hostPath type {kind:?} is unknown")),
    })
}

fn insert(files: &mut Files, path: &str, content: Bytes, mode: i32) -> Result<(), String> {
    // Validation forbids such paths; a volume must never reach out of its folder.
    if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!("the path {path:?} leads out of the volume"));
    }
    files.insert(
        path.to_owned(),
        VolumeFile {
            content,
            mode: u32::try_from(mode).unwrap_or(0o644) & 0o777,
        },
    );
    Ok(())
}

fn project(
    data: Option<&Data>,
    (kind, name): (&str, &str),
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
    files: &mut Files,
) -> Result<(), String> {
    let Some(data) = data.and_then(Option::as_ref) else {
        return if optional {
            Ok(())
        } else {
            Err(format!("{kind} \"{name}\" not found"))
        };
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return data
            .iter()
            .try_for_each(|(key, value)| insert(files, key, value.clone(), mode));
    };
    for item in items {
        match data.get(&item.key) {
            Some(value) => insert(files, &item.path, value.clone(), item.mode.unwrap_or(mode))?,
            None if optional => {}
            None => return Err(format!("{kind} references non-existent config key: {}", item.key)),
        }
    }
    Ok(())
}

fn downward_files(
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: i32,
    around: &Surroundings<'_>,
    files: &mut Files,
) -> Result<(), String> {
    for item in items.unwrap_or_default() {
        let value = if let Some(from) = &item.field_ref {
            downward::field(pod, &from.field_path, around)?
        } else if let Some(from) = &item.resource_field_ref {
            let name = from.container_name.as_deref().unwrap_or_default();
            let mut all = pod
                .spec
                .iter()
                .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
            let container = all.find(|container| container.name == name);
            downward::resource(container.ok_or_else(|| format!("no container {name:?}"))?, from, around)?
        } else {
            continue;
        };
        insert(files, &item.path, Bytes::from(value), item.mode.unwrap_or(mode))?;
    }
    Ok(())
}

/// Where the container sees which volume.
pub fn mounts(pod: &Pod, container: &Container, env: &[(String, String)]) -> Vec<Mount> {
    let volumes = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.volumes.as_deref())
        .unwrap_or_default();
    let read_only = |name: &str| {
        let volume = volumes.iter().find(|volume| volume.name == name);
        volume.is_some_and(|volume| {
            volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.downward_api.is_some()
                || volume.projected.is_some()
                || volume
                    .persistent_volume_claim
                    .as_ref()
                    .is_some_and(|claim| claim.read_only == Some(true))
        })
    };
    let known = |name: &str| env.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
    let mounts = container.volume_mounts.iter().flatten().map(|mount| Mount {
        volume: mount.name.clone(),
        container_path: mount.mount_path.clone(),
        sub_path: match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(path), _) if !path.is_empty() => Some(path.clone()),
            (_, Some(template)) if !template.is_empty() => Some(expand(template, known)),
            _ => None,
        },
        read_only: mount.read_only == Some(true) || read_only(&mount.name),
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => MountPropagation::HostToContainer,
            Some("Bidirectional") => MountPropagation::Bidirectional,
            _ => MountPropagation::None,
        },
    });
    mounts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Amounts;

    fn pod() -> Pod {
        let pod = serde_json::json!({"metadata": {"name": "web"}, "spec": {
            "securityContext": {"fsGroup": 2000},
            "volumes": [{"name": "work", "emptyDir": {}}],
            "containers": [{"name": "web", "volumeMounts": [
                {"name": "work", "mountPath": "/work", "mountPropagation": "HostToContainer"},
                {"name": "work", "mountPath": "/shared", "mountPropagation": "Bidirectional"},
                {"name": "work", "mountPath": "/own"},
            ]}],
        }});
        serde_json::from_value(pod).expect("a pod")
    }

    #[test]
    fn volumes_belong_to_the_group_of_the_pod() {
        let around = Surroundings {
            pod_ip: None,
            host_ip: [192, 168, 0, 1].into(),
            allocatable: &Amounts::default(),
        };
        let made = volumes(&pod(), &Sources::default(), &around).expect("volumes");
        assert_eq!(made[0].fs_group, Some(2000));
    }

    #[test]
    fn mounts_propagate_as_they_are_asked_to() {
        let pod = pod();
        let container = &pod.spec.as_ref().expect("a spec").containers[0];
        let propagations: Vec<MountPropagation> = mounts(&pod, container, &[])
            .into_iter()
            .map(|mount| mount.propagation)
            .collect();
        assert_eq!(
            propagations,
            [
                MountPropagation::HostToContainer,
                MountPropagation::Bidirectional,
                MountPropagation::None
            ]
        );
    }
}
