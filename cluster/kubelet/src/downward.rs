//! The downward API: what a pod's own fields and resources look like from inside. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use orrery_api::meta::Object;
use orrery_api::quantity::Quantity;

use crate::resources::{Amounts, amounts, container_requests};

/// What the node knows about the pod beside its spec.
#[derive(Debug, Clone)]
pub struct Surroundings<'a> {
    /// The pod's address.
    pub pod_ip: Option<IpAddr>,
    /// The node's address.
    pub host_ip: IpAddr,
    /// What the node can give: the limit of containers that have none.
    pub allocatable: &'a Amounts,
}

/// The value of a field of the pod, or why there is none.
pub fn field(pod: &Pod, path: &str, around: &Surroundings<'_>) -> Result<String, String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let ip = || around.pod_ip.map(|ip| ip.to_string()).unwrap_or_default();
    if let Some(key) = subscript(path, "metadata.labels") {
        return Ok(pod.label(key).unwrap_or_default().to_owned());
    }
    if let Some(key) = subscript(path, "metadata.annotations") {
        return Ok(pod.annotation(key).unwrap_or_default().to_owned());
    }
    Ok(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "metadata.labels" => listed(meta.labels.as_ref()),
        "metadata.annotations" => listed(meta.annotations.as_ref()),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => around.host_ip.to_string(),
        "status.podIP" | "status.podIPs" => ip(),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

fn subscript<'a>(path: &'a str, field: &str) -> Option<&'a str> {
    path.strip_prefix(field)?.strip_prefix("['")?.strip_suffix("']")
}

/// Labels or annotations as a file shows them: one `key="value"` a line.
fn listed(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The value of a resource field, divided and rounded up, or why there is none.
pub fn resource(
    container: &Container,
    selector: &ResourceFieldSelector,
    around: &Surroundings<'_>,
) -> Result<String, String> {
    let (kind, name) = selector
        .resource
        .split_once('.')
        .ok_or_else(|| format!("unsupported container resource : {}", selector.resource))?;
    let limits = amounts(
        container
            .resources
            .as_ref()
            .and_then(|resources| resources.limits.as_ref()),
    );
    let amount = match kind {
        "limits" => limits
            .get(name)
            .or_else(|| around.allocatable.get(name))
            .copied()
            .unwrap_or_default(),
        "requests" => container_requests(container).get(name).copied().unwrap_or_default(),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let divisor = selector
        .divisor
        .as_ref()
        .and_then(|divisor| Quantity::try_from(divisor).ok());
    let divisor = divisor
        .filter(|divisor| !divisor.is_zero())
        .unwrap_or(Quantity::from_milli(1000));
    let (nanos, by) = (amount.nanos(), divisor.nanos());
    Ok((nanos / by + i128::from(nanos % by > 0)).to_string())
}
