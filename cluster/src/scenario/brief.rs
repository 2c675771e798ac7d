//! Steps in a few words: an object that is applied is named, and not shown.

use orrery_play::scenario::{Manifest, StepAction};
use serde_json::Value;

/// A step in a few words.
pub fn brief(action: &StepAction) -> String {
    let name = |object: &Value| {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        format!("{}/{}", text("/kind"), text("/metadata/name"))
    };
    match action {
        StepAction::Apply(Manifest::Inline(objects)) => {
            format!("apply {}", objects.iter().map(name).collect::<Vec<_>>().join(", "))
        }
        StepAction::Replace(spec) => format!("replace {}", name(&spec.object)),
        action => {
            let line = action.to_line();
            let bare = line.strip_prefix("{ ").and_then(|line| line.strip_suffix(" }"));
            bare.unwrap_or(&line).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use orrery_play::scenario::read;

    use super::*;

    #[test]
    fn a_step_is_told_in_a_few_words() {
        let steps = "workload:\n  - { at: 1s, apply: { apiVersion: v1, kind: ConfigMap, metadata: { name: settings } } }\n  \
                     - { at: 2s, replace: { apiVersion: v1, kind: ConfigMap, metadata: { name: settings } } }\n  \
                     - { at: 3s, scale: { deployment: web, replicas: 6 } }\n";
        let text = format!("name: a\nduration: 1m\n{steps}");
        let scenario = read("a.yaml", &text, |_| Err(String::new())).expect("a scenario");
        let told: Vec<String> = scenario.workload.iter().map(|plan| brief(&plan.action)).collect();
        assert_eq!(
            told,
            [
                "apply ConfigMap/settings",
                "replace ConfigMap/settings",
                "scale: { deployment: web, replicas: 6 }"
            ]
        );
    }
}
