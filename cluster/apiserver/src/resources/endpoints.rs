//! Endpoints: the older, unsliced list of a service's addresses.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints as Kind};
use orrery_api::field::{self, Error};
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::{AGE, NAME, age, column, first_few};
use super::check::{items, label, port_number, protocol, reachable_ip, subdomain, text};
use crate::resource::{Column, ResourceInfo, Strategy};

/// Endpoints.
pub struct Endpoints;

static INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    categories: &[],
    namespaced: true,
    subresources: &[],
};

static COLUMNS: &[Column] = &[
    NAME,
    column("Endpoints", "string", "The ready addresses and ports."),
    AGE,
];

impl Strategy for Endpoints {
    type Object = Kind;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn set_defaults(&self, object: &mut Kind) {
        let subsets = object.subsets.iter_mut().flatten();
        for port in subsets.flat_map(|subset| subset.ports.iter_mut().flatten()) {
            if text(&port.protocol).is_empty() {
                port.protocol = Some("TCP".to_owned());
            }
        }
    }

    fn validate(&self, object: &Kind) -> Vec<field::Error> {
        let subsets = items(&object.subsets).iter().enumerate();
        subsets
            .flat_map(|(index, subset)| validate_subset(&format!("subsets[{index}]"), subset))
            .collect()
    }

    fn validate_update(&self, new: &Kind, old: &Kind) -> Vec<field::Error> {
        let nodes: BTreeMap<&str, &str> = addresses(old)
            .filter_map(|(_, address)| Some((address.ip.as_str(), address.node_name.as_deref()?)))
            .collect();
        let mut errors = self.validate(new);
        for (path, address) in addresses(new) {
            if let (Some(new), Some(old)) = (&address.node_name, nodes.get(address.ip.as_str()))
                && new != old
            {
                let rule = format!("Cannot change NodeName for {} to {new}", address.ip);
                errors.push(Error::forbidden(format!("{path}.nodeName"), rule));
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn deprecation(&self) -> Option<&'static str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }

    fn cells(&self, object: &Kind, now: Timestamp) -> Vec<Value> {
        let shown = items(&object.subsets).iter().flat_map(|subset| {
            let ready = items(&subset.addresses);
            match items(&subset.ports) {
                [] => ready.iter().map(|address| address.ip.clone()).collect::<Vec<_>>(),
                ports => ports
                    .iter()
                    .flat_map(|port| ready.iter().map(|address| socket(&address.ip, port.port)))
                    .collect(),
            }
        });
        // Nothing is ready where a service has none but unready addresses; no address at all is `<none>`.
        let empty = if items(&object.subsets).is_empty() {
            "<none>"
        } else {
            ""
        };
        vec![
            json!(object.name()),
            json!(first_few(shown, empty)),
            json!(age(&object.metadata, now)),
        ]
    }
}

/// `ip:port`, with brackets around an IPv6 address.
fn socket(ip: &str, port: i32) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

/// All addresses, ready or not, with their paths.
fn addresses(object: &Kind) -> impl Iterator<Item = (String, &EndpointAddress)> {
    items(&object.subsets).iter().enumerate().flat_map(|(index, subset)| {
        let lists = [
            ("addresses", &subset.addresses),
            ("notReadyAddresses", &subset.not_ready_addresses),
        ];
        lists.into_iter().flat_map(move |(name, list)| {
            let numbered = items(list).iter().enumerate();
            numbered.map(move |(at, address)| (format!("subsets[{index}].{name}[{at}]"), address))
        })
    })
}

fn validate_subset(path: &str, subset: &EndpointSubset) -> Vec<Error> {
    let mut errors = Vec::new();
    let (ready, not_ready) = (items(&subset.addresses), items(&subset.not_ready_addresses));
    if ready.is_empty() && not_ready.is_empty() {
        errors.push(Error::required(path, "must specify `addresses` or `notReadyAddresses`"));
    }
    for (name, list) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
        for (index, address) in list.iter().enumerate() {
            errors.extend(validate_address(&format!("{path}.{name}[{index}]"), address));
        }
    }
    let ports = items(&subset.ports);
    for (index, port) in ports.iter().enumerate() {
        errors.extend(validate_port(&format!("{path}.ports[{index}]"), port, ports.len() > 1));
    }
    errors
}

fn validate_address(path: &str, address: &EndpointAddress) -> Vec<Error> {
    let mut errors = reachable_ip(&format!("{path}.ip"), &address.ip);
    if !text(&address.hostname).is_empty() {
        errors.extend(label(&format!("{path}.hostname"), text(&address.hostname)));
    }
    if let Some(node) = &address.node_name {
        errors.extend(subdomain(&format!("{path}.nodeName"), node));
    }
    errors
}

fn validate_port(path: &str, port: &EndpointPort, name_required: bool) -> Vec<Error> {
    let mut errors = Vec::new();
    match text(&port.name) {
        "" if name_required => errors.push(Error::required(format!("{path}.name"), "")),
        "" => {}
        name => errors.extend(label(&format!("{path}.name"), name)),
    }
    errors.extend(port_number(&format!("{path}.port"), port.port));
    errors.extend(protocol(&format!("{path}.protocol"), &port.protocol));
    errors
}

#[cfg(test)]
mod tests {
    use super::super::testing::{defaulted, faults, object, row, update_faults};
    use super::*;

    #[test]
    fn the_first_three_endpoints_are_shown() {
        let addresses: Vec<Value> = (1..=5).map(|last| json!({"ip": format!("10.0.0.{last}")})).collect();
        let endpoints = object(json!({"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]}));
        let endpoints = defaulted(&Endpoints, endpoints);
        insta::assert_snapshot!(row(&Endpoints, &endpoints), @"web | 10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more... | 10m");
        insta::assert_snapshot!(row(&Endpoints, &object(json!({}))), @"web | <none> | 10m");
        let unready = object(json!({"subsets": [{"notReadyAddresses": addresses, "ports": [{"port": 80}]}]}));
        insta::assert_snapshot!(row(&Endpoints, &unready), @"web |  | 10m");
        assert_eq!(faults(&Endpoints, &endpoints), "");
    }

    #[test]
    fn endpoints_are_checked() {
        let bad = object(json!({"subsets": [
            {}, {"addresses": [{"ip": "x"}, {"ip": "127.0.0.1"}], "ports": [{"port": 0}, {"name": "a", "port": 1, "protocol": "TCP"}]},
        ]}));
        insta::assert_snapshot!(faults(&Endpoints, &bad), @r#"
        subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`
        subsets[1].addresses[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        subsets[1].addresses[1].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
        subsets[1].ports[0].name: Required value
        subsets[1].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
        subsets[1].ports[0].protocol: Required value
        "#);
    }

    #[test]
    fn an_address_stays_on_its_node() {
        let on =
            |node: &str| object::<Kind>(json!({"subsets": [{"addresses": [{"ip": "10.0.0.1", "nodeName": node}]}]}));
        assert_eq!(update_faults(&Endpoints, &on("a"), &on("a")), "");
        insta::assert_snapshot!(update_faults(&Endpoints, &on("b"), &on("a")), @"subsets[0].addresses[0].nodeName: Forbidden: Cannot change NodeName for 10.0.0.1 to b");
    }
}
