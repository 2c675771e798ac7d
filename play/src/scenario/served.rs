//! What scenarios name has to be served: a kind or resource that no server has would be waited for in vain, make a
//! fault that never does anything, or be refused as late as in the middle of a run.

use orrery_apiserver::resource::ResourceInfo;

use super::nearest;
use crate::vocabulary::vocabulary;
use crate::workload::plural;

/// Whether a resource is served, by its plural.
pub fn check_resource(name: &str) -> Result<(), String> {
    let known: Vec<&str> = served().map(|own| own.plural).collect();
    if known.contains(&name) {
        return Ok(());
    }
    Err(format!("no resource {name:?} is served{}", nearest::hint(name, &known)))
}

/// Whether that is one of these verbs and a resource that is served; `what` is what such a request is called.
pub fn check_verb_and_resource(text: &str, what: &str, verbs: &[&str]) -> Result<(), String> {
    match text.split_once(' ') {
        Some((verb, resource)) if verbs.contains(&verb) => check_requested(resource),
        _ => Err(format!(
            "{text:?} is no {what}: it is a verb ({}) and a resource, like `patch pods/status`",
            verbs.join(", ")
        )),
    }
}

/// Whether requests can be about it: a resource by its plural, alone or with a subresource: `pods/status`.
pub fn check_requested(name: &str) -> Result<(), String> {
    let Some((plural, subresource)) = name.split_once('/') else {
        return check_resource(name);
    };
    check_resource(plural)?;
    let own = served().filter(|own| own.plural == plural);
    let known: Vec<&str> = own.flat_map(|own| own.subresources).map(|own| own.name).collect();
    if known.contains(&subresource) {
        return Ok(());
    }
    let hint = match known.as_slice() {
        [] => ": they have none".to_owned(),
        known => nearest::hint(subresource, known),
    };
    Err(format!("{plural} have no subresource {subresource:?}{hint}"))
}

/// Whether a kind is served, as people call it: `Deployment`, `deployment`, `deploy`.
pub fn check_kind(kind: &str) -> Result<(), String> {
    called(kind).map(drop).ok_or_else(|| no_kind(kind))
}

/// The kind that people call so, if it is served.
pub fn called(kind: &str) -> Option<&'static ResourceInfo> {
    let plural = plural(kind);
    served().find(|own| own.plural == plural)
}

/// Whether objects with this kind and apiVersion are served.
pub fn check_object(api_version: &str, kind: &str) -> Result<(), String> {
    let mut same = served().filter(|own| own.kind == kind).peekable();
    let Some(first) = same.peek().map(|own| own.api_version()) else {
        return Err(no_kind(kind));
    };
    if same.any(|own| own.api_version() == api_version) {
        return Ok(());
    }
    Err(format!(
        "no {kind} is served as {api_version:?}: its apiVersion is {first}"
    ))
}

fn no_kind(kind: &str) -> String {
    let known: Vec<&str> = served().map(|own| own.kind).collect();
    format!("no kind {kind:?} is served{}", nearest::hint(kind, &known))
}

fn served() -> impl Iterator<Item = &'static ResourceInfo> {
    vocabulary().kinds.iter().map(|resource| resource.info())
}

#[cfg(test)]
mod tests {
    use super::super::read;

    fn wrong(fault: &str) -> String {
        let source = format!("name: a\nduration: 1m\nfaults:\n  - at: 1s\n    {fault}\n");
        let told = read("a.yaml", &source, |_| Err(String::new())).map(drop);
        let told = told.map_err(|error| error.to_string()).unwrap_err();
        // Without the list of what is known, which grows.
        told.split(" (known").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn requests_for_what_is_not_served_never_come() {
        insta::assert_snapshot!(wrong("lost-answers: { write: create podz, requests: [1] }"), @r#"a.yaml:5:35: faults[0]: no resource "podz" is served; did you mean "pods"?"#);
        insta::assert_snapshot!(wrong("api-errors: { request: create bindings, nth: [1] }"), @r#"a.yaml:5:35: faults[0]: no resource "bindings" is served"#);
        insta::assert_snapshot!(wrong("duplicate: { request: create statefulsets, nth: [1] }"), @r#"a.yaml:5:34: faults[0]: no resource "statefulsets" is served"#);
        insta::assert_snapshot!(wrong("loss: { client: user, request: create Pod, nth: [1] }"), @r#"a.yaml:5:43: faults[0]: no resource "Pod" is served; did you mean "pods"?"#);
        insta::assert_snapshot!(wrong("loss: { client: user, request: patch pods/stats, nth: [1] }"), @r#"a.yaml:5:47: faults[0]: pods have no subresource "stats"; did you mean "status"?"#);
        insta::assert_snapshot!(wrong("delay-call: { resource: configmaps/status }"), @r#"a.yaml:5:40: faults[0]: configmaps have no subresource "status": they have none"#);
        for right in [
            "patch pods/status",
            "create pods/binding",
            "update nodes/status",
            "delete leases",
        ] {
            let fault = format!("api-errors: {{ request: {right}, nth: [1] }}");
            let source = format!("name: a\nduration: 1m\nfaults:\n  - at: 1s\n    {fault}\n");
            assert!(read("a.yaml", &source, |_| Err(String::new())).is_ok(), "{right}");
        }
    }
}
