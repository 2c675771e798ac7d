//! R1: an event is about an object that is there, or was a moment ago; of each pod that a controller has made it is
//! told once (a name that is drawn again is another pod's); and what is told again bears the moment of that.
//!
//! Judged when an event of a scheduler or a controller is written, a new one or one that counts once more: at the
//! moment that it names as its last, its object must not have been gone for longer than whoever tells of it may lag
//! behind. That lets pass what waits for long to be written, since the event bears the moment at which it was
//! recorded. Not judged: kubelets, who end what runs of pods that are gone and tell of it; events of others; and
//! whatever is written while a clock is wrong, or shortly after.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;

use super::{Invariant, MEMORY, Report};
use crate::model::{Cluster, Item, ObjectId, Seen};
use crate::scenario::Role;

/// Whose events are judged, and in which process they are.
const JUDGED: [(&str, Role, &str); 5] = [
    ("default-scheduler", Role::Scheduler, "scheduler"),
    ("deployment-controller", Role::ControllerManager, "controller-manager"),
    ("replicaset-controller", Role::ControllerManager, "controller-manager"),
    ("node-controller", Role::ControllerManager, "controller-manager"),
    (
        "taint-eviction-controller",
        Role::ControllerManager,
        "controller-manager",
    ),
];

/// The reason of events whose message names a pod that has been made, and how the message begins.
const MADE: &str = "SuccessfulCreate";
const NAMES: &str = "Created pod: ";

/// How long a component may be at a thing that it tells of when it is done: a request that has no answer lasts 30 s.
const AT_WORK: Duration = Duration::from_secs(45);

/// See the module.
#[derive(Default)]
pub struct Events {
    /// When objects went, by uid.
    gone: BTreeMap<String, Duration>,
    /// How many pods of each name there have been.
    made: BTreeMap<ObjectId, i32>,
}

impl Invariant for Events {
    fn id(&self) -> &'static str {
        "R1"
    }

    fn statement(&self) -> &'static str {
        "An event is about an object that is there, or was a moment ago, and none tells twice of a pod that was made."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        match (&change.before, &change.after) {
            (before, Some(event)) if &*change.id.resource == "events" => {
                self.judge(before.as_deref(), event, cluster, report);
            }
            (None, Some(pod)) if pod.pod().is_some() => *self.made.entry(change.id.clone()).or_default() += 1,
            (Some(before), None) if &*change.id.resource != "events" => {
                self.gone.insert(before.uid().to_owned(), cluster.now);
            }
            _ => {}
        }
    }
}

impl Events {
    /// How many pods there have been of the name that an event tells of.
    fn pods_of(&self, namespace: &str, what: &str) -> i32 {
        let id = ObjectId {
            resource: "pods".into(),
            namespace: namespace.to_owned(),
            name: what.strip_prefix(NAMES).unwrap_or_default().to_owned(),
        };
        self.made.get(&id).copied().unwrap_or(0)
    }

    fn judge(&self, before: Option<&Item>, item: &Item, cluster: &Cluster, report: &mut Report) {
        let Some(event) = item.read::<Event>() else { return };
        let about = &event.involved_object;
        let what = event.message.as_deref().unwrap_or_default();
        if let (Some(MADE), Some(count @ 2..)) = (event.reason.as_deref(), event.count)
            && count > self.pods_of(&item.id.namespace, what)
        {
            let message = format!("{} tells {count} times: {what}", item.id);
            report.broken(self.id(), message, &["controller-manager"]);
        }
        let teller = event.source.as_ref().and_then(|source| source.component.as_deref());
        let Some((_, role, process)) = JUDGED.iter().find(|(component, ..)| teller == Some(component)) else {
            return;
        };
        let Some(last) = event.last_timestamp.as_ref().map(|time| cluster.moment(time.0)) else {
            return;
        };
        let patience = cluster.lag(*role) + AT_WORK;
        if cluster.is_clock_wrong(MEMORY) {
            return;
        }
        let before = before.filter(|_| event.count > Some(1));
        let again = before.and_then(|before| before.read::<Event>());
        let again = again.filter(|before| before.count < event.count && before.last_timestamp == event.last_timestamp);
        if again.is_some() && last + patience < cluster.now && !cluster.is_disturbed_everywhere(MEMORY) {
            let message = format!("{} is told again, and still bears the moment {last:?}", item.id);
            report.broken(self.id(), message, &[process]);
        }
        let gone = about.uid.as_ref().and_then(|uid| self.gone.get(uid));
        let Some(gone) = gone.filter(|gone| last > **gone + patience) else {
            return;
        };
        let message = format!(
            "{} tells at {last:?} of {} {} (uid {}), which has been gone since {gone:?}",
            item.id,
            about.kind.as_deref().unwrap_or_default(),
            about.name.as_deref().unwrap_or_default(),
            about.uid.as_deref().unwrap_or_default(),
        );
        report.broken(self.id(), message, &[process]);
    }
}
