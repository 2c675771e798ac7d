//! Faults of links in small worlds: each does what it says, and what it drew can be played again.

use std::collections::BTreeMap;

use crate::run::{Outcome, Settings, Verdict, run};
use crate::scenario::{Scenario, read};

/// A small world with a Deployment that is scaled, in which this happens.
fn scenario(faults: &str) -> Scenario {
    let text = format!(
        "name: a\nduration: 60s\nheal: all\ntopology: {{ nodes: 2 }}\nworkload:\n  - at: 5s\n    apply: web.yaml\n  - at: 30s\n    scale: {{ deployment: web, replicas: 5 }}\nfaults:\n{faults}"
    );
    let web = include_str!("../../../scenarios/manifests/web.yaml");
    read("a.yaml", &text, |_| Ok(web.to_owned())).unwrap()
}

fn play(scenario: Scenario) -> Outcome {
    let outcome = run(Settings::new(scenario, 1));
    assert!(matches!(outcome.verdict, Verdict::Held), "{:?}", outcome.verdict);
    outcome
}

/// What was seen, and how often.
fn seen(faults: &str) -> BTreeMap<&'static str, u64> {
    play(scenario(faults)).coverage
}

#[test]
fn only_a_machine_that_lost_power_or_is_cut_off_leaves_its_connections_half_open() {
    let thing = "a connection was half-open";
    assert!(seen("  - at: 20s\n    crash: { node: node-1, for: 20s }\n").contains_key(thing));
    assert!(!seen("  - at: 20s\n    crash: { component: kubelet/node-1, for: 20s }\n").contains_key(thing));
}

#[test]
fn what_a_sender_has_given_up_arrives_when_the_way_is_free_unless_its_machine_died() {
    let thing = "a write outlived its sender's patience";
    let cut = "  - at: 15s\n    partition: { node: node-1, for: 40s }\n";
    assert!(seen(cut).contains_key(thing));
    // Too short for anybody to lose patience: only what a dead process has left is there to arrive.
    let short = "  - at: 38s\n    partition: { node: node-1, for: 9s }\n";
    let killed = "  - at: 46900ms\n    crash: { component: kubelet/node-1, for: 1s }\n";
    assert!(!seen(short).contains_key(thing));
    assert!(seen(&format!("{short}{killed}")).contains_key(thing));
    let dead = "  - at: 50s\n    crash: { node: node-1, for: 8s }\n";
    assert!(!seen(&format!("{cut}{dead}")).contains_key(thing));
}

#[test]
fn every_fault_of_links_and_of_the_api_does_what_it_says() {
    for (fault, thing) in [
        ("slow-link: { node: node-1, by: 2s, for: 30s }", "a link was slow"),
        ("loss: { probability: 0.9, for: 30s }", "a request was lost"),
        ("reset: { node: control-plane }", "a watch broke"),
        (
            "duplicate: { probability: 1, for: 30s }",
            "a request was carried out twice",
        ),
        ("api-errors: { probability: 0.5, for: 20s }", "an API server erred"),
        (
            "drop-watches: { client: scheduler, relist: true, for: 10s }",
            "a relist after 410",
        ),
        (
            "slow-reader: { client: kubelet/node-1, by: 10s, for: 30s }",
            "a client read slowly",
        ),
        (
            "partition: { between: [[node-1], [control-plane, node-2]], for: 20s }",
            "a partition opened",
        ),
    ] {
        let seen = seen(&format!("  - at: 25s\n    {fault}\n"));
        assert!(seen.contains_key(thing), "{fault}: {seen:?}");
    }
}

#[test]
fn what_befell_single_requests_is_pinned_and_befalls_them_again() {
    let faults = "  - at: 25s\n    api-errors: { client: scheduler, codes: [500], effect: true, probability: 0.5, for: 20s }\n  - at: 25s\n    duplicate: { client: kubelet, probability: 0.3, for: 20s }\n";
    let drawn = play(scenario(faults));
    let pinned = drawn.pinned.unwrap();
    let text = pinned.to_yaml();
    assert!(!pinned.faults.is_empty(), "{text}");
    assert!(pinned.faults.iter().all(|plan| !plan.action.is_by_chance()), "{text}");
    let again = play(pinned);
    for thing in ["an API server erred", "a request was carried out twice"] {
        assert!(
            drawn.coverage.contains_key(thing) && again.coverage.contains_key(thing),
            "{thing}: {text}"
        );
    }
}
