//! Which objects there may ever be in a world, as far as its scenario tells.

use std::collections::{BTreeMap, BTreeSet};

use super::Scenario;
use super::manifests::namespace_of;
use super::nearest;
use super::workload::StepAction;
use crate::triggers::fits;
use crate::vocabulary::vocabulary;
use crate::workload::{is_namespaced, plural};

/// Of a generated name at least so much is that of its owner: what is longer is cut.
const KEPT: usize = 40;

/// What may be there of a resource: namespaces, which are empty for what lives in none, and names.
type Names<'a> = BTreeSet<(&'a str, &'a str)>;

/// See the module.
pub struct Made<'a> {
    /// By plural, of the kinds whose makers are known.
    objects: BTreeMap<&'static str, Names<'a>>,
    /// Whether a churning user may make copies in a namespace of his own.
    churns: bool,
    /// Whether components of a user's own may make whatever they want.
    anything: bool,
}

impl<'a> Made<'a> {
    /// What users, the controllers and the cluster's beginning make in a scenario.
    pub fn of(scenario: &'a Scenario) -> Self {
        let mut made = Made {
            objects: KINDS.iter().map(|(plural, ..)| (*plural, Names::new())).collect(),
            churns: false,
            anything: !vocabulary().components.is_empty(),
        };
        for plan in &scenario.workload {
            made.churns |= matches!(plan.action, StepAction::Churn(_));
        }
        for object in scenario.applied() {
            let kind = object["kind"].as_str().unwrap_or_default();
            let namespace = if is_namespaced(kind) { namespace_of(object) } else { "" };
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            made.add(&plural(kind), namespace, name);
        }
        for node in &scenario.topology.nodes {
            made.add("nodes", "", &node.name);
        }
        for (plural, namespace, name) in AT_FIRST {
            made.add(plural, namespace, name);
        }
        // Of each service, under its name.
        let services = made.objects["services"].clone();
        made.objects.entry("endpoints").or_default().extend(services);
        made
    }

    fn add(&mut self, plural: &str, namespace: &'a str, name: &'a str) {
        if let Some(names) = self.objects.get_mut(plural) {
            names.insert((namespace, name));
        }
    }

    /// Why nobody ever makes an object, if that is certain; of any namespace if none is named. The name may mean all
    /// that begin so: `web-*`.
    pub fn nobody_makes(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<String> {
        let plural = plural(kind);
        let names = self.objects.get(plural.as_str())?;
        let in_namespace = |own: &str| namespace.is_none_or(|wanted| wanted == own);
        let is_open = self.anything
            || namespace.is_some_and(|namespace| namespace.starts_with("kube-"))
            || (plural == "namespaces" && name.starts_with("kube-"))
            || (plural == "configmaps" && fits(name, "kube-root-ca.crt"))
            // A copy has the name of what is copied, but for the namespace and a config map.
            || (self.churns && (namespace == Some("churn") || matches!(&*plural, "configmaps" | "namespaces")));
        let (_, shown, owners) = KINDS.iter().find(|(own, ..)| *own == plural)?;
        let owners = owners.iter().flat_map(|owner| &self.objects[owner]);
        let is_there = |(own, there): &(&str, &str)| in_namespace(own) && fits(name, there);
        let is_generated = |(own, owner): &(&str, &str)| in_namespace(own) && may_be_of(name, owner);
        if is_open || names.iter().any(is_there) || owners.clone().any(is_generated) {
            return None;
        }
        let whole = |namespace: &str, name: &str| match namespace {
            "" => name.to_owned(),
            namespace => format!("{namespace}/{name}"),
        };
        let there = names.iter().map(|(namespace, name)| whole(namespace, name));
        let generated = owners.map(|(namespace, owner)| whole(namespace, &format!("{owner}-*")));
        let known: BTreeSet<String> = there.chain(generated).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let everywhere = if is_namespaced(shown) { "*" } else { "" };
        let wanted = whole(namespace.unwrap_or(everywhere), name);
        let hint = match known.as_slice() {
            [] => format!(", and no other {shown}"),
            known => nearest::hint(&wanted, known),
        };
        Some(format!("nobody makes a {shown} {wanted:?}{hint}"))
    }
}

/// The kinds whose makers are known: their plural, their name, and of whose names theirs are generated. All others are
/// made by controllers and kubelets as well.
const KINDS: &[(&str, &str, &[&str])] = &[
    ("configmaps", "ConfigMap", &[]),
    ("deployments", "Deployment", &[]),
    ("endpoints", "Endpoints", &[]),
    ("namespaces", "Namespace", &[]),
    ("nodes", "Node", &[]),
    ("pods", "Pod", &["replicasets", "deployments"]),
    ("replicasets", "ReplicaSet", &["deployments"]),
    ("secrets", "Secret", &[]),
    ("services", "Service", &[]),
];

/// What every cluster has from its beginning.
const AT_FIRST: &[(&str, &str, &str)] = &[("namespaces", "", "default"), ("services", "default", "kubernetes")];

/// Whether names that are generated for what `owner` owns may be meant.
fn may_be_of(pattern: &str, owner: &str) -> bool {
    let stem: String = format!("{owner}-").chars().take(KEPT).collect();
    match pattern.strip_suffix('*') {
        Some(begin) => begin.starts_with(&stem) || stem.starts_with(begin),
        None => pattern.starts_with(&stem),
    }
}
