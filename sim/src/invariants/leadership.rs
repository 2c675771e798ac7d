//! L1: of several twins only the leader works; the overlap of two stays within the lease's bound.
//!
//! A term begins when the store takes a lease with another holder, and ends when it takes one with yet another. Judged
//! are two things. *Who acts*: a twin sends a write while the lease is another's, or its own has not been renewed for
//! all of its duration, so that anybody may take it. That leaves the leader as much overlap as the lease does, and no
//! more: a leader gives up before others may take over (`orrery_client::lead`, ten seconds and fifteen), and what it
//! sends later would be accepted in another's term. *Who takes*: a lease changes hands only when it was given back, or
//! not renewed for its duration; and it counts how often it did.
//!
//! It lets pass: a write that was sent in its own term and is accepted later, since it was under way; reads; leases
//! themselves and events, which are nobody's work; processes without twins, which need no lease; and whatever comes
//! after a user has written a lease, who may give it to anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Invariant, Report};
use crate::model::{Asked, Change, Cluster, Item, Seen};
use crate::scenario::Role;

/// Leases, as the store names them.
const LEASES: &str = "leases.coordination.k8s.io";

/// A write may be noticed so long after it was made.
const NOTICED: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub struct Leadership {
    /// By lease.
    terms: BTreeMap<String, Term>,
    /// The leases that users have written.
    edited: BTreeSet<String>,
}

/// Who holds a lease.
struct Term {
    /// The name and the number of the start of a process.
    identity: String,
    /// Since when.
    since: Duration,
    /// When it last said so.
    renewed: Duration,
    /// How long others wait then.
    lasts: Duration,
}

impl Term {
    /// The process that holds it.
    fn process(&self) -> &str {
        self.identity.rsplit_once('_').map_or("", |(process, _)| process)
    }
}

/// Who holds a lease, and how long others wait when nobody renews it; none if it was given back.
fn held(lease: &Item) -> Option<(&str, Duration)> {
    let seconds = lease.lease()?.spec.as_ref()?.lease_duration_seconds.unwrap_or(0);
    let lasts = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Some((lease.lease_holder()?, lasts))
}

/// The holder that a lease names, and how often it has changed hands.
fn count(lease: &Item) -> Option<(&str, i32)> {
    let spec = lease.lease()?.spec.as_ref()?;
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    Some((holder, spec.lease_transitions.unwrap_or(0)))
}

/// What is wrong with the count of a lease that was written: it grows by one with each new holder.
fn miscounted(change: &Change) -> Option<String> {
    let (before, was) = count(change.before.as_deref()?)?;
    let (after, is) = count(change.after.as_deref()?)?;
    let taken = before != after && !after.is_empty();
    let should = was + i32::from(taken);
    (is != should).then(|| {
        let (name, revision) = (&change.id.name, change.revision);
        format!(
            "the lease {name} of {before:?}, now of {after:?}, has leaseTransitions {is}, not {should}, at revision {revision}"
        )
    })
}

impl Leadership {
    /// Takes in a write of a lease.
    fn changed(&mut self, change: &Change, now: Duration, report: &mut Report) {
        if self.edited.contains(&change.id.name) {
            return;
        }
        if let Some(message) = miscounted(change) {
            report.broken(self.id(), message, &["scheduler", "controller-manager"]);
        }
        let Some((holder, lasts)) = change.after.as_deref().and_then(held) else {
            self.terms.remove(&change.id.name);
            return;
        };
        let known = self.terms.get_mut(&change.id.name);
        if let Some(known) = known {
            if known.identity == holder {
                known.renewed = now;
                known.lasts = lasts;
                return;
            }
            if now + NOTICED < known.renewed + known.lasts {
                let message = format!(
                    "{} takes the lease {} at revision {} though {} has renewed it {:?} before, for {:?}",
                    holder,
                    change.id.name,
                    change.revision,
                    known.identity,
                    now - known.renewed,
                    known.lasts
                );
                report.broken(self.id(), message, &["scheduler", "controller-manager"]);
            }
        }
        let term = Term {
            identity: holder.to_owned(),
            since: now,
            renewed: now,
            lasts,
        };
        self.terms.insert(change.id.name.clone(), term);
    }

    /// Takes in that a user writes a lease: its terms are nobody's to judge any more.
    fn note_edit(&mut self, asked: &Asked) {
        let Some(path) = asked.path.as_ref().filter(|path| &*path.resource == LEASES) else {
            return;
        };
        if Role::of(&asked.client).is_none() {
            self.terms.remove(&path.name);
            self.edited.insert(path.name.clone());
        }
    }

    /// Judges a write that leaves its sender.
    fn acts(&self, asked: &Asked, now: Duration, report: &mut Report) {
        let Some(path) = &asked.path else { return };
        if path.resource.starts_with("leases") || path.resource.starts_with("events") {
            return;
        }
        let Some(term) = Role::of(&asked.client)
            .and_then(Role::lease)
            .and_then(|lease| self.terms.get(lease))
        else {
            return;
        };
        let why = if term.process() != asked.client {
            (term.since < now).then(|| format!("{} leads since {:?}", term.process(), term.since))
        } else {
            (term.renewed + term.lasts < now).then(|| format!("it has not renewed its lease since {:?}", term.renewed))
        };
        if let Some(why) = why {
            let message = format!("{} sends {} {} though {why}", asked.client, asked.method, path.id());
            report.broken(self.id(), message, &[&asked.client, term.process()]);
        }
    }
}

impl Invariant for Leadership {
    fn id(&self) -> &'static str {
        "L1"
    }

    fn statement(&self) -> &'static str {
        "Two leaders never work in one lease's term; a lease is not taken before its time, and counts its holders."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Change(change) if &*change.id.resource == LEASES && change.id.namespace == "kube-system" => {
                self.changed(change, cluster.now, report);
            }
            Seen::Asked(asked) if asked.method != http::Method::GET => {
                self.note_edit(asked);
                self.acts(asked, cluster.now, report);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{History, asked};
    use super::*;

    fn lease(holder: &str, transitions: i32) -> Value {
        json!({"metadata": {"name": "kube-scheduler", "namespace": "kube-system", "uid": "uid-lease"},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": transitions}})
    }

    /// The holders of the lease, with the seconds at which they say so.
    fn held(holders: &[(u64, &str)]) -> History {
        let mut history = History::of(|id| id == "L1");
        let (mut last, mut transitions) = (holders.first().map(|(_, holder)| *holder), 0);
        for (at, holder) in holders {
            transitions += i32::from(last != Some(holder) && !holder.is_empty());
            last = Some(holder);
            let lease = lease(holder, transitions);
            history = history.at(*at).put("leases.coordination.k8s.io", lease);
        }
        history
    }

    #[test]
    fn a_lease_that_does_not_count_its_holders_breaks_l1() {
        let written = |holder: &str, transitions| {
            let next = lease(holder, transitions);
            held(&[(0, "scheduler/1_1"), (5, "")])
                .at(6)
                .put("leases.coordination.k8s.io", next)
                .broken()
        };
        assert!(written("scheduler/2_1", 1).is_empty());
        assert_eq!(written("scheduler/2_1", 0), ["L1"]);
        assert_eq!(written("", 1), ["L1"]);
    }

    fn binds(history: History, client: &str, at: u64) -> Vec<&'static str> {
        let write = asked(client, http::Method::POST, "/api/v1/namespaces/default/pods/a/binding");
        history.at(at).see(&Seen::Asked(&write)).broken()
    }

    #[test]
    fn a_leader_that_goes_on_in_anothers_term_breaks_l1() {
        let moved = || held(&[(10, "scheduler/1_1"), (30, "scheduler/2_1")]);
        assert_eq!(binds(moved(), "scheduler/1", 31), ["L1"]);
        assert!(binds(moved(), "scheduler/2", 31).is_empty());
        assert!(binds(moved(), "controller-manager/1", 31).is_empty());
    }

    #[test]
    fn a_leader_that_goes_on_without_renewing_breaks_l1_before_anybody_takes_over() {
        let alone = || held(&[(10, "scheduler/1_1"), (20, "scheduler/1_1")]);
        assert!(binds(alone(), "scheduler/1", 35).is_empty());
        assert_eq!(binds(alone(), "scheduler/1", 36), ["L1"]);
    }

    #[test]
    fn a_lease_that_is_taken_too_early_breaks_l1_unless_it_was_given_back() {
        assert_eq!(held(&[(10, "scheduler/1_1"), (20, "scheduler/2_1")]).broken(), ["L1"]);
        assert_eq!(held(&[(10, "scheduler/1_1"), (20, "scheduler/1_2")]).broken(), ["L1"]);
        assert!(
            held(&[(10, "scheduler/1_1"), (25, "scheduler/2_1")])
                .broken()
                .is_empty()
        );
        let back = held(&[(10, "scheduler/1_1"), (18, ""), (20, "scheduler/2_1")]);
        assert!(back.broken().is_empty());
    }

    #[test]
    fn a_lease_that_a_user_gives_away_is_not_judged() {
        let path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler";
        let edit = asked("admin", http::Method::PATCH, path);
        let given = held(&[(10, "scheduler/1_1")])
            .see(&Seen::Asked(&edit))
            .at(12)
            .put("leases.coordination.k8s.io", lease("scheduler/2_1", 0));
        assert!(binds(given, "scheduler/1", 13).is_empty());
    }
}
