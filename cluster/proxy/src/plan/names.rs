//! Names of chains and marks, the same as kube-proxy's, so that what people know of them holds here too.

use core::net::SocketAddrV4;

use sha2::{Digest, Sha256};

use super::port::Port;

/// The mark of packets that are to be masqueraded when they leave.
pub const MASQUERADE_MARK: u32 = 0x4000;

pub(crate) const SERVICES: &str = "KUBE-SERVICES";
pub(crate) const EXTERNAL_SERVICES: &str = "KUBE-EXTERNAL-SERVICES";
pub(crate) const NODE_PORTS: &str = "KUBE-NODEPORTS";
pub(crate) const POSTROUTING: &str = "KUBE-POSTROUTING";
pub(crate) const MARK_MASQUERADE: &str = "KUBE-MARK-MASQ";
pub(crate) const FORWARD: &str = "KUBE-FORWARD";
pub(crate) const FIREWALL: &str = "KUBE-FIREWALL";
pub(crate) const PROXY_FIREWALL: &str = "KUBE-PROXY-FIREWALL";

/// A chain that nothing jumps to. Where it stands, the `KUBE-` chains of its table are ours.
pub(crate) const MARKER: &str = "ORRERY-PROXY";

/// Chains of ours that stand whatever services there are.
pub(crate) const FIXED: [&str; 9] = [
    SERVICES,
    EXTERNAL_SERVICES,
    NODE_PORTS,
    POSTROUTING,
    MARK_MASQUERADE,
    FORWARD,
    FIREWALL,
    PROXY_FIREWALL,
    MARKER,
];

/// What the names of a service's and an endpoint's chains begin with.
pub(crate) const PREFIXES: [&str; 5] = [SERVICE, SERVICE_LOCAL, EXTERNAL, BALANCER, ENDPOINT];

const SERVICE: &str = "KUBE-SVC-";
const SERVICE_LOCAL: &str = "KUBE-SVL-";
const EXTERNAL: &str = "KUBE-EXT-";
const BALANCER: &str = "KUBE-FW-";
const ENDPOINT: &str = "KUBE-SEP-";

/// Whether a chain of this name is one that the proxy makes.
pub fn is_own_chain(name: &str) -> bool {
    FIXED.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The chain that spreads a port's connections over all nodes' endpoints, or over this node's.
pub(super) fn service(port: &Port, local: bool) -> String {
    let prefix = if local { SERVICE_LOCAL } else { SERVICE };
    format!("{prefix}{}", hash(&format!("{}{}", port.label, port.protocol)))
}

/// The chain of connections that come by an external address or a node port.
pub(super) fn external(port: &Port) -> String {
    format!("{EXTERNAL}{}", hash(&format!("{}{}", port.label, port.protocol)))
}

/// The chain that admits callers of a load balancer's addresses.
pub(super) fn balancer(port: &Port) -> String {
    format!("{BALANCER}{}", hash(&format!("{}{}", port.label, port.protocol)))
}

/// The chain that leads a port's connections to one endpoint.
pub(super) fn endpoint(port: &Port, at: SocketAddrV4) -> String {
    format!("{ENDPOINT}{}", hash(&format!("{}{}{at}", port.label, port.protocol)))
}

/// The first 16 letters of the SHA-256 of `text` in base 32 (RFC 4648): chains have at most 28 letters.
fn hash(text: &str) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = Sha256::digest(text.as_bytes());
    // 16 letters of 5 bits are the first 10 bytes.
    let bits = digest
        .iter()
        .take(10)
        .fold(0u128, |bits, byte| (bits << 8) | u128::from(*byte));
    (0..16)
        .rev()
        .map(|place| LETTERS[((bits >> (5 * place)) & 31) as usize] as char)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_kube_proxy_gives() {
        // Seen on a kubeadm cluster.
        assert_eq!(hash("default/kubernetes:httpstcp"), "NPX46M4PTMTKRN6Y");
        assert_eq!(hash("kube-system/kube-dns:dnsudp"), "TCOU7JCQXEZGVUNU");
    }

    #[test]
    fn own_chains_are_told_from_those_of_a_kubelet() {
        assert!(is_own_chain("KUBE-SVC-NPX46M4PTMTKRN6Y"));
        assert!(is_own_chain("KUBE-SERVICES"));
        assert!(!is_own_chain("KUBE-KUBELET-CANARY"));
        assert!(!is_own_chain("DOCKER-USER"));
    }
}
