//! What users do to pods.

use orrery_api::labels::Selector;
use serde_json::json;

use crate::scenario::{LabelSpec, Moment, PodChoice, StepAction};
use crate::workload::user::User;

/// The names of live pods, the oldest first.
fn live(user: &User, namespace: &str, selector: Option<&Selector>) -> Vec<String> {
    user.stage.look(|cluster| {
        let empty = std::collections::BTreeMap::new();
        let pods = cluster
            .all("pods")
            .filter(|pod| pod.id.namespace == namespace && pod.is_live_pod())
            .filter(|pod| selector.is_none_or(|wanted| wanted.matches(pod.meta.labels.as_ref().unwrap_or(&empty))));
        let mut pods: Vec<_> = pods.map(|pod| (pod.created, pod.id.name.clone())).collect();
        pods.sort();
        pods.into_iter().map(|(_, name)| name).collect()
    })
}

/// Deletes pods: the one that is named by its age, or drawn ones.
pub async fn delete(user: &User, moment: Moment, choice: &PodChoice) {
    let selector = match choice.labels.as_deref().map(Selector::parse).transpose() {
        Ok(selector) => selector,
        Err(error) => return user.stage.trouble(error.to_string()),
    };
    let mut names = live(user, &choice.namespace, selector.as_ref());
    if let Some(nth) = choice.nth {
        names.truncate(nth as usize);
        names.drain(..names.len().saturating_sub(1));
    } else {
        user.random.shuffle(&mut names);
    }
    for (index, name) in names.iter().take(choice.count).enumerate() {
        let there = live(user, &choice.namespace, selector.as_ref());
        let Some(position) = there.iter().position(|own| own == name) else {
            continue;
        };
        let moment = if index == 0 {
            moment.clone()
        } else {
            Moment::At(user.stage.elapsed())
        };
        let pinned = PodChoice {
            count: 1,
            nth: Some(choice.nth.unwrap_or(position as u32 + 1)),
            ..choice.clone()
        };
        user.stage.does(moment, StepAction::DeletePod(pinned));
        user.delete_with("Pod", &choice.namespace, name, None, choice.grace)
            .await;
    }
}

/// Gives a pod other labels: the one that is named by its age, or a drawn one.
pub async fn label(user: &User, moment: Moment, spec: &LabelSpec) {
    let selector = match spec.labels.as_deref().map(Selector::parse).transpose() {
        Ok(selector) => selector,
        Err(error) => return user.stage.trouble(error.to_string()),
    };
    let there = live(user, &spec.namespace, selector.as_ref());
    let drawn = || user.random.below(there.len() as u64) as usize;
    let position = spec
        .nth
        .map_or_else(drawn, |nth| (nth as usize).min(there.len()).saturating_sub(1));
    let Some(name) = there.get(position) else { return };
    let pinned = LabelSpec {
        nth: Some(spec.nth.unwrap_or(position as u32 + 1)),
        ..spec.clone()
    };
    user.stage.does(moment, StepAction::LabelPod(pinned));
    let patch = json!({"metadata": {"labels": spec.set}});
    user.merge("Pod", &spec.namespace, name, patch).await;
}
