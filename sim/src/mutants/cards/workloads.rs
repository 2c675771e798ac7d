//! Sabotages of our own, about workloads: pauses and deadlines of rollouts, names that are taken, who owns what, and
//! deletion in the foreground. Older ones stand with those of the control plane.

use super::card;
use crate::mutants::Card;

/// All of them.
pub const CARDS: &[Card] = &[
    card(
        "O204",
        "own",
        "controllers",
        "below an owner that is deleted in the foreground, the collector deletes in the background",
        "a Deployment with pods is deleted in the foreground",
        &["G3"],
    ),
    card(
        "O205",
        "own",
        "controllers",
        "dependents that are being deleted count as gone for an owner that waits for them",
        "a Deployment whose pods take their time to end is deleted in the foreground",
        &["G3"],
    ),
    card(
        "O206",
        "own",
        "controllers",
        "a rollout that is paused when its new set has pods goes on",
        "a pause in the middle of a rollout whose pods take long to count",
        &["P12"],
    ),
    card(
        "O207",
        "own",
        "controllers",
        "a Deployment does not say that it is paused",
        "a pause that stays",
        &["convergence"],
    ),
    card(
        "O208",
        "own",
        "controllers",
        "the deadline of a rollout counts from when its condition last changed its status, not from the last progress",
        "a rollout that takes longer than its deadline, and makes progress meanwhile",
        &["P12"],
    ),
    card(
        "O209",
        "own",
        "controllers",
        "nobody looks at a rollout again when its deadline is over",
        "a rollout that waits for an image, while nothing else happens",
        &["P12"],
    ),
    card(
        "O210",
        "own",
        "controllers",
        "a name that is taken is not counted, and tried for ever",
        "somebody else's set has the name of a Deployment's next one",
        &["convergence"],
    ),
    card(
        "O211",
        "own",
        "controllers",
        "the next status forgets how many names were taken",
        "somebody else's set has the name of a Deployment's next one",
        &["A1", "P8"],
    ),
    card(
        "O212",
        "own",
        "controllers",
        "what is not selected any more is kept",
        "a pod is relabelled, so that its set does not select it",
        &["P7"],
    ),
    card(
        "O213",
        "own",
        "controllers",
        "a pod that its set does not select any more is deleted, and not let go",
        "a pod is relabelled, so that its set does not select it",
        &["G1"],
    ),
    card(
        "O214",
        "own",
        "controllers",
        "a set leaves pods alone that it selects and that are nobody's",
        "a set is deleted and leaves its pods behind, and is made again",
        &["P7"],
    ),
    card(
        "O226",
        "own",
        "controllers",
        "a deployment adopts replica sets without asking whether it is still there",
        "a deployment is gone, its controller does not know it, and somebody makes a set that it would select",
        &["convergence"],
    ),
    card(
        "O230",
        "own",
        "controllers",
        "a namespace that is being deleted when it is first seen is let be",
        "the controllers begin anew while a namespace goes",
        &["convergence"],
    ),
];
