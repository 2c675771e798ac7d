//! What is known of faults beside the store.

use std::time::Duration;

use orrery_api::labels::Selector;
use serde_json::json;

use super::{Cluster, Item, ObjectId, selects};
use crate::scenario::Role;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_picture_may_be_as_old_as_faults_have_held_it_up_until_now_and_of_the_chaos_alone() {
    let mut cluster = Cluster::default();
    let plain = cluster.lag(Role::Kubelet);
    cluster.now = seconds(100);
    for until in [400, 500] {
        cluster.stall(Role::Kubelet, seconds(90), seconds(until));
    }
    // Held up for ten seconds by both, and twenty more until it tries again.
    assert_eq!(cluster.lag(Role::Kubelet), plain + seconds(30));
    assert_eq!(cluster.lag(Role::Proxy), plain);
    cluster.heal(false);
    // Whoever waits at the heal gives up after thirty seconds; that is remembered for a minute.
    cluster.now = seconds(189);
    assert_eq!(cluster.lag(Role::Kubelet), plain + seconds(60));
    cluster.now = seconds(190);
    assert_eq!(cluster.lag(Role::Kubelet), plain);
    assert!(!cluster.was_stalled(Role::Kubelet));
}

#[test]
fn a_pause_is_of_one_process_and_over_with_the_chaos() {
    let mut cluster = Cluster::default();
    cluster.pause("kubelet/node-1", seconds(500));
    cluster.now = seconds(10);
    assert!(cluster.was_paused("kubelet/node-1") && !cluster.was_paused("kubelet/node-2"));
    cluster.heal(false);
    cluster.now = seconds(70);
    assert!(!cluster.was_paused("kubelet/node-1"));
}

#[test]
fn a_process_that_goes_on_sooner_is_forgotten_sooner() {
    let mut cluster = Cluster::default();
    cluster.pause("scheduler/1", seconds(500));
    cluster.now = seconds(10);
    cluster.pause_ends("scheduler/1", Duration::ZERO);
    cluster.now = seconds(69);
    assert!(cluster.was_paused("scheduler/1"));
    cluster.now = seconds(70);
    assert!(!cluster.was_paused("scheduler/1"));
}

#[test]
fn labels_are_selected_as_kubernetes_documents_it() {
    let item = |labels: serde_json::Value| {
        let id = ObjectId {
            resource: "configmaps".into(),
            namespace: "default".to_owned(),
            name: "a".to_owned(),
        };
        let object = json!({"metadata": {"name": "a", "labels": labels}});
        Item::decode(id, 2, object.to_string().into_bytes().into())
    };
    let [none, one, empty] = [json!({}), json!({"half": "1"}), json!({"half": ""})].map(item);
    // Whether nothing, `half=1` and `half=` are selected.
    for (selector, selected) in [
        ("", [true, true, true]),
        ("half", [false, true, true]),
        ("!half", [true, false, false]),
        ("half=1", [false, true, false]),
        ("half=", [false, false, true]),
        ("half!=1", [true, false, true]),
        ("half in (1,2)", [false, true, false]),
        ("half notin (1,2)", [true, false, true]),
        ("half>0", [false, true, false]),
        ("half<1", [false, false, false]),
        ("half,half!=1", [false, false, true]),
    ] {
        let parsed = Selector::parse(selector).expect("it is a selector");
        assert_eq!(
            [&none, &one, &empty].map(|item| selects(&parsed, item)),
            selected,
            "{selector}"
        );
    }
    assert!(!selects(&Selector::nothing(), &one));
}
