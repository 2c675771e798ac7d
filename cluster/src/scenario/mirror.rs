//! What the store of a real cluster holds, as its API shows it: every kind is watched, and every change taken in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_client::{Cache, Change, Client, Informer, Resource};
use orrery_play::model::{Cluster, ObjectId, noise, resource_of};
use orrery_play::scenario::Trigger;
use orrery_play::triggers::{Triggers, Waiter};
use tokio::time::Instant;

/// See the module. Events are not in it: they only tell of what is.
pub struct Mirror {
    /// Since when there is one: the time of triggers.
    since: Instant,
    triggers: Triggers,
    inner: Mutex<Inner>,
}

struct Inner {
    cluster: Cluster,
    /// When something was last written that was no heartbeat, and what.
    noise: (Instant, String),
}

/// Follows one kind.
type Follow = for<'a> fn(&'a Arc<Mirror>, &'a Client, &'a Random, &'a TaskGroup) -> BoxFuture<'a, ()>;

/// The resources that are followed.
const KINDS: &[(&str, Follow)] = &[
    kind::<Namespace>(),
    kind::<Node>(),
    kind::<Lease>(),
    kind::<Deployment>(),
    kind::<ReplicaSet>(),
    kind::<Pod>(),
    kind::<Service>(),
    kind::<Endpoints>(),
    kind::<EndpointSlice>(),
    kind::<ConfigMap>(),
    kind::<Secret>(),
    kind::<ServiceAccount>(),
];

const fn kind<K: Resource>() -> (&'static str, Follow) {
    (K::URL_PATH_SEGMENT, |mirror, client, random, tasks| {
        Box::pin(mirror.follow_kind::<K>(client, random, tasks))
    })
}

impl Mirror {
    /// One that shows nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Mirror {
            since: Instant::now(),
            triggers: Triggers::new(false),
            inner: Mutex::new(Inner {
                cluster: Cluster::default(),
                noise: (Instant::now(), "nothing".to_owned()),
            }),
        })
    }

    /// Follows the API server until the tasks are dropped; returns when all that is there is shown.
    pub async fn follow(self: &Arc<Self>, client: &Client, random: &Random, tasks: &TaskGroup) {
        for (_, follow) in KINDS {
            follow(self, client, random, tasks).await;
        }
    }

    async fn follow_kind<K: Resource>(self: &Arc<Self>, client: &Client, random: &Random, tasks: &TaskGroup) {
        let mirror = self.clone();
        let informer = Informer::<K>::new(client, random).on_change(move |change| mirror.take(change));
        let cache: Cache<K> = informer.cache();
        tasks.spawn(informer.run());
        cache.wait_synced().await;
    }

    fn take<K: Resource>(&self, change: &Change<K>) {
        let object = change.object();
        let meta = object.metadata();
        let id = ObjectId {
            resource: resource_of::<K>().into(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        };
        let revision = meta
            .resource_version
            .as_deref()
            .unwrap_or_default()
            .parse()
            .unwrap_or(0);
        let bytes = match change {
            Change::Deleted(_) => None,
            // What the API sent can be written again.
            _ => serde_json::to_vec(&**object).ok().map(Into::into),
        };
        let mut inner = self.lock();
        let change = inner.cluster.apply(id, revision, bytes);
        self.triggers.wrote(&change, self.since.elapsed());
        if !noise::is_heartbeat(&change) {
            inner.noise = (
                Instant::now(),
                format!("{} was written at revision {revision}", change.id),
            );
        }
    }

    /// Waits for a trigger from now on.
    pub fn arm(&self, trigger: &Trigger) -> Waiter {
        let since = self.since;
        self.triggers.arm(trigger, move || since.elapsed())
    }

    /// Looks at what there is.
    pub fn look<T>(&self, look: impl FnOnce(&Cluster) -> T) -> T {
        look(&self.lock().cluster)
    }

    /// Since when nothing but heartbeats is written, and what was last.
    pub fn quiet(&self) -> (Duration, String) {
        let inner = self.lock();
        (inner.noise.0.elapsed(), inner.noise.1.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_is_served_is_followed_but_events() {
        let mut followed: Vec<&str> = KINDS.iter().map(|(plural, _)| *plural).collect();
        followed.push("events");
        followed.sort_unstable();
        let kinds = &orrery_play::vocabulary().kinds;
        let mut served: Vec<&str> = kinds.iter().map(|resource| resource.info().plural).collect();
        served.sort_unstable();
        assert_eq!(followed, served);
    }
}
