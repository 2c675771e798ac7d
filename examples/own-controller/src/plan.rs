//! What a website should have: pure functions of what is seen.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, ContainerPort, PodSpec, PodTemplateSpec, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orrery_api::meta::{Object, ObjectKey};

use crate::kind::{DOMAINS, HOLDER, Website, WebsiteStatus};

/// The port of the servers.
const PORT: i32 = 80;

fn labels(website: &Website) -> BTreeMap<String, String> {
    [("example.com/website".to_owned(), website.name().to_owned())].into()
}

/// The metadata of what a website owns: its own name, so that there is one, however often it is created.
fn owned(website: &Website) -> ObjectMeta {
    ObjectMeta {
        name: website.metadata.name.clone(),
        namespace: website.metadata.namespace.clone(),
        labels: Some(labels(website)),
        owner_references: Some(vec![website.controller_reference()]),
        ..ObjectMeta::default()
    }
}

/// Its servers.
pub fn deployment(website: &Website) -> Deployment {
    let container = Container {
        name: "server".to_owned(),
        image: Some(website.spec.image.clone()),
        ports: Some(vec![ContainerPort {
            container_port: PORT,
            ..ContainerPort::default()
        }]),
        ..Container::default()
    };
    Deployment {
        metadata: owned(website),
        spec: Some(DeploymentSpec {
            replicas: Some(website.spec.replicas),
            selector: LabelSelector {
                match_labels: Some(labels(website)),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels(website)),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    containers: vec![container],
                    ..PodSpec::default()
                }),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// The deployment as it should be, on the base of what it is; none if it is right. What others set is left alone.
pub fn corrected(website: &Website, current: &Deployment) -> Option<Deployment> {
    let mut new = current.clone();
    let spec = new.spec.get_or_insert_default();
    spec.replicas = Some(website.spec.replicas);
    let containers = spec.template.spec.iter_mut().flat_map(|pod| &mut pod.containers);
    for container in containers.filter(|container| container.name == "server") {
        container.image = Some(website.spec.image.clone());
    }
    (new != *current).then_some(new)
}

/// Its address.
pub fn service(website: &Website) -> Service {
    Service {
        metadata: owned(website),
        spec: Some(ServiceSpec {
            selector: Some(labels(website)),
            ports: Some(vec![ServicePort {
                port: PORT,
                target_port: Some(IntOrString::Int(PORT)),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The key of the record of `domain`.
pub fn record_key(domain: &str) -> ObjectKey {
    ObjectKey::new(DOMAINS, domain)
}

/// The record by which a website holds its domain.
pub fn record(website: &Website) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(website.spec.domain.clone()),
            namespace: Some(DOMAINS.to_owned()),
            labels: Some([(HOLDER.to_owned(), website.uid().to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some([("website".to_owned(), website.key().to_string())].into()),
        ..ConfigMap::default()
    }
}

/// Whose a record is: the website's key and uid.
pub fn holder(record: &ConfigMap) -> Option<(ObjectKey, &str)> {
    let (namespace, name) = record.data.as_ref()?.get("website")?.split_once('/')?;
    Some((ObjectKey::new(namespace, name), record.label(HOLDER)?))
}

/// What to tell of a website.
pub fn status(website: &Website, has_domain: bool, deployment: Option<&Deployment>) -> WebsiteStatus {
    let domain = &website.spec.domain;
    WebsiteStatus {
        observed_generation: website.metadata.generation.unwrap_or(0),
        ready_replicas: deployment
            .and_then(|deployment| deployment.status.as_ref()?.ready_replicas)
            .unwrap_or(0),
        domain: has_domain.then(|| domain.clone()),
        message: (!has_domain).then(|| format!("the domain {domain} is another website's")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::WebsiteSpec;

    fn website(image: &str, replicas: i32) -> Website {
        Website {
            metadata: ObjectMeta {
                name: Some("blog".to_owned()),
                namespace: Some("default".to_owned()),
                uid: Some("u1".to_owned()),
                ..ObjectMeta::default()
            },
            spec: WebsiteSpec {
                domain: "www.example.com".to_owned(),
                image: image.to_owned(),
                replicas,
            },
            status: None,
        }
    }

    #[test]
    fn a_deployment_is_corrected_in_what_is_ours_and_once() {
        let mut current = deployment(&website("web:1", 1));
        current.spec.get_or_insert_default().paused = Some(true);
        let new = corrected(&website("web:2", 3), &current).expect("it differs");
        let spec = new.spec.clone().unwrap_or_default();
        assert_eq!((spec.replicas, spec.paused), (Some(3), Some(true)));
        assert_eq!(corrected(&website("web:2", 3), &new), None);
    }

    #[test]
    fn a_record_tells_its_holder() {
        let record = record(&website("web:1", 1));
        assert_eq!(record.key(), record_key("www.example.com"));
        assert_eq!(holder(&record), Some((ObjectKey::new("default", "blog"), "u1")));
    }
}
