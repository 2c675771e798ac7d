//! The endpoints that calls of a service's port may get to: what E9 asks of calls, and E4 at rest of rules.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use crate::model::{Cluster, EndpointState, Item};

/// Where calls of `port` may go: the endpoints of all nodes, or of `node`, that its slices show as ready; where none
/// is, those that go and still serve.
pub(crate) fn backends(service: &Item, port: &str, node: Option<&str>, cluster: &Cluster) -> BTreeSet<SocketAddrV4> {
    let of = |wanted: fn(EndpointState) -> bool| {
        let mut found = BTreeSet::new();
        for slice in cluster.slices_of(service) {
            let ports = slice
                .slice()
                .and_then(|slice| slice.ports.as_ref())
                .into_iter()
                .flatten();
            let numbers = ports.filter(|own| own.name.as_deref().unwrap_or_default() == port);
            let numbers: Vec<u16> = numbers.filter_map(|own| u16::try_from(own.port?).ok()).collect();
            let here = |of: Option<&str>| node.is_none_or(|node| of == Some(node));
            let own = slice.slice_endpoints().filter(|one| here(one.node_name.as_deref()));
            // All addresses of an endpoint are the same endpoint; the first one stands for it.
            let addresses = own
                .filter(|one| wanted(EndpointState::of(one)))
                .filter_map(|one| one.addresses.first()?.parse().ok());
            for ip in addresses {
                found.extend(numbers.iter().map(|number| SocketAddrV4::new(ip, *number)));
            }
        }
        found
    };
    let ready = of(|state| state.ready);
    if ready.is_empty() {
        of(|state| state.serving && state.terminating)
    } else {
        ready
    }
}
