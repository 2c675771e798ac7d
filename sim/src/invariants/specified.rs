//! Since when services are as they are: what the invariants about their calls share.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Change, Item};

/// By uid of a service: when its specification last changed, or what else its calls rest on.
#[derive(Default)]
pub(super) struct Specified(BTreeMap<String, Duration>);

impl Specified {
    /// Takes in a write of a service.
    pub(super) fn note(&mut self, change: &Change, now: Duration) {
        let spec = |item: &Item| {
            let spec = item.service().and_then(|service| service.spec.clone());
            (spec, item.is_another_proxys())
        };
        match (&change.before, &change.after) {
            (Some(before), Some(after)) if before.uid() == after.uid() && spec(before) == spec(after) => {}
            (_, Some(after)) => {
                self.0.insert(after.uid().to_owned(), now);
            }
            (Some(before), None) => {
                self.0.remove(before.uid());
            }
            (None, None) => {}
        }
    }

    /// Something else changed that calls of the service rest on.
    pub(super) fn touch(&mut self, uid: &str, now: Duration) {
        if let Some(at) = self.0.get_mut(uid) {
            *at = now;
        }
    }

    /// Since when the service is as it is; none if it is not there.
    pub(super) fn since(&self, uid: &str) -> Option<Duration> {
        self.0.get(uid).copied()
    }
}
