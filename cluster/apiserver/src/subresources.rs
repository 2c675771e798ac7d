//! The parts of objects with paths of their own: binding, eviction, finalize, log. (`scale` has a module of its own.)

use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Binding, Namespace, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::clock;
use orrery_api::field;
use orrery_api::message::{Request, Response};
use orrery_api::mutant;
use orrery_api::status::ApiError;
use orrery_api::task::within;
use orrery_store::{Compare, KeyValue, Operation, Outcome, Transaction};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::body;
use crate::delete::DeleteOptions;
use crate::read::object_response;
use crate::request::{Query, ResourcePath, Shape};
use crate::server::{ApiServer, json_response};
use crate::storage;
use crate::write::{Part, base_version, is_at};

const TRIES: usize = 16;
/// A kubelet begins to answer within so long.
const KUBELET_LIMIT: Duration = Duration::from_secs(30);

/// Reads the body of a subresource.
pub fn read<T: DeserializeOwned>(request: &Request) -> Result<T, ApiError> {
    let value = body::read_value(request)?;
    serde_json::from_value(value).map_err(|error| ApiError::bad_request(error.to_string()))
}

fn created() -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    json_response(201, Bytes::from(status.to_string()))
}

impl ApiServer {
    /// POST of `binding`: gives a pod its node. Bound once, to a node that is there and stays.
    pub(crate) async fn bind(
        &self,
        path: &ResourcePath,
        query: &Query,
        request: &Request,
    ) -> Result<Response, ApiError> {
        let binding: Binding = read(request)?;
        let name = path.name.as_str();
        let dry_run = query.dry_run()?;
        let own = binding.metadata.name.as_deref().unwrap_or_default();
        if !own.is_empty() && own != name {
            return Err(ApiError::bad_request(
                "name in URL does not match name in Binding object",
            ));
        }
        let node = binding.target.name.clone().unwrap_or_default();
        let kind = binding.target.kind.as_deref().unwrap_or_default();
        let mut faults = Vec::new();
        if !kind.is_empty() && kind != "Node" {
            faults.push(field::Error::not_supported("target.kind", kind, &["Node", "<empty>"]));
        }
        if node.is_empty() {
            faults.push(field::Error::required("target.name", ""));
        }
        if !faults.is_empty() {
            return Err(ApiError::invalid("Binding", name, &faults));
        }
        let conflict = |why: String| ApiError::conflict("pods/binding", name, &why);
        for _ in 0..TRIES {
            // A binding is something new in its namespace, too.
            let namespace_stays = self.namespace_is_open(path.resource, &path.namespace, name)?;
            let current = self.current(path.resource, &path.namespace, name)?;
            let mut object = current.object.boxed_clone();
            let pod = object
                .as_any_mut()
                .downcast_mut::<Pod>()
                .ok_or_else(ApiError::no_such_path)?;
            if let Some(uid) = binding.metadata.uid.as_ref().filter(|uid| !uid.is_empty())
                && Some(uid) != pod.metadata.uid.as_ref()
                && !mutant::active("O157")
            {
                let own = pod.metadata.uid.as_deref().unwrap_or_default();
                return Err(conflict(format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {own}"
                )));
            }
            if base_version(&binding.metadata).is_some_and(|base| Some(base) != pod.metadata.resource_version) {
                return Err(ApiError::stale("pods/binding", name));
            }
            if pod.metadata.deletion_timestamp.is_some() && !mutant::active("O158") {
                return Err(conflict(format!(
                    "pod {name} is being deleted, cannot be assigned to a host"
                )));
            }
            let spec = pod.spec.get_or_insert_default();
            if let Some(taken) = spec.node_name.as_ref().filter(|taken| !taken.is_empty()) {
                return Err(conflict(format!("pod {name} is already assigned to node {taken:?}")));
            }
            if spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
                return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
            }
            let node_key = format!("{}nodes/{node}", storage::ROOT);
            let node_kv = self.store.get(&node_key);
            if node_kv.is_none() && !mutant::is_on("B28") && !mutant::active("O03") {
                return Err(conflict(format!("node {node:?} is not there")));
            }
            if let Some(kv) = &node_kv {
                let node_meta: Stub = serde_json::from_slice(&kv.value).map_err(ApiError::internal)?;
                if node_meta.metadata.deletion_timestamp.is_some() {
                    return Err(conflict(format!("node {node:?} is being deleted")));
                }
            }
            spec.node_name = Some(node.clone());
            for (key, value) in binding.metadata.annotations.iter().flatten() {
                pod.metadata
                    .annotations
                    .get_or_insert_default()
                    .insert(key.clone(), value.clone());
            }
            if !mutant::active("O86") {
                set_scheduled(pod);
            }
            if dry_run {
                return Ok(created());
            }
            let (value, _) = storage::stamped(path.resource, object, self.cache.hints());
            // The very node that was looked at: it might be marked as going, or be another of that name. Its heartbeats
            // write elsewhere, so that this seldom has to be tried again.
            let unchanged = |kv: &KeyValue| Compare::ModRevision {
                key: kv.key.clone(),
                is: kv.mod_revision,
            };
            let mut transaction = Transaction::new().when(match mutant::active("O32") {
                true => Compare::Exists {
                    key: current.kv.key.clone(),
                },
                false => unchanged(&current.kv),
            });
            transaction = transaction.when(namespace_stays);
            if let Some(kv) = &node_kv {
                transaction = transaction.when(unchanged(kv));
            }
            let transaction = transaction.then(Operation::Put {
                key: current.kv.key.clone(),
                value,
                lease: None,
            });
            if let Outcome::Committed { .. } = storage::commit(&self.store, transaction).await? {
                return Ok(created());
            }
        }
        Err(ApiError::stale("pods/binding", name))
    }

    /// POST of `eviction`: deletes a pod unless a disruption budget forbids it. (Budgets are not served yet, so that
    /// none can forbid it.)
    pub(crate) async fn evict(
        &self,
        path: &ResourcePath,
        query: &Query,
        request: &Request,
    ) -> Result<Response, ApiError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Eviction {
            #[serde(default)]
            metadata: ObjectMeta,
            delete_options: Option<DeleteOptions>,
        }
        let eviction: Eviction = read(request)?;
        let own = eviction.metadata.name.as_deref().unwrap_or_default();
        if !own.is_empty() && own != path.name {
            return Err(ApiError::bad_request(
                "name in URL does not match name in Eviction object",
            ));
        }
        let mut options = eviction.delete_options.unwrap_or_default();
        if query.dry_run()? {
            options.dry_run = Some(vec!["All".to_owned()]);
        }
        self.delete(path.resource, &path.namespace, &path.name, &options)
            .await?;
        Ok(created())
    }

    /// PUT of a namespace's `finalize`: sets the finalizers in its spec, and lets it go when none is left.
    pub(crate) async fn finalize(
        &self,
        path: &ResourcePath,
        query: &Query,
        shape: Shape,
        request: &Request,
    ) -> Result<Response, ApiError> {
        let wanted: Namespace = read(request)?;
        is_at(&wanted.metadata, false, "", &path.name)?;
        let once = base_version(&wanted.metadata).is_some();
        let bytes = self
            .update(
                path.resource,
                "",
                &path.name,
                Part::Finalize,
                once,
                query.dry_run()?,
                |current| {
                    let mut new = current.object.boxed_clone();
                    let namespace = new
                        .as_any_mut()
                        .downcast_mut::<Namespace>()
                        .ok_or_else(ApiError::no_such_path)?;
                    if let Some(version) = &wanted.metadata.resource_version {
                        namespace.metadata.resource_version = Some(version.clone());
                    }
                    if let Some(uid) = &wanted.metadata.uid {
                        namespace.metadata.uid = Some(uid.clone());
                    }
                    namespace.spec.get_or_insert_default().finalizers =
                        wanted.spec.as_ref().and_then(|spec| spec.finalizers.clone());
                    Ok(new)
                },
            )
            .await?;
        object_response(path.resource, 200, bytes, shape, query)
    }

    /// GET of `log`: asks the kubelet of the pod's node.
    pub(crate) async fn log(&self, path: &ResourcePath, query: &Query, raw: &str) -> Result<Response, ApiError> {
        let current = self.current(path.resource, &path.namespace, &path.name)?;
        let pod = current
            .object
            .as_any()
            .downcast_ref::<Pod>()
            .ok_or_else(ApiError::no_such_path)?;
        let spec = pod.spec.clone().unwrap_or_default();
        let name = &path.name;
        let mut containers: Vec<&str> = spec
            .init_containers
            .iter()
            .flatten()
            .map(|one| one.name.as_str())
            .collect();
        containers.extend(spec.containers.iter().map(|one| one.name.as_str()));
        let container = match query.get("container") {
            Some(chosen) if containers.contains(&chosen) => chosen.to_owned(),
            Some(chosen) => {
                return Err(ApiError::bad_request(format!(
                    "container {chosen} is not valid for pod {name}"
                )));
            }
            None => match spec.containers.as_slice() {
                [one] => one.name.clone(),
                _ => {
                    let list = spec
                        .containers
                        .iter()
                        .map(|one| one.name.as_str())
                        .collect::<Vec<_>>()
                        .join(" ");
                    return Err(ApiError::bad_request(format!(
                        "a container name must be specified for pod {name}, choose one of: [{list}]"
                    )));
                }
            },
        };
        let Some(node) = spec.node_name.filter(|node| !node.is_empty()) else {
            // Not scheduled: there is nothing to read, which is no error.
            return Ok(http::Response::new(orrery_api::message::Body::empty()));
        };
        let transport = self
            .options
            .nodes
            .connect(&node)
            .ok_or_else(|| ApiError::internal(format!("the kubelet of node {node:?} cannot be reached")))?;
        let uri = format!("/containerLogs/{}/{name}/{container}?{raw}", path.namespace);
        let request = http::Request::builder()
            .uri(uri)
            .body(Bytes::new())
            .map_err(ApiError::internal)?;
        within(KUBELET_LIMIT, transport.send(request))
            .await
            .map_err(|_| ApiError::timeout(format!("the kubelet of node {node:?} did not answer in time")))?
            .map_err(|error| ApiError::internal(format!("the kubelet of node {node:?}: {error}")))
    }
}

#[derive(serde::Deserialize)]
struct Stub {
    metadata: ObjectMeta,
}

/// A bound pod says so in its conditions.
fn set_scheduled(pod: &mut Pod) {
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "PodScheduled");
    conditions.push(PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(clock::now_time()),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    });
}
