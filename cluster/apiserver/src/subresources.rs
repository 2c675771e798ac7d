//! The parts of objects with paths of their own: scale, binding, eviction, finalize, log.

use bytes::Bytes;
use http::Method;
use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use k8s_openapi::api::core::v1::{Binding, Namespace, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::clock;
use orrery_api::field;
use orrery_api::message::{Request, Response};
use orrery_api::status::ApiError;
use orrery_store::{Compare, Operation, Outcome, Transaction};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::body;
use crate::delete::DeleteOptions;
use crate::patching;
use crate::read::object_response;
use crate::request::{Query, ResourcePath, Shape};
use crate::resource::{AnyObject, AnyResource};
use crate::server::{ApiServer, json_response};
use crate::storage;
use crate::write::Part;

const TRIES: usize = 16;

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, ApiError> {
    let value = body::read_value(request)?;
    serde_json::from_value(value).map_err(|error| ApiError::bad_request(error.to_string()))
}

fn created() -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    json_response(201, Bytes::from(status.to_string()))
}

impl ApiServer {
    /// GET, PUT and PATCH of `scale`.
    pub(crate) async fn scale(
        &self,
        path: &ResourcePath,
        query: &Query,
        request: &Request,
    ) -> Result<Response, ApiError> {
        let resource = path.resource;
        let show = |object: &dyn AnyObject| -> Result<Scale, ApiError> {
            scale_of(resource, object).ok_or_else(ApiError::no_such_path)
        };
        if *request.method() == Method::GET {
            let current = self.current(resource, &path.namespace, &path.name)?;
            return scale_response(&show(current.object.as_ref())?);
        }
        let put: Option<Scale> = if *request.method() == Method::PUT {
            Some(read(request)?)
        } else {
            None
        };
        let once = put
            .as_ref()
            .is_some_and(|scale| scale.metadata.resource_version.is_some());
        let bytes = self
            .update(
                resource,
                &path.namespace,
                &path.name,
                Part::Main,
                once,
                query.dry_run()?,
                |current| {
                    let before = show(current.object.as_ref())?;
                    let wanted = match &put {
                        Some(scale) => scale.clone(),
                        None => {
                            let value = serde_json::to_value(&before).map_err(ApiError::internal)?;
                            let patched = patching::apply(request, &value, "autoscaling/v1", "Scale")?;
                            serde_json::from_value(patched).map_err(|error| ApiError::bad_request(error.to_string()))?
                        }
                    };
                    let replicas = wanted.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
                    if replicas < 0 {
                        let fault =
                            field::Error::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
                        return Err(ApiError::invalid("Scale.autoscaling", &path.name, &[fault]));
                    }
                    let mut new = current.object.boxed_clone();
                    new.meta_mut().resource_version = wanted.metadata.resource_version;
                    resource.set_scale(new.as_mut(), replicas);
                    Ok(new)
                },
            )
            .await?;
        let object = resource.decode(&bytes).map_err(ApiError::internal)?;
        scale_response(&show(object.as_ref())?)
    }

    /// POST of `binding`: gives a pod its node. Bound once, to a node that is there and stays.
    pub(crate) async fn bind(&self, path: &ResourcePath, request: &Request) -> Result<Response, ApiError> {
        let binding: Binding = read(request)?;
        let name = path.name.as_str();
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
            let current = self.current(path.resource, &path.namespace, name)?;
            let mut object = current.object;
            let pod = object
                .as_any_mut()
                .downcast_mut::<Pod>()
                .ok_or_else(ApiError::no_such_path)?;
            if let Some(uid) = binding.metadata.uid.as_ref().filter(|uid| !uid.is_empty())
                && Some(uid) != pod.metadata.uid.as_ref()
            {
                let own = pod.metadata.uid.as_deref().unwrap_or_default();
                return Err(conflict(format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {own}"
                )));
            }
            if pod.metadata.deletion_timestamp.is_some() {
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
            let Some(node_kv) = self.store.get(&node_key) else {
                return Err(conflict(format!("node {node:?} is not there")));
            };
            let node_meta: Stub = serde_json::from_slice(&node_kv.value).map_err(ApiError::internal)?;
            if node_meta.metadata.deletion_timestamp.is_some() {
                return Err(conflict(format!("node {node:?} is being deleted")));
            }
            spec.node_name = Some(node.clone());
            for (key, value) in binding.metadata.annotations.iter().flatten() {
                pod.metadata
                    .annotations
                    .get_or_insert_default()
                    .insert(key.clone(), value.clone());
            }
            set_scheduled(pod);
            let (value, _) = storage::stamped(path.resource, object, self.cache.hints());
            // The node's heartbeats write elsewhere or rarely; that it exists is enough, that it is the same is not needed.
            let transaction = Transaction::new()
                .when(Compare::ModRevision {
                    key: current.kv.key.clone(),
                    is: current.kv.mod_revision,
                })
                .when(Compare::Exists {
                    key: node_kv.key.clone(),
                })
                .then(Operation::Put {
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
    pub(crate) async fn evict(&self, path: &ResourcePath, request: &Request) -> Result<Response, ApiError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Eviction {
            delete_options: Option<DeleteOptions>,
        }
        let eviction: Eviction = read(request)?;
        let options = eviction.delete_options.unwrap_or_default();
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
        let once = wanted.metadata.resource_version.is_some();
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
        transport
            .send(request)
            .await
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

fn scale_of(resource: &dyn AnyResource, object: &dyn AnyObject) -> Option<Scale> {
    let view = resource.scale(object)?;
    let meta = object.meta();
    Some(Scale {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            creation_timestamp: meta.creation_timestamp.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(ScaleSpec {
            replicas: Some(view.wanted),
        }),
        status: Some(ScaleStatus {
            replicas: view.current,
            selector: Some(view.selector),
        }),
    })
}

fn scale_response(scale: &Scale) -> Result<Response, ApiError> {
    let value: Value = serde_json::to_value(scale).map_err(ApiError::internal)?;
    Ok(json_response(200, Bytes::from(value.to_string())))
}
