//! Which fields the kinds of Kubernetes have, as far as the table of its messages tells. Kinds of users' own may have
//! any.

use orrery_api::schema::{Cardinality, Field, Message, Schema, Type};

use super::nearest;

/// What is known of a place in an object.
#[derive(Clone, Copy)]
enum Place {
    /// Fields.
    Message(&'static Message),
    /// All of a field.
    Field(&'static Field),
    /// An element of a list.
    Element(&'static Field),
}

/// What is wrong with the path of a field: what an object "has" instead. Parts of lists are numbered; the keys of maps,
/// such as labels, are anything.
pub fn wrong(api_version: &str, kind: &str, path: &str) -> Option<String> {
    let mut place = Place::Message(Schema::get().message_for(api_version, kind)?);
    let mut before = 0;
    for part in path.split('.') {
        let above = path[..before].trim_end_matches('.');
        before += part.len() + 1;
        let message = match place {
            Place::Message(message) => message,
            Place::Field(field) => match (field.cardinality, field.element) {
                (Cardinality::Map, _) | (_, Type::Raw | Type::Strings) => return None,
                (Cardinality::List, _) if part.parse::<usize>().is_ok() => {
                    place = Place::Element(field);
                    continue;
                }
                (Cardinality::List, _) => {
                    return Some(format!(
                        "a list {above:?}, whose parts are numbered from 0, and no {part:?} in it"
                    ));
                }
                (Cardinality::Single, _) => match field.message() {
                    Some(message) => message,
                    None => return Some(format!("no fields in {above:?}, and so no {part:?}")),
                },
            },
            Place::Element(field) => match field.message() {
                Some(message) => message,
                None => return Some(format!("no fields in {above:?}, and so no {part:?}")),
            },
        };
        match message.field(part) {
            Some(field) => place = Place::Field(field),
            None => {
                let known: Vec<&str> = message.fields().map(|field| field.name).collect();
                let unknown = &path[..before - 1];
                return Some(format!("an unknown field {unknown:?}{}", nearest::hint(part, &known)));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::wrong;

    #[test]
    fn a_path_is_followed_as_far_as_its_kind_is_known() {
        let deployment = |path: &str| wrong("apps/v1", "Deployment", path);
        insta::assert_snapshot!(deployment("spec.replica").unwrap(), @r#"an unknown field "spec.replica"; did you mean "replicas"? (known: minReadySeconds, paused, progressDeadlineSeconds, replicas, revisionHistoryLimit, selector, strategy, template)"#);
        insta::assert_snapshot!(deployment("stauts.replicas").unwrap(), @r#"an unknown field "stauts"; did you mean "status"? (known: apiVersion, kind, metadata, spec, status)"#);
        insta::assert_snapshot!(deployment("spec.template.spec.containers.web.image").unwrap(), @r#"a list "spec.template.spec.containers", whose parts are numbered from 0, and no "web" in it"#);
        insta::assert_snapshot!(deployment("spec.replicas.0").unwrap(), @r#"no fields in "spec.replicas", and so no "0""#);
        insta::assert_snapshot!(deployment("metadata.finalizers.0.name").unwrap(), @r#"no fields in "metadata.finalizers.0", and so no "name""#);
        for right in [
            "kind",
            "spec",
            "status.conditions.0.type",
            "spec.template.spec.containers.0.image",
            "spec.template.spec.containers.0.resources.limits.example.com/gpu",
            "metadata.labels.app.kubernetes.io/name",
            "metadata.annotations.deployment.kubernetes.io/revision",
            "metadata.deletionTimestamp",
            "metadata.ownerReferences.0.uid",
            "metadata.managedFields.0.fieldsV1.anything",
        ] {
            assert_eq!(deployment(right), None, "{right}");
        }
        assert_eq!(wrong("v1", "ConfigMap", "data.anything"), None);
        assert_eq!(wrong("example.com/v1", "Website", "spec.anything"), None);
    }
}
