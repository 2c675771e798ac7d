//! What a churning user does next: drawn from what there is, so that it is always something that he may do.

use std::collections::BTreeMap;

use orrery_api::random::Random;
use serde_json::{Map, Value, json};

use super::{Gone, Later, Operation};
use crate::scenario::{
    ChurnKind, CordonSpec, DeleteSpec, DeploymentChoice, DrainSpec, EditSpec, FinalizerSpec, LabelSpec, ListSpec,
    Manifest, NamespaceChoice, NodeTarget, PodChoice, Propagation, ScaleSpec, SetImageSpec, Span, StepAction,
    TaintStep, UndoSpec,
};
use crate::stage::Stage;
use crate::workload::requests::{CONFIG_MAPS, DEPLOYMENTS, EVERYWHERE, NAMESPACES, OWN, Resource, SECRETS, SERVICES};
use crate::workload::user::{asked_for, made_by_users};

/// The namespace that is made when there is none of the users' own.
const NAMESPACE: &str = "churn";
/// The config map that is made when there is none.
const SETTINGS: &str = "settings";

/// The label's value of a pod that was taken out of its service.
const RELEASED: &str = "released";
/// More pods than are ever taken out at a time.
const MANY: usize = 99;

/// How things were at first, to be put back in the end.
#[derive(Debug, Default)]
pub struct Memory {
    /// How many replicas each deployment had.
    replicas: BTreeMap<(String, String), i32>,
    /// Which image the first container of each deployment had.
    images: BTreeMap<(String, String), (String, String)>,
}

/// A deployment that lives.
struct Living {
    namespace: String,
    name: String,
    replicas: i32,
    container: String,
    image: String,
    /// How many replica sets it has.
    sets: usize,
}

impl Memory {
    /// What puts back what was changed: replicas, and images that do not run.
    pub fn restore(&self, stage: &dyn Stage) -> Vec<StepAction> {
        let mut steps = Vec::new();
        for ((namespace, deployment), replicas) in &self.replicas {
            steps.push(StepAction::Scale(ScaleSpec {
                deployment: deployment.clone(),
                namespace: namespace.clone(),
                replicas: *replicas,
            }));
        }
        for own in living(stage).iter().filter(|own| is_bad(stage, &own.image)) {
            let key = (own.namespace.clone(), own.name.clone());
            if let Some((container, image)) = self.images.get(&key) {
                steps.push(set_image(own, container, image));
            }
        }
        steps
    }
}

/// An operation of a kind; none if there is nothing to do it to.
pub fn draw(stage: &dyn Stage, kind: ChurnKind, random: &Random, memory: &mut Memory) -> Option<Operation> {
    match kind {
        ChurnKind::Cordon | ChurnKind::Drain | ChurnKind::Taint => node_operation(stage, kind, random),
        ChurnKind::Service | ChurnKind::EditService => service_operation(stage, kind, random),
        ChurnKind::ReleasePod => release(stage, random),
        ChurnKind::EditConfig => Some(config_operation(stage, random)),
        ChurnKind::List => list(random),
        ChurnKind::Namespace => namespace_operation(stage, random),
        ChurnKind::Finalizer => {
            let objects = OWN.iter().flat_map(|resource| {
                let all = made_by_users(stage, resource).into_iter();
                all.map(move |(namespace, name)| (*resource, namespace, name))
            });
            let objects: Vec<(Resource, String, String)> = objects.collect();
            let (resource, namespace, name) = pick(&objects, random, |(resource, namespace, name)| {
                format!("{}/{namespace}/{name}", resource.name)
            })?;
            held(stage, resource, namespace, name, random)
        }
        ChurnKind::Apply
        | ChurnKind::Scale
        | ChurnKind::SetImage
        | ChurnKind::BadImage
        | ChurnKind::Undo
        | ChurnKind::Restart
        | ChurnKind::PauseRollout
        | ChurnKind::DeletePod
        | ChurnKind::ForceDeletePod
        | ChurnKind::CreateDeleteSameName
        | ChurnKind::DeleteForeground
        | ChurnKind::DeleteOrphan => {
            let living = living(stage);
            let own = pick(&living, random, |own| format!("{}/{}", own.namespace, own.name))?;
            deployment_operation(stage, kind, own, random, memory)
        }
    }
}

/// One of `items`. Each draws its own lot, by its name, so that one more or one less changes nothing between the
/// others.
fn pick<'a, T>(items: &'a [T], random: &Random, name: impl Fn(&T) -> String) -> Option<&'a T> {
    items.iter().max_by_key(|item| random.stream(&name(item)).bits())
}

fn once(action: StepAction) -> Operation {
    Operation {
        now: vec![action],
        later: Vec::new(),
    }
}

impl Operation {
    /// With a step that follows in `turns`.
    fn then(mut self, turns: u64, action: StepAction) -> Self {
        self.later.push(Later {
            turns,
            after: None,
            action,
        });
        self
    }

    /// With a step that follows in `turns`, or when something is gone, if that is later.
    fn then_after(mut self, turns: u64, gone: Gone, action: StepAction) -> Self {
        self.later.push(Later {
            turns,
            after: Some(gone),
            action,
        });
        self
    }
}

fn few_turns(random: &Random) -> u64 {
    random.between(1, 3)
}

fn living(stage: &dyn Stage) -> Vec<Living> {
    let mine = made_by_users(stage, &DEPLOYMENTS);
    stage.look(|cluster| {
        let all = mine.into_iter().filter_map(|(namespace, name)| {
            let item = cluster.find(DEPLOYMENTS.name, &namespace, &name)?;
            let spec = item.deployment()?.spec.as_ref()?;
            let container = spec.template.spec.as_ref()?.containers.first()?;
            Some(Living {
                replicas: spec.replicas.unwrap_or(1),
                container: container.name.clone(),
                image: container.image.clone().unwrap_or_default(),
                sets: cluster.owned(item.uid()).count(),
                namespace,
                name,
            })
        });
        all.collect()
    })
}

fn set_image(own: &Living, container: &str, image: &str) -> StepAction {
    StepAction::SetImage(SetImageSpec {
        deployment: own.name.clone(),
        namespace: own.namespace.clone(),
        container: container.to_owned(),
        image: image.to_owned(),
    })
}

/// Whether containers of an image do not run on.
fn is_bad(stage: &dyn Stage, image: &str) -> bool {
    stage
        .scenario()
        .images
        .get(image)
        .is_some_and(|script| script.exit.is_some())
}

/// The other images of the scenario that go by the same name, bad ones or not.
fn other_images(stage: &dyn Stage, image: &str, bad: bool) -> Vec<String> {
    let name = |image: &str| image.split(':').next().unwrap_or_default().to_owned();
    let others = stage
        .scenario()
        .images
        .keys()
        .filter(|other| *other != image && name(other) == name(image));
    others.filter(|other| is_bad(stage, other) == bad).cloned().collect()
}

fn deployment_operation(
    stage: &dyn Stage,
    kind: ChurnKind,
    own: &Living,
    random: &Random,
    memory: &mut Memory,
) -> Option<Operation> {
    let (namespace, deployment) = (own.namespace.clone(), own.name.clone());
    let key = (namespace.clone(), deployment.clone());
    if !is_bad(stage, &own.image) {
        let first = || (own.container.clone(), own.image.clone());
        memory.images.entry(key.clone()).or_insert_with(first);
    }
    let choice = DeploymentChoice {
        deployment: deployment.clone(),
        namespace: namespace.clone(),
    };
    let undo = || {
        StepAction::Undo(UndoSpec {
            deployment: deployment.clone(),
            namespace: namespace.clone(),
            to: None,
        })
    };
    Some(match kind {
        ChurnKind::Scale => {
            let base = *memory.replicas.entry(key).or_insert(own.replicas);
            once(StepAction::Scale(ScaleSpec {
                deployment,
                namespace,
                replicas: random.between(0, 2 * base.max(1) as u64) as i32,
            }))
        }
        ChurnKind::DeletePod | ChurnKind::ForceDeletePod => once(StepAction::DeletePod(PodChoice {
            labels: None,
            namespace,
            count: 1,
            nth: None,
            grace: (kind == ChurnKind::ForceDeletePod).then_some(0),
        })),
        ChurnKind::Restart => once(StepAction::Restart(choice)),
        ChurnKind::CreateDeleteSameName => once(StepAction::CreateDeleteSameName(choice)),
        ChurnKind::DeleteForeground => once(StepAction::DeleteForeground(choice)),
        ChurnKind::DeleteOrphan => {
            let (uid, object) = asked_for(stage, &DEPLOYMENTS, &namespace, &deployment)?;
            let delete = StepAction::Delete(DeleteSpec {
                object: format!("Deployment/{namespace}/{deployment}"),
                propagation: Some(Propagation::Orphan),
                grace: None,
            });
            let gone = Gone {
                resource: DEPLOYMENTS,
                namespace,
                name: deployment,
                uid,
            };
            once(delete).then_after(random.between(0, 2), gone, apply(object))
        }
        ChurnKind::Apply => {
            let (_, mut object) = asked_for(stage, &DEPLOYMENTS, &namespace, &deployment)?;
            let round = random.between(1, 9).to_string();
            let container = object.pointer_mut("/spec/template/spec/containers/0")?;
            container["env"] = json!([{"name": "ROUND", "value": round}]);
            once(apply(object))
        }
        ChurnKind::SetImage => {
            let image = random.choose(&other_images(stage, &own.image, false))?.clone();
            once(set_image(own, &own.container, &image))
        }
        ChurnKind::BadImage => {
            let image = random.choose(&other_images(stage, &own.image, true))?.clone();
            once(set_image(own, &own.container, &image)).then(few_turns(random), undo())
        }
        ChurnKind::Undo if own.sets > 1 => once(undo()),
        ChurnKind::PauseRollout => {
            let resume = StepAction::ResumeRollout(choice.clone());
            once(StepAction::PauseRollout(choice)).then(few_turns(random), resume)
        }
        _ => return None,
    })
}

fn node_operation(stage: &dyn Stage, kind: ChurnKind, random: &Random) -> Option<Operation> {
    let names = stage.nodes();
    let node = NodeTarget::Named(random.choose(&names)?.clone());
    let uncordon = StepAction::Uncordon(CordonSpec { node: node.clone() });
    Some(match kind {
        ChurnKind::Cordon => once(StepAction::Cordon(CordonSpec { node })).then(1, uncordon),
        ChurnKind::Drain => once(StepAction::Drain(DrainSpec::of(node))).then(1, uncordon),
        _ => {
            let effects = ["NoSchedule", "NoExecute", "NoExecute", "PreferNoSchedule"];
            let taint = TaintStep::of(node, random.choose(&effects)?);
            once(StepAction::Taint(taint.clone())).then(few_turns(random), StepAction::Untaint(taint))
        }
    })
}

fn apply(object: Value) -> StepAction {
    StepAction::Apply(Manifest::Inline(vec![object]))
}

fn delete(resource: &Resource, namespace: &str, name: &str) -> StepAction {
    StepAction::Delete(DeleteSpec {
        object: format!("{}/{namespace}/{name}", resource.kind),
        propagation: None,
        grace: None,
    })
}

fn edit(resource: &Resource, namespace: &str, name: &str, patch: Value) -> StepAction {
    StepAction::Edit(EditSpec {
        object: format!("{}/{namespace}/{name}", resource.kind),
        patch,
    })
}

/// A delete that a finalizer holds up for a few turns.
fn held(stage: &dyn Stage, resource: &Resource, namespace: &str, name: &str, random: &Random) -> Option<Operation> {
    let (uid, object) = asked_for(stage, resource, namespace, name)?;
    let finalizer = FinalizerSpec::of(format!("{}/{namespace}/{name}", resource.kind));
    let gone = Gone {
        resource: *resource,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid,
    };
    let turns = few_turns(random);
    let mut operation = once(StepAction::AddFinalizer(finalizer.clone()));
    operation.now.push(delete(resource, namespace, name));
    let operation = operation.then(turns, StepAction::RemoveFinalizer(finalizer));
    Some(operation.then_after(turns, gone, apply(object)))
}

/// A pod that is taken out of its service, to be looked into, and deleted when that is done. Its set makes another one
/// if it selects by the same label.
fn release(stage: &dyn Stage, random: &Random) -> Option<Operation> {
    let services = made_by_users(stage, &SERVICES);
    let (namespace, name) = pick(&services, random, |(namespace, name)| format!("{namespace}/{name}"))?;
    let (_, object) = asked_for(stage, &SERVICES, namespace, name)?;
    let (label, delete) = release_from(&object["spec"]["selector"], namespace, random)?;
    Some(once(label).then(few_turns(random), delete))
}

/// What takes a pod out of a selector, and what deletes all that were taken out in this way.
fn release_from(selector: &Value, namespace: &str, random: &Random) -> Option<(StepAction, StepAction)> {
    let selector = selector.as_object()?;
    let words = selector.iter().map(|(key, value)| Some((key, value.as_str()?)));
    let words: Vec<(&String, &str)> = words.collect::<Option<_>>()?;
    let (key, _) = random.choose(&words)?;
    let selected: Vec<String> = words.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let label = LabelSpec {
        labels: Some(selected.join(",")),
        namespace: namespace.to_owned(),
        nth: None,
        set: BTreeMap::from([((*key).clone(), Some(RELEASED.to_owned()))]),
    };
    let delete = PodChoice {
        labels: Some(format!("{key}={RELEASED}")),
        namespace: namespace.to_owned(),
        count: MANY,
        nth: None,
        grace: None,
    };
    Some((StepAction::LabelPod(label), StepAction::DeletePod(delete)))
}

fn service_operation(stage: &dyn Stage, kind: ChurnKind, random: &Random) -> Option<Operation> {
    let services = made_by_users(stage, &SERVICES);
    let (namespace, name) = pick(&services, random, |(namespace, name)| format!("{namespace}/{name}"))?;
    let (uid, object) = asked_for(stage, &SERVICES, namespace, name)?;
    if kind == ChurnKind::Service {
        let gone = Gone {
            resource: SERVICES,
            namespace: namespace.clone(),
            name: name.clone(),
            uid,
        };
        return Some(once(delete(&SERVICES, namespace, name)).then_after(random.between(0, 1), gone, apply(object)));
    }
    let patch = |patch: Value| edit(&SERVICES, namespace, name, json!({"spec": patch}));
    let spec = &object["spec"];
    Some(match random.below(3) {
        0 => {
            let selector = spec["selector"].as_object()?;
            let (to, back) = other_selector(selector, random);
            once(patch(json!({"selector": to}))).then(few_turns(random), patch(json!({"selector": back})))
        }
        1 => {
            let ports = spec["ports"].as_array()?;
            let port = json!({"name": "extra", "port": 9000 + random.below(10), "targetPort": 80});
            let more: Vec<Value> = match ports.iter().position(|port| port["name"] == "extra") {
                Some(index) => [&ports[..index], &ports[index + 1..]].concat(),
                // Only ports that have names can have company.
                None if ports.iter().all(|port| port["name"].is_string()) => [ports.as_slice(), &[port]].concat(),
                None => return None,
            };
            once(patch(json!({"ports": more})))
        }
        _ => {
            let other = if spec["type"] == "NodePort" {
                "ClusterIP"
            } else {
                "NodePort"
            };
            once(patch(json!({"type": other})))
        }
    })
}

/// Merges that turn a selector into one that selects others or nobody, and back.
fn other_selector(selector: &Map<String, Value>, random: &Random) -> (Value, Value) {
    let (mut to, mut back) = (Map::new(), Map::new());
    if random.chance(0.5) {
        // One label more than the pods have.
        to.insert("churn".to_owned(), json!("nobody"));
        back.insert("churn".to_owned(), Value::Null);
    } else {
        for (key, value) in selector {
            to.insert(key.clone(), json!("somebody-else"));
            back.insert(key.clone(), value.clone());
        }
    }
    (Value::Object(to), Value::Object(back))
}

fn config_operation(stage: &dyn Stage, random: &Random) -> Operation {
    let objects = [CONFIG_MAPS, SECRETS].into_iter().flat_map(|resource| {
        let all = made_by_users(stage, &resource).into_iter();
        all.map(move |(namespace, name)| (resource, namespace, name))
    });
    let objects: Vec<(Resource, String, String)> = objects.collect();
    // Base64 as well as plain text.
    let value = format!("r{:03}", random.below(1000));
    match pick(&objects, random, |(resource, namespace, name)| {
        format!("{}/{namespace}/{name}", resource.name)
    }) {
        Some((resource, namespace, name)) => once(edit(resource, namespace, name, json!({"data": {"round": value}}))),
        None => once(apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": SETTINGS, "namespace": "default"}, "data": {"round": value}
        }))),
    }
}

/// The pages are small, since there is little to read.
fn list(random: &Random) -> Option<Operation> {
    let kind = random.choose(&["Pod", "ConfigMap", "Service", "Deployment"])?;
    let namespace = random.choose(&["default", EVERYWHERE])?;
    let pause = Span::millis(0, 3000).draw(random);
    Some(once(StepAction::List(ListSpec {
        kind: (*kind).to_owned(),
        namespace: (*namespace).to_owned(),
        selector: None,
        limit: random.between(1, 4) as u32,
        pause: pause.into(),
    })))
}

fn namespace_operation(stage: &dyn Stage, random: &Random) -> Option<Operation> {
    let mut namespaces: Vec<String> = made_by_users(stage, &NAMESPACES)
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    namespaces.retain(|name| name != "default");
    if let Some(namespace) = pick(&namespaces, random, Clone::clone) {
        return Some(once(StepAction::RecreateNamespace(NamespaceChoice {
            namespace: namespace.clone(),
        })));
    }
    // The first deployment that runs moves in once more, with what it may read.
    let own = living(stage).into_iter().find(|own| !is_bad(stage, &own.image))?;
    let copy = |resource: &Resource, name: &str| {
        let (_, mut object) = asked_for(stage, resource, &own.namespace, name)?;
        object["metadata"]["namespace"] = json!(NAMESPACE);
        Some(object)
    };
    let deployment = copy(&DEPLOYMENTS, &own.name)?;
    let labels = deployment["spec"]["template"]["metadata"]["labels"].clone();
    let mut objects = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})];
    for resource in [CONFIG_MAPS, SECRETS] {
        let there = made_by_users(stage, &resource).into_iter();
        let there = there.filter(|(namespace, _)| *namespace == own.namespace);
        objects.extend(there.filter_map(|(_, name)| copy(&resource, &name)));
    }
    objects.push(deployment);
    objects.push(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": own.name, "namespace": NAMESPACE},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 80}]}
    }));
    Some(once(StepAction::Apply(Manifest::Inline(objects))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_leaves_its_service_by_one_of_its_labels_and_is_deleted_by_it() {
        let selector = json!({"app": "web", "traffic": "live"});
        let (label, delete) = release_from(&selector, "default", &Random::from_number(1)).unwrap();
        let (StepAction::LabelPod(label), StepAction::DeletePod(delete)) = (label, delete) else {
            panic!("a label and a delete");
        };
        assert_eq!(label.labels.as_deref(), Some("app=web,traffic=live"));
        let (key, value) = label.set.first_key_value().unwrap();
        assert!(selector.get(key).is_some_and(|own| own.as_str() != value.as_deref()));
        assert_eq!(delete.labels, Some(format!("{key}=released")));
        assert!(release_from(&Value::Null, "default", &Random::from_number(1)).is_none());
        assert!(release_from(&json!({}), "default", &Random::from_number(1)).is_none());
    }
}
