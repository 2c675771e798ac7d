//! Whether services answer: somebody really connects to each of their ports, through the packet rules that stand.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use orrery_play::convergence::ready_endpoints;
use orrery_play::model::Cluster;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Who does not answer in so long does not answer.
const LIMIT: Duration = Duration::from_secs(2);

/// The addresses at which services with ready endpoints are to answer, each with the service.
pub fn addresses(cluster: &Cluster) -> Vec<(String, SocketAddr)> {
    let mut found = Vec::new();
    for service in cluster.all("services").filter(|own| !own.is_terminating()) {
        let spec = service.service().and_then(|service| service.spec.as_ref());
        let address = spec.and_then(|spec| spec.cluster_ip.as_ref()?.parse::<IpAddr>().ok());
        let (Some(spec), Some(address)) = (spec, address) else {
            continue;
        };
        if cluster.slices_of(service).flat_map(ready_endpoints).next().is_none() {
            continue;
        }
        let ports = spec.ports.iter().flatten();
        let ports = ports.filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
        let ports = ports.filter_map(|port| u16::try_from(port.port).ok());
        found.extend(ports.map(|port| (service.id.to_string(), SocketAddr::new(address, port))));
    }
    found
}

/// Those of `addresses` at which nobody answers, in words.
pub async fn silent(addresses: &[(String, SocketAddr)]) -> Vec<String> {
    let tries = addresses.iter().map(|(service, address)| async move {
        let connected = timeout(LIMIT, TcpStream::connect(address)).await;
        let answers = matches!(connected, Ok(Ok(_)));
        (!answers).then(|| format!("nobody answers at {address}, which is {service}'s"))
    });
    join_all(tries).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use orrery_play::model::ObjectId;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn services_with_ready_endpoints_are_asked_at_their_own_ports() {
        let mut cluster = Cluster::default();
        let mut put = |resource: &str, name: &str, object: Value| {
            let id = ObjectId {
                resource: resource.into(),
                namespace: "default".to_owned(),
                name: name.to_owned(),
            };
            cluster.apply(id, 1, Some(object.to_string().into_bytes().into()));
        };
        let ports = json!([{"port": 80}, {"port": 53, "protocol": "UDP"}]);
        for (name, address) in [("web", "10.96.0.7"), ("idle", "10.96.0.8"), ("headless", "None")] {
            put(
                "services",
                name,
                json!({"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": ports}}),
            );
            let endpoints = match name {
                "idle" => json!([]),
                _ => json!([{"addresses": ["10.244.0.5"], "conditions": {"ready": true}}]),
            };
            let meta = json!({"name": name, "labels": {"kubernetes.io/service-name": name}});
            let slice = json!({"metadata": meta, "addressType": "IPv4", "endpoints": endpoints, "ports": []});
            put("endpointslices.discovery.k8s.io", name, slice);
        }
        let wanted = (
            "services/default/web".to_owned(),
            "10.96.0.7:80".parse().expect("an address"),
        );
        assert_eq!(addresses(&cluster), [wanted]);
    }
}
