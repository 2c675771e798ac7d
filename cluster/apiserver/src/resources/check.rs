//! Rules that several kinds share: each looks at one value and returns its faults, in the words of Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orrery_api::field::Error;
use orrery_api::names;
use serde::Serialize;

/// What is wrong with a number below zero.
pub(super) const NEGATIVE: &str = "must be greater than or equal to 0";
/// What is wrong with a number below one.
pub(super) const NOT_POSITIVE: &str = "must be greater than 0";
/// What is wrong with a change of what may not change.
pub(super) const IMMUTABLE: &str = "field is immutable";
/// What is wrong with a change of an object that was sealed.
pub(super) const SEALED: &str = "field is immutable when `immutable` is set";
/// The protocols of ports.
pub(super) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
/// The most bytes that the data of a ConfigMap or Secret may have together.
pub(super) const MAX_DATA: usize = 1 << 20;

/// The text of an optional field; absent and empty are the same in Kubernetes.
pub(super) fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

/// The items of an optional list.
pub(super) fn items<T>(list: &Option<Vec<T>>) -> &[T] {
    list.as_deref().unwrap_or_default()
}

/// One fault a message of a rule from [`names`].
pub(super) fn messages(path: &str, value: impl Serialize + Copy, messages: Vec<String>) -> Vec<Error> {
    messages
        .into_iter()
        .map(|message| Error::invalid(path, value, message))
        .collect()
}

/// An RFC 1123 label.
pub(super) fn label(path: &str, value: &str) -> Vec<Error> {
    messages(path, value, names::dns1123_label(value))
}

/// An RFC 1123 subdomain.
pub(super) fn subdomain(path: &str, value: &str) -> Vec<Error> {
    messages(path, value, names::dns1123_subdomain(value))
}

/// A port's number.
pub(super) fn port_number(path: &str, port: i32) -> Vec<Error> {
    messages(path, port, names::port_number(port.into()))
}

/// A port by number or by name.
pub(super) fn port(path: &str, port: &IntOrString) -> Vec<Error> {
    match port {
        IntOrString::Int(number) => port_number(path, *number),
        IntOrString::String(name) => messages(path, name.as_str(), names::port_name(name)),
    }
}

/// A port's protocol, which must be set.
pub(super) fn protocol(path: &str, protocol: &Option<String>) -> Vec<Error> {
    match text(protocol) {
        "" => vec![Error::required(path, "")],
        protocol => one_of(path, protocol, PROTOCOLS),
    }
}

/// A value among those known, which are given in alphabetical order.
pub(super) fn one_of(path: &str, value: &str, supported: &[&str]) -> Vec<Error> {
    if supported.contains(&value) {
        Vec::new()
    } else {
        vec![Error::not_supported(path, value, supported)]
    }
}

/// A number of at least zero.
pub(super) fn non_negative(path: &str, value: impl Into<i64>) -> Vec<Error> {
    let value = value.into();
    if value < 0 {
        vec![Error::invalid(path, value, NEGATIVE)]
    } else {
        Vec::new()
    }
}

/// A number in bounds, both inclusive.
pub(super) fn between(path: &str, value: i64, low: i64, high: i64) -> Vec<Error> {
    if (low..=high).contains(&value) {
        return Vec::new();
    }
    vec![Error::invalid(
        path,
        value,
        format!("must be between {low} and {high}, inclusive"),
    )]
}

/// A value that may not change.
pub(super) fn immutable<T: PartialEq + Serialize>(path: &str, new: &T, old: &T) -> Vec<Error> {
    if new == old {
        Vec::new()
    } else {
        vec![Error::invalid(path, new, IMMUTABLE)]
    }
}

/// The key of a label.
pub(super) fn label_key(path: &str, key: &str) -> Vec<Error> {
    messages(path, key, names::qualified_name(key))
}

/// A set of labels.
pub(super) fn labels(path: &str, labels: Option<&BTreeMap<String, String>>) -> Vec<Error> {
    let faults = labels.map(names::labels).unwrap_or_default();
    faults
        .into_iter()
        .map(|(value, message)| Error::invalid(path, value, message))
        .collect()
}

/// The selector of a spec.
pub(super) fn selector(path: &str, selector: &LabelSelector) -> Vec<Error> {
    let mut errors = labels(&format!("{path}.matchLabels"), selector.match_labels.as_ref());
    for (index, expression) in items(&selector.match_expressions).iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let values = items(&expression.values);
        match expression.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => errors.push(Error::required(
                format!("{path}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(Error::forbidden(
                format!("{path}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            operator => {
                errors.push(Error::invalid(
                    format!("{path}.operator"),
                    operator,
                    "not a valid selector operator",
                ));
            }
        }
        errors.extend(label_key(&format!("{path}.key"), &expression.key));
        for (index, value) in values.iter().enumerate() {
            errors.extend(messages(
                &format!("{path}.values[{index}]"),
                value.as_str(),
                names::label_value(value),
            ));
        }
    }
    errors
}

/// An IP address of either family.
pub(super) fn ip(path: &str, value: &str) -> Vec<Error> {
    match value.parse::<IpAddr>() {
        Ok(_) => Vec::new(),
        Err(_) => {
            let rule = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            vec![Error::invalid(path, value, rule)]
        }
    }
}

/// An address that traffic may be sent to: none of the loopback, link-local or unspecified ones.
pub(super) fn reachable_ip(path: &str, value: &str) -> Vec<Error> {
    let Ok(ip) = value.parse::<IpAddr>() else {
        return ip(path, value);
    };
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let link_local_multicast = match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    };
    let rules = [
        (ip.is_unspecified(), "may not be unspecified (0.0.0.0 or ::)"),
        (
            ip.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            link_local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (
            link_local_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    ];
    rules
        .into_iter()
        .filter(|(broken, _)| *broken)
        .map(|(_, rule)| Error::invalid(path, value, rule))
        .collect()
}

/// A range of addresses, such as `10.244.0.0/16`.
pub(super) fn cidr(path: &str, value: &str) -> Vec<Error> {
    let valid = value.split_once('/').is_some_and(|(ip, bits)| {
        let most = match ip.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.parse::<u8>().is_ok_and(|bits| bits <= most)
    });
    if valid {
        return Vec::new();
    }
    vec![Error::invalid(
        path,
        value,
        "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
    )]
}

/// Keeps the names seen, to find the second of a kind.
#[derive(Default)]
pub(super) struct Unique(BTreeSet<String>);

impl Unique {
    /// A fault when `value` was seen before.
    pub(super) fn check(&mut self, path: &str, value: &str) -> Option<Error> {
        (!self.0.insert(value.to_owned())).then(|| Error::duplicate(path, value))
    }

    /// Whether `value` was seen; it is now.
    pub(super) fn seen(&mut self, value: &str) -> bool {
        !self.0.insert(value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_nobody_can_reach_is_refused() {
        assert!(reachable_ip("ip", "10.0.0.1").is_empty());
        for ip in [
            "127.0.0.1",
            "0.0.0.0",
            "169.254.1.1",
            "224.0.0.1",
            "::1",
            "fe80::1",
            "nonsense",
        ] {
            assert_eq!(reachable_ip("ip", ip).len(), 1, "{ip}");
        }
    }

    #[test]
    fn a_range_has_an_address_and_a_length() {
        assert!(cidr("c", "10.244.0.0/16").is_empty() && cidr("c", "fd00::/64").is_empty());
        for range in ["10.244.0.0", "10.244.0.0/33", "x/8", "10.0.0.0/x"] {
            assert_eq!(cidr("c", range).len(), 1, "{range}");
        }
    }
}
