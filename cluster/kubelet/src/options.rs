//! What a kubelet is told at its start.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;

/// What a kubelet is told at its start: its node's name, size and description.
#[derive(Debug, Clone)]
pub struct Options {
    /// The node's name, also its host name.
    pub node_name: String,
    /// The node's address, also that of pods in the host's network.
    pub node_ip: IpAddr,
    /// Labels to register the node with, beyond host name, operating system and architecture.
    pub labels: BTreeMap<String, String>,
    /// Taints to register the node with.
    pub taints: Vec<Taint>,
    /// Whether to give the node the role `control-plane`.
    pub control_plane: bool,
    /// The addresses of the node's pods, as the node's `spec.podCIDR` tells them.
    pub pod_cidr: Option<String>,
    /// What the node has: `cpu`, `memory`, `pods`, `ephemeral-storage` and others, as quantities.
    pub capacity: BTreeMap<String, String>,
    /// What pods may request; the whole capacity if none.
    pub allocatable: Option<BTreeMap<String, String>>,
    /// The version of Kubernetes that the node speaks.
    pub kubelet_version: String,
    /// The version of the kernel.
    pub kernel_version: String,
    /// The name of the operating system, for people.
    pub os_image: String,
    /// The operating system, in Go's words.
    pub operating_system: String,
    /// The processor, in Go's words.
    pub architecture: String,
    /// The machine's id.
    pub machine_id: String,
    /// The id of this boot: a new one means that the machine has restarted.
    pub boot_id: String,
    /// The port under which the API server reaches the kubelet.
    pub port: u16,
    /// Addresses of the cluster's name servers; none: pods use the host's.
    pub cluster_dns: Vec<String>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// Where pods find the API server: address and port of the service `kubernetes`.
    pub api_server: Option<(String, u16)>,
    /// Whether pods get the environment variables of their namespace's services.
    pub service_links: bool,
    /// How often to look at everything the runtime has. Its events wake the kubelet meanwhile.
    pub relist: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let capacity = [
            ("cpu", "4"),
            ("memory", "8Gi"),
            ("pods", "110"),
            ("ephemeral-storage", "100Gi"),
        ];
        Options {
            node_name: "orrery".to_owned(),
            node_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            control_plane: false,
            pod_cidr: None,
            capacity: capacity
                .iter()
                .map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned()))
                .collect(),
            allocatable: None,
            kubelet_version: "v1.35.0".to_owned(),
            kernel_version: String::new(),
            os_image: String::new(),
            operating_system: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            machine_id: String::new(),
            boot_id: String::new(),
            port: 10250,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            api_server: None,
            service_links: false,
            relist: Duration::from_secs(10),
        }
    }
}
