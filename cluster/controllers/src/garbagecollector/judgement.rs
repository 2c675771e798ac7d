//! What becomes of an object, by what became of its owners.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orrery_api::meta::has_finalizer;
use orrery_api::mutant;
use orrery_client::Propagation;

use super::graph::{FOREGROUND, ORPHAN};

/// What the server says of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// It lives; or nobody can tell whether it does, which must count as much.
    Solid,
    /// It is being deleted and waits for its dependents to go first.
    Waiting,
    /// It is gone.
    Absent,
}

/// What to do with an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// Nothing.
    Keep,
    /// It belongs to these owners only: the references to others go.
    Detach(Vec<OwnerReference>),
    /// It goes.
    Delete {
        /// What becomes of its own dependents.
        propagation: Propagation,
        /// Its references must not hold back its owners any longer: they wait for each other in a circle.
        unblock: bool,
    },
}

/// What to do with the object with `meta`, whose owners are as `owners` says, in the order of its references.
pub(super) fn judge(meta: &ObjectMeta, owners: &[Owner], has_dependents: bool, has_waiting_dependent: bool) -> Verdict {
    let references = meta.owner_references.as_deref().unwrap_or_default();
    if references.is_empty() || references.len() != owners.len() {
        return Verdict::Keep;
    }
    if owners.iter().all(|owner| *owner == Owner::Solid) {
        return Verdict::Keep;
    }
    if owners.contains(&Owner::Solid) && !mutant::active("O08") {
        let solid = references
            .iter()
            .zip(owners)
            .filter(|(_, owner)| **owner == Owner::Solid);
        return Verdict::Detach(solid.map(|(reference, _)| reference.clone()).collect());
    }
    if owners.contains(&Owner::Waiting) && has_dependents && !mutant::active("O204") {
        // The owner waits for all that hangs below it.
        return Verdict::Delete {
            propagation: Propagation::Foreground,
            unblock: has_waiting_dependent,
        };
    }
    let propagation = if has_finalizer(meta, ORPHAN) {
        Propagation::Orphan
    } else if has_finalizer(meta, FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    Verdict::Delete {
        propagation,
        unblock: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meta(owners: usize, finalizers: &[&str]) -> ObjectMeta {
        let owners = (0..owners).map(|number| OwnerReference {
            uid: format!("{number}"),
            ..OwnerReference::default()
        });
        ObjectMeta {
            owner_references: Some(owners.collect()),
            finalizers: Some(finalizers.iter().map(|finalizer| (*finalizer).to_owned()).collect()),
            ..ObjectMeta::default()
        }
    }

    fn delete(propagation: Propagation, unblock: bool) -> Verdict {
        Verdict::Delete { propagation, unblock }
    }

    #[test]
    fn the_table_of_judgements() {
        use Owner::{Absent, Solid, Waiting};
        use Propagation::{Background, Foreground, Orphan};
        let judge_two = |owners: [Owner; 2], dependents| judge(&meta(2, &[]), &owners, dependents, false);
        let first = || Verdict::Detach(meta(1, &[]).owner_references.unwrap_or_default());
        assert_eq!(judge(&meta(0, &[]), &[], false, false), Verdict::Keep);
        assert_eq!(judge_two([Solid, Solid], true), Verdict::Keep);
        assert_eq!(judge_two([Solid, Absent], true), first());
        assert_eq!(judge_two([Solid, Waiting], false), first());
        assert_eq!(judge_two([Absent, Absent], true), delete(Background, false));
        assert_eq!(judge_two([Absent, Waiting], true), delete(Foreground, false));
        assert_eq!(judge_two([Absent, Waiting], false), delete(Background, false));
        assert_eq!(judge(&meta(1, &[]), &[Waiting], true, true), delete(Foreground, true));
        assert_eq!(
            judge(&meta(1, &[ORPHAN]), &[Absent], true, false),
            delete(Orphan, false)
        );
        assert_eq!(
            judge(&meta(1, &[FOREGROUND]), &[Absent], true, false),
            delete(Foreground, false)
        );
    }

    proptest! {
        #[test]
        fn an_object_with_a_living_owner_is_never_deleted(
            owners in prop::collection::vec(prop_oneof![Just(Owner::Solid), Just(Owner::Waiting), Just(Owner::Absent)], 1..5),
            has_dependents: bool,
            circle: bool,
        ) {
            let verdict = judge(&meta(owners.len(), &[]), &owners, has_dependents, circle);
            let living = owners.contains(&Owner::Solid);
            prop_assert_eq!(living, !matches!(verdict, Verdict::Delete { .. }));
        }
    }
}
