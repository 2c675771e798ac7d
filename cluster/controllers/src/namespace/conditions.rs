//! What a namespace tells of its end.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

/// What is left in a namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Remains {
    /// Objects by resource.
    pub objects: BTreeMap<String, usize>,
    /// Objects by finalizer.
    pub finalizers: BTreeMap<String, usize>,
    /// What could not be deleted, and why.
    pub failures: Vec<String>,
}

impl Remains {
    /// Counts the objects of `resource` that are left.
    pub(super) fn count(&mut self, resource: &str, objects: &[ObjectMeta]) {
        if !objects.is_empty() {
            self.objects.insert(resource.to_owned(), objects.len());
        }
        for finalizer in objects.iter().flat_map(|object| object.finalizers.iter().flatten()) {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }

    /// Whether nothing is left, as far as could be seen.
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.failures.is_empty()
    }
}

/// The conditions for what remains, on the base of `current`; `None` when they say so already. Types, reasons and
/// messages are those that Kubernetes' users know from `kubectl describe namespace`.
pub(super) fn plan(current: &[NamespaceCondition], remains: &Remains, now: &Time) -> Option<Vec<NamespaceCondition>> {
    let list = |counts: &BTreeMap<String, usize>, what: &str| {
        counts
            .iter()
            .map(|(name, count)| format!("{name} {what} {count} resource instances"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let told = [
        (
            "NamespaceDeletionDiscoveryFailure",
            None,
            (
                "ResourcesDiscovered",
                "All resources successfully discovered".to_owned(),
            ),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            (
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed".to_owned(),
            ),
        ),
        (
            "NamespaceDeletionContentFailure",
            (!remains.failures.is_empty()).then(|| {
                let what = remains.failures.join(", ");
                (
                    "ContentDeletionFailed",
                    format!(
                        "Failed to delete all resource types, {} remaining: {what}",
                        remains.failures.len()
                    ),
                )
            }),
            (
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization".to_owned(),
            ),
        ),
        (
            "NamespaceContentRemaining",
            (!remains.objects.is_empty()).then(|| {
                (
                    "SomeResourcesRemain",
                    format!("Some resources are remaining: {}", list(&remains.objects, "has")),
                )
            }),
            ("ContentRemoved", "All content successfully removed".to_owned()),
        ),
        (
            "NamespaceFinalizersRemaining",
            (!remains.finalizers.is_empty()).then(|| {
                let what = list(&remains.finalizers, "in");
                (
                    "SomeFinalizersRemain",
                    format!("Some content in the namespace has finalizers remaining: {what}"),
                )
            }),
            (
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished".to_owned(),
            ),
        ),
    ];
    let mut conditions = current.to_vec();
    for (kind, problem, fine) in told {
        let status = if problem.is_some() { "True" } else { "False" };
        let (reason, message) = problem.unwrap_or(fine);
        let known = conditions.iter().position(|condition| condition.type_ == kind);
        let since = known
            .map(|at| &conditions[at])
            .filter(|condition| condition.status == status);
        let condition = NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            last_transition_time: since.map_or_else(|| Some(now.clone()), |since| since.last_transition_time.clone()),
            reason: Some(reason.to_owned()),
            message: Some(message),
        };
        match known {
            Some(at) => conditions[at] = condition,
            None => conditions.push(condition),
        }
    }
    (conditions != current).then_some(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orrery_api::clock::now_time;

    #[test]
    fn what_remains_is_told_once() {
        let mut remains = Remains::default();
        remains.count(
            "pods",
            &[ObjectMeta {
                finalizers: Some(vec!["x/y".into()]),
                ..ObjectMeta::default()
            }],
        );
        remains.count("secrets", &[]);
        assert!(!remains.is_empty());
        let first = plan(&[], &remains, &now_time()).expect("a change");
        let told: Vec<_> = first.iter().map(|condition| condition.status.as_str()).collect();
        assert_eq!(told, ["False", "False", "False", "True", "True"]);
        assert_eq!(
            first[3].message.as_deref(),
            Some("Some resources are remaining: pods has 1 resource instances")
        );
        assert_eq!(plan(&first, &remains, &now_time()), None);
        let last = plan(&first, &Remains::default(), &now_time()).expect("a change");
        assert!(last.iter().all(|condition| condition.status == "False"));
    }
}
