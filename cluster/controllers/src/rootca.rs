//! Publishes the cluster's certificate authority in every namespace, so that pods can tell the API server from others.
//!
//! *Observe*: namespaces and their config map `kube-root-ca.crt`. *Plan*: [`plan`]. *Act*: create or replace it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::mutant;
use orrery_client::{Api, Cache, Error, Next, WorkQueue, process};

use crate::informers::Informers;
use crate::{Context, namespace, retry};

/// The config map's name.
const NAME: &str = "kube-root-ca.crt";
/// The key that holds the certificates.
const KEY: &str = "ca.crt";
/// The annotation that explains it to who finds it, and its value as Kubernetes has it.
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
     clusters.",
);

/// Keeps the certificate authority published.
pub(crate) struct RootCaController {
    namespaces: Cache<Namespace>,
    config_maps: Cache<ConfigMap>,
    api: Api<ConfigMap>,
    queue: WorkQueue<String>,
    authority: String,
}

impl RootCaController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(context: &Context, informers: &mut Informers) -> Self {
        let queue = retry::queue();
        informers.namespaces.on_change({
            let queue = queue.clone();
            move |change| queue.add(change.object().name().to_owned())
        });
        informers.config_maps.on_change({
            let queue = queue.clone();
            move |change| {
                if change.object().name() == NAME {
                    queue.add(change.object().namespace().to_owned());
                }
            }
        });
        RootCaController {
            namespaces: informers.namespaces.cache(),
            config_maps: informers.config_maps.cache(),
            api: Api::new(&context.client),
            queue,
            authority: context.options.cluster_ca.clone(),
        }
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        process(self.queue.clone(), |namespace| self.reconcile(namespace)).await
    }

    async fn reconcile(&self, namespace: String) -> Result<Next, Error> {
        let in_use = self
            .namespaces
            .get(&ObjectKey::new("", &namespace))
            .is_some_and(|it| namespace::is_in_use(&it));
        if !in_use {
            return Ok(Next::Done);
        }
        let current = self.config_maps.get(&ObjectKey::new(&namespace, NAME));
        let result = match (plan(&namespace, &self.authority, current.as_deref()), current) {
            (None, _) => return Ok(Next::Done),
            (Some(map), Some(_)) => self.api.replace(&map).await,
            (Some(map), None) => self.api.create(&map).await,
        };
        match result {
            // Somebody made it meanwhile; its event tells with what content.
            Err(error) if error.is_already_exists() => Ok(Next::Done),
            Err(Error::Api(_)) if mutant::active("O68") => Ok(Next::Done),
            Err(error) => Err(error),
            Ok(_) => Ok(Next::Done),
        }
    }
}

/// The config map to write; `None` when it is right.
fn plan(namespace: &str, authority: &str, current: Option<&ConfigMap>) -> Option<ConfigMap> {
    let data = BTreeMap::from([(KEY.to_owned(), authority.to_owned())]);
    let right = |map: &ConfigMap| {
        map.is_terminating()
            || (map.data.as_ref() == Some(&data)
                && map.binary_data.iter().flatten().next().is_none()
                && map.annotation(DESCRIPTION.0) == Some(DESCRIPTION.1))
    };
    if current.is_some_and(right) || (current.is_some() && mutant::active("O60")) {
        return None;
    }
    let new = || ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(NAME.to_owned()),
        ..ObjectMeta::default()
    };
    let mut metadata = current.map_or_else(new, |map| map.metadata.clone());
    metadata
        .annotations
        .get_or_insert_default()
        .insert(DESCRIPTION.0.to_owned(), DESCRIPTION.1.to_owned());
    Some(ConfigMap {
        metadata,
        data: Some(data),
        ..ConfigMap::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_authority_is_restored_once() {
        let first = plan("a", "PEM", None).expect("a new config map");
        assert_eq!(plan("a", "PEM", Some(&first)), None);
        let mut edited = first.clone();
        edited.metadata.resource_version = Some("7".into());
        edited.data.get_or_insert_default().insert("more".into(), "x".into());
        let restored = plan("a", "PEM", Some(&edited)).expect("a change");
        assert_eq!(restored.data, first.data);
        assert_eq!(restored.metadata.resource_version.as_deref(), Some("7"));
    }
}
