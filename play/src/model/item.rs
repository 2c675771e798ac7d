//! An object as it stood at a revision: its metadata, and its kind's type where an invariant looks inside.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Container, Endpoints, Namespace, Node, Pod, PodSpec, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::shared;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Which object: its resource (`pods`, `deployments.apps`), namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// The resource, with its group.
    pub resource: Arc<str>,
    /// The namespace; empty for cluster-wide kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// A pod's sidecars, in their order: init containers that run on.
/// Source: <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/>.
pub fn sidecars(spec: &PodSpec) -> impl DoubleEndedIterator<Item = &Container> + Clone {
    let init = spec.init_containers.iter().flatten();
    init.filter(|own| own.restart_policy.as_deref() == Some("Always"))
}

/// The resource of the kind of `K`, with its group: `deployments.apps`.
pub fn resource_of<K: k8s_openapi::Resource>() -> String {
    if K::GROUP.is_empty() {
        K::URL_PATH_SEGMENT.to_owned()
    } else {
        format!("{}.{}", K::URL_PATH_SEGMENT, K::GROUP)
    }
}

impl ObjectId {
    /// Whether it is an object of the kind of `K`.
    pub fn is_of<K: k8s_openapi::Resource>(&self) -> bool {
        let (plural, group) = self.resource.split_once('.').unwrap_or((&self.resource, ""));
        plural == K::URL_PATH_SEGMENT && group == K::GROUP
    }

    /// Reads a key of the store: `/registry/pods/default/web-1`.
    pub fn of_key(key: &str) -> Option<Self> {
        let mut parts = key.strip_prefix("/registry/")?.split('/');
        let resource = Arc::from(parts.next()?);
        let (first, second) = (parts.next()?, parts.next());
        if parts.next().is_some() {
            return None;
        }
        let (namespace, name) = match second {
            Some(name) => (first, name),
            None => ("", first),
        };
        Some(ObjectId {
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.resource, self.name)
        } else {
            write!(f, "{}/{}/{}", self.resource, self.namespace, self.name)
        }
    }
}

/// An object as it stood at a revision.
#[derive(Debug, Clone)]
pub struct Item {
    /// Which one.
    pub id: ObjectId,
    /// The revision it was written at.
    pub revision: u64,
    /// The revision it was created at: who came first.
    pub created: u64,
    /// Its metadata.
    pub meta: Meta,
    /// Its content, for the kinds that somebody looks into.
    pub typed: Typed,
    /// As it lies in the store.
    pub bytes: Bytes,
}

/// An object's metadata, as a part of the object that all share who have decoded it.
#[derive(Clone)]
pub struct Meta(Arc<dyn Described>);

/// What has metadata.
trait Described: Send + Sync {
    fn meta(&self) -> &ObjectMeta;
}

impl<K: Metadata<Ty = ObjectMeta> + Send + Sync> Described for K {
    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }
}

/// A kind that is decoded as a whole.
trait Decoded: Metadata<Ty = ObjectMeta> + DeserializeOwned + Send + Sync + 'static {}

impl<K: Metadata<Ty = ObjectMeta> + DeserializeOwned + Send + Sync + 'static> Decoded for K {}

#[derive(Deserialize, Default)]
struct Partial {
    metadata: ObjectMeta,
}

impl Described for Partial {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
}

impl Deref for Meta {
    type Target = ObjectMeta;

    fn deref(&self) -> &ObjectMeta {
        self.0.meta()
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The content of an object.
#[derive(Debug, Clone)]
pub enum Typed {
    /// A pod.
    Pod(Arc<Pod>),
    /// A node.
    Node(Arc<Node>),
    /// A replica set.
    ReplicaSet(Arc<ReplicaSet>),
    /// A deployment.
    Deployment(Arc<Deployment>),
    /// A service.
    Service(Arc<Service>),
    /// An endpoint slice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A service's endpoints in one object.
    Endpoints(Arc<Endpoints>),
    /// A lease.
    Lease(Arc<Lease>),
    /// A namespace.
    Namespace(Arc<Namespace>),
    /// Any other kind.
    Other,
}

impl Item {
    /// Decodes what lies at `id`. Bytes that cannot be read have empty metadata.
    pub fn decode(id: ObjectId, revision: u64, bytes: Bytes) -> Self {
        fn whole<K: Decoded>(bytes: &Bytes, wrap: impl FnOnce(Arc<K>) -> Typed) -> (Meta, Typed) {
            match shared::decode::<K>(bytes) {
                Ok(object) => (Meta(object.clone()), wrap(object)),
                Err(_) => (Meta(Arc::new(Partial::default())), Typed::Other),
            }
        }
        // What components decode as a whole is theirs, too.
        let (meta, typed) = match &*id.resource {
            "pods" => whole(&bytes, Typed::Pod),
            "nodes" => whole(&bytes, Typed::Node),
            "replicasets.apps" => whole(&bytes, Typed::ReplicaSet),
            "deployments.apps" => whole(&bytes, Typed::Deployment),
            "services" => whole(&bytes, Typed::Service),
            "endpointslices.discovery.k8s.io" => whole(&bytes, Typed::EndpointSlice),
            "leases.coordination.k8s.io" => whole(&bytes, Typed::Lease),
            "endpoints" => whole(&bytes, Typed::Endpoints),
            "namespaces" => whole(&bytes, Typed::Namespace),
            _ => {
                let partial = shared::read::<Partial>(&bytes).unwrap_or_default();
                (Meta(Arc::new(partial)), Typed::Other)
            }
        };
        Item {
            id,
            revision,
            created: revision,
            meta,
            typed,
            bytes,
        }
    }

    /// The object as a `K`; none if it cannot be read as one. For kinds that have no method of their own here.
    pub fn read<K: serde::de::DeserializeOwned>(&self) -> Option<K> {
        shared::read(&self.bytes).ok()
    }

    /// The uid; empty if there is none.
    pub fn uid(&self) -> &str {
        self.meta.uid.as_deref().unwrap_or_default()
    }

    /// Whether it is being deleted.
    pub fn is_terminating(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// The uid of the owner that controls it.
    pub fn controller_uid(&self) -> Option<&str> {
        orrery_api::meta::controller_of(&self.meta).map(|owner| owner.uid.as_str())
    }

    /// The pod.
    pub fn pod(&self) -> Option<&Pod> {
        if let Typed::Pod(pod) = &self.typed {
            Some(pod)
        } else {
            None
        }
    }

    /// The node.
    pub fn node(&self) -> Option<&Node> {
        if let Typed::Node(node) = &self.typed {
            Some(node)
        } else {
            None
        }
    }

    /// The replica set.
    pub fn replica_set(&self) -> Option<&ReplicaSet> {
        if let Typed::ReplicaSet(set) = &self.typed {
            Some(set)
        } else {
            None
        }
    }

    /// The deployment.
    pub fn deployment(&self) -> Option<&Deployment> {
        if let Typed::Deployment(deployment) = &self.typed {
            Some(deployment)
        } else {
            None
        }
    }

    /// The service.
    pub fn service(&self) -> Option<&Service> {
        if let Typed::Service(service) = &self.typed {
            Some(service)
        } else {
            None
        }
    }

    /// The address of a service in the cluster; none if it has none, or is none.
    pub fn cluster_ip(&self) -> Option<Ipv4Addr> {
        self.service()?.spec.as_ref()?.cluster_ip.as_deref()?.parse().ok()
    }

    /// The lease.
    pub fn lease(&self) -> Option<&Lease> {
        if let Typed::Lease(lease) = &self.typed {
            Some(lease)
        } else {
            None
        }
    }

    /// Who holds the lease: `scheduler/1_2`; none if it was given back.
    pub fn lease_holder(&self) -> Option<&str> {
        let holder = self.lease()?.spec.as_ref()?.holder_identity.as_deref();
        holder.filter(|holder| !holder.is_empty())
    }

    /// The content, if it is a namespace itself.
    pub fn as_namespace(&self) -> Option<&Namespace> {
        if let Typed::Namespace(namespace) = &self.typed {
            Some(namespace)
        } else {
            None
        }
    }

    /// The endpoint slice.
    pub fn slice(&self) -> Option<&EndpointSlice> {
        if let Typed::EndpointSlice(slice) = &self.typed {
            Some(slice)
        } else {
            None
        }
    }

    /// The content, if it is an `Endpoints` object.
    pub fn endpoints(&self) -> Option<&Endpoints> {
        if let Typed::Endpoints(slice) = &self.typed {
            Some(slice)
        } else {
            None
        }
    }

    /// A label's value.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.meta.labels.as_ref()?.get(name).map(String::as_str)
    }

    /// Whether a service has a selector that selects this pod.
    pub fn is_selected_by(&self, service: &Item) -> bool {
        let spec = service.service().and_then(|service| service.spec.as_ref());
        let selector = spec.and_then(|spec| spec.selector.as_ref());
        let selector = selector.filter(|selector| !selector.is_empty());
        self.id.namespace == service.id.namespace
            && selector.is_some_and(|selector| selector.iter().all(|(name, value)| self.label(name) == Some(value)))
    }

    /// Whether a service is served by another proxy than the cluster's.
    pub fn is_another_proxys(&self) -> bool {
        self.label("service.kubernetes.io/service-proxy-name").is_some()
    }

    /// The name of an endpoint slice's service.
    pub fn service_name(&self) -> Option<&str> {
        self.label("kubernetes.io/service-name")
    }

    /// Whether it is an endpoint slice that Kubernetes' own controller keeps.
    pub fn is_kept_slice(&self) -> bool {
        self.label("endpointslice.kubernetes.io/managed-by") == Some("endpointslice-controller.k8s.io")
    }

    /// The address that a pod's status shows.
    pub fn address(&self) -> Option<&str> {
        let ip = self.pod()?.status.as_ref()?.pod_ip.as_deref();
        ip.filter(|ip| !ip.is_empty())
    }

    /// A pod's node; empty if it is not bound.
    pub fn node_name(&self) -> &str {
        self.pod()
            .and_then(|pod| pod.spec.as_ref()?.node_name.as_deref())
            .unwrap_or_default()
    }

    /// A pod's phase; empty if it has none.
    pub fn phase(&self) -> &str {
        self.pod()
            .and_then(|pod| pod.status.as_ref()?.phase.as_deref())
            .unwrap_or_default()
    }

    /// Whether a pod has ended for good.
    pub fn is_finished(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    /// Whether a pod counts for its controller: neither finished nor being deleted.
    pub fn is_live_pod(&self) -> bool {
        self.pod().is_some() && !self.is_finished() && !self.is_terminating()
    }

    /// Whether a pod's or node's condition `kind` is `True`.
    pub fn condition(&self, kind: &str) -> bool {
        match &self.typed {
            Typed::Pod(pod) => pod
                .status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten())
                .any(|condition| condition.type_ == kind && condition.status == "True"),
            Typed::Node(node) => node
                .status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten())
                .any(|condition| condition.type_ == kind && condition.status == "True"),
            _ => false,
        }
    }

    /// A field by its selector's path; `None` when this kind's is not known here.
    pub fn field(&self, path: &str) -> Option<&str> {
        match path {
            "metadata.name" => return Some(&self.id.name),
            "metadata.namespace" => return Some(&self.id.namespace),
            _ => {}
        }
        let pod = self.pod()?;
        let spec = pod.spec.as_ref();
        match path {
            "spec.nodeName" => Some(self.node_name()),
            "status.phase" => Some(self.phase()),
            "spec.schedulerName" => Some(spec?.scheduler_name.as_deref().unwrap_or_default()),
            "spec.serviceAccountName" => Some(spec?.service_account_name.as_deref().unwrap_or_default()),
            "spec.restartPolicy" => Some(spec?.restart_policy.as_deref().unwrap_or_default()),
            _ => None,
        }
    }
}
