//! What is known of faults beside the store.

use std::time::Duration;

use super::Cluster;
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
