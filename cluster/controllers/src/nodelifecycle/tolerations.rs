//! For how long a pod may stay on a node with taints that drive pods out.
//!
//! Every taint has its own clock: what one taint began is neither ended nor renewed by another's coming or going. But
//! the two taints of nodes that are given up take each other's place, and for whoever tolerates both for a while that
//! is no new beginning, as in Kubernetes. Times are durations since the controller began; nothing compares clocks of
//! different machines.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Taint, Toleration};
use orrery_api::mutant;
use orrery_api::placement::tolerates_key;

use super::taints::{NO_EXECUTE, counterpart};

/// What makes two taints the same one: a taint that was taken away and put back is another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaintId {
    key: String,
    value: String,
    added: Option<Timestamp>,
}

impl TaintId {
    fn of(taint: &Taint) -> Self {
        TaintId {
            key: taint.key.clone(),
            value: taint.value.clone().unwrap_or_default(),
            added: taint.time_added.as_ref().map(|time| time.0),
        }
    }

    /// The one that takes this one's place, or whose place it has taken, if there is such.
    fn counterpart(&self) -> Option<Self> {
        Some(TaintId {
            key: counterpart(&self.key)?.to_owned(),
            value: String::new(),
            added: None,
        })
    }
}

/// Since when a taint has been in force on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Began {
    /// Since when it has.
    own: Duration,
    /// Since when it, or the one whose place it has taken, has without a break.
    either: Duration,
}

/// Since when each taint that drives pods out has been in force on a node.
pub(super) type Since = BTreeMap<TaintId, Began>;

/// The taints in force now, `taints` being the node's: those known keep their time, new ones begin at `now`.
pub(super) fn since(known: &Since, taints: &[Taint], now: Duration) -> Since {
    let driving = taints.iter().filter(|taint| taint.effect == NO_EXECUTE);
    let driving: Vec<TaintId> = driving.map(TaintId::of).collect();
    // Since when that has been in force whose place the taint takes.
    let before = |id: &TaintId| {
        let other = counterpart(&id.key)?;
        let replaced = known
            .iter()
            .filter(|(old, _)| old.key == other && !driving.contains(old));
        let before = replaced.map(|(_, began)| began.either).min();
        before.filter(|_| !mutant::active("O127"))
    };
    let began = |id: &TaintId| {
        known.get(id).copied().unwrap_or_else(|| Began {
            own: now,
            either: before(id).unwrap_or(now),
        })
    };
    driving.iter().map(|id| (id.clone(), began(id))).collect()
}

/// When a pod with `tolerations` has to go that has been on the node since `arrived`; `None` when it may stay.
pub(super) fn deadline(taints: &Since, tolerations: &[Toleration], arrived: Duration) -> Option<Duration> {
    taints
        .iter()
        .filter_map(|(id, began)| {
            let allowance = allowance_of(tolerations, id)?;
            // Of a pod that tolerates the other one for ever no time was running that could go on.
            let goes_on = id.counterpart().and_then(|other| allowance_of(tolerations, &other));
            let since = if goes_on.is_some() { began.either } else { began.own };
            let late = arrived > since && !allowance.is_zero() && mutant::active("O104");
            let begins = if late { since } else { since.max(arrived) };
            Some(begins.saturating_add(allowance))
        })
        .min()
}

/// For how long `tolerations` tolerate the taint; `None` if for ever.
fn allowance_of(tolerations: &[Toleration], taint: &TaintId) -> Option<Duration> {
    let Some(toleration) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else {
        return Some(Duration::ZERO);
    };
    Some(Duration::from_secs(
        u64::try_from(toleration.toleration_seconds?).unwrap_or(0),
    ))
}

/// Whether `toleration` is for the taint with effect `NoExecute`.
fn tolerates(toleration: &Toleration, taint: &TaintId) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let is_meant = effect.is_empty() || effect == NO_EXECUTE || mutant::active("O183");
    is_meant && tolerates_key(toleration, &taint.key, &taint.value)
}

#[cfg(test)]
mod tests {
    use super::super::taints::{NOT_READY, UNREACHABLE};
    use super::*;
    use proptest::prelude::*;

    fn taint(key: &str, value: &str) -> Taint {
        Taint {
            key: key.into(),
            value: Some(value.into()),
            effect: NO_EXECUTE.into(),
            time_added: None,
        }
    }

    fn toleration(key: &str, operator: &str, value: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: Some(key.into()),
            operator: Some(operator.into()),
            value: Some(value.into()),
            effect: Some(NO_EXECUTE.into()),
            toleration_seconds: seconds,
        }
    }

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn an_untolerated_taint_evicts_at_once_and_a_tolerated_one_never() {
        let taints = since(&Since::new(), &[taint("a", "x")], seconds(5));
        assert_eq!(deadline(&taints, &[], seconds(0)), Some(seconds(5)));
        assert_eq!(
            deadline(&taints, &[toleration("a", "Exists", "", None)], seconds(0)),
            None
        );
        assert_eq!(
            deadline(&taints, &[toleration("", "Exists", "", None)], seconds(0)),
            None
        );
        assert_eq!(
            deadline(&taints, &[toleration("a", "Equal", "x", Some(30))], seconds(9)),
            Some(seconds(39))
        );
        assert_eq!(
            deadline(&taints, &[toleration("a", "Equal", "y", Some(30))], seconds(0)),
            Some(seconds(5))
        );
        assert_eq!(
            deadline(&taints, &[toleration("a", "Exists", "", Some(-4))], seconds(0)),
            Some(seconds(5))
        );
    }

    #[test]
    fn taints_that_keep_others_away_drive_nobody_out() {
        let away = Taint {
            effect: "NoSchedule".into(),
            ..taint("a", "")
        };
        assert_eq!(
            deadline(&since(&Since::new(), &[away], seconds(5)), &[], seconds(0)),
            None
        );
    }

    #[test]
    fn the_end_of_the_taint_that_hurried_gives_the_pod_the_others_time() {
        let tolerations = [
            toleration("slow", "Exists", "", Some(300)),
            toleration("fast", "Exists", "", Some(10)),
        ];
        let both = since(&Since::new(), &[taint("slow", ""), taint("fast", "")], seconds(0));
        assert_eq!(deadline(&both, &tolerations, seconds(0)), Some(seconds(10)));
        let one = since(&both, &[taint("slow", "")], seconds(5));
        assert_eq!(deadline(&one, &tolerations, seconds(0)), Some(seconds(300)));
        // It comes back: its time begins anew, the other's does not.
        let again = since(&one, &[taint("slow", ""), taint("fast", "")], seconds(295));
        assert_eq!(deadline(&again, &tolerations, seconds(0)), Some(seconds(300)));
    }

    #[test]
    fn the_time_of_a_node_that_is_lost_goes_on_when_it_is_lost_in_another_way() {
        let both = |seconds: Option<i64>| {
            [
                toleration(UNREACHABLE, "Exists", "", seconds),
                toleration(NOT_READY, "Exists", "", Some(100)),
            ]
        };
        let lost = since(&Since::new(), &[taint(UNREACHABLE, "")], seconds(10));
        let unready = since(&lost, &[taint(NOT_READY, "")], seconds(50));
        assert_eq!(deadline(&unready, &both(Some(300)), seconds(0)), Some(seconds(110)));
        // Nothing was running for it before.
        assert_eq!(deadline(&unready, &both(None), seconds(0)), Some(seconds(150)));
        let again = since(&unready, &[taint(UNREACHABLE, "")], seconds(70));
        assert_eq!(deadline(&again, &both(Some(300)), seconds(0)), Some(seconds(310)));
        // It was well in between.
        let well = since(&again, &[], seconds(80));
        let anew = since(&well, &[taint(NOT_READY, "")], seconds(90));
        assert_eq!(deadline(&anew, &both(Some(300)), seconds(0)), Some(seconds(190)));
    }

    proptest! {
        /// No pod goes before some taint has been in force, without a break, for as long as the pod tolerates it.
        #[test]
        fn a_due_pod_had_a_taint_in_force_for_its_whole_time(
            steps in prop::collection::vec((1u64..20, prop::collection::btree_set(0usize..3, 0..3)), 1..30),
            allowed in prop::collection::vec(prop::option::of(0i64..40), 3),
        ) {
            let keys = ["a", "b", "c"];
            let tolerations: Vec<Toleration> =
                keys.iter().zip(&allowed).map(|(key, allowed)| toleration(key, "Exists", "", *allowed)).collect();
            let mut known = Since::new();
            let mut in_force: [Option<u64>; 3] = [None; 3];
            let mut now = 0;
            for (pause, set) in steps {
                now += pause;
                let taints: Vec<Taint> = set.iter().map(|index| taint(keys[*index], "")).collect();
                for (index, began) in in_force.iter_mut().enumerate() {
                    *began = set.contains(&index).then(|| began.unwrap_or(now));
                }
                known = since(&known, &taints, seconds(now));
                let due = deadline(&known, &tolerations, Duration::ZERO).is_some_and(|at| at <= seconds(now));
                let justified = in_force.iter().zip(&allowed).any(|(began, allowed)| {
                    began.zip(*allowed).is_some_and(|(began, allowed)| now - began >= allowed as u64)
                });
                prop_assert_eq!(due, justified);
            }
        }
    }
}
