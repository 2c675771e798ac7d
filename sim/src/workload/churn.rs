//! A churning user: random but seeded operations until the end of his time. He leaves no node cordoned.

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::steps::{User, cordon};
use crate::scenario::{ChurnKind, ChurnSpec, NodeTarget};

/// Does operations of the spec's kinds until `end`.
pub async fn run(user: &User, spec: &ChurnSpec, end: Instant) {
    let mut cordoned: Option<String> = None;
    let mut first: std::collections::BTreeMap<(String, String), i32> = std::collections::BTreeMap::new();
    loop {
        let pause = spec.every.draw(&user.random);
        if Instant::now() + pause >= end {
            break;
        }
        sleep(pause).await;
        if let Some(node) = cordoned.take() {
            cordon(user, &NodeTarget::Named(node), false).await;
        }
        let Some(kind) = user.random.choose(&spec.ops) else {
            break;
        };
        let deployments: Vec<(String, String, i32)> = user.world.witness.look(&user.world, |cluster| {
            let all = cluster.all("deployments.apps").filter(|item| !item.is_terminating());
            all.filter_map(|item| {
                let replicas = item.deployment()?.spec.as_ref()?.replicas.unwrap_or(1);
                Some((item.id.namespace.clone(), item.id.name.clone(), replicas))
            })
            .collect()
        });
        let chosen = user.random.choose(&deployments).cloned();
        match (kind, chosen) {
            (ChurnKind::Scale, Some((namespace, name, replicas))) => {
                let base = *first.entry((namespace.clone(), name.clone())).or_insert(replicas);
                let wanted = user.random.between(0, 2 * base.max(1) as u64);
                user.merge("Deployment", &namespace, &name, json!({"spec": {"replicas": wanted}}))
                    .await;
            }
            (ChurnKind::DeletePod, Some((namespace, _, _))) => {
                let pods = user.live_pods(&namespace, None);
                if let Some(pod) = user.random.choose(&pods) {
                    user.delete("Pod", &namespace, pod).await;
                }
            }
            (ChurnKind::Restart, Some((namespace, name, _))) => user.restart(&namespace, &name).await,
            (ChurnKind::CreateDeleteSameName, Some((namespace, name, _))) => {
                user.delete_and_create(&namespace, &name).await;
            }
            (ChurnKind::DeleteForeground, Some((namespace, name, _))) => {
                user.delete_foreground_and_create(&namespace, &name).await;
            }
            (ChurnKind::Cordon, _) => {
                let names: Vec<String> = user.world.workers().map(|machine| machine.name.clone()).collect();
                if let Some(node) = user.random.choose(&names) {
                    cordon(user, &NodeTarget::Named(node.clone()), true).await;
                    cordoned = Some(node.clone());
                }
            }
            (_, None) => {}
        }
    }
    if let Some(node) = cordoned {
        cordon(user, &NodeTarget::Named(node), false).await;
    }
    // What was scaled goes back to what it was, so that the end does not depend on the last roll of the dice.
    for ((namespace, name), replicas) in first {
        user.merge("Deployment", &namespace, &name, json!({"spec": {"replicas": replicas}}))
            .await;
    }
}
