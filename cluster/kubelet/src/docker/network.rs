//! The network of a node's pods: a bridge of ours, and addresses that are not reused at once.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::str::FromStr;

use bollard::Docker;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use orrery_api::log;

use super::error::{Context as _, DockerError, code, settled, words};
use super::{DockerOptions, labels};

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    base: u32,
    bits: u8,
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no IPv4 network like 10.244.0.0/24");
        let (base, bits) = text.split_once('/').ok_or_else(wrong)?;
        let base: Ipv4Addr = base.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        // Smaller networks have no room for pods, larger ones are a mistake.
        if !(8..=29).contains(&bits) {
            return Err(wrong());
        }
        let mask = u32::MAX << (32 - bits);
        Ok(Subnet {
            base: u32::from(base) & mask,
            bits,
        })
    }
}

impl Subnet {
    /// How many addresses it has, with the network's own, the bridge's and the broadcast address.
    fn size(self) -> u32 {
        1 << (32 - self.bits)
    }

    /// The bridge's address.
    pub(super) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }
}

/// Gives out addresses round robin.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    subnet: Subnet,
    last: u32,
}

impl Pool {
    pub(super) fn new(subnet: Subnet) -> Self {
        Pool { subnet, last: 1 }
    }

    /// The next address comes after `last`.
    pub(super) fn go_on_after(&mut self, last: Ipv4Addr) {
        let offset = u32::from(last).wrapping_sub(self.subnet.base);
        if offset < self.subnet.size() {
            self.last = offset;
        }
    }

    /// The next address that is not in `used`; none if all are.
    pub(super) fn next(&mut self, used: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        // 0 is the network, 1 the bridge, the last one the broadcast address.
        let (first, count) = (2, self.subnet.size() - 3);
        for step in 1..=count {
            let offset = first + (self.last.max(first - 1) - (first - 1) + step - 1) % count;
            let address = Ipv4Addr::from(self.subnet.base + offset);
            if !used.contains(&address) {
                self.last = offset;
                return Some(address);
            }
        }
        None
    }
}

/// Makes the network when it is absent.
pub(super) async fn ensure(docker: &Docker, options: &DockerOptions, subnet: Subnet) -> Result<(), DockerError> {
    match docker.inspect_network(&options.network, None).await {
        Ok(network) => {
            let configs = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
            let same = configs
                .iter()
                .any(|config| config.subnet.as_deref() == Some(&options.subnet));
            if same {
                return Ok(());
            }
            return Err(DockerError::Options(format!(
                "Docker has a network {:?} with other addresses than {}; remove it, or choose another name",
                options.network, options.subnet
            )));
        }
        Err(error) if code(&error) == Some(404) => {}
        Err(error) => return Err(error).context("cannot look for the pods' network"),
    }
    let text = |text: &str| text.to_owned();
    let request = NetworkCreateRequest {
        name: options.network.clone(),
        driver: Some(text("bridge")),
        ipam: Some(Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(options.subnet.clone()),
                gateway: Some(subnet.gateway().to_string()),
                ..IpamConfig::default()
            }]),
            ..Ipam::default()
        }),
        options: Some(HashMap::from([
            (text("com.docker.network.bridge.name"), options.bridge.clone()),
            (text("com.docker.network.bridge.enable_ip_masquerade"), text("true")),
        ])),
        labels: Some(HashMap::from([(text(labels::CLUSTER), options.cluster.clone())])),
        ..NetworkCreateRequest::default()
    };
    match docker.create_network(request).await {
        Ok(_) => Ok(()),
        // Another start of ours was faster.
        Err(error) if code(&error) == Some(409) => Ok(()),
        Err(error) => Err(error).context("cannot make the pods' network"),
    }
}

/// Removes the network if it is of our cluster.
pub(super) async fn remove(docker: &Docker, options: &DockerOptions) -> Result<(), DockerError> {
    let network = match docker.inspect_network(&options.network, None).await {
        Ok(network) => network,
        Err(error) if code(&error) == Some(404) => return Ok(()),
        Err(error) => return Err(error).context("cannot look for the pods' network"),
    };
    let own = network
        .labels
        .is_some_and(|own| own.get(labels::CLUSTER) == Some(&options.cluster));
    if !own {
        return Ok(());
    }
    let removed = docker.remove_network(&options.network).await;
    if removed
        .as_ref()
        .is_err_and(|error| words(error).contains("has active endpoints"))
    {
        return Err(DockerError::StuckNetwork(options.network.clone()));
    }
    settled(removed).context("cannot remove the pods' network")
}

/// Lets the bridge send packets back through the port they came from: a pod that reaches itself by its service needs
/// it, and Docker only sets it without its userland proxy.
pub(super) fn allow_hairpin(bridge: &str) {
    let Ok(ports) = std::fs::read_dir(format!("/sys/class/net/{bridge}/brif")) else {
        // No bridge to see: Docker is on another machine, or in a virtual one.
        return;
    };
    for port in ports.flatten() {
        let switch = port.path().join("hairpin_mode");
        if std::fs::read(&switch).is_ok_and(|now| now.starts_with(b"1")) {
            continue;
        }
        // A port may go between the two calls.
        if let Err(error) = std::fs::write(&switch, "1")
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            log::line(
                "kubelet",
                format_args!(
                    "pods cannot reach themselves by services: {}: {error}",
                    switch.display()
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_network_is_read_or_refused() {
        let subnet: Subnet = "10.244.0.7/24".parse().expect("a network");
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 244, 0, 1));
        for wrong in ["10.244.0.0", "10.244.0.0/30", "fd00::/64", "x/24", "10.0.0.0/0"] {
            assert!(wrong.parse::<Subnet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_freed_address_is_not_the_next_one() {
        let mut pool = Pool::new("10.1.0.0/29".parse().expect("a network"));
        let mut used = BTreeSet::new();
        let first = pool.next(&used).expect("room");
        assert_eq!(first, Ipv4Addr::new(10, 1, 0, 2));
        // It is freed at once, and yet another one comes.
        assert_eq!(pool.next(&used), Some(Ipv4Addr::new(10, 1, 0, 3)));
        for _ in 0..3 {
            used.extend(pool.next(&used));
        }
        assert_eq!(pool.next(&used), Some(first));
    }

    proptest! {
        #[test]
        fn an_address_is_never_given_twice(taken in proptest::collection::btree_set(0u8..8, 0..8), last in 0u8..8) {
            let address = |offset: u8| Ipv4Addr::new(10, 1, 0, offset);
            let mut pool = Pool::new("10.1.0.0/29".parse().expect("a network"));
            pool.go_on_after(address(last));
            let mut used: BTreeSet<Ipv4Addr> = taken.into_iter().map(address).collect();
            while let Some(next) = pool.next(&used) {
                prop_assert!((2..7).contains(&next.octets()[3]));
                prop_assert!(used.insert(next));
            }
            prop_assert!((2..7).all(|offset| used.contains(&address(offset))));
        }
    }
}
