//! What the server says of itself: its kinds, its documentation, its versions, its health.

use orrery_tests::{Session, tests};
use serde_json::Value;

tests![
    every_kind_served_is_listed,
    every_field_is_explained,
    versions_are_told,
    the_control_plane_is_where_it_says,
    health_is_told_and_unknown_paths_are_not_found,
];

fn every_kind_served_is_listed(session: &Session<'_>) {
    let table = session.kubectl("api-resources");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]);
    for row in [
        &["configmaps", "cm", "v1", "true", "ConfigMap"][..],
        &["endpoints", "ep", "v1", "true", "Endpoints"],
        &["events", "ev", "v1", "true", "Event"],
        &["namespaces", "ns", "v1", "false", "Namespace"],
        &["nodes", "no", "v1", "false", "Node"],
        &["pods", "po", "v1", "true", "Pod"],
        &["secrets", "v1", "true", "Secret"],
        &["serviceaccounts", "sa", "v1", "true", "ServiceAccount"],
        &["services", "svc", "v1", "true", "Service"],
        &["deployments", "deploy", "apps/v1", "true", "Deployment"],
        &["replicasets", "rs", "apps/v1", "true", "ReplicaSet"],
        &["leases", "coordination.k8s.io/v1", "true", "Lease"],
        &["endpointslices", "discovery.k8s.io/v1", "true", "EndpointSlice"],
    ] {
        assert!(rows.iter().any(|found| found == row), "no {row:?} in\n{table}");
    }
    let groups = session.kubectl("api-versions");
    for group in ["apps/v1", "coordination.k8s.io/v1", "discovery.k8s.io/v1", "v1"] {
        assert!(groups.lines().any(|line| line == group), "no {group} in\n{groups}");
    }
    for short in ["po", "deploy", "rs", "svc", "cm", "ep", "ev", "no", "ns", "sa"] {
        session.kubectl(&format!("get {short}"));
    }
    // What is not served is not promised.
    let refused = session.refused("get jobs");
    assert!(
        refused.contains("the server doesn't have a resource type \"jobs\""),
        "{refused}"
    );
}

fn every_field_is_explained(session: &Session<'_>) {
    let kind = session.kubectl("explain deployment");
    for part in ["KIND:", "Deployment", "apps", "spec", "<DeploymentSpec>"] {
        assert!(kind.contains(part), "no {part:?} in\n{kind}");
    }
    let field = session.kubectl("explain pod.spec.containers.livenessProbe.httpGet.port");
    assert!(field.contains("<IntOrString>"), "{field}");
    let all = session.kubectl("explain service --recursive");
    assert!(all.contains("nodePort"), "{all}");
    let refused = session.refused("explain pod.spec.nonsense");
    assert!(refused.contains("field \"nonsense\" does not exist"), "{refused}");
}

fn versions_are_told(session: &Session<'_>) {
    let said = session.kubectl("version");
    assert!(said.contains("Server Version: ") && said.contains("v1.35."), "{said}");
    let json: Value = serde_json::from_str(&session.kubectl("version -o json")).expect("it is JSON");
    assert_eq!(json["serverVersion"]["minor"], "35");
}

fn the_control_plane_is_where_it_says(session: &Session<'_>) {
    let said = session.kubectl("cluster-info");
    assert!(
        said.contains("Kubernetes control plane") && said.contains("is running at"),
        "{said}"
    );
    assert!(
        said.contains(&format!("https://127.0.0.1:{}", session.cluster().port())),
        "{said}"
    );
    assert_eq!(session.kubectl("config current-context"), "orrery\n");
}

fn health_is_told_and_unknown_paths_are_not_found(session: &Session<'_>) {
    for path in ["/readyz", "/livez", "/healthz"] {
        assert_eq!(session.kubectl(&format!("get --raw {path}")), "ok");
    }
    let version = session.kubectl("get --raw /version");
    assert!(version.contains("\"gitVersion\""), "{version}");
    let refused = session.refused("get --raw /nonsense");
    assert!(refused.contains("(NotFound)"), "{refused}");
    let namespaces = session.kubectl("get --raw /api/v1/namespaces?limit=1");
    assert!(namespaces.contains("NamespaceList"), "{namespaces}");
}
