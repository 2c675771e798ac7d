//! A container's environment. Pure: what it refers to has been read before.

use std::collections::BTreeMap;

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod, Service};
use orrery_api::meta::Object;

use crate::downward::{self, Surroundings};
use crate::sources::{Data, Sources};

/// The environment of `container`, in the order in which it is defined, or why it cannot be made.
pub fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    api_server: Option<&(String, u16)>,
    around: &Surroundings<'_>,
) -> Result<Vec<(String, String)>, String> {
    // What a variable may refer to without being passed on unless the container asks for it.
    let mut services = Vec::new();
    for service in &sources.services {
        push_service(service, &mut services);
    }
    if let Some((host, port)) = api_server {
        push_ports(
            "KUBERNETES",
            host,
            &[("https".to_owned(), *port, "tcp".to_owned())],
            &mut services,
        );
    }
    let service_values: BTreeMap<String, String> = services.iter().cloned().collect();

    let mut own: Vec<(String, String)> = Vec::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (data, optional, kind, name) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(from), _) => (
                sources.config_maps.get(&from.name),
                from.optional,
                "configmap",
                &from.name,
            ),
            (None, Some(from)) => (sources.secrets.get(&from.name), from.optional, "secret", &from.name),
            (None, None) => continue,
        };
        match data.and_then(Option::as_ref) {
            Some(data) => {
                for (key, value) in data {
                    set(&mut own, format!("{prefix}{key}"), text(value));
                }
            }
            None if optional == Some(true) => {}
            None => return Err(format!("{kind} \"{name}\" not found")),
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(source)) => match value_from(pod, container, source, sources, around)? {
                Some(value) => value,
                None => continue,
            },
            (value, None) => {
                let known = |name: &str| {
                    let mine = own.iter().find(|(own, _)| own == name).map(|(_, value)| value);
                    mine.or_else(|| service_values.get(name)).cloned()
                };
                expand(value.as_deref().unwrap_or_default(), known)
            }
        };
        set(&mut own, variable.name.clone(), value);
    }
    for (name, value) in services {
        if !own.iter().any(|(own, _)| *own == name) {
            own.push((name, value));
        }
    }
    Ok(own)
}

fn set(all: &mut Vec<(String, String)>, name: String, value: String) {
    match all.iter_mut().find(|(own, _)| *own == name) {
        Some((_, old)) => *old = value,
        None => all.push((name, value)),
    }
}

fn text(value: &Bytes) -> String {
    String::from_utf8_lossy(value).into_owned()
}

fn value_from(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    sources: &Sources,
    around: &Surroundings<'_>,
) -> Result<Option<String>, String> {
    if let Some(from) = &source.field_ref {
        return downward::field(pod, &from.field_path, around).map(Some);
    }
    if let Some(from) = &source.resource_field_ref {
        let named = from.container_name.as_deref().unwrap_or(&container.name);
        let all = pod
            .spec
            .iter()
            .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
        let target = all.into_iter().find(|other| other.name == named).unwrap_or(container);
        return downward::resource(target, from, around).map(Some);
    }
    if let Some(from) = &source.config_map_key_ref {
        return keyed(
            pod,
            sources.config_maps.get(&from.name),
            ("ConfigMap", &from.name),
            &from.key,
            from.optional,
        );
    }
    if let Some(from) = &source.secret_key_ref {
        return keyed(
            pod,
            sources.secrets.get(&from.name),
            ("Secret", &from.name),
            &from.key,
            from.optional,
        );
    }
    Err("this source of an environment variable is not supported".to_owned())
}

fn keyed(
    pod: &Pod,
    data: Option<&Data>,
    (kind, name): (&str, &str),
    key: &str,
    optional: Option<bool>,
) -> Result<Option<String>, String> {
    let optional = optional == Some(true);
    match data.and_then(Option::as_ref) {
        None if optional => Ok(None),
        None => Err(format!("{} \"{name}\" not found", kind.to_lowercase())),
        Some(data) => match data.get(key) {
            Some(value) => Ok(Some(text(value))),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {key} in {kind} {}/{name}", pod.namespace())),
        },
    }
}

/// Replaces `$(NAME)` by its value where it is known, and `$$` by `$`. Unknown references stay as they are.
pub fn expand(template: &str, known: impl Fn(&str) -> Option<String>) -> String {
    let mut result = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known(name) {
                Some(value) => result.push_str(&value),
                None => {
                    result.push_str("$(");
                    result.push_str(name);
                    result.push(')');
                }
            }
            rest = after;
        } else {
            result.push('$');
        }
    }
    result.push_str(rest);
    result
}

/// The variables of a service with an address of its own.
fn push_service(service: &Service, all: &mut Vec<(String, String)>) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else {
        return;
    };
    let prefix = service.name().to_uppercase().replace('-', "_");
    let ports: Vec<(String, u16, String)> = spec
        .ports
        .iter()
        .flatten()
        .filter_map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
            Some((
                port.name.clone().unwrap_or_default(),
                u16::try_from(port.port).ok()?,
                protocol,
            ))
        })
        .collect();
    push_ports(&prefix, ip, &ports, all);
}

/// Source: Kubernetes' documentation "Service", discovering services by environment variables (after Docker's links).
fn push_ports(prefix: &str, ip: &str, ports: &[(String, u16, String)], all: &mut Vec<(String, String)>) {
    let Some((_, first, protocol)) = ports.first() else {
        return;
    };
    all.push((format!("{prefix}_SERVICE_HOST"), ip.to_owned()));
    all.push((format!("{prefix}_SERVICE_PORT"), first.to_string()));
    for (name, port, _) in ports.iter().filter(|(name, ..)| !name.is_empty()) {
        let name = name.to_uppercase().replace('-', "_");
        all.push((format!("{prefix}_SERVICE_PORT_{name}"), port.to_string()));
    }
    all.push((format!("{prefix}_PORT"), format!("{protocol}://{ip}:{first}")));
    for (_, port, protocol) in ports {
        let stem = format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
        all.push((stem.clone(), format!("{protocol}://{ip}:{port}")));
        all.push((format!("{stem}_PROTO"), protocol.clone()));
        all.push((format!("{stem}_PORT"), port.to_string()));
        all.push((format!("{stem}_ADDR"), ip.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resources::Amounts;

    fn known(name: &str) -> Option<String> {
        (name == "A").then(|| "1".to_owned())
    }

    #[test]
    fn references_to_variables_are_expanded_unless_escaped_or_unknown() {
        for (template, expected) in [
            ("x$(A)y", "x1y"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("$$$(A)", "$1"),
        ] {
            assert_eq!(expand(template, known), expected, "{template}");
        }
    }

    proptest! {
        #[test]
        fn expansion_takes_any_text(template in "[$()A-B ä]{0,20}") {
            expand(&template, known);
        }

        #[test]
        fn text_without_references_stays(template in "[a-z()]{0,20}") {
            prop_assert_eq!(expand(&template, known), template);
        }
    }

    fn build(container: serde_json::Value, sources: &Sources) -> Result<Vec<(String, String)>, String> {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "labels": {"app": "x"}}, "spec": {
                "nodeName": "n1", "containers": [container]}}))
        .expect("a pod");
        let nothing = Amounts::new();
        let around = Surroundings {
            pod_ip: Some([10, 0, 0, 1].into()),
            host_ip: [192, 168, 0, 1].into(),
            allocatable: &nothing,
        };
        let container = &pod.spec.as_ref().expect("a spec").containers[0];
        environment(&pod, container, sources, Some(&("10.96.0.1".to_owned(), 443)), &around)
    }

    #[test]
    fn the_environment_comes_from_values_fields_and_objects() {
        let mut sources = Sources::default();
        let data = BTreeMap::from([("K".to_owned(), Bytes::from("v"))]);
        sources.config_maps.insert("c".to_owned(), Some(data.clone()));
        sources.secrets.insert("s".to_owned(), Some(data));
        let container = serde_json::json!({"name": "web",
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}],
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "K"}}},
            {"name": "NO", "valueFrom": {"secretKeyRef": {"name": "s", "key": "no", "optional": true}}},
            {"name": "ALL", "value": "$(IP) $(P_K) $(KUBERNETES_SERVICE_HOST)"},
        ]});
        let all = build(container, &sources).expect("an environment");
        let own: Vec<String> = all
            .iter()
            .filter(|(name, _)| !name.starts_with("KUBERNETES"))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            own,
            ["P_K=v", "IP=10.0.0.1", "APP=x", "S=v", "ALL=10.0.0.1 v 10.96.0.1"]
        );
        assert!(all.contains(&("KUBERNETES_PORT_443_TCP_ADDR".to_owned(), "10.96.0.1".to_owned())));
    }

    #[test]
    fn a_missing_object_is_named() {
        let container = |name: &str| {
            serde_json::json!({"name": "web", "env": [
                {"name": "X", "valueFrom": {"configMapKeyRef": {"name": name, "key": "k"}}}]})
        };
        let mut sources = Sources::default();
        sources.config_maps.insert("empty".to_owned(), Some(BTreeMap::new()));
        assert_eq!(
            build(container("no"), &sources),
            Err("configmap \"no\" not found".to_owned())
        );
        assert_eq!(
            build(container("empty"), &sources),
            Err("couldn't find key k in ConfigMap default/empty".to_owned())
        );
    }
}
