//! Events: what happened to an object.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use orrery_api::field::{self, Error};
use orrery_api::meta::Object as _;
use orrery_api::names;
use serde_json::{Value, json};

use super::cells::{NAME, column, elapsed, since, wide};
use super::check::{messages, text};
use crate::resource::{Column, ResourceInfo, Strategy};

/// Events.
pub struct Events;

static INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    subresources: &[],
};

static COLUMNS: &[Column] = &[
    column("Last Seen", "string", "The time since it was last seen."),
    column("Type", "string", "Normal or Warning."),
    column("Reason", "string", "Why it happened, in a word."),
    column("Object", "string", "What it happened to."),
    wide("Subobject", "string", "The part of the object."),
    wide("Source", "string", "Who saw it."),
    column("Message", "string", "What happened, in a sentence."),
    wide("First Seen", "string", "The time since it was first seen."),
    wide("Count", "string", "How often it was seen."),
    Column { priority: 1, ..NAME },
];

/// The most characters of the reporting instance, the action and the reason.
const MAX_SHORT: usize = 128;
/// The most characters of the message.
const MAX_MESSAGE: usize = 1024;

impl Strategy for Events {
    type Object = Event;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn validate(&self, event: &Event) -> Vec<field::Error> {
        let about = text(&event.involved_object.namespace);
        let own = event.namespace();
        // Events of cluster-wide objects live in `default`; those of the newer API also in `kube-system`.
        let agrees = match (about.is_empty(), event.event_time.is_some()) {
            (true, false) => matches!(own, "" | "default"),
            (true, true) => matches!(own, "default" | "kube-system"),
            (false, false) => own == about,
            (false, true) => true,
        };
        let mut errors = Vec::new();
        if !agrees {
            errors.push(Error::invalid(
                "involvedObject.namespace",
                about,
                "does not match event.namespace",
            ));
        }
        if event.event_time.is_some() {
            errors.extend(validate_new(event));
        }
        errors
    }

    fn fields(&self, event: &Event) -> Vec<(&'static str, String)> {
        let about = &event.involved_object;
        let values = [
            text(&about.kind),
            text(&about.namespace),
            text(&about.name),
            text(&about.uid),
            text(&about.api_version),
            text(&about.resource_version),
            text(&about.field_path),
            text(&event.reason),
            text(&event.reporting_component),
            source(event).0,
            text(&event.type_),
        ];
        self.field_names()
            .iter()
            .copied()
            .zip(values.map(str::to_owned))
            .collect()
    }

    fn field_names(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, event: &Event, now: Timestamp) -> Vec<Value> {
        let micro = || {
            event
                .event_time
                .as_ref()
                .map_or("<unknown>".to_owned(), |time| elapsed(time.0, now))
        };
        let first = event
            .first_timestamp
            .as_ref()
            .map_or_else(micro, |time| since(Some(time), now));
        let mut last = event
            .last_timestamp
            .as_ref()
            .map_or_else(|| first.clone(), |time| since(Some(time), now));
        let mut count = event.count.filter(|count| *count != 0).unwrap_or(1);
        if let Some(series) = &event.series {
            let seen = series.last_observed_time.as_ref();
            last = seen.map_or("<unknown>".to_owned(), |time| elapsed(time.0, now));
            count = series.count.unwrap_or(0);
        }
        let about = &event.involved_object;
        let mut target = text(&about.kind).to_lowercase();
        if let Some(name) = about.name.as_deref().filter(|name| !name.is_empty()) {
            target = format!("{target}/{name}");
        }
        let seen_by = match source(event) {
            (component, "") => component.to_owned(),
            (component, host) => format!("{component}, {host}"),
        };
        vec![
            json!(last),
            json!(text(&event.type_)),
            json!(text(&event.reason)),
            json!(target),
            json!(text(&about.field_path)),
            json!(seen_by),
            json!(text(&event.message).trim()),
            json!(first),
            json!(count),
            json!(event.name()),
        ]
    }
}

/// Who saw it, and where: the newer fields stand in where the older ones are empty.
fn source(event: &Event) -> (&str, &str) {
    let old = event.source.as_ref();
    let component = old.map_or("", |source| text(&source.component));
    let host = old.map_or("", |source| text(&source.host));
    (
        if component.is_empty() {
            text(&event.reporting_component)
        } else {
            component
        },
        if host.is_empty() {
            text(&event.reporting_instance)
        } else {
            host
        },
    )
}

/// The rules of events that carry an `eventTime`.
fn validate_new(event: &Event) -> Vec<Error> {
    let mut errors = Vec::new();
    let controller = text(&event.reporting_component);
    if controller.is_empty() {
        errors.push(Error::required("reportingController", ""));
    }
    errors.extend(messages(
        "reportingController",
        controller,
        names::qualified_name(controller),
    ));
    let required = [
        ("reportingInstance", text(&event.reporting_instance)),
        ("action", text(&event.action)),
        ("reason", text(&event.reason)),
    ];
    for (path, value) in required {
        if value.is_empty() {
            errors.push(Error::required(path, ""));
        }
        if value.len() > MAX_SHORT {
            errors.push(Error::invalid(
                path,
                "",
                format!("can have at most {MAX_SHORT} characters"),
            ));
        }
    }
    if text(&event.message).len() > MAX_MESSAGE {
        errors.push(Error::invalid(
            "message",
            "",
            format!("can have at most {MAX_MESSAGE} characters"),
        ));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::super::testing::{faults, object, row};
    use super::*;

    fn scheduled() -> Value {
        json!({
            "metadata": {"name": "web.1"},
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web", "fieldPath": "spec"},
            "type": "Normal", "reason": "Scheduled", "message": "Assigned. ", "count": 3,
            "source": {"component": "scheduler"}, "firstTimestamp": "2026-01-01T00:05:00Z",
            "lastTimestamp": "2026-01-01T00:09:30Z",
        })
    }

    #[test]
    fn an_event_shows_when_it_was_last_seen() {
        insta::assert_snapshot!(row(&Events, &object(scheduled())), @"30s | Normal | Scheduled | pod/web | spec | scheduler | Assigned. | 5m | 3 | web.1");
    }

    #[test]
    fn an_event_lives_in_the_namespace_of_its_object() {
        let mut event = scheduled();
        assert_eq!(faults(&Events, &object(event.clone())), "");
        event["involvedObject"]["namespace"] = json!("other");
        insta::assert_snapshot!(faults(&Events, &object(event.clone())), @r#"involvedObject.namespace: Invalid value: "other": does not match event.namespace"#);
        event["involvedObject"]["namespace"] = Value::Null;
        assert_eq!(
            faults(&Events, &object(event.clone())),
            "",
            "events of nodes live in default"
        );
        event["eventTime"] = json!("2026-01-01T00:05:00.000000Z");
        insta::assert_snapshot!(faults(&Events, &object(event)), @r#"
        reportingController: Required value
        reportingController: Invalid value: "": name part must be non-empty
        reportingController: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        reportingInstance: Required value
        action: Required value
        "#);
    }

    #[test]
    fn an_event_is_found_by_its_object() {
        let fields = Events.fields(&object(scheduled()));
        assert!(fields.contains(&("involvedObject.name", "web".to_owned())));
        assert!(fields.contains(&("source", "scheduler".to_owned())));
        assert_eq!(fields.len(), Events.field_names().len());
    }
}
