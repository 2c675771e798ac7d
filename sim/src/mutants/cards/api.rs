//! Sabotages of our own, in the API server and in what it shares with others of objects, patches and selectors.

use super::card;
use crate::mutants::Card;

/// All of them.
pub const CARDS: &[Card] = &[
    card(
        "O155",
        "own",
        "api",
        "an element of a list that a strategic patch merges is replaced",
        "a patch names a container and its image alone",
        &["S1"],
    ),
    card(
        "O156",
        "own",
        "api",
        "a merge patch takes nothing away",
        "a user takes a key out of a config map",
        &["S1"],
    ),
    card(
        "O157",
        "own",
        "apiserver",
        "a binding is not refused for the uid that it names",
        "a pod is deleted and made again while its binding is under way",
        &["S1"],
    ),
    card(
        "O158",
        "own",
        "apiserver",
        "a pod that is being deleted is bound",
        "a finalizer holds a pod that is deleted while its binding is under way",
        &["Q1"],
    ),
    card(
        "O159",
        "own",
        "apiserver",
        "a watch is resumed from the newest revision only, and else told that it is too old",
        "a watch breaks, and something is written before it is resumed",
        &["W"],
    ),
    card(
        "O160",
        "own",
        "apiserver",
        "the history is compacted to where the store is, and not to where it was five minutes ago",
        "a run of more than five minutes",
        &["S3"],
    ),
    card(
        "O161",
        "own",
        "apiserver",
        "pods tolerate an outage of their node for half a minute unless they say how long",
        "a pod says nothing of tolerations",
        &["convergence"],
    ),
    card(
        "O162",
        "own",
        "apiserver",
        "the moment by which a pod is to be gone is that of its deletion, without the grace",
        "a pod on a node is deleted",
        &["S6"],
    ),
    card(
        "O163",
        "own",
        "api",
        "a selector of what has another value selects nothing that lacks the label",
        "objects are listed by a label that some lack, or selected so by a set",
        &["S8", "W"],
    ),
    card(
        "O164",
        "own",
        "apiserver",
        "a pod's generation does not grow when its spec changes",
        "a user gives a pod a deadline",
        &["S7"],
    ),
];
