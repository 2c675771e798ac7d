//! EndpointSlices: the addresses of a service's pods, in slices.

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use orrery_api::field::{self, Error};
use orrery_api::meta::Object as _;
use serde_json::{Value, json};

use super::cells::{AGE, NAME, age, column, first_few};
use super::check::{
    PROTOCOLS, Unique, immutable, items, label, label_key, one_of, port_number, reachable_ip, subdomain, text,
};
use crate::resource::{Column, ResourceInfo, Strategy};

/// EndpointSlices.
pub struct EndpointSlices;

static INFO: ResourceInfo = ResourceInfo {
    group: "discovery.k8s.io",
    version: "v1",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
};

static COLUMNS: &[Column] = &[
    NAME,
    column("AddressType", "string", "IPv4, IPv6 or FQDN."),
    column("Ports", "string", "The ports of each address."),
    column("Endpoints", "string", "The addresses."),
    AGE,
];

const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 20_000;
const MAX_ADDRESSES: usize = 100;

impl Strategy for EndpointSlices {
    type Object = EndpointSlice;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn set_defaults(&self, object: &mut EndpointSlice) {
        for port in object.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            if text(&port.protocol).is_empty() {
                port.protocol = Some("TCP".to_owned());
            }
        }
    }

    fn spec_changed(&self, new: &EndpointSlice, old: &EndpointSlice) -> bool {
        new.endpoints != old.endpoints
            || new.ports != old.ports
            || new.address_type != old.address_type
            || new.metadata.labels != old.metadata.labels
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, slice: &EndpointSlice) -> Vec<field::Error> {
        let mut errors = Vec::new();
        if slice.address_type.is_empty() {
            errors.push(Error::required("addressType", ""));
        } else {
            errors.extend(one_of("addressType", &slice.address_type, &["FQDN", "IPv4", "IPv6"]));
        }
        if slice.endpoints.len() > MAX_ENDPOINTS {
            errors.push(Error::too_many("endpoints", slice.endpoints.len(), MAX_ENDPOINTS));
        } else {
            for (index, endpoint) in slice.endpoints.iter().enumerate() {
                errors.extend(validate_endpoint(
                    &format!("endpoints[{index}]"),
                    endpoint,
                    &slice.address_type,
                ));
            }
        }
        errors.extend(validate_ports(items(&slice.ports)));
        errors
    }

    fn validate_update(&self, new: &EndpointSlice, old: &EndpointSlice) -> Vec<field::Error> {
        let mut errors = self.validate(new);
        errors.extend(immutable("addressType", &new.address_type, &old.address_type));
        errors
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, slice: &EndpointSlice, now: Timestamp) -> Vec<Value> {
        let ports = items(&slice.ports).iter().map(|port| match (port.port, &port.name) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) if !name.is_empty() => name.clone(),
            _ => "*".to_owned(),
        });
        let addresses = slice
            .endpoints
            .iter()
            .flat_map(|endpoint| endpoint.addresses.iter().cloned());
        vec![
            json!(slice.name()),
            json!(slice.address_type),
            json!(first_few(ports, "<unset>")),
            json!(first_few(addresses, "<unset>")),
            json!(age(&slice.metadata, now)),
        ]
    }
}

fn validate_endpoint(path: &str, endpoint: &Endpoint, kind: &str) -> Vec<Error> {
    let mut errors = Vec::new();
    let list = format!("{path}.addresses");
    match endpoint.addresses.len() {
        0 => errors.push(Error::required(&list, "must contain at least 1 address")),
        count if count > MAX_ADDRESSES => errors.push(Error::too_many(&list, count, MAX_ADDRESSES)),
        _ => {}
    }
    for (index, address) in endpoint.addresses.iter().enumerate() {
        let path = format!("{list}[{index}]");
        match kind {
            "IPv4" if address.parse::<std::net::Ipv4Addr>().is_err() => {
                errors.push(Error::invalid(path, address, "must be a valid IPv4 address"));
            }
            "IPv6" if address.parse::<std::net::Ipv6Addr>().is_err() => {
                errors.push(Error::invalid(path, address, "must be a valid IPv6 address"));
            }
            "IPv4" | "IPv6" => errors.extend(reachable_ip(&path, address)),
            "FQDN" => errors.extend(subdomain(&path, address)),
            _ => {}
        }
    }
    if let Some(node) = &endpoint.node_name {
        errors.extend(subdomain(&format!("{path}.nodeName"), node));
    }
    if let Some(hostname) = &endpoint.hostname {
        errors.extend(label(&format!("{path}.hostname"), hostname));
    }
    errors
}

fn validate_ports(ports: &[EndpointPort]) -> Vec<Error> {
    if ports.len() > MAX_PORTS {
        return vec![Error::too_many("ports", ports.len(), MAX_PORTS)];
    }
    let mut errors = Vec::new();
    let mut seen = Unique::default();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("ports[{index}]");
        let name = text(&port.name);
        if !name.is_empty() {
            errors.extend(label(&format!("{path}.name"), name));
        }
        errors.extend(seen.check(&format!("{path}.name"), name));
        if let Some(number) = port.port {
            errors.extend(port_number(&format!("{path}.port"), number));
        }
        match text(&port.protocol) {
            "" => errors.push(Error::required(format!("{path}.protocol"), "")),
            protocol => errors.extend(one_of(&format!("{path}.protocol"), protocol, PROTOCOLS)),
        }
        if let Some(protocol) = &port.app_protocol {
            errors.extend(label_key(&format!("{path}.appProtocol"), protocol));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::super::testing::{defaulted, faults, object, row, update_faults};
    use super::*;

    #[test]
    fn a_slice_shows_ports_and_addresses() {
        let slice: EndpointSlice = object(json!({
            "addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}],
        }));
        let slice = defaulted(&EndpointSlices, slice);
        assert_eq!(faults(&EndpointSlices, &slice), "");
        insta::assert_snapshot!(row(&EndpointSlices, &slice), @"web | IPv4 | 80 | 10.0.0.1,10.0.0.2 | 10m");
    }

    #[test]
    fn slices_are_checked() {
        let bad = object(json!({
            "addressType": "IPv4", "ports": [{"port": 0, "protocol": "TCP"}, {"protocol": "X"}],
            "endpoints": [{"addresses": []}, {"addresses": ["fd00::1", "127.0.0.1"], "hostname": "A"}],
        }));
        insta::assert_snapshot!(faults(&EndpointSlices, &bad), @r#"
        endpoints[0].addresses: Required value: must contain at least 1 address
        endpoints[1].addresses[0]: Invalid value: "fd00::1": must be a valid IPv4 address
        endpoints[1].addresses[1]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
        endpoints[1].hostname: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
        ports[1].name: Duplicate value: ""
        ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"
        "#);
        insta::assert_snapshot!(faults(&EndpointSlices, &object(json!({}))), @"addressType: Required value");
    }

    #[test]
    fn the_address_type_of_a_slice_stays() {
        let of = |kind: &str| object::<EndpointSlice>(json!({"addressType": kind}));
        insta::assert_snapshot!(update_faults(&EndpointSlices, &of("IPv6"), &of("IPv4")), @r#"addressType: Invalid value: "IPv6": field is immutable"#);
    }
}
