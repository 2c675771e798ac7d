//! Claiming dependents: adopting matching orphans, releasing what no longer matches.
//!
//! Pure. The writes carry the dependent's uid, so that a namesake is never taken, and the server keeps an object from
//! getting a second controller, which it says is invalid. A write that is refused for neither of these has decided
//! nothing: whose the dependent is must be known before it is replaced.

use std::collections::BTreeMap;

use orrery_api::labels::Selector;
use orrery_api::meta::{Object, controller_of};
use orrery_api::mutant;
use serde_json::{Value, json};

/// What an owner with a selector does about one possible dependent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is the owner's already.
    Own,
    /// It is nobody's and matches: become its controller, if the owner still lives.
    Adopt,
    /// It is the owner's but matches no longer: let it go.
    Release,
    /// It is none of the owner's business.
    Ignore,
}

/// Decides about `dependent` for the owner with `owner_uid`; an owner that is being deleted neither adopts nor
/// releases.
pub(crate) fn claim<K: Object>(dependent: &K, owner_uid: &str, owner_terminating: bool, selector: &Selector) -> Claim {
    let empty = BTreeMap::new();
    let matches = selector.matches(dependent.metadata().labels.as_ref().unwrap_or(&empty));
    match controller_of(dependent.metadata()) {
        Some(owner) if owner.uid != owner_uid => Claim::Ignore,
        Some(_) if matches || owner_terminating || mutant::active("O212") => Claim::Own,
        Some(_) => Claim::Release,
        None if !matches || owner_terminating || dependent.is_terminating() => Claim::Ignore,
        None => Claim::Adopt,
    }
}

/// The strategic merge patch that makes `owner` the controller of `dependent`.
pub(crate) fn adoption<O: Object, K: Object>(owner: &O, dependent: &K) -> Value {
    json!({"metadata": {"uid": dependent.uid(), "ownerReferences": [owner.controller_reference()]}})
}

/// The strategic merge patch that takes the owner with `owner_uid` off `dependent`.
pub(crate) fn release<K: Object>(owner_uid: &str, dependent: &K) -> Value {
    json!({"metadata": {"uid": dependent.uid(), "ownerReferences": [{"$patch": "delete", "uid": owner_uid}]}})
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn pod(labels: &str, owner: Option<&str>) -> Pod {
        let owner = owner.map(|uid| {
            let set = ReplicaSet {
                metadata: ObjectMeta {
                    uid: Some(uid.to_owned()),
                    ..ObjectMeta::default()
                },
                ..ReplicaSet::default()
            };
            vec![set.controller_reference()]
        });
        let labels = labels.split(',').filter_map(|pair| pair.split_once('='));
        Pod {
            metadata: ObjectMeta {
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
                owner_references: owner,
                ..ObjectMeta::default()
            },
            ..Pod::default()
        }
    }

    #[test]
    fn an_orphan_that_matches_is_adopted_and_a_dependent_that_does_not_is_released() {
        let selector = Selector::parse("app=web").expect("a valid selector");
        let decide = |pod: &Pod| claim(pod, "me", false, &selector);
        assert_eq!(decide(&pod("app=web", None)), Claim::Adopt);
        assert_eq!(decide(&pod("app=db", None)), Claim::Ignore);
        assert_eq!(decide(&pod("app=web", Some("me"))), Claim::Own);
        assert_eq!(decide(&pod("app=db", Some("me"))), Claim::Release);
        assert_eq!(decide(&pod("app=web", Some("another"))), Claim::Ignore);
    }

    #[test]
    fn an_owner_being_deleted_neither_adopts_nor_releases() {
        let selector = Selector::parse("app=web").expect("a valid selector");
        assert_eq!(claim(&pod("app=web", None), "me", true, &selector), Claim::Ignore);
        assert_eq!(claim(&pod("app=db", Some("me")), "me", true, &selector), Claim::Own);
    }
}
