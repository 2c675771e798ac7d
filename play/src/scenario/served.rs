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

/// Whether a kind is served, as people call it: `Deployment`, `deployment`, `deploy`.
pub fn check_kind(kind: &str) -> Result<(), String> {
    let plural = plural(kind);
    if served().any(|own| own.plural == plural) {
        return Ok(());
    }
    Err(no_kind(kind))
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
