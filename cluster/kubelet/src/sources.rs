//! The ConfigMaps, Secrets and other objects that a pod's containers and volumes take their content from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service,
    ServiceAccountTokenProjection,
};
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::mutant;
use orrery_client::{Api, Client, Error, ListParams};

/// How often ConfigMaps, Secrets and the pod's labels and annotations are read again for volumes.
const REFRESH: Duration = Duration::from_secs(60);
/// How old a token may get: its life is an hour or more.
pub const TOKEN_REFRESH: Duration = Duration::from_secs(45 * 60);

/// Keys and their content; none if there is no such object.
pub type Data = Option<BTreeMap<String, Bytes>>;

/// What was read for a pod.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, Data>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Data>,
    /// The services whose addresses the containers get as environment variables.
    pub services: Vec<Arc<Service>>,
    /// The paths on the host behind claims, by claim; none if it is not bound to a volume of this kind.
    pub claims: BTreeMap<String, Option<String>>,
    /// Tokens of the pod's service account, by audience.
    pub tokens: BTreeMap<String, String>,
}

/// Which objects are needed.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    config_maps: Vec<String>,
    secrets: Vec<String>,
    claims: Vec<String>,
    tokens: Vec<ServiceAccountTokenProjection>,
    /// Whether what is no text counts of ConfigMaps, too: it can be a file, and no variable.
    binary: bool,
    /// Whether files tell of the pod's labels or annotations.
    labels: bool,
}

impl Needs {
    /// What the environment of `container` needs.
    pub fn of_environment(container: &Container) -> Self {
        let mut needs = Needs::default();
        for source in container.env_from.iter().flatten() {
            needs
                .config_maps
                .extend(source.config_map_ref.as_ref().map(|source| source.name.clone()));
            needs
                .secrets
                .extend(source.secret_ref.as_ref().map(|source| source.name.clone()));
        }
        for source in container
            .env
            .iter()
            .flatten()
            .filter_map(|variable| variable.value_from.as_ref())
        {
            needs
                .config_maps
                .extend(source.config_map_key_ref.as_ref().map(|source| source.name.clone()));
            needs
                .secrets
                .extend(source.secret_key_ref.as_ref().map(|source| source.name.clone()));
        }
        needs
    }

    /// What the pod's volumes need.
    pub fn of_volumes(pod: &Pod) -> Self {
        let mut needs = Needs {
            binary: true,
            ..Needs::default()
        };
        let volumes = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.volumes.as_deref())
            .unwrap_or_default();
        for volume in volumes {
            needs
                .config_maps
                .extend(volume.config_map.as_ref().map(|source| source.name.clone()));
            needs
                .secrets
                .extend(volume.secret.as_ref().and_then(|source| source.secret_name.clone()));
            needs.claims.extend(
                volume
                    .persistent_volume_claim
                    .as_ref()
                    .map(|source| source.claim_name.clone()),
            );
            let own = volume.downward_api.as_ref().and_then(|source| source.items.as_deref());
            needs.labels |= tell_of_labels(own);
            let projected = volume
                .projected
                .as_ref()
                .and_then(|source| source.sources.as_deref())
                .unwrap_or_default();
            for source in projected {
                needs
                    .config_maps
                    .extend(source.config_map.as_ref().map(|source| source.name.clone()));
                needs
                    .secrets
                    .extend(source.secret.as_ref().map(|source| source.name.clone()));
                needs.tokens.extend(source.service_account_token.clone());
                let own = source.downward_api.as_ref().and_then(|source| source.items.as_deref());
                needs.labels |= tell_of_labels(own);
            }
        }
        needs
    }

    /// How often to read again what may change; never, if nothing may.
    pub fn refresh_period(&self) -> Option<Duration> {
        // The cluster's own certificate is in every pod, and never changes.
        let maps = self.config_maps.iter().any(|name| name != "kube-root-ca.crt");
        let secrets = !self.secrets.is_empty() && !mutant::active("O179");
        if maps || secrets || self.labels {
            return Some(REFRESH);
        }
        (!self.tokens.is_empty()).then_some(TOKEN_REFRESH)
    }

    /// Leaves the tokens out: the ones known are good for a while.
    pub fn forgo_tokens(&mut self) {
        self.tokens.clear();
    }
}

/// Whether files tell of what may change about a pod: of its labels, or of its annotations.
fn tell_of_labels(files: Option<&[DownwardAPIVolumeFile]>) -> bool {
    let fields = files.into_iter().flatten().filter_map(|file| file.field_ref.as_ref());
    let mut paths = fields.map(|field| &field.field_path);
    paths.any(|path| path.starts_with("metadata.labels") || path.starts_with("metadata.annotations"))
}

/// Reads what `needs` names, from the pod's namespace.
pub async fn read(client: &Client, pod: &Pod, needs: &Needs) -> Result<Sources, Error> {
    let mut sources = Sources::default();
    let namespace = pod.namespace();
    for name in &needs.config_maps {
        let data = found(
            Api::<ConfigMap>::new(client)
                .get(&ObjectKey::new(namespace, name))
                .await,
        )?
        .map(|object| content(Arc::unwrap_or_clone(object), needs.binary));
        sources.config_maps.insert(name.clone(), data);
    }
    for name in &needs.secrets {
        let data = found(Api::<Secret>::new(client).get(&ObjectKey::new(namespace, name)).await)?.map(|object| {
            Arc::unwrap_or_clone(object)
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| (key, Bytes::from(value.0)))
                .collect()
        });
        sources.secrets.insert(name.clone(), data);
    }
    for name in &needs.claims {
        let claim = found(
            Api::<PersistentVolumeClaim>::new(client)
                .get(&ObjectKey::new(namespace, name))
                .await,
        )?;
        sources.claims.insert(name.clone(), host_path_of(client, claim).await?);
    }
    for token in &needs.tokens {
        let audience = token.audience.clone().unwrap_or_default();
        let text = request_token(client, pod, token).await?;
        sources.tokens.insert(audience, text);
    }
    Ok(sources)
}

/// What is in a ConfigMap: its text, and what is none if it is asked for.
fn content(map: ConfigMap, with_binary: bool) -> BTreeMap<String, Bytes> {
    let text = map.data.unwrap_or_default().into_iter();
    let binary = map.binary_data.filter(|_| with_binary).unwrap_or_default().into_iter();
    text.map(|(key, value)| (key, Bytes::from(value)))
        .chain(binary.map(|(key, value)| (key, Bytes::from(value.0))))
        .collect()
}

/// The services of the pod's namespace, for environment variables.
pub async fn services(client: &Client, namespace: &str) -> Result<Vec<Arc<Service>>, Error> {
    let params = ListParams {
        namespace: Some(namespace.to_owned()),
        ..ListParams::default()
    };
    Ok(Api::<Service>::new(client).list(&params).await?.items)
}

fn found<K>(answer: Result<K, Error>) -> Result<Option<K>, Error> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The path behind a claim that is bound to a volume on this host.
async fn host_path_of(client: &Client, claim: Option<Arc<PersistentVolumeClaim>>) -> Result<Option<String>, Error> {
    let bound = claim.filter(|claim| {
        claim
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            .is_some_and(|phase| phase == "Bound")
    });
    let Some(volume) = bound.and_then(|claim| claim.spec.as_ref()?.volume_name.clone()) else {
        return Ok(None);
    };
    let volume = found(
        Api::<PersistentVolume>::new(client)
            .get(&ObjectKey::new("", volume))
            .await,
    )?;
    Ok(volume
        .and_then(|volume| volume.spec.clone())
        .and_then(|spec| match (spec.host_path, spec.local) {
            (Some(host), _) => Some(host.path),
            (None, Some(local)) => Some(local.path),
            (None, None) => None,
        }))
}

/// Asks for a token of the pod's service account that dies with the pod.
async fn request_token(client: &Client, pod: &Pod, token: &ServiceAccountTokenProjection) -> Result<String, Error> {
    let account = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.service_account_name.as_deref())
        .unwrap_or("default");
    let body = TokenRequest {
        spec: TokenRequestSpec {
            audiences: token
                .audience
                .iter()
                .filter(|audience| !audience.is_empty())
                .cloned()
                .collect(),
            expiration_seconds: Some(token.expiration_seconds.unwrap_or(3600)),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        },
        ..TokenRequest::default()
    };
    let namespace = pod.namespace();
    let request = http::Request::post(format!(
        "/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    ))
    .header(http::header::CONTENT_TYPE, "application/json")
    .body(Bytes::from(serde_json::to_vec(&body).unwrap_or_default()))
    .map_err(|error| Error::Decode(error.to_string()))?;
    let answer = client.fetch(request).await?;
    let answer: TokenRequest = serde_json::from_slice(&answer).map_err(|error| Error::Decode(error.to_string()))?;
    Ok(answer.status.map(|status| status.token).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_tell_of_labels_are_read_again_and_such_that_tell_of_the_namespace_are_not() {
        let period = |path: &str, is_projected: bool| {
            let source = serde_json::json!({"items": [{"path": "file", "fieldRef": {"fieldPath": path}}]});
            let volume = match is_projected {
                true => serde_json::json!({"name": "own", "projected": {"sources": [{"downwardAPI": source}]}}),
                false => serde_json::json!({"name": "own", "downwardAPI": source}),
            };
            let pod = serde_json::json!({"metadata": {"name": "web"}, "spec": {"containers": [], "volumes": [volume]}});
            let pod: Pod = serde_json::from_value(pod).expect("a pod");
            Needs::of_volumes(&pod).refresh_period()
        };
        for is_projected in [true, false] {
            assert_eq!(period("metadata.labels", is_projected), Some(REFRESH));
            assert_eq!(period("metadata.annotations['a']", is_projected), Some(REFRESH));
            assert_eq!(period("metadata.namespace", is_projected), None);
        }
    }

    #[test]
    fn what_is_no_text_in_a_config_map_becomes_files_and_no_variables() {
        let map = serde_json::json!({"data": {"text": "a"}, "binaryData": {"binary": "/w=="}});
        let map: ConfigMap = serde_json::from_value(map).expect("a ConfigMap");
        let keys = |needs: Needs| -> Vec<String> { content(map.clone(), needs.binary).into_keys().collect() };
        assert_eq!(keys(Needs::of_environment(&Container::default())), ["text"]);
        assert_eq!(keys(Needs::of_volumes(&Pod::default())), ["binary", "text"]);
    }
}
