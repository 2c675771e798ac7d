//! What a user does, once: as `kubectl` would, again and again until the server has answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use orrery_api::clock;
use orrery_api::labels::Selector;
use orrery_api::message::Identity;
use orrery_api::random::Random;
use orrery_client::{Client, Error};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::requests::{api_version, collection, path_of, plural};
use crate::link::SimTransport;
use crate::scenario::{
    CordonSpec, DeleteSpec, Manifest, Moment, NodeTarget, OwnSpec, PodChoice, Propagation, StepAction,
};
use crate::world::World;

/// So often a user tries before he gives up: longer than any server is away in a run that converges.
const TRIES: u32 = 120;

/// A user.
pub struct User {
    /// Where he lives.
    pub world: Arc<World>,
    /// His way to the server.
    pub client: Client,
    /// His moods.
    pub random: Random,
}

/// What the server made of a request, when it answered.
pub enum Reply {
    /// It did it.
    Done,
    /// It refused.
    Refused(u16, String),
}

impl User {
    /// The user who does the step of this name.
    pub fn new(world: &Arc<World>, step: &str) -> Self {
        User::with(world, world.random.stream(&format!("step/{step}")))
    }

    /// A user who draws from `random`.
    pub fn with(world: &Arc<World>, random: Random) -> Self {
        let identity = Identity::new("kubernetes-admin", &["system:masters"]);
        let link = SimTransport::new(world, "user", None, "workstation", identity, random.stream("link"));
        User {
            world: world.clone(),
            client: Client::new(link, "kubectl").with_limit(Duration::from_secs(10)),
            random,
        }
    }

    /// Sends a request until the server answers; none if it never does.
    pub async fn ask(&self, method: Method, path: &str, body: Option<(&'static str, Value)>) -> Option<Reply> {
        for _ in 0..TRIES {
            let mut request = http::Request::builder().method(method.clone()).uri(path);
            let mut bytes = Bytes::new();
            if let Some((content_type, body)) = &body {
                request = request.header(http::header::CONTENT_TYPE, *content_type);
                bytes = Bytes::from(body.to_string());
            }
            let request = match request.body(bytes) {
                Ok(request) => request,
                Err(error) => return Some(Reply::Refused(400, error.to_string())),
            };
            match self.client.fetch(request).await {
                Ok(_) => return Some(Reply::Done),
                Err(Error::Api(error)) if error.code() < 500 && error.code() != 429 => {
                    return Some(Reply::Refused(error.code(), error.to_string()));
                }
                Err(_) => sleep(self.random.duration(Duration::from_millis(500), Duration::from_secs(2))).await,
            }
        }
        None
    }

    /// Sends a request; what the server refuses for good is the scenario's fault, unless it is one of `expected`.
    async fn insist(&self, method: Method, path: &str, body: Option<(&'static str, Value)>, expected: &[u16]) -> bool {
        match self.ask(method.clone(), path, body).await {
            Some(Reply::Done) => true,
            Some(Reply::Refused(code, _)) if expected.contains(&code) => false,
            Some(Reply::Refused(_, why)) => {
                self.world.trouble(format!("{method} {path} was refused: {why}"));
                false
            }
            None => {
                self.world.trouble(format!("{method} {path} was never answered"));
                false
            }
        }
    }

    /// Creates an object, or merges it into the one of its name.
    pub async fn apply(&self, object: &Value) {
        let (all, one) = path_of(object);
        for _ in 0..TRIES {
            let created = self
                .ask(Method::POST, &all, Some(("application/json", object.clone())))
                .await;
            match created {
                Some(Reply::Done) => return,
                Some(Reply::Refused(409, _)) => {
                    let merge = Some(("application/merge-patch+json", object.clone()));
                    if self.insist(Method::PATCH, &one, merge, &[404]).await {
                        return;
                    }
                }
                // The namespace may be about to come.
                Some(Reply::Refused(404 | 403, _)) => {}
                Some(Reply::Refused(_, why)) => return self.world.trouble(format!("{one} was refused: {why}")),
                None => return self.world.trouble(format!("{one} was never answered")),
            }
            sleep(Duration::from_secs(1)).await;
        }
        self.world.trouble(format!("{one} could not be applied"));
    }

    /// Merges `patch` into an object; users do not mind if it is gone.
    pub async fn merge(&self, kind: &str, namespace: &str, name: &str, patch: Value) {
        let path = format!("{}/{name}", collection(api_version(kind), kind, namespace));
        self.insist(
            Method::PATCH,
            &path,
            Some(("application/merge-patch+json", patch)),
            &[404],
        )
        .await;
    }

    /// Deletes an object; users do not mind if it is gone.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) {
        self.delete_with(kind, namespace, name, None, None).await;
    }

    async fn delete_with(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        propagation: Option<Propagation>,
        grace: Option<u32>,
    ) {
        let path = format!("{}/{name}", collection(api_version(kind), kind, namespace));
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        if let Some(policy) = propagation {
            options["propagationPolicy"] = json!(format!("{policy:?}"));
        }
        if let Some(seconds) = grace {
            options["gracePeriodSeconds"] = json!(seconds);
        }
        let options = (propagation.is_some() || grace.is_some()).then_some(("application/json", options));
        self.insist(Method::DELETE, &path, options, &[404, 409]).await;
    }

    /// The names of live pods, the oldest first.
    pub fn live_pods(&self, namespace: &str, selector: Option<&Selector>) -> Vec<String> {
        self.world.witness.look(&self.world, |cluster| {
            let empty = std::collections::BTreeMap::new();
            let pods = cluster
                .all("pods")
                .filter(|pod| pod.id.namespace == namespace && pod.is_live_pod())
                .filter(|pod| selector.is_none_or(|wanted| wanted.matches(pod.meta.labels.as_ref().unwrap_or(&empty))));
            let mut pods: Vec<_> = pods.map(|pod| (pod.created, pod.id.name.clone())).collect();
            pods.sort();
            pods.into_iter().map(|(_, name)| name).collect()
        })
    }

    /// Deletes pods: the one that is named by its age, or drawn ones.
    async fn delete_pods(&self, moment: Moment, choice: &PodChoice) {
        let selector = match choice.labels.as_deref().map(Selector::parse).transpose() {
            Ok(selector) => selector,
            Err(error) => return self.world.trouble(error.to_string()),
        };
        let mut names = self.live_pods(&choice.namespace, selector.as_ref());
        if let Some(nth) = choice.nth {
            names.truncate(nth as usize);
            names.drain(..names.len().saturating_sub(1));
        } else {
            self.random.shuffle(&mut names);
        }
        for (index, name) in names.iter().take(choice.count).enumerate() {
            let there = self.live_pods(&choice.namespace, selector.as_ref());
            let Some(position) = there.iter().position(|own| own == name) else {
                continue;
            };
            let moment = if index == 0 {
                moment.clone()
            } else {
                Moment::At(self.world.choices.elapsed())
            };
            let pinned = PodChoice {
                count: 1,
                nth: Some(choice.nth.unwrap_or(position as u32 + 1)),
                ..choice.clone()
            };
            self.world.choices.step(moment, StepAction::DeletePod(pinned));
            self.delete("Pod", &choice.namespace, name).await;
        }
    }

    /// Rolls a deployment over, as `kubectl rollout restart` does.
    pub async fn restart(&self, namespace: &str, name: &str) {
        let now = clock::now_time().0.to_string();
        let patch =
            json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
        self.merge("Deployment", namespace, name, patch).await;
    }

    /// Deletes a deployment and applies it again as it was asked for.
    pub async fn delete_and_create(&self, namespace: &str, name: &str) {
        let Some((_, object)) = self.deployment(namespace, name) else {
            return;
        };
        self.delete("Deployment", namespace, name).await;
        self.apply(&object).await;
    }

    /// Deletes a deployment in the foreground, and applies it again when it is gone. As long as it is not, the user waits.
    pub async fn delete_foreground_and_create(&self, namespace: &str, name: &str) {
        let Some((uid, object)) = self.deployment(namespace, name) else {
            return;
        };
        let path = format!("{}/{name}", collection("apps/v1", "Deployment", namespace));
        let options = json!({
            "kind": "DeleteOptions", "apiVersion": "v1",
            "propagationPolicy": "Foreground", "preconditions": {"uid": uid}
        });
        let body = Some(("application/json", options));
        self.insist(Method::DELETE, &path, body, &[404, 409]).await;
        while self.deployment(namespace, name).is_some_and(|(known, _)| known == uid) {
            sleep(Duration::from_secs(1)).await;
        }
        self.apply(&object).await;
    }

    /// A deployment's uid, and the deployment as it was asked for.
    fn deployment(&self, namespace: &str, name: &str) -> Option<(String, Value)> {
        let bytes = self.world.witness.look(&self.world, |cluster| {
            cluster
                .find("deployments.apps", namespace, name)
                .map(|item| item.bytes.clone())
        })?;
        let mut object: Value = serde_json::from_slice(&bytes).ok()?;
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        object["apiVersion"] = json!("apps/v1");
        object["kind"] = json!("Deployment");
        if let Some(object) = object.as_object_mut() {
            object.remove("status");
        }
        if let Some(meta) = object["metadata"].as_object_mut() {
            meta.retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "labels"));
        }
        Some((uid, object))
    }
}

/// Does a step, whose moment has come, and notes what exactly it was.
pub async fn perform(user: &User, moment: Moment, action: &StepAction) {
    match action {
        StepAction::DeletePod(choice) => return user.delete_pods(moment, choice).await,
        StepAction::Cordon(spec) => return cordon(user, moment, &spec.node, true).await,
        StepAction::Uncordon(spec) => return cordon(user, moment, &spec.node, false).await,
        _ => user.world.choices.step(moment, action.clone()),
    }
    match action {
        StepAction::Apply(Manifest::Inline(objects)) => {
            for object in objects {
                user.apply(object).await;
            }
        }
        StepAction::Apply(Manifest::File(name)) => user.world.trouble(format!("{name} was never read")),
        StepAction::Delete(DeleteSpec {
            object,
            propagation,
            grace,
        }) => {
            let parts: Vec<&str> = object.split('/').collect();
            match parts.as_slice() {
                [kind, namespace, name] => user.delete_with(kind, namespace, name, *propagation, *grace).await,
                [kind, name] => user.delete_with(kind, "default", name, *propagation, *grace).await,
                _ => user
                    .world
                    .trouble(format!("{object:?} names no object: write kind/name")),
            }
        }
        StepAction::Own(spec) => own(user, spec).await,
        StepAction::Scale(spec) => {
            let patch = json!({"spec": {"replicas": spec.replicas}});
            user.merge("Deployment", &spec.namespace, &spec.deployment, patch).await;
        }
        StepAction::SetImage(spec) => {
            let patch = json!({"spec": {"template": {"spec": {"containers": [
                {"name": spec.container, "image": spec.image}
            ]}}}});
            let path = format!(
                "{}/{}",
                collection("apps/v1", "Deployment", &spec.namespace),
                spec.deployment
            );
            user.insist(
                Method::PATCH,
                &path,
                Some(("application/strategic-merge-patch+json", patch)),
                &[404],
            )
            .await;
        }
        StepAction::Restart(choice) => user.restart(&choice.namespace, &choice.deployment).await,
        StepAction::CreateDeleteSameName(choice) => user.delete_and_create(&choice.namespace, &choice.deployment).await,
        StepAction::DeleteForeground(choice) => {
            user.delete_foreground_and_create(&choice.namespace, &choice.deployment)
                .await;
        }
        // Done above, or not at once.
        StepAction::DeletePod(_) | StepAction::Cordon(_) | StepAction::Uncordon(_) | StepAction::Churn(_) => {}
    }
}

/// An object's kind, namespace and name, of `Kind/name` or `Kind/namespace/name`.
fn named(object: &str) -> Option<(&str, &str, &str)> {
    match *object.split('/').collect::<Vec<_>>() {
        [kind, namespace, name] => Some((kind, namespace, name)),
        [kind, name] => Some((kind, "default", name)),
        _ => None,
    }
}

/// Gives an object owners.
async fn own(user: &User, spec: &OwnSpec) {
    let Some((kind, namespace, name)) = named(&spec.object) else {
        return user
            .world
            .trouble(format!("{:?} names no object: write Kind/name", spec.object));
    };
    let owners: Vec<Value> = user.world.witness.look(&user.world, |cluster| {
        let owners = spec.owners.iter().filter_map(|owner| named(owner));
        owners
            .filter_map(|(kind, namespace, name)| {
                let version = api_version(kind);
                let group = version
                    .split_once('/')
                    .map_or(String::new(), |(group, _)| format!(".{group}"));
                let resource = format!("{}{group}", plural(kind));
                let uid = cluster.find(&resource, namespace, name)?.uid().to_owned();
                Some(json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid}))
            })
            .collect()
    });
    let patch = json!({"metadata": {"ownerReferences": owners}});
    user.merge(kind, namespace, name, patch).await;
}

/// Forbids or allows new pods on a node.
async fn cordon(user: &User, moment: Moment, target: &NodeTarget, forbid: bool) {
    let names: Vec<String> = user.world.workers().map(|machine| machine.name.clone()).collect();
    let name = match target {
        NodeTarget::Named(name) => Some(name.clone()),
        NodeTarget::Any => user.random.choose(&names).cloned(),
    };
    let Some(name) = name else { return };
    let spec = CordonSpec {
        node: NodeTarget::Named(name.clone()),
    };
    let pinned = if forbid {
        StepAction::Cordon(spec)
    } else {
        StepAction::Uncordon(spec)
    };
    user.world.choices.step(moment, pinned);
    user.merge("Node", "", &name, json!({"spec": {"unschedulable": forbid}}))
        .await;
}
