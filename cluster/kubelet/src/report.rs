//! Writing pod statuses to the API: only what changed, only to the pod meant, again until it is there.
//!
//! Statuses are queued by pod and written by a few tasks, so that a slow API server never holds back containers. The
//! last act for a pod that is being deleted also happens here: when its last status is written and nothing of it is
//! left, it is deleted for good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use orrery_api::meta::Object;
use orrery_api::mutant;
use orrery_client::{Api, Client, DeleteParams, Error, Next, Patch, WorkQueue, process};
use serde_json::{Map, Value, json};

use crate::status::OWN_CONDITIONS;

/// Statuses written at the same time.
const WRITERS: usize = 4;

struct Report {
    pod: Arc<Pod>,
    status: PodStatus,
    /// Nothing of the pod is left on the node: it may be deleted for good.
    finished: bool,
}

#[derive(Default)]
struct State {
    reports: BTreeMap<String, Report>,
    /// Pods as they were answered to the last write, by uid: newer than what the informer has.
    written: BTreeMap<String, Arc<Pod>>,
}

/// The queue of statuses to write.
pub struct Reporter {
    api: Api<Pod>,
    queue: WorkQueue<String>,
    state: Mutex<State>,
}

impl Reporter {
    /// A reporter over `client`.
    pub fn new(client: &Client) -> Self {
        Reporter {
            api: Api::new(client),
            queue: WorkQueue::with_backoff(Duration::from_millis(200), Duration::from_secs(10)),
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newer of `pod` and what the last write of its status answered.
    pub fn newest(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        match self.lock().written.get(pod.uid()) {
            Some(written) if written.revision() > pod.revision() => written.clone(),
            _ => pod.clone(),
        }
    }

    /// Has `status` written to `pod`, if it differs. `finished`: nothing of the pod is left on the node.
    pub fn report(&self, pod: &Arc<Pod>, status: PodStatus, finished: bool) {
        let uid = pod.uid().to_owned();
        let mut state = self.lock();
        let finished = finished || state.reports.get(&uid).is_some_and(|report| report.finished);
        state.reports.insert(
            uid.clone(),
            Report {
                pod: pod.clone(),
                status,
                finished,
            },
        );
        drop(state);
        self.queue.add(uid);
    }

    /// Forgets the pod with `uid`: the API no longer has it.
    pub fn forget(&self, uid: &str) {
        let mut state = self.lock();
        state.reports.remove(uid);
        state.written.remove(uid);
    }

    /// Writes for ever.
    pub async fn run(self: Arc<Self>) {
        let writers = (0..WRITERS).map(|_| {
            let this = self.clone();
            process(self.queue.clone(), move |uid: String| {
                let this = this.clone();
                async move { this.write(&uid).await }
            })
        });
        futures_util::future::join_all(writers).await;
    }

    async fn write(&self, uid: &str) -> Result<Next, Error> {
        let (pod, status, finished) = {
            let state = self.lock();
            let Some(report) = state.reports.get(uid) else {
                return Ok(Next::Done);
            };
            let written = state
                .written
                .get(uid)
                .filter(|written| written.revision() > report.pod.revision());
            (
                written.unwrap_or(&report.pod).clone(),
                report.status.clone(),
                report.finished,
            )
        };
        let patch = difference(&pod, &status);
        let is_told = patch.is_none();
        if let Some(patch) = patch {
            match self.api.patch_status(&pod.key(), &Patch::Strategic(patch)).await {
                Ok(answer) => {
                    self.lock().written.insert(uid.to_owned(), answer);
                }
                Err(error) if self.api.is_gone(&pod, &error).await? => return Ok(Next::Done),
                Err(error) => return Err(error),
            }
        }
        // With the mutant, only who has told the end deletes.
        if finished && pod.is_terminating() && !(is_told && mutant::active("O107")) {
            // The mutant: whoever has the name by now.
            let params = match is_told && mutant::active("O233") {
                true => DeleteParams::default(),
                false => DeleteParams::of(&*pod),
            };
            match self.api.delete(&pod.key(), &params.grace(0)).await {
                Ok(()) => {}
                Err(error) if self.api.is_gone(&pod, &error).await? => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Next::Done)
    }
}

/// The strategic merge patch that turns the status of `pod` into `status`; none if they are equal.
pub fn difference(pod: &Pod, status: &PodStatus) -> Option<Value> {
    if pod.status.as_ref() == Some(status) {
        return None;
    }
    let old = to_map(&pod.status.clone().unwrap_or_default());
    let new = to_map(status);
    let mut changed = Map::new();
    for (field, value) in &new {
        if old.get(field) == Some(value) {
            continue;
        }
        let value = match field.as_str() {
            "conditions" => merged(old.get(field), &own_conditions(value), "type", false),
            "podIPs" | "hostIPs" => merged(old.get(field), value, "ip", true),
            _ => value.clone(),
        };
        changed.insert(field.clone(), value);
    }
    for field in old.keys().filter(|field| !new.contains_key(*field)) {
        changed.insert(field.clone(), Value::Null);
    }
    changed.retain(|_, value| !matches!(value, Value::Array(items) if items.is_empty()));
    if changed.is_empty() {
        return None;
    }
    Some(json!({"metadata": {"uid": pod.uid()}, "status": changed}))
}

fn to_map(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// The conditions that the kubelet says something of: what others have said is theirs, and may be newer than what this
/// status was made from.
fn own_conditions(conditions: &Value) -> Value {
    let all = conditions.as_array().into_iter().flatten();
    let is_own = |one: &&Value| {
        let kind = one["type"].as_str();
        kind.is_some_and(|kind| OWN_CONDITIONS.contains(&kind)) || mutant::active("O119")
    };
    all.filter(is_own).cloned().collect()
}

/// The entries of a list that is merged by `key`: those that changed, and, if wanted, deletions of those that went.
fn merged(old: Option<&Value>, new: &Value, key: &str, delete: bool) -> Value {
    let old = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let new = new.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut entries: Vec<Value> = new
        .iter()
        .filter(|entry| !old.contains(entry))
        .map(|entry| {
            // A field that the old entry had and the new one lacks must be named to vanish.
            let mut entry = entry.clone();
            if let (Some(Value::Object(before)), Value::Object(fields)) =
                (old.iter().find(|before| before[key] == entry[key]), &mut entry)
            {
                for field in before.keys() {
                    fields.entry(field.clone()).or_insert(Value::Null);
                }
            }
            entry
        })
        .collect();
    if delete {
        let gone = old
            .iter()
            .filter(|before| !new.iter().any(|entry| entry[key] == before[key]))
            .filter(|_| !mutant::active("O72"));
        entries.extend(gone.map(|before| json!({key: before[key], "$patch": "delete"})));
    }
    Value::Array(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web", "uid": "u1"}, "status": status})).expect("a pod")
    }

    fn status(status: Value) -> PodStatus {
        serde_json::from_value(status).expect("a status")
    }

    #[test]
    fn an_unchanged_status_is_not_written() {
        let same = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(difference(&pod(same.clone()), &status(same)), None);
    }

    #[test]
    fn a_patch_names_what_changed_and_the_pod_it_is_meant_for() {
        let old = json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "reason": "x",
            "conditions": [{"type": "Ready", "status": "False", "reason": "y"}, {"type": "Mine", "status": "True"}]});
        let new = json!({"phase": "Running", "podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Mine", "status": "True"}]});
        assert_eq!(
            difference(&pod(old), &status(new)),
            Some(json!({"metadata": {"uid": "u1"}, "status": {
                "podIP": "10.0.0.2", "reason": null,
                "podIPs": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.1", "$patch": "delete"}],
                "conditions": [{"type": "Ready", "status": "True", "reason": null}],
            }}))
        );
    }

    #[test]
    fn what_others_have_said_since_is_left_as_it_is() {
        let now = json!({"conditions": [{"type": "Ready", "status": "False"}, {"type": "Gate", "status": "True"}]});
        let made_before = json!({"phase": "Running",
            "conditions": [{"type": "Ready", "status": "False"}, {"type": "Gate", "status": "False"}]});
        assert_eq!(
            difference(&pod(now), &status(made_before)),
            Some(json!({"metadata": {"uid": "u1"}, "status": {"phase": "Running"}}))
        );
    }
}
