//! Who is owned by whom, as the informers tell it.
//!
//! The graph decides nothing: informers of different kinds are not in step, so it may lack an owner that lives. It only
//! says whom to look at: who names an owner that is not known or not there any more, and who waits for whom.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orrery_api::meta::{ObjectKey, has_finalizer};

/// The finalizer of owners that go after their dependents.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of owners that leave their dependents behind.
pub(super) const ORPHAN: &str = "orphan";

/// An object and whom it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// Which of the collected kinds it is.
    pub kind: usize,
    /// Its name.
    pub key: ObjectKey,
    /// Its owners.
    pub owners: Vec<OwnerReference>,
    /// Whether it is being deleted, and waits for its dependents to go or to be set free.
    pub waits: bool,
}

impl Node {
    /// The object of the kind numbered `kind` with `meta`.
    pub(super) fn of(kind: usize, meta: &ObjectMeta) -> Self {
        Node {
            kind,
            key: ObjectKey::of(meta),
            owners: meta.owner_references.clone().unwrap_or_default(),
            waits: waits(meta),
        }
    }

    /// Whether it is where owners of `dependent` may be: in the same namespace, or in none. One elsewhere counts as not
    /// there, as Kubernetes' documentation says of owners and dependents.
    fn may_own(&self, dependent: &Node) -> bool {
        self.key.namespace.is_empty() || self.key.namespace == dependent.key.namespace
    }
}

/// Whether an object with `meta` is being deleted and waits for its dependents.
pub(super) fn waits(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && (has_finalizer(meta, FOREGROUND) || has_finalizer(meta, ORPHAN))
}

/// The objects of all collected kinds, by uid.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
    dependents: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Takes an object as it is now; answers the uids to look at.
    pub(super) fn put(&mut self, uid: &str, node: Node) -> BTreeSet<String> {
        let mut look = BTreeSet::new();
        let before = self.nodes.insert(uid.to_owned(), node.clone());
        let owned_before = before
            .as_ref()
            .map(|before| before.owners.as_slice())
            .unwrap_or_default();
        for owner in owned_before
            .iter()
            .filter(|old| node.owners.iter().all(|new| new.uid != old.uid))
        {
            self.unlink(&owner.uid, uid);
            self.look_if_waiting(&owner.uid, &mut look);
        }
        for owner in &node.owners {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(uid.to_owned());
            match self.nodes.get(&owner.uid).filter(|known| known.may_own(&node)) {
                None => drop(look.insert(uid.to_owned())),
                Some(known) if known.waits => look.extend([uid.to_owned(), owner.uid.clone()]),
                Some(_) => {}
            }
        }
        if node.waits {
            look.insert(uid.to_owned());
            if before.is_none_or(|before| !before.waits) {
                look.extend(self.dependents_of(uid));
            }
        }
        look
    }

    /// Takes an object's end; answers the uids to look at.
    pub(super) fn remove(&mut self, uid: &str) -> BTreeSet<String> {
        let Some(node) = self.nodes.remove(uid) else {
            return BTreeSet::new();
        };
        let mut look: BTreeSet<String> = self.dependents_of(uid).collect();
        for owner in &node.owners {
            self.unlink(&owner.uid, uid);
            self.look_if_waiting(&owner.uid, &mut look);
        }
        look
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    fn look_if_waiting(&self, uid: &str, look: &mut BTreeSet<String>) {
        if self.nodes.get(uid).is_some_and(|node| node.waits) {
            look.insert(uid.to_owned());
        }
    }

    /// An object.
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// The uids of the objects that name `uid` as an owner.
    pub(super) fn dependents_of(&self, uid: &str) -> impl Iterator<Item = String> + '_ {
        self.dependents.get(uid).into_iter().flatten().cloned()
    }

    /// Whether every owner of the object is there and stays, as far as is known: then there is nothing to look at.
    pub(super) fn is_kept(&self, node: &Node) -> bool {
        node.owners.iter().all(|owner| {
            self.nodes
                .get(&owner.uid)
                .is_some_and(|owner| !owner.waits && owner.may_own(node))
        })
    }

    /// Whether a dependent of `uid` itself waits for its dependents: a circle of waiting, perhaps.
    pub(super) fn has_waiting_dependent(&self, uid: &str) -> bool {
        self.dependents_of(uid)
            .any(|dependent| self.nodes.get(&dependent).is_some_and(|node| node.waits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(owners: &[&str], waits: bool) -> Node {
        let owners = owners.iter().map(|uid| OwnerReference {
            uid: (*uid).to_owned(),
            ..OwnerReference::default()
        });
        Node {
            kind: 0,
            key: ObjectKey::default(),
            owners: owners.collect(),
            waits,
        }
    }

    fn uids(set: BTreeSet<String>) -> Vec<String> {
        set.into_iter().collect()
    }

    #[test]
    fn a_dependent_is_looked_at_when_its_owner_goes() {
        let mut graph = Graph::default();
        assert!(graph.put("owner", node(&[], false)).is_empty());
        assert!(graph.put("child", node(&["owner"], false)).is_empty());
        assert_eq!(uids(graph.remove("owner")), ["child"]);
    }

    #[test]
    fn a_dependent_that_is_seen_before_its_owner_is_looked_at_and_then_found_kept() {
        let mut graph = Graph::default();
        assert_eq!(uids(graph.put("child", node(&["owner"], false))), ["child"]);
        graph.put("owner", node(&[], false));
        assert!(graph.is_kept(&node(&["owner"], false)));
    }

    #[test]
    fn an_owner_that_waits_is_looked_at_with_every_dependent_that_goes_or_leaves() {
        let mut graph = Graph::default();
        graph.put("owner", node(&[], false));
        graph.put("a", node(&["owner"], false));
        graph.put("b", node(&["owner"], false));
        assert_eq!(uids(graph.put("owner", node(&[], true))), ["a", "b", "owner"]);
        assert_eq!(uids(graph.put("a", node(&[], false))), ["owner"]);
        assert_eq!(uids(graph.remove("b")), ["owner"]);
    }

    #[test]
    fn an_owner_in_another_namespace_keeps_nobody() {
        let within = |namespace: &str, node: Node| Node {
            key: ObjectKey {
                namespace: namespace.to_owned(),
                ..node.key.clone()
            },
            ..node
        };
        let mut graph = Graph::default();
        for (namespace, looked) in [("a", 0), ("b", 1), ("", 0)] {
            graph.put("owner", within(namespace, node(&[], false)));
            let child = within("a", node(&["owner"], false));
            assert_eq!(graph.put("child", child.clone()).len(), looked, "{namespace:?}");
            assert_eq!(graph.is_kept(&child), looked == 0, "{namespace:?}");
        }
    }

    proptest! {
        /// However events come, whoever names an owner that is not there, or that waits, has been looked at since.
        #[test]
        fn nobody_with_an_owner_to_doubt_is_overlooked(
            events in prop::collection::vec(
                (0usize..6, any::<bool>(), any::<bool>(), prop::collection::btree_set(0usize..6, 0..3)), 1..60),
        ) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let mut graph = Graph::default();
            let mut looked: BTreeSet<String> = BTreeSet::new();
            let mut kept: BTreeMap<&str, bool> = BTreeMap::new();
            for (who, alive, waits, owners) in events {
                let uid = names[who];
                let owners: Vec<&str> = owners.into_iter().filter(|owner| *owner != who).map(|owner| names[owner]).collect();
                looked.clear();
                looked.extend(if alive { graph.put(uid, node(&owners, waits)) } else { graph.remove(uid) });
                for name in names {
                    let now = graph.get(name).map(|node| graph.is_kept(node));
                    if now == Some(false) && kept.get(name) != Some(&false) {
                        prop_assert!(looked.contains(name), "{name} became doubtful unseen");
                    }
                    match now {
                        Some(now) => kept.insert(name, now),
                        None => kept.remove(name),
                    };
                }
            }
        }
    }
}
