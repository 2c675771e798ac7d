//! IPv4 networks.

use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;

/// An IPv4 network: an address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

/// Text that is no IPv4 network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv4 network such as 10.244.0.0/16")]
pub struct NotACidr(pub String);

impl Cidr {
    /// The loopback network, 127.0.0.0/8.
    pub const LOOPBACK: Cidr = Cidr {
        address: Ipv4Addr::new(127, 0, 0, 0),
        prefix: 8,
    };

    /// The network of the first `prefix` bits of `address` (at most 32); the other bits are cleared.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Cidr {
            address: Ipv4Addr::from_bits(address.to_bits() & mask(prefix)),
            prefix,
        }
    }

    /// The network of `address` alone.
    pub fn host(address: Ipv4Addr) -> Self {
        Cidr::new(address, 32)
    }

    /// Whether `address` lies in the network.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.address.to_bits()
    }

    /// The network's first address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = NotACidr;

    /// Reads `10.244.0.0/16`, or an address alone.
    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let wrong = || NotACidr(text.to_string());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, prefix.parse().map_err(|_| wrong())?),
            None => (text, 32),
        };
        if prefix > 32 {
            return Err(wrong());
        }
        Ok(Cidr::new(address.parse().map_err(|_| wrong())?, prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let pods: Cidr = "10.244.0.0/16".parse().unwrap();
        assert!(pods.contains(Ipv4Addr::new(10, 244, 255, 1)));
        assert!(!pods.contains(Ipv4Addr::new(10, 245, 0, 1)));
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains(Ipv4Addr::new(1, 2, 3, 4)));
        assert_eq!("10.1.2.3/8".parse::<Cidr>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!("10.1.2.3".parse::<Cidr>().unwrap().to_string(), "10.1.2.3/32");
    }

    #[test]
    fn text_that_is_no_network_is_an_error() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "fd00::/8", "10.0.0.0/"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
