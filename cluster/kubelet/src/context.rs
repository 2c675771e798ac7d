//! What all parts of a kubelet share.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use orrery_api::meta::Object;
use orrery_api::random::Random;
use orrery_client::{Client, EventKind, Recorder};
use tokio::time::Instant;

use crate::observer::Observer;
use crate::options::Options;
use crate::report::Reporter;
use crate::resources::Amounts;
use crate::runtime::{ContainerRuntime, PodNetwork};

/// What all parts of a kubelet share.
pub struct Context {
    /// What the kubelet was told.
    pub options: Options,
    /// The way to the API.
    pub client: Client,
    /// What runs containers.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// The way to pods.
    pub network: Arc<dyn PodNetwork>,
    /// Where events go.
    pub recorder: Recorder,
    /// Looks at the runtime.
    pub observer: Observer,
    /// Writes statuses.
    pub reporter: Arc<Reporter>,
    /// What pods may request.
    pub allocatable: Amounts,
    /// Chance.
    pub random: Random,
    /// When the kubelet started.
    pub started: Instant,
    /// The runtime's name, once it has answered.
    pub runtime_name: RwLock<String>,
}

impl Context {
    /// The time since the kubelet's start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The scheme of container ids.
    pub fn scheme(&self) -> String {
        self.runtime_name.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells what happened to a pod.
    pub fn pod_event(&self, pod: &Pod, kind: EventKind, reason: &str, message: &str) {
        self.recorder.event(&pod.object_reference(), kind, reason, message);
    }

    /// Tells what happened to a container of a pod.
    pub fn container_event(&self, pod: &Pod, container: &str, kind: EventKind, reason: &str, message: &str) {
        let mut about = pod.object_reference();
        let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let field = if init.into_iter().any(|own| own.name == container) {
            "initContainers"
        } else {
            "containers"
        };
        about.field_path = Some(format!("spec.{field}{{{container}}}"));
        self.recorder.event(&about, kind, reason, message);
    }
}
