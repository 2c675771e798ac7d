//! What can be done with a kind: its paths and their operations.

use serde_json::{Map, Value, json};

use super::schemas::{PATCH, name_of, reference};
use crate::resource::{ResourceInfo, Subresource};

/// The media types of patches.
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// The paths of a kind and its subresources.
pub(super) fn of(info: &ResourceInfo) -> Map<String, Value> {
    let base = super::base(info.group, info.version);
    let all = format!("{base}/{}", info.plural);
    let many = if info.namespaced {
        format!("{base}/namespaces/{{namespace}}/{}", info.plural)
    } else {
        all.clone()
    };
    let one = format!("{many}/{{name}}");
    let own = name_of(info.group, info.version, info.kind);
    let list = name_of(info.group, info.version, &format!("{}List", info.kind));
    let (own, list) = (own.unwrap_or_default(), list.unwrap_or_default());
    let mut paths = Map::new();
    if info.namespaced {
        paths.insert(
            all,
            json!({ "get": Operation::new(info, "list", &list, "ForAllNamespaces").spec() }),
        );
    }
    let mut collection = json!({
        "get": Operation::new(info, "list", &list, "").spec(),
        "post": Operation::new(info, "post", &own, "").spec(),
        "parameters": in_path(info, false),
    });
    if info.deletes_collections() {
        collection["delete"] = Operation::new(info, "deletecollection", STATUS, "").spec();
    }
    paths.insert(many, collection);
    paths.insert(
        one.clone(),
        json!({
            "get": Operation::new(info, "get", &own, "").spec(),
            "put": Operation::new(info, "put", &own, "").spec(),
            "patch": Operation::new(info, "patch", &own, "").spec(),
            "delete": Operation::new(info, "delete", STATUS, "").spec(),
            "parameters": in_path(info, true),
        }),
    );
    for part in info.subresources {
        paths.insert(format!("{one}/{}", part.name), subresource(info, part));
    }
    paths
}

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

fn subresource(info: &ResourceInfo, part: &Subresource) -> Value {
    let (group, version, kind) = part.kind.unwrap_or((info.group, info.version, info.kind));
    let schema = name_of(group, version, kind).unwrap_or_default();
    let mut path = json!({ "parameters": in_path(info, true) });
    for verb in part.verbs {
        let (method, action) = match *verb {
            "create" => ("post", "post"),
            "update" => ("put", "put"),
            "patch" => ("patch", "patch"),
            _ => ("get", "get"),
        };
        let mut operation = Operation::new(info, action, &schema, part.name).spec();
        operation["x-kubernetes-group-version-kind"] = json!({ "group": group, "version": version, "kind": kind });
        path[method] = operation;
    }
    path
}

/// One operation: `action` on a kind, whose answer is of `schema`; `suffix` tells it from its like.
struct Operation<'a> {
    info: &'a ResourceInfo,
    action: &'a str,
    schema: &'a str,
    suffix: &'a str,
}

impl<'a> Operation<'a> {
    fn new(info: &'a ResourceInfo, action: &'a str, schema: &'a str, suffix: &'a str) -> Self {
        Operation {
            info,
            action,
            schema,
            suffix,
        }
    }

    fn spec(&self) -> Value {
        let ResourceInfo {
            group, version, kind, ..
        } = self.info;
        let mut operation = json!({
            "operationId": self.id(),
            "tags": [if group.is_empty() { format!("core_{version}") } else { format!("{}_{version}", short(group)) }],
            "parameters": self.parameters(),
            "responses": {
                "200": { "description": "OK", "content": { "application/json": { "schema": reference(self.schema) } } },
                "401": { "description": "Unauthorized" },
            },
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": { "group": group, "version": version, "kind": kind },
        });
        if let Some(body) = self.body() {
            operation["requestBody"] = body;
        }
        operation
    }

    /// Unique among all operations: `replaceAppsV1NamespacedDeploymentScale`.
    fn id(&self) -> String {
        let verb = match self.action {
            "get" => "read",
            "post" => "create",
            "put" => "replace",
            "deletecollection" => "deleteCollection",
            other => other,
        };
        let ResourceInfo {
            group,
            version,
            kind,
            namespaced,
            ..
        } = self.info;
        let group = if group.is_empty() { "core" } else { short(group) };
        let scope = if *namespaced && self.suffix != "ForAllNamespaces" {
            "Namespaced"
        } else {
            ""
        };
        format!(
            "{verb}{}{}{scope}{kind}{}",
            capitalized(group),
            capitalized(version),
            capitalized(self.suffix)
        )
    }

    fn body(&self) -> Option<Value> {
        let content: Map<String, Value> = match self.action {
            "post" | "put" => [(
                "application/json".to_owned(),
                json!({ "schema": reference(self.schema) }),
            )]
            .into_iter()
            .collect(),
            "patch" => PATCHES
                .iter()
                .map(|media| ((*media).to_owned(), json!({ "schema": reference(PATCH) })))
                .collect(),
            "delete" | "deletecollection" => [(
                "application/json".to_owned(),
                json!({ "schema": reference(DELETE_OPTIONS) }),
            )]
            .into_iter()
            .collect(),
            _ => return None,
        };
        Some(json!({ "content": content, "required": !self.action.starts_with("delete") }))
    }

    fn parameters(&self) -> Value {
        // Clients look for `fieldValidation` among the operation's own parameters, so all are told here.
        let mut all = match (self.action, self.suffix) {
            ("list", "ForAllNamespaces") => Vec::new(),
            ("list" | "deletecollection", _) => in_path(self.info, false),
            ("post", "") => in_path(self.info, false),
            _ => in_path(self.info, true),
        };
        all.push(query("pretty", "string", "Whether the answer is for people to read."));
        if matches!(self.action, "post" | "put" | "patch") {
            all.push(query(
                "dryRun",
                "string",
                "`All`: everything is checked, nothing is kept.",
            ));
            all.push(query("fieldManager", "string", "Who owns the fields that are set."));
            all.push(query(
                "fieldValidation",
                "string",
                "What happens to unknown fields: Ignore, Warn or Strict.",
            ));
        }
        if self.action == "patch" {
            all.push(query(
                "force",
                "boolean",
                "Whether to take over fields that others own.",
            ));
        }
        if self.action.starts_with("delete") {
            all.push(query(
                "dryRun",
                "string",
                "`All`: everything is checked, nothing is deleted.",
            ));
            all.push(query(
                "gracePeriodSeconds",
                "integer",
                "How long the object may take to stop.",
            ));
            all.push(query(
                "propagationPolicy",
                "string",
                "What happens to dependents: Orphan, Background or Foreground.",
            ));
        }
        if matches!(self.action, "list" | "deletecollection") {
            all.push(query("labelSelector", "string", "Which labels objects must have."));
            all.push(query("fieldSelector", "string", "Which fields objects must have."));
            all.push(query("limit", "integer", "The most objects in an answer."));
            all.push(query("continue", "string", "Where the last answer ended."));
            all.push(query("resourceVersion", "string", "How old the answer may be."));
            all.push(query(
                "resourceVersionMatch",
                "string",
                "Whether it must be that old: Exact or NotOlderThan.",
            ));
            all.push(query("timeoutSeconds", "integer", "How long the request may take."));
        }
        if self.action == "list" {
            all.push(query("watch", "boolean", "Whether to be told of changes."));
            all.push(query(
                "allowWatchBookmarks",
                "boolean",
                "Whether to be told how far a watch has come.",
            ));
            all.push(query(
                "sendInitialEvents",
                "boolean",
                "Whether a watch starts with what there is.",
            ));
        }
        json!(all)
    }
}

fn query(name: &str, kind: &str, description: &str) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": { "type": kind } })
}

fn in_path(info: &ResourceInfo, named: bool) -> Vec<Value> {
    let parameter = |name: &str, description: &str| json!({ "name": name, "in": "path", "description": description, "required": true, "schema": { "type": "string" } });
    let mut all = Vec::new();
    if named {
        all.push(parameter("name", "The object's name."));
    }
    if info.namespaced {
        all.push(parameter("namespace", "The object's namespace."));
    }
    all
}

/// The first part of a group's name.
fn short(group: &str) -> &str {
    group.split('.').next().unwrap_or(group)
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
