//! Steps in a few words: an object that is applied is named, and not shown.

use orrery_play::scenario::{Manifest, StepAction};
use serde_json::Value;

/// A step in a few words.
pub fn brief(action: &StepAction) -> String {
    match action {
        StepAction::Apply(Manifest::Inline(objects)) => {
            let text = |object: &Value, path: &str| {
                let text = object.pointer(path).and_then(Value::as_str);
                text.unwrap_or_default().to_owned()
            };
            let names = objects
                .iter()
                .map(|object| format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name")));
            format!("apply {}", names.collect::<Vec<_>>().join(", "))
        }
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
                     - { at: 2s, scale: { deployment: web, replicas: 6 } }\n";
        let text = format!("name: a\nduration: 1m\n{steps}");
        let scenario = read("a.yaml", &text, |_| Err(String::new())).expect("a scenario");
        let told: Vec<String> = scenario.workload.iter().map(|plan| brief(&plan.action)).collect();
        assert_eq!(
            told,
            ["apply ConfigMap/settings", "scale: { deployment: web, replicas: 6 }"]
        );
    }
}
