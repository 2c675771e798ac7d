//! A user: asks the API server as `kubectl` does, again and again until it has answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use orrery_api::message::Identity;
use orrery_api::random::Random;
use orrery_client::{Client, Error};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::requests::{Resource, api_version, collection, path_of};
use crate::scenario::Propagation;
use crate::stage::Stage;

/// So often a user tries before he gives up: longer than any server is away in a run that converges.
pub const TRIES: u32 = 120;

/// The content type of objects.
pub const JSON: &str = "application/json";
/// The content type of a merge patch.
pub const MERGE: &str = "application/merge-patch+json";
/// A patch that merges lists by the keys of their entries.
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A user.
pub struct User {
    /// Where he lives.
    pub stage: Arc<dyn Stage>,
    /// His way to the server.
    client: Client,
    /// His moods.
    pub random: Random,
}

/// What the server made of a request, when it answered.
pub enum Reply {
    /// It did it, and said this.
    Done(Bytes),
    /// It refused.
    Refused(u16, String),
}

/// What is sent: the content type, and the content.
pub type Content = Option<(&'static str, Value)>;

impl User {
    /// The user who does the step of this name.
    pub fn new(stage: &Arc<dyn Stage>, step: &str) -> Self {
        User::with(stage.clone(), stage.random().stream(&format!("step/{step}")))
    }

    /// A user who draws from `random`.
    pub fn with(stage: Arc<dyn Stage>, random: Random) -> Self {
        User {
            client: stage.clone().client(&random),
            stage,
            random,
        }
    }

    /// Sends a request once; none if there was no answer.
    pub async fn ask_once(&self, method: &Method, path: &str, body: &Content) -> Option<Reply> {
        self.ask_once_as(None, method, path, body).await
    }

    /// Sends a request once, as somebody else if one is named (`kubectl --as`); none if there was no answer.
    pub async fn ask_once_as(
        &self,
        who: Option<&Identity>,
        method: &Method,
        path: &str,
        body: &Content,
    ) -> Option<Reply> {
        let mut request = http::Request::builder().method(method.clone()).uri(path);
        if let Some(who) = who {
            request = request.header("impersonate-user", &who.user);
            for group in &who.groups {
                request = request.header("impersonate-group", group);
            }
        }
        let mut bytes = Bytes::new();
        if let Some((content_type, body)) = body {
            request = request.header(http::header::CONTENT_TYPE, *content_type);
            bytes = Bytes::from(body.to_string());
        }
        let request = match request.body(bytes) {
            Ok(request) => request,
            Err(error) => return Some(Reply::Refused(400, error.to_string())),
        };
        match self.client.fetch(request).await {
            Ok(answer) => Some(Reply::Done(answer)),
            Err(Error::Api(error)) => Some(Reply::Refused(error.code(), error.to_string())),
            Err(_) => None,
        }
    }

    /// Sends a request until the server answers for good; none if it never does.
    pub async fn ask(&self, method: Method, path: &str, body: Content) -> Option<Reply> {
        for _ in 0..TRIES {
            match self.ask_once(&method, path, &body).await {
                Some(Reply::Refused(code, _)) if code >= 500 || code == 429 => {}
                Some(reply) => return Some(reply),
                None => {}
            }
            sleep(self.random.duration(Duration::from_millis(500), Duration::from_secs(2))).await;
        }
        None
    }

    /// Sends a request; what the server refuses for good is the scenario's fault, unless it is one of `expected`.
    pub async fn insist(&self, method: Method, path: &str, body: Content, expected: &[u16]) -> Option<Bytes> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.ask(method.clone(), path, body.clone()).await {
                Some(Reply::Done(answer)) => return Some(answer),
                Some(Reply::Refused(code, _)) if expected.contains(&code) => return None,
                // Others were quicker, again and again.
                Some(Reply::Refused(409, why)) => {
                    last = why;
                    sleep(Duration::from_secs(1)).await;
                }
                Some(Reply::Refused(_, why)) => {
                    self.stage.trouble(format!("{method} {path} was refused: {why}"));
                    return None;
                }
                None => {
                    last.clear();
                    break;
                }
            }
        }
        self.stage.trouble(given_up(&method, path, &last));
        None
    }

    /// What is at a path; none if nothing is.
    pub async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.insist(Method::GET, path, None, &[404]).await?;
        serde_json::from_slice(&answer).ok()
    }

    /// Creates an object, or merges it into the one of its name.
    pub async fn apply(&self, object: &Value) {
        let (all, one) = path_of(object);
        let mut last = String::new();
        for _ in 0..TRIES {
            let created = self
                .ask(Method::POST, &all, Some(("application/json", object.clone())))
                .await;
            match created {
                Some(Reply::Done(_)) => return,
                Some(Reply::Refused(code, why)) if code == 409 || has_it_itself(code, &why) => {
                    last = why;
                    let merge = Some((MERGE, object.clone()));
                    if self.insist(Method::PATCH, &one, merge, &[404]).await.is_some() {
                        return;
                    }
                }
                // The namespace may be about to come.
                Some(Reply::Refused(404 | 403, why)) => last = why,
                Some(Reply::Refused(_, why)) => return self.stage.trouble(format!("POST {one} was refused: {why}")),
                None => return self.stage.trouble(format!("POST {one} was never answered")),
            }
            sleep(Duration::from_secs(1)).await;
        }
        self.stage.trouble(given_up(&Method::POST, &one, &last));
    }

    /// Merges `patch` into an object; users do not mind if it is gone.
    pub async fn merge(&self, kind: &str, namespace: &str, name: &str, patch: Value) {
        let path = path_to(kind, namespace, name);
        self.insist(Method::PATCH, &path, Some((MERGE, patch)), &[404]).await;
    }

    /// Merges `status` into an object's status, its lists by their keys; users do not mind if it is gone.
    pub async fn merge_status(&self, kind: &str, namespace: &str, name: &str, status: Value) {
        let path = format!("{}/status", path_to(kind, namespace, name));
        let patch = json!({"status": status});
        self.insist(Method::PATCH, &path, Some((STRATEGIC, patch)), &[404])
            .await;
    }

    /// Deletes an object; users do not mind if it is gone.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) {
        self.delete_with(kind, namespace, name, None, None).await;
    }

    /// Deletes an object in a certain way; users do not mind if it is gone.
    pub async fn delete_with(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        propagation: Option<Propagation>,
        grace: Option<u32>,
    ) {
        let path = path_to(kind, namespace, name);
        self.insist(Method::DELETE, &path, deletion(propagation, grace), &[404, 409])
            .await;
    }

    /// An object's uid, and the object as somebody could ask for it anew.
    pub fn asked_for(&self, resource: &Resource, namespace: &str, name: &str) -> Option<(String, Value)> {
        asked_for(&*self.stage, resource, namespace, name)
    }

    /// Whether the object with this uid is still there, perhaps being deleted.
    pub fn is_there(&self, resource: &Resource, namespace: &str, name: &str, uid: &str) -> bool {
        self.stage.look(|cluster| {
            cluster
                .find(resource.name, namespace, name)
                .is_some_and(|item| item.uid() == uid)
        })
    }

    /// The names of what users made of a resource in a namespace.
    pub fn names(&self, resource: &Resource, namespace: &str) -> Vec<String> {
        let all = made_by_users(&*self.stage, resource).into_iter();
        all.filter(|(own, _)| own == namespace).map(|(_, name)| name).collect()
    }

    /// Changes an object by what it is now, and again if somebody else was quicker. `change` says what is merged into
    /// it, if anything.
    pub async fn change(&self, kind: &str, namespace: &str, name: &str, change: impl Fn(&Value) -> Option<Value>) {
        let path = path_to(kind, namespace, name);
        self.rewrite(&path, (Method::PATCH, MERGE), change).await;
    }

    /// Puts an object in the place of the one of its name, as `kubectl replace` does: whatever the other one is like by
    /// then. Users do not mind if there is none.
    pub async fn replace(&self, object: &Value) {
        let (_, path) = path_of(object);
        self.rewrite(&path, (Method::PUT, JSON), |_| Some(object.clone())).await;
    }

    /// Writes an object in a certain way by what it is now, and again if somebody else was quicker.
    async fn rewrite(
        &self,
        path: &str,
        (method, content_type): (Method, &'static str),
        write: impl Fn(&Value) -> Option<Value>,
    ) {
        let mut last = String::new();
        for _ in 0..TRIES {
            let Some(there) = self.get(path).await else { return };
            let Some(mut new) = write(&there) else { return };
            new["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
            match self.ask(method.clone(), path, Some((content_type, new))).await {
                Some(Reply::Done(_) | Reply::Refused(404, _)) => return,
                Some(Reply::Refused(409, why)) => last = why,
                Some(Reply::Refused(_, why)) => {
                    return self.stage.trouble(format!("{method} {path} was refused: {why}"));
                }
                None => return self.stage.trouble(format!("{method} {path} was never answered")),
            }
        }
        self.stage.trouble(given_up(&method, path, &last));
    }
}

/// Whether a refusal may be of a service whose creation was not answered: it hears that somebody has its node port or
/// address, which is itself.
fn has_it_itself(code: u16, why: &str) -> bool {
    code == 422 && why.contains("already allocated")
}

/// What a deletion says beside what is to go; nothing if it is to go as is usual.
pub fn deletion(propagation: Option<Propagation>, grace: Option<u32>) -> Content {
    let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    if let Some(policy) = propagation {
        options["propagationPolicy"] = json!(format!("{policy:?}"));
    }
    if let Some(seconds) = grace {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    (propagation.is_some() || grace.is_some()).then_some((JSON, options))
}

/// See [`User::asked_for`].
pub fn asked_for(stage: &dyn Stage, resource: &Resource, namespace: &str, name: &str) -> Option<(String, Value)> {
    let bytes = stage.look(|cluster| {
        cluster
            .find(resource.name, namespace, name)
            .map(|item| item.bytes.clone())
    })?;
    let mut object: Value = serde_json::from_slice(&bytes).ok()?;
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    object["apiVersion"] = json!(resource.api_version);
    object["kind"] = json!(resource.kind);
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "labels"));
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        // What the server has chosen, it may choose anew; and whoever applies a deployment wants it to roll out.
        for chosen in ["clusterIP", "clusterIPs", "healthCheckNodePort", "paused"] {
            spec.remove(chosen);
        }
        if resource.kind == "Service" {
            for port in spec
                .get_mut("ports")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                port.as_object_mut().and_then(|port| port.remove("nodePort"));
            }
        }
    }
    Some((uid, object))
}

/// What a user says who has asked again and again: the last reason that he was given, if he was answered at all.
pub fn given_up(method: &Method, path: &str, last: &str) -> String {
    if last.is_empty() {
        return format!("{method} {path} was never answered");
    }
    format!("{method} {path} was refused {TRIES} times, the last time with: {last}")
}

/// The path of an object of a kind that users name.
pub fn path_to(kind: &str, namespace: &str, name: &str) -> String {
    format!("{}/{name}", collection(api_version(kind), kind, namespace))
}

/// Namespaces and names of what users made of a resource, unless it is being deleted: nothing of the system's own, and
/// nothing that somebody owns.
pub fn made_by_users(stage: &dyn Stage, resource: &Resource) -> Vec<(String, String)> {
    stage.look(|cluster| {
        let all = cluster.all(resource.name).filter(|item| {
            let is_own = match resource.kind {
                "Service" => item.id.namespace == "default" && item.id.name == "kubernetes",
                "ConfigMap" => item.id.name == "kube-root-ca.crt",
                _ => false,
            };
            let place = if item.id.namespace.is_empty() {
                &item.id.name
            } else {
                &item.id.namespace
            };
            !is_own
                && !place.starts_with("kube-")
                && !item.is_terminating()
                && item.meta.owner_references.as_ref().is_none_or(Vec::is_empty)
        });
        all.map(|item| (item.id.namespace.clone(), item.id.name.clone()))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_up_tells_what_he_asked_and_the_last_reason() {
        let told = |last: &str| given_up(&Method::POST, "/api/v1/namespaces/team/pods/p", last);
        insta::assert_snapshot!(told("namespaces \"team\" not found (NotFound)"), @r#"POST /api/v1/namespaces/team/pods/p was refused 120 times, the last time with: namespaces "team" not found (NotFound)"#);
        insta::assert_snapshot!(told(""), @"POST /api/v1/namespaces/team/pods/p was never answered");
    }
}
