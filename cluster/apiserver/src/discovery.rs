//! What is served, told to clients: groups, versions, resources and their verbs.
//!
//! Everything is derived from the server's [`Kinds`]: there is no second list to keep in step. Clients ask for one of
//! two shapes: all at once ([`Flavor::V2`]), or a document a level.

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::documents::Document;
use crate::kinds::Kinds;
use crate::resource::{ResourceInfo, Subresource};

/// The verbs of a kind.
const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// The verbs of `info`'s kind.
fn verbs(info: &ResourceInfo) -> Vec<&'static str> {
    let own = |verb: &&&str| **verb != "deletecollection" || info.deletes_collections();
    VERBS.iter().filter(own).copied().collect()
}

/// The shape in which a client wants discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// `apidiscovery.k8s.io/v2`: all at once.
    V2,
    /// `apidiscovery.k8s.io/v2beta1`: the same for clients before 1.30.
    V2Beta1,
    /// A document a level.
    Plain,
}

impl Flavor {
    /// The content type of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Flavor::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Flavor::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
            Flavor::Plain => "application/json",
        }
    }
}

/// Reads `Accept`: the first clause that names a shape known here. Clauses stand in the client's order of preference
/// (kubectl gives no weights to them).
pub fn negotiate(accept: &str) -> Flavor {
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(media, "application/json" | "*/*" | "application/*") {
            continue;
        }
        let (mut group, mut version, mut kind) = ("", "", "");
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name {
                "g" => group = value,
                "v" => version = value,
                "as" => kind = value,
                _ => {}
            }
        }
        match (group, version, kind) {
            ("", "", "") => return Flavor::Plain,
            ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList") => return Flavor::V2,
            ("apidiscovery.k8s.io", "v2beta1", "APIGroupDiscoveryList") => return Flavor::V2Beta1,
            _ => {}
        }
    }
    Flavor::Plain
}

/// The document at a path of discovery, in the shape that the client accepts; `None` when there is none there.
pub fn document(kinds: Kinds, path: &[&str], accept: &str) -> Option<Document> {
    let flavor = negotiate(accept);
    let (value, flavor) = match path {
        [] => (root_paths(kinds), Flavor::Plain),
        ["api"] => {
            aggregated(kinds, flavor, true).map_or_else(|| (api_versions(), Flavor::Plain), |value| (value, flavor))
        }
        ["apis"] => aggregated(kinds, flavor, false)
            .map_or_else(|| (api_group_list(kinds), Flavor::Plain), |value| (value, flavor)),
        ["api", version] => (api_resource_list(kinds, "", version)?, Flavor::Plain),
        ["apis", group] => (api_group(kinds, group)?, Flavor::Plain),
        ["apis", group, version] if !group.is_empty() => (api_resource_list(kinds, group, version)?, Flavor::Plain),
        _ => return None,
    };
    let body = Bytes::from(value.to_string());
    Some(Document {
        etag: hash(&body),
        body,
        content_type: flavor.content_type(),
    })
}

/// A hash of a document, as hexadecimal digits in capitals: the same bytes have the same one, for ever.
pub(crate) fn hash(document: &[u8]) -> String {
    Sha256::digest(document)
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

/// The groups other than the core group, each once.
fn groups(kinds: Kinds) -> Vec<&'static str> {
    let mut groups: Vec<&str> = kinds.group_versions().into_iter().map(|(group, _)| group).collect();
    groups.dedup();
    groups.retain(|group| !group.is_empty());
    groups
}

/// All of `/api` (`core`) or `/apis` at once, in version `v2` or `v2beta1`; `None` for the plain flavour.
pub fn aggregated(kinds: Kinds, flavor: Flavor, core: bool) -> Option<Value> {
    let version = match flavor {
        Flavor::V2 => "v2",
        Flavor::V2Beta1 => "v2beta1",
        Flavor::Plain => return None,
    };
    let groups = if core { vec![""] } else { groups(kinds) };
    let items: Vec<Value> = groups.into_iter().map(|group| group_discovery(kinds, group)).collect();
    Some(json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    }))
}

fn group_discovery(kinds: Kinds, group: &str) -> Value {
    let versions = kinds
        .group_versions()
        .into_iter()
        .filter(|(own, _)| *own == group)
        .map(|(_, version)| {
            let resources: Vec<Value> = kinds
                .of(group, version)
                .iter()
                .map(|each| aggregated_one(each.info()))
                .collect();
            json!({ "version": version, "resources": resources, "freshness": "Current" })
        });
    let mut metadata = json!({});
    if !group.is_empty() {
        metadata["name"] = json!(group);
    }
    json!({ "metadata": metadata, "versions": versions.collect::<Vec<_>>() })
}

fn aggregated_one(info: &ResourceInfo) -> Value {
    let mut one = json!({
        "resource": info.plural,
        "responseKind": { "group": info.group, "version": info.version, "kind": info.kind },
        "scope": if info.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": info.singular,
        "verbs": verbs(info),
    });
    if !info.short_names.is_empty() {
        one["shortNames"] = json!(info.short_names);
    }
    if !info.categories.is_empty() {
        one["categories"] = json!(info.categories);
    }
    if !info.subresources.is_empty() {
        let parts = info.subresources.iter().map(|part| {
            let (group, version, kind) = part.kind.unwrap_or((info.group, info.version, info.kind));
            json!({
                "subresource": part.name,
                "responseKind": { "group": group, "version": version, "kind": kind },
                "verbs": part.verbs,
            })
        });
        one["subresources"] = parts.collect();
    }
    one
}

/// `/api` for clients that ask level by level.
pub fn api_versions() -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    })
}

/// `/apis` for clients that ask level by level.
pub fn api_group_list(kinds: Kinds) -> Value {
    let groups: Vec<Value> = groups(kinds)
        .into_iter()
        .map(|group| describe_group(kinds, group, json!({})))
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/<group>`; `None` for a group that is not served.
pub fn api_group(kinds: Kinds, group: &str) -> Option<Value> {
    let known = groups(kinds).contains(&group);
    known.then(|| describe_group(kinds, group, json!({ "kind": "APIGroup", "apiVersion": "v1" })))
}

fn describe_group(kinds: Kinds, group: &str, mut document: Value) -> Value {
    let versions: Vec<Value> = kinds
        .group_versions()
        .into_iter()
        .filter(|(own, _)| *own == group)
        .map(|(_, version)| json!({ "groupVersion": format!("{group}/{version}"), "version": version }))
        .collect();
    document["name"] = json!(group);
    document["preferredVersion"] = versions.first().cloned().unwrap_or_default();
    document["versions"] = json!(versions);
    document
}

/// `/api/v1` (with the empty group) or `/apis/<group>/<version>`; `None` for what is not served.
pub fn api_resource_list(kinds: Kinds, group: &str, version: &str) -> Option<Value> {
    let own = kinds.of(group, version);
    let first = own.first()?.info();
    let resources: Vec<Value> = own.iter().flat_map(|resource| plain(resource.info())).collect();
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": first.api_version(),
        "resources": resources,
    }))
}

fn plain(info: &ResourceInfo) -> Vec<Value> {
    let mut own = json!({
        "name": info.plural,
        "singularName": info.singular,
        "namespaced": info.namespaced,
        "kind": info.kind,
        "verbs": verbs(info),
        "storageVersionHash": storage_hash(info),
    });
    if !info.short_names.is_empty() {
        own["shortNames"] = json!(info.short_names);
    }
    if !info.categories.is_empty() {
        own["categories"] = json!(info.categories);
    }
    let mut all = vec![own];
    all.extend(info.subresources.iter().map(|part| plain_part(info, part)));
    all
}

fn plain_part(info: &ResourceInfo, part: &Subresource) -> Value {
    let mut one = json!({
        "name": format!("{}/{}", info.plural, part.name),
        "singularName": "",
        "namespaced": info.namespaced,
        "kind": info.kind,
        "verbs": part.verbs,
    });
    if let Some((group, version, kind)) = part.kind {
        one["kind"] = json!(kind);
        if (group, version) != (info.group, info.version) {
            one["group"] = json!(group);
            one["version"] = json!(version);
        }
    }
    one
}

/// Tells storage formats apart; ours is the kind itself.
fn storage_hash(info: &ResourceInfo) -> String {
    hash(format!("{}/{}", info.api_version(), info.kind).as_bytes())[..12].to_owned()
}

/// `/`: the paths there are.
pub fn root_paths(kinds: Kinds) -> Value {
    let mut paths = vec![
        "/api".to_owned(),
        "/api/v1".to_owned(),
        "/apis".to_owned(),
        "/apis/".to_owned(),
    ];
    for (group, version) in kinds
        .group_versions()
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
    {
        paths.push(format!("/apis/{group}"));
        paths.push(format!("/apis/{group}/{version}"));
    }
    paths.extend(
        [
            "/healthz",
            "/livez",
            "/openapi/v2",
            "/openapi/v3",
            "/openapi/v3/",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    paths.sort();
    paths.dedup();
    json!({ "paths": paths })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECTL: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

    #[test]
    fn the_newest_shape_that_both_know_is_taken() {
        assert_eq!(negotiate(KUBECTL), Flavor::V2);
        assert_eq!(negotiate(&KUBECTL.replace("v=v2;", "v=v9;")), Flavor::V2Beta1);
        for plain in ["", "application/json", "*/*", "application/json, */*", "text/html"] {
            assert_eq!(negotiate(plain), Flavor::Plain, "{plain}");
        }
    }

    #[test]
    fn everything_is_told_at_once() {
        let apps = aggregated(Kinds::default(), Flavor::V2, false).expect("an aggregated document");
        let deployments = apps
            .pointer("/items/0/versions/0/resources/0")
            .expect("apps come first");
        insta::assert_snapshot!(deployments, @r#"{"categories":["all"],"resource":"deployments","responseKind":{"group":"apps","kind":"Deployment","version":"v1"},"scope":"Namespaced","shortNames":["deploy"],"singularResource":"deployment","subresources":[{"responseKind":{"group":"autoscaling","kind":"Scale","version":"v1"},"subresource":"scale","verbs":["get","patch","update"]},{"responseKind":{"group":"apps","kind":"Deployment","version":"v1"},"subresource":"status","verbs":["get","patch","update"]}],"verbs":["create","delete","deletecollection","get","list","patch","update","watch"]}"#);
        assert_eq!(
            aggregated(Kinds::default(), Flavor::V2Beta1, true).expect("a document")["apiVersion"],
            "apidiscovery.k8s.io/v2beta1"
        );
        assert_eq!(aggregated(Kinds::default(), Flavor::Plain, true), None);
    }

    #[test]
    fn each_level_has_its_document() {
        insta::assert_snapshot!(api_group(Kinds::default(), "apps").unwrap_or_default(), @r#"{"apiVersion":"v1","kind":"APIGroup","name":"apps","preferredVersion":{"groupVersion":"apps/v1","version":"v1"},"versions":[{"groupVersion":"apps/v1","version":"v1"}]}"#);
        assert_eq!(api_group(Kinds::default(), "nope"), None);
        let core = api_resource_list(Kinds::default(), "", "v1").expect("the core group");
        let names: Vec<&str> = core["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["name"].as_str())
            .collect();
        insta::assert_snapshot!(names.join(" "), @"configmaps endpoints events namespaces namespaces/finalize namespaces/status nodes nodes/status pods pods/binding pods/eviction pods/log pods/status secrets serviceaccounts services services/status");
        assert_eq!(api_resource_list(Kinds::default(), "apps", "v2"), None);
        insta::assert_snapshot!(root_paths(Kinds::default()), @r#"{"paths":["/api","/api/v1","/apis","/apis/","/apis/apps","/apis/apps/v1","/apis/coordination.k8s.io","/apis/coordination.k8s.io/v1","/apis/discovery.k8s.io","/apis/discovery.k8s.io/v1","/healthz","/livez","/openapi/v2","/openapi/v3","/openapi/v3/","/readyz","/version"]}"#);
    }

    #[test]
    fn an_eviction_is_of_another_group() {
        let core = api_resource_list(Kinds::default(), "", "v1").expect("the core group");
        let all = core["resources"].as_array().expect("a list");
        let eviction = all
            .iter()
            .find(|one| one["name"] == "pods/eviction")
            .expect("pods can be evicted");
        assert_eq!(
            (&eviction["group"], &eviction["kind"]),
            (&json!("policy"), &json!("Eviction"))
        );
    }
}
