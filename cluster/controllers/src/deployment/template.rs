//! A deployment's replica sets: which is of its template, how one is named and made, and their annotations.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use orrery_api::meta::Object;
use orrery_api::mutant;
use orrery_api::random::fnv1a;

use super::rollout::Bounds;

/// The label by which the pods of one replica set differ from those of its siblings.
pub(super) const HASH_LABEL: &str = "pod-template-hash";
/// The annotation with a replica set's place in the deployment's history, and the deployment's own.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// The annotation with the revisions that a replica set had before it was rolled back to.
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The annotation with the deployment's replicas when the set was last scaled.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The annotation with the deployment's replicas and surge when the set was last scaled.
pub(super) const MOST: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations that a set does not take from its deployment.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MOST,
    "deprecated.deployment.rollback.to",
];
/// A set's former revisions take so many letters at most, kube-controller-manager's number; the oldest go.
const HISTORY_LENGTH: usize = 2000;
/// The letters that stand for the digits of a hash: no vowels, no lookalikes.
const SAFE_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Whether two templates are the same but for the hash label.
pub(super) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    a.spec == b.spec && bare_metadata(a) == bare_metadata(b)
}

/// The template without the hash label.
fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(bare_metadata(template)),
        spec: template.spec.clone(),
    }
}

fn bare_metadata(template: &PodTemplateSpec) -> ObjectMeta {
    let mut metadata = template.metadata.clone().unwrap_or_default();
    if let Some(labels) = &mut metadata.labels {
        labels.remove(HASH_LABEL);
    }
    metadata.labels = metadata.labels.take().filter(|labels| !labels.is_empty());
    metadata.annotations = metadata
        .annotations
        .take()
        .filter(|annotations| !annotations.is_empty());
    metadata.creation_timestamp = None;
    metadata
}

/// A hash of the template for names and labels; `collisions` gives another one when a name is taken.
pub(super) fn template_hash(template: &PodTemplateSpec, collisions: i32) -> String {
    // Maps are ordered, so the text is a function of the template.
    let mut text = serde_json::to_vec(&bare(template)).unwrap_or_default();
    if collisions > 0 {
        text.extend_from_slice(&collisions.to_le_bytes());
    }
    let hash = fnv1a(&text);
    let digits = ((hash >> 32) as u32 ^ hash as u32).to_string();
    digits
        .bytes()
        .map(|digit| SAFE_LETTERS[usize::from(digit) % SAFE_LETTERS.len()] as char)
        .collect()
}

/// The deployment's template.
pub(super) fn template(deployment: &Deployment) -> PodTemplateSpec {
    deployment
        .spec
        .as_ref()
        .map(|spec| spec.template.clone())
        .unwrap_or_default()
}

/// Whether `set` is of the deployment's template.
pub(super) fn is_of_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    set.spec
        .as_ref()
        .and_then(|spec| spec.template.as_ref())
        .is_some_and(|own| same_template(own, template))
}

/// A set's place in the history; 0 when it has none.
pub(super) fn revision_of(set: &ReplicaSet) -> i64 {
    set.annotation(REVISION)
        .and_then(|revision| revision.parse().ok())
        .unwrap_or(0)
}

/// A number in an annotation.
pub(super) fn number(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.annotation(annotation)?.parse().ok()
}

/// How many pods the set wants.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// How often the name of a replica set of the deployment was another's.
pub(super) fn collisions(deployment: &Deployment) -> i32 {
    let status = deployment.status.as_ref();
    status.and_then(|status| status.collision_count).unwrap_or(0)
}

/// The new replica set of the deployment's template.
pub(super) fn new_set(deployment: &Deployment, revision: i64, bounds: Bounds, size: i32) -> ReplicaSet {
    let mut template = template(deployment);
    let hash = template_hash(&template, collisions(deployment));
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let spec = deployment.spec.as_ref();
    let mut selector: LabelSelector = spec.map(|spec| spec.selector.clone()).unwrap_or_default();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(HASH_LABEL.to_owned(), hash.clone());
    let mut set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name())),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![deployment.controller_reference()]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            min_ready_seconds: spec.and_then(|spec| spec.min_ready_seconds),
            replicas: Some(size),
            selector,
            template: Some(template),
        }),
        status: None,
    };
    describe(&mut set, deployment, revision);
    scale(&mut set, bounds, size);
    set
}

/// Brings the annotations and the ready time of the newest set up to date: the deployment's annotations are copied, the
/// change cause among them, and a set that is rolled back to gets a new revision and remembers the one it had.
pub(super) fn describe(set: &mut ReplicaSet, deployment: &Deployment, revision: i64) {
    let old_revision = revision_of(set);
    let annotations = set.metadata.annotations.get_or_insert_default();
    let copied: BTreeMap<String, String> = deployment.metadata.annotations.clone().unwrap_or_default();
    annotations.extend(
        copied
            .into_iter()
            .filter(|(name, _)| !NOT_COPIED.contains(&name.as_str())),
    );
    if old_revision < revision && (old_revision == 0 || !mutant::active("O37")) {
        if old_revision > 0 {
            let history = annotations.entry(REVISION_HISTORY.to_owned()).or_default();
            if !history.is_empty() {
                history.push(',');
            }
            history.push_str(&old_revision.to_string());
            while history.len() > HISTORY_LENGTH
                && let Some((_, newer)) = history.split_once(',')
            {
                *history = newer.to_owned();
            }
        }
        annotations.insert(REVISION.to_owned(), revision.to_string());
    }
    if let Some(spec) = &mut set.spec {
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        if spec.min_ready_seconds.unwrap_or(0) != wanted.unwrap_or(0) && !mutant::active("O186") {
            spec.min_ready_seconds = wanted;
        }
    }
}

/// Gives the set a size, and notes what the deployment wanted then.
pub(super) fn scale(set: &mut ReplicaSet, bounds: Bounds, size: i32) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(DESIRED.to_owned(), bounds.replicas.to_string());
    annotations.insert(MOST.to_owned(), bounds.most().to_string());
    set.spec.get_or_insert_default().replicas = Some(size);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(image: &str) -> Deployment {
        let deployment = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "annotations": {
                "kubernetes.io/change-cause": "first", REVISION: "3",
            }},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            }},
        });
        serde_json::from_value(deployment).expect("a valid deployment")
    }

    #[test]
    fn a_new_set_carries_the_hash_in_its_name_labels_selector_and_template() {
        let set = new_set(
            &deployment("web:1"),
            4,
            Bounds {
                replicas: 3,
                surge: 1,
                unavailable: 0,
            },
            2,
        );
        let hash = set.label(HASH_LABEL).expect("a hash").to_owned();
        assert_eq!(set.name(), format!("web-{hash}"));
        assert!(hash.bytes().all(|letter| SAFE_LETTERS.contains(&letter)));
        let spec = set.spec.clone().expect("a spec");
        assert_eq!(spec.selector.match_labels.expect("labels")[HASH_LABEL], hash);
        assert_eq!(
            spec.template
                .expect("a template")
                .metadata
                .expect("metadata")
                .labels
                .expect("labels")[HASH_LABEL],
            hash
        );
        assert_eq!(set.annotation(REVISION), Some("4"));
        assert_eq!(set.annotation("kubernetes.io/change-cause"), Some("first"));
        assert_eq!((set.annotation(DESIRED), set.annotation(MOST)), (Some("3"), Some("4")));
    }

    #[test]
    fn a_set_is_recognised_by_its_template_without_the_hash() {
        let bounds = Bounds::exact(1);
        let set = new_set(&deployment("web:1"), 1, bounds, 1);
        assert!(is_of_template(&set, &template(&deployment("web:1"))));
        assert!(!is_of_template(&set, &template(&deployment("web:2"))));
    }

    #[test]
    fn a_collision_gives_another_hash() {
        let template = template(&deployment("web:1"));
        assert_ne!(template_hash(&template, 0), template_hash(&template, 1));
        assert_eq!(template_hash(&template, 0), template_hash(&template, 0));
    }

    #[test]
    fn a_set_that_is_rolled_back_to_gets_a_new_revision_and_keeps_its_history() {
        let deployment = deployment("web:1");
        let mut set = new_set(&deployment, 1, Bounds::exact(1), 1);
        describe(&mut set, &deployment, 3);
        describe(&mut set, &deployment, 5);
        assert_eq!(set.annotation(REVISION), Some("5"));
        assert_eq!(set.annotation(REVISION_HISTORY), Some("1,3"));
    }

    #[test]
    fn a_set_forgets_its_oldest_revisions_when_they_become_too_many() {
        let deployment = deployment("web:1");
        let mut set = new_set(&deployment, 1, Bounds::exact(1), 1);
        for revision in 2..=1000 {
            describe(&mut set, &deployment, revision);
        }
        // Of three digits and a comma each, as many as there is room for.
        let newest: Vec<String> = (500..1000).map(|revision| revision.to_string()).collect();
        assert_eq!(set.annotation(REVISION_HISTORY), Some(newest.join(",").as_str()));
    }
}
