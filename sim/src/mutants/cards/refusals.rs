//! Sabotages of our own, in what the API server refuses, puts back and keeps.

use super::card;
use crate::mutants::Card;

/// All of them.
pub const CARDS: &[Card] = &[
    card(
        "O165",
        "own",
        "apiserver",
        "an immutable config map may be changed",
        "a user changes the data of one",
        &["convergence"],
    ),
    card(
        "O166",
        "own",
        "apiserver",
        "the selector of a deployment may be changed",
        "a user changes it together with the template's labels",
        &["convergence"],
    ),
    card(
        "O167",
        "own",
        "apiserver",
        "a node may delete the pods of other nodes",
        "somebody with a kubelet's certificate does",
        &["convergence"],
    ),
    card(
        "O168",
        "own",
        "apiserver",
        "who scales by the subresource changes the spec and no generation",
        "a deployment is scaled",
        &["S7"],
    ),
    card(
        "O169",
        "own",
        "apiserver",
        "who replaces an object that is being deleted takes the deletion back",
        "an object that a finalizer holds is put anew",
        &["S6"],
    ),
    card(
        "O170",
        "own",
        "apiserver",
        "what every cluster has is made once and not kept",
        "the service kubernetes, or where it leads, is deleted or changed",
        &["convergence"],
    ),
    card(
        "O171",
        "own",
        "apiserver",
        "an object that is being deleted takes on new finalizers",
        "a user adds one to what another finalizer holds",
        &["convergence"],
    ),
    card(
        "O172",
        "own",
        "apiserver",
        "a node may write other nodes, and their leases",
        "somebody with a kubelet's certificate does",
        &["convergence"],
    ),
];
