//! Who may do what. The rules are those of Kubernetes' bootstrap roles for the components we run, as a table.
//!
//! Users in `system:masters` may do everything, also as somebody else (see `impersonation`); everybody with a
//! certificate may read discovery and versions; anonymous requests reach only the health paths and the version
//! (`system:public-info-viewer`). Roles and bindings as objects of the API are not served yet, so nobody else may do
//! anything.

use http::Method;
use orrery_api::message::Identity;
use orrery_api::mutant;
use orrery_api::status::ApiError;

use crate::resource::ResourceInfo;

/// A right: verbs on resources of groups.
struct Rule {
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
}

/// The group of those who may do everything.
const MASTERS: &str = "system:masters";
const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch", "delete", "get", "list", "watch"];
const EVENTS: Rule = Rule {
    groups: &[""],
    resources: &["events"],
    verbs: &["create", "patch", "update"],
};

/// Sources: Kubernetes' "Using RBAC Authorization", default roles; the node's rights as `system:node` has them.
const ROLES: &[(&str, &[Rule])] = &[
    (
        "system:kube-scheduler",
        &[
            EVENTS,
            Rule {
                groups: &[""],
                resources: &["nodes", "pods", "namespaces", "services"],
                verbs: READ,
            },
            Rule {
                groups: &["apps"],
                resources: &["replicasets"],
                verbs: READ,
            },
            Rule {
                groups: &[""],
                resources: &["pods/binding"],
                verbs: &["create"],
            },
            Rule {
                groups: &[""],
                resources: &["pods/status"],
                verbs: &["patch", "update"],
            },
            Rule {
                groups: &["coordination.k8s.io"],
                resources: &["leases"],
                verbs: &["create", "get", "update", "list", "watch"],
            },
        ],
    ),
    (
        "system:kube-controller-manager",
        // The collector and the namespace controller delete whatever there is, so this is the union of all controllers.
        &[Rule {
            groups: &["*"],
            resources: &["*"],
            verbs: WRITE,
        }],
    ),
    (
        "system:kube-proxy",
        &[
            EVENTS,
            Rule {
                groups: &[""],
                resources: &["services", "endpoints", "nodes"],
                verbs: READ,
            },
            Rule {
                groups: &["discovery.k8s.io"],
                resources: &["endpointslices"],
                verbs: READ,
            },
        ],
    ),
    (
        "system:nodes",
        &[
            EVENTS,
            Rule {
                groups: &[""],
                resources: &["services"],
                verbs: READ,
            },
            // One by one, and only what the node's pods refer to: see `noderestriction`.
            Rule {
                groups: &[""],
                resources: &["configmaps", "secrets"],
                verbs: &["get"],
            },
            Rule {
                groups: &[""],
                resources: &["nodes"],
                verbs: &["create", "get", "list", "watch", "patch", "update"],
            },
            Rule {
                groups: &[""],
                resources: &["nodes/status", "pods/status"],
                verbs: &["get", "patch", "update"],
            },
            Rule {
                groups: &[""],
                resources: &["pods"],
                verbs: &["get", "list", "watch", "create", "delete"],
            },
            Rule {
                groups: &[""],
                resources: &["pods/eviction"],
                verbs: &["create"],
            },
            Rule {
                groups: &["coordination.k8s.io"],
                resources: &["leases"],
                verbs: &["create", "get", "update", "patch", "delete"],
            },
        ],
    ),
];

/// A request on objects, as authorization sees it.
pub struct Attributes<'a> {
    /// The verb.
    pub verb: &'a str,
    /// The kind.
    pub info: &'a ResourceInfo,
    /// The subresource, or empty.
    pub subresource: &'a str,
    /// The namespace, or empty.
    pub namespace: &'a str,
    /// The name, or empty.
    pub name: &'a str,
}

/// Somebody, or a part of somebody, as whom a request is to be carried out.
pub struct Persona<'a> {
    /// The API group of the resource.
    pub group: &'static str,
    /// `users`, `groups`, `serviceaccounts`, `uids` or `userextras`.
    pub resource: &'static str,
    /// The name of the extra field, or empty.
    pub subresource: &'a str,
    /// The namespace of a service account, or empty.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
}

/// Whether `identity` may do that; 403 in Kubernetes' words if not.
pub fn authorize(identity: &Identity, attributes: &Attributes<'_>) -> Result<(), ApiError> {
    if identity.is_in(MASTERS) {
        return Ok(());
    }
    let info = attributes.info;
    let resource = with_subresource(info.plural, attributes.subresource);
    let roles = ROLES
        .iter()
        .filter(|(subject, _)| identity.user == *subject || identity.is_in(subject));
    let allowed = roles
        .flat_map(|(_, rules)| rules.iter())
        .any(|rule| has(rule.groups, info.group) && has(rule.resources, &resource) && has(rule.verbs, attributes.verb));
    if allowed && (node_keeps_to_itself(identity, attributes) || mutant::active("O172")) {
        return Ok(());
    }
    let namespace = if info.namespaced { attributes.namespace } else { "" };
    let why = refusal(identity, attributes.verb, &resource, info.group, namespace);
    Err(ApiError::forbidden(&info.qualified(), attributes.name, &why))
}

/// Whether `identity` may act as `persona`; 403 in Kubernetes' words if not. No role of the table has the verb
/// `impersonate`: only who may do everything may do that.
pub fn authorize_impersonation(identity: &Identity, persona: &Persona<'_>) -> Result<(), ApiError> {
    if identity.is_in(MASTERS) {
        return Ok(());
    }
    let resource = with_subresource(persona.resource, persona.subresource);
    let why = refusal(identity, "impersonate", &resource, persona.group, persona.namespace);
    let qualified = if persona.group.is_empty() {
        persona.resource.to_owned()
    } else {
        format!("{}.{}", persona.resource, persona.group)
    };
    Err(ApiError::forbidden(&qualified, persona.name, &why))
}

fn with_subresource(resource: &str, subresource: &str) -> String {
    if subresource.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}/{subresource}")
    }
}

/// Who cannot do what, and where: in `namespace`, or everywhere when it is empty.
pub fn refusal(identity: &Identity, verb: &str, resource: &str, group: &str, namespace: &str) -> String {
    let place = if namespace.is_empty() {
        " at the cluster scope".to_owned()
    } else {
        format!(" in the namespace {namespace:?}")
    };
    format!(
        "User {:?} cannot {verb} resource {resource:?} in API group {group:?}{place}",
        identity.user
    )
}

fn has(list: &[&str], item: &str) -> bool {
    list.iter().any(|own| *own == "*" || *own == item)
}

/// A node writes only its own `Node` and its own lease. What cannot be told from the path is checked in
/// `noderestriction`.
fn node_keeps_to_itself(identity: &Identity, attributes: &Attributes<'_>) -> bool {
    let Some(node) = node_name(identity) else { return true };
    let writes = !matches!(attributes.verb, "get" | "list" | "watch" | "create");
    match attributes.info.plural {
        "nodes" | "leases" if writes => attributes.name == node,
        _ => true,
    }
}

/// The node that `identity` is the kubelet of.
pub fn node_name(identity: &Identity) -> Option<&str> {
    identity
        .user
        .strip_prefix("system:node:")
        .filter(|_| identity.is_in("system:nodes"))
}

/// Whether `identity` may ask for a path that is no object's.
pub fn authorize_path(identity: Option<&Identity>, method: &Method, path: &str) -> Result<(), ApiError> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let public = ["/healthz", "/livez", "/readyz", "/version"];
    let is_public = public
        .iter()
        .any(|own| path == *own || path.starts_with(&format!("{own}/")));
    if reads && is_public {
        return Ok(());
    }
    let Some(identity) = identity else {
        return Err(ApiError::unauthorized());
    };
    let discovery = path == "/" || ["/api", "/apis", "/openapi"].iter().any(|own| path.starts_with(own));
    // An administrator may act as somebody unknown, who may read no more than that one.
    if identity.is_in(MASTERS) || (reads && discovery && identity.is_in("system:authenticated")) {
        return Ok(());
    }
    let why = format!(
        "User {:?} cannot {} path {path:?}",
        identity.user,
        method.as_str().to_lowercase()
    );
    Err(ApiError::forbidden("", "", &why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;

    fn may(identity: &Identity, verb: &str, group: &str, plural: &str, subresource: &str, name: &str) -> bool {
        let info = Kinds::default().find(group, "v1", plural).expect("served").info();
        authorize(
            identity,
            &Attributes {
                verb,
                info,
                subresource,
                namespace: "default",
                name,
            },
        )
        .is_ok()
    }

    #[test]
    fn the_scheduler_binds_and_deletes_nothing() {
        let scheduler = Identity::new("system:kube-scheduler", &[]);
        assert!(may(&scheduler, "create", "", "pods", "binding", "a"));
        assert!(!may(&scheduler, "delete", "", "pods", "", "a"));
        assert!(!may(&scheduler, "get", "", "secrets", "", "a"));
    }

    #[test]
    fn a_node_writes_only_itself() {
        let node = Identity::node("n1");
        assert!(may(&node, "patch", "", "nodes", "status", "n1"));
        assert!(!may(&node, "patch", "", "nodes", "status", "n2"));
        assert!(!may(&node, "update", "coordination.k8s.io", "leases", "", "n2"));
    }

    #[test]
    fn strangers_read_versions_and_nothing_else() {
        assert!(authorize_path(None, &Method::GET, "/version").is_ok());
        assert_eq!(authorize_path(None, &Method::GET, "/apis").unwrap_err().code(), 401);
        let stranger = Identity::new("jane", &[]);
        assert!(authorize_path(Some(&stranger), &Method::GET, "/apis").is_ok());
        assert!(!may(&stranger, "list", "", "pods", "", ""));
    }
}
