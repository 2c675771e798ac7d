//! The end of a run, to be compared with the end of runs without faults (X4 and X5).
//!
//! Where what users do is a function of the scenario, so is what the cluster holds in the end: faults may delay it, and
//! cost pods and processes, but the same is asked for. (Sieve calls this a differential oracle.) Compared is what was
//! asked for and what came of it, not how: names, addresses and nodes that each run draws, moments, how often something
//! was written or started, and the words of conditions are left out; and whatever runs without faults differ in.
//!
//! Not compared: events and leases; and what the network and the runtimes hold, which convergence judges.

use std::collections::{BTreeMap, BTreeSet};

use orrery_api::random::is_uid;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{brief, differences, is_drawn};
use crate::model::{Cluster, Item, Made};
use crate::scenario::Expect;

/// The ids of what is judged here, in the order of the contract.
pub const IDS: [&str; 2] = ["X4", "X5"];

/// Whether a line of what is missing is of here.
pub fn is_told_by(line: &str) -> bool {
    IDS.iter()
        .any(|id| line.strip_prefix(id).is_some_and(|rest| rest.starts_with(':')))
}

/// Signs of life, and what is told of the way.
const LEFT_OUT: [&str; 2] = ["events", "leases.coordination.k8s.io"];

/// Fields that say how the state came to be, or where.
const BY_THE_WAY: &[&str] = &[
    // How often something was written, or started.
    "generation",
    "observedGeneration",
    "restartCount",
    "lastState",
    "state",
    "collisionCount",
    // Where it was put.
    "nodeName",
    "nodePort",
    "zone",
    "images",
    // Which number a set of pods got, and how large it was to be meanwhile.
    "pod-template-hash",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    // What conditions tell people.
    "reason",
    "message",
];

/// What a cluster holds at the end of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EndState {
    /// The objects, by what they are called in every run.
    objects: BTreeMap<String, Value>,
    /// What was made and removed until then, by resource.
    made: BTreeMap<String, Made>,
}

impl EndState {
    /// That of the cluster now.
    pub fn of(cluster: &Cluster) -> Self {
        let mut named: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let items = cluster.everything();
        for item in items.filter(|item| !LEFT_OUT.contains(&&*item.id.resource)) {
            let value = serde_json::from_slice(&item.bytes).unwrap_or_default();
            named
                .entry(name(cluster, item))
                .or_default()
                .push(plain(value, cluster));
        }
        let mut objects = BTreeMap::new();
        for (name, mut values) in named {
            if values.len() == 1 && !name.contains(" of ") {
                objects.extend(values.pop().map(|value| (name, value)));
                continue;
            }
            // Those that are alike stand together, whatever they are called.
            values.sort_by_cached_key(|value| without_name(value).to_string());
            let numbered = values.into_iter().enumerate();
            objects.extend(
                numbered.map(|(number, value)| (format!("{name}, number {}", number + 1), without_name(&value))),
            );
        }
        let made = cluster.made().filter(|(resource, _)| !LEFT_OUT.contains(resource));
        EndState {
            objects,
            made: made.map(|(resource, made)| (resource.to_owned(), made)).collect(),
        }
    }
}

/// What a cluster has of itself, and each world in its own way, by how it is called here: nodes, what is in the
/// system's namespaces, the authority's certificate, and the API's own service. What belongs to such an object is, too.
fn is_own(name: &str) -> bool {
    let owner = name.rsplit(" of ").next().unwrap_or(name);
    let owner = owner.split(", number ").next().unwrap_or(owner);
    match *owner.split('/').collect::<Vec<_>>() {
        ["nodes", _] => true,
        ["namespaces", name] => name.starts_with("kube-"),
        ["configmaps", _, "kube-root-ca.crt"] => true,
        [_, "default", "kubernetes"] => true,
        [_, namespace, _] => namespace.starts_with("kube-"),
        _ => false,
    }
}

impl EndState {
    /// Without the machines, and what a cluster has of itself: what a simulated and a real one have in common.
    pub fn of_both_worlds(mut self) -> Self {
        self.objects.retain(|name, _| !is_own(name));
        self
    }
}

/// What an object is called in every run: by its owner, where its own name is drawn. (A replica set's is, too: another
/// deployment of the same name leaves its sets behind for a while, and their names are taken.)
fn name(cluster: &Cluster, item: &Item) -> String {
    let drawn = matches!(
        &*item.id.resource,
        "pods" | "replicasets.apps" | "endpointslices.discovery.k8s.io"
    );
    let owner = item.controller_uid().filter(|_| drawn);
    match owner.and_then(|uid| cluster.by_uid(uid)) {
        Some(owner) => format!("{} of {}", item.id.resource, name(cluster, owner)),
        None => item.id.to_string(),
    }
}

fn without_name(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("name");
        meta.remove("generateName");
    }
    value
}

/// A value without what differs from run to run, or by the way.
fn plain(value: Value, cluster: &Cluster) -> Value {
    match value {
        Value::Object(mut fields) => {
            let named = fields
                .get("uid")
                .and_then(Value::as_str)
                .and_then(|uid| cluster.by_uid(uid));
            if let Some(named) = named.filter(|_| fields.contains_key("kind")) {
                // A reference, by a name that may be drawn.
                fields.insert("name".to_owned(), Value::String(name(cluster, named)));
            }
            let is_told = |name: &str| !BY_THE_WAY.contains(&name) && !is_drawn(name);
            let kept = fields.into_iter().filter(|(name, _)| is_told(name));
            let kept = kept.map(|(name, value)| (name, plain(value, cluster)));
            Value::Object(kept.filter(|(_, value)| !is_moment(value)).collect())
        }
        Value::Array(items) => {
            let items = items.into_iter().map(|item| plain(item, cluster));
            Value::Array(items.filter(|item| !is_moment(item)).collect())
        }
        Value::String(text) if is_uid(&text) => match cluster.by_uid(&text) {
            Some(item) => Value::String(format!("(uid of {})", name(cluster, item))),
            None => Value::String("(uid)".to_owned()),
        },
        other => other,
    }
}

fn is_moment(value: &Value) -> bool {
    let Value::String(text) = value else { return false };
    text.len() >= 20 && text.parse::<jiff::Timestamp>().is_ok()
}

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// X4: the objects.
    pub state: bool,
    /// X5: how many were made and removed.
    pub made: bool,
}

impl Wanted {
    /// As a scenario wants it.
    pub fn of(expect: &Expect) -> Self {
        Wanted {
            state: expect.end_state.is_some(),
            made: expect.creates_and_deletes.is_some(),
        }
    }
}

/// What an end has that it should not have, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deviation {
    /// An object is not there.
    Missing(String),
    /// An object is there.
    Added(String),
    /// A field of an object is another.
    Field {
        /// The object.
        object: String,
        /// The field.
        path: String,
        /// What it is.
        is: String,
        /// What it should be.
        wanted: String,
    },
}

impl Deviation {
    /// In words; `here` says of the end how it is, and `there` where it should be so.
    pub fn told(&self, here: &str, there: &str) -> String {
        match self {
            Deviation::Missing(object) => format!("{object} {here} not there, and {there} it is"),
            Deviation::Added(object) => format!("{object} {here} there, and {there} it is not"),
            Deviation::Field {
                object,
                path,
                is,
                wanted,
            } => format!("{path} of {object} {here} {is}, and {there} {wanted}"),
        }
    }
}

/// The ends of runs without faults: what the end of every run is to be.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Yardstick {
    ends: Vec<EndState>,
}

impl Yardstick {
    /// Of these runs.
    pub fn new(ends: Vec<EndState>) -> Self {
        Yardstick { ends }
    }

    /// Of what all worlds have in common.
    pub fn of_both_worlds(self) -> Self {
        Yardstick::new(self.ends.into_iter().map(EndState::of_both_worlds).collect())
    }

    /// How the end of a run differs from it, beyond what runs without faults differ in.
    pub fn differences(&self, end: &EndState, wanted: Wanted) -> Vec<String> {
        let mut found = Vec::new();
        if wanted.state {
            let all = self.deviations(end).into_iter();
            found.extend(all.map(|own| format!("X4: {}", own.told("is", "without faults"))));
        }
        if wanted.made {
            self.made(end, &mut found);
        }
        found
    }

    /// In what the objects of an end differ, beyond what these differ in among themselves.
    pub fn deviations(&self, end: &EndState) -> Vec<Deviation> {
        let mut found = Vec::new();
        let Some((first, others)) = self.ends.split_first() else {
            return found;
        };
        let names: BTreeSet<&String> = first.objects.keys().chain(end.objects.keys()).collect();
        for name in names {
            let all: Vec<Option<&Value>> = others.iter().map(|other| other.objects.get(name)).collect();
            let here = |is: &Option<&Value>| is.is_some();
            match (first.objects.get(name), end.objects.get(name)) {
                (Some(wanted), Some(is)) => {
                    let masked: BTreeSet<String> = all
                        .iter()
                        .flatten()
                        .flat_map(|other| differences(wanted, other, true))
                        .map(|difference| difference.path)
                        .collect();
                    let differ = differences(wanted, is, true).into_iter();
                    found.extend(differ.filter(|own| !masked.contains(&own.path)).map(|own| {
                        let (is, wanted) = (brief(own.after.as_ref()), brief(own.before.as_ref()));
                        Deviation::Field {
                            object: name.clone(),
                            path: own.path,
                            is,
                            wanted,
                        }
                    }));
                }
                (Some(_), None) if all.iter().all(here) => {
                    found.push(Deviation::Missing(name.clone()));
                }
                (None, Some(_)) if !all.iter().any(here) => {
                    found.push(Deviation::Added(name.clone()));
                }
                _ => {}
            }
        }
        found
    }

    fn made(&self, end: &EndState, found: &mut Vec<String>) {
        let of = |end: &EndState, resource: &String| end.made.get(resource).copied().unwrap_or_default();
        let ends = self.ends.iter().chain([end]);
        let resources: BTreeSet<&String> = ends.flat_map(|end| end.made.keys()).collect();
        for resource in resources {
            let wanted: Vec<Made> = self.ends.iter().map(|end| of(end, resource)).collect();
            let is = of(end, resource);
            if let Some((first, others)) = wanted.split_first()
                && others.iter().all(|other| other == first)
                && is != *first
            {
                found.push(format!("X5: of {resource} {is}, and without faults {first}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::ObjectId;

    /// A cluster with one deployment of so many pods, as a run of this seed would leave it.
    fn cluster(replicas: i32, phase: &str, seed: u32) -> Cluster {
        let mut cluster = Cluster::default();
        let uid = |number: u32| format!("{seed:08x}-0000-4000-8000-{number:012x}");
        let mut revision = 1;
        let mut put = |resource: &str, name: String, value: Value| {
            revision += 1;
            let id = ObjectId {
                resource: resource.into(),
                namespace: "default".to_owned(),
                name,
            };
            cluster.apply(id, revision, Some(value.to_string().into_bytes().into()));
        };
        let set = json!({"metadata": {"name": "web-5f", "uid": uid(0), "creationTimestamp": format!("2026-01-01T00:00:0{seed}Z"),
                "generation": seed}, "spec": {"replicas": replicas}, "status": {"replicas": replicas}});
        put("replicasets.apps", "web-5f".to_owned(), set);
        for number in 1..=replicas as u32 {
            let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5f", "uid": uid(0),
                "controller": true}]);
            let pod = json!({"metadata": {"name": format!("web-5f-{seed}{number}"), "uid": uid(number), "ownerReferences": owner},
                "spec": {"nodeName": format!("node-{seed}"), "containers": [{"name": "c", "image": "web:1"}]},
                "status": {"phase": if number == 1 { phase } else { "Running" }, "podIP": format!("10.0.0.{seed}"),
                    "containerStatuses": [{"name": "c", "restartCount": seed}]}});
            put("pods", format!("web-5f-{seed}{number}"), pod);
        }
        cluster
    }

    const BOTH: Wanted = Wanted {
        state: true,
        made: true,
    };

    fn yardstick() -> Yardstick {
        Yardstick::new([1, 2, 3].map(|seed| EndState::of(&cluster(2, "Running", seed))).into())
    }

    #[test]
    fn what_each_run_draws_is_no_difference() {
        let end = EndState::of(&cluster(2, "Running", 7));
        assert_eq!(yardstick().differences(&end, BOTH), Vec::<String>::new());
    }

    #[test]
    fn an_end_that_differs_says_in_which_objects_and_fields() {
        let more = EndState::of(&cluster(3, "Failed", 7));
        insta::assert_snapshot!(yardstick().differences(&more, BOTH).join("\n"), @r"
        X4: status.phase of pods of replicasets.apps/default/web-5f, number 1 is Failed, and without faults Running
        X4: pods of replicasets.apps/default/web-5f, number 3 is there, and without faults it is not
        X4: spec.replicas of replicasets.apps/default/web-5f is 3, and without faults 2
        X4: status.replicas of replicasets.apps/default/web-5f is 3, and without faults 2
        X5: of pods 3 created and 0 deleted, and without faults 2 created and 0 deleted
        ");
        let fewer = EndState::of(&cluster(1, "Running", 7));
        insta::assert_snapshot!(yardstick().differences(&fewer, BOTH).join("\n"), @r"
        X4: pods of replicasets.apps/default/web-5f, number 2 is not there, and without faults it is
        X4: spec.replicas of replicasets.apps/default/web-5f is 1, and without faults 2
        X4: status.replicas of replicasets.apps/default/web-5f is 1, and without faults 2
        X5: of pods 1 created and 0 deleted, and without faults 2 created and 0 deleted
        ");
    }

    #[test]
    fn what_a_cluster_has_of_itself_is_in_no_comparison_of_worlds() {
        for own in [
            "nodes/node-1",
            "namespaces/kube-system",
            "configmaps/default/kube-root-ca.crt",
            "services/default/kubernetes",
            "endpointslices.discovery.k8s.io/default/kubernetes",
            "serviceaccounts/kube-system/default",
        ] {
            assert!(is_own(own), "{own}");
        }
        for users in [
            "deployments.apps/default/kube-state-metrics",
            "pods of replicasets.apps of deployments.apps/default/kube-state-metrics, number 2",
            "services/default/kubernetes-dashboard",
            "configmaps/default/settings",
            "namespaces/team",
        ] {
            assert!(!is_own(users), "{users}");
        }
    }

    #[test]
    fn what_runs_without_faults_differ_in_is_not_compared() {
        let ends = [(2, 1), (3, 2), (2, 3)].map(|(replicas, seed)| EndState::of(&cluster(replicas, "Running", seed)));
        let end = EndState::of(&cluster(3, "Running", 7));
        assert_eq!(
            Yardstick::new(ends.into()).differences(&end, BOTH),
            Vec::<String>::new()
        );
    }
}
