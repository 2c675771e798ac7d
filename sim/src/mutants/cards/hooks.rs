//! Sabotages of our own, in what the kubelet does with hooks, with the thresholds of probes and with deadlines.

use super::card;
use crate::mutants::Card;

/// All of them.
pub const CARDS: &[Card] = &[
    card(
        "O194",
        "own",
        "kubelet",
        "the hook before the end is run only in pods that are deleted",
        "a container with such a hook is killed for a probe",
        &["K18"],
    ),
    card(
        "O195",
        "own",
        "kubelet",
        "nobody waits for the hook before the end: the container is told to end at the same time",
        "a container whose hook takes its time is to end",
        &["K18"],
    ),
    card(
        "O196",
        "own",
        "kubelet",
        "the grace period begins when the hook before the end is over",
        "a container whose hook takes long is to end",
        &["K18"],
    ),
    card(
        "O197",
        "own",
        "kubelet",
        "a hook after the start that has failed is told, and the container left as it is",
        "a container answers nobody when its hook after the start is run",
        &["K18"],
    ),
    card(
        "O198",
        "own",
        "kubelet",
        "a container is told to run while its hook after the start does",
        "a hook after the start takes its time",
        &["K18"],
    ),
    card(
        "O199",
        "own",
        "kubelet",
        "the hook after the start is run at the first start of a container only",
        "a container with such a hook crashes, and nothing else happens",
        &["K18"],
    ),
    card(
        "O200",
        "own",
        "kubelet",
        "a probe's verdict takes three failures, however many more its threshold wants",
        "a container takes longer to answer than three of its liveness probes, and no longer than its threshold allows",
        &["K16", "K10"],
    ),
    card(
        "O201",
        "own",
        "kubelet",
        "one success is enough for readiness, whatever the threshold",
        "a container with a threshold of successes begins to answer",
        &["K5"],
    ),
    card(
        "O203",
        "own",
        "kubelet",
        "a pod's deadline counts from its creation",
        "a pod with a deadline waits for long for a node",
        &["K16"],
    ),
    card(
        "O236",
        "own",
        "kubelet",
        "a command of a probe that the runtime could not be asked for counts as a failure",
        "the runtime is away for as long as a probe's failures take",
        &["convergence"],
    ),
];
