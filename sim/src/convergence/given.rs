//! What running containers were given: the pod's address in their environment, and ConfigMaps and Secrets in their
//! volumes, which follow what users change and go with the pod.
//!
//! Not judged: volumes that pick some keys, the environment that comes from ConfigMaps (it is that of the start), and
//! what does not exist.

use std::collections::BTreeMap;

use bytes::Bytes;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Volume};
use orrery_kubelet::runtime::VolumeContent;

use crate::model::Cluster;
use crate::runtime::SimRuntime;

/// What containers of `machine` were given that is not so, or not so any more.
pub(super) fn missing(runtime: &SimRuntime, cluster: &Cluster, machine: &str, missing: &mut Vec<String>) {
    for (uid, name, environment, address) in runtime.environments() {
        let Some(item) = cluster.by_uid(&uid) else { continue };
        for (variable, given) in environment {
            let is_address = item.pod().is_some_and(|pod| is_address(pod, &name, &variable));
            if is_address && address.is_some_and(|address| address.to_string() != given) {
                missing.push(format!(
                    "{name} of {} on {machine} was told {variable}={given}, and its pod has {address:?}",
                    item.id
                ));
            }
        }
    }
    for (uid, content) in runtime.volumes() {
        let Some(item) = cluster.by_uid(&uid) else {
            missing.push(format!("{machine} still has volumes of the pod {uid}, which is gone"));
            continue;
        };
        if !item.is_live_pod() {
            continue;
        }
        let volumes = item.pod().and_then(|pod| pod.spec.as_ref()?.volumes.as_ref());
        for volume in volumes.into_iter().flatten() {
            let Some(VolumeContent::Files(files)) = content.get(&volume.name) else {
                continue;
            };
            let Some(wanted) = wanted(volume, &item.id.namespace, cluster) else {
                continue;
            };
            let given = files.iter().map(|(path, file)| (path, &file.content));
            if !wanted.iter().eq(given) {
                missing.push(format!("{} on {machine} has old files in {}", item.id, volume.name));
            }
        }
    }
}

/// Whether an environment variable of a container is its pod's address.
fn is_address(pod: &Pod, container: &str, variable: &str) -> bool {
    let spec = pod.spec.as_ref().filter(|spec| spec.host_network != Some(true));
    let containers = spec.into_iter().flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        init.chain(&spec.containers)
    });
    let mut variables = containers
        .filter(|own| own.name == container)
        .flat_map(|own| own.env.iter().flatten());
    variables.any(|own| {
        let field = own.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        own.name == variable && field.is_some_and(|field| field.field_path == "status.podIP")
    })
}

/// The files that a volume of a whole ConfigMap or Secret should have.
fn wanted(volume: &Volume, namespace: &str, cluster: &Cluster) -> Option<BTreeMap<String, Bytes>> {
    if let Some(source) = volume.config_map.as_ref().filter(|source| source.items.is_none()) {
        let map = cluster
            .find("configmaps", namespace, &source.name)?
            .read::<ConfigMap>()?;
        let text = map
            .data
            .into_iter()
            .flatten()
            .map(|(key, text)| (key, Bytes::from(text)));
        let binary = map.binary_data.into_iter().flatten();
        return Some(
            text.chain(binary.map(|(key, bytes)| (key, Bytes::from(bytes.0))))
                .collect(),
        );
    }
    let source = volume.secret.as_ref().filter(|source| source.items.is_none())?;
    let name = source.secret_name.as_deref()?;
    let secret = cluster.find("secrets", namespace, name)?.read::<Secret>()?;
    let data = secret.data.into_iter().flatten();
    Some(data.map(|(key, bytes)| (key, Bytes::from(bytes.0))).collect())
}
