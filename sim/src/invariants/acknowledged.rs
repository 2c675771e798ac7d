//! S8: a list shows everything that there is at its revision. S2 besides: nothing is acknowledged before it is durable.
//!
//! Judged at answers. A write's answer must not show a revision that the store has not shown yet. A list of a whole
//! resource or namespace must have as many objects as there were at its revision, if nothing of that resource was written
//! since.

use super::{Invariant, Report};
use crate::model::{Cluster, Seen};

/// S2's part; see the module.
pub struct Acknowledged;

/// S8; see the module.
pub struct Lists;

impl Invariant for Acknowledged {
    fn id(&self) -> &'static str {
        "S2"
    }

    fn statement(&self) -> &'static str {
        "A write is durable before it is acknowledged."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Answered(asked, answer) = seen else { return };
        let write = asked.method != http::Method::GET && (200..300).contains(&answer.status);
        if let Some(shown) = answer.revision.filter(|shown| write && *shown > cluster.revision) {
            let message = format!(
                "{} was answered {} at revision {shown}, but only {} is durable",
                asked.client, asked.method, cluster.revision
            );
            report.broken(self.id(), message, &[&asked.client, "apiserver", "disk"]);
        }
    }
}

impl Invariant for Lists {
    fn id(&self) -> &'static str {
        "S8"
    }

    fn statement(&self) -> &'static str {
        "A consistent list shows everything that there is at its revision."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Answered(asked, answer) = seen else { return };
        let (Some(path), Some(shown), Some(count)) = (&asked.path, answer.revision, answer.items) else {
            return;
        };
        let history = cluster.history(&path.resource);
        let written_since = history.is_some_and(|history| !matches!(history.get(history.after(shown)), Ok(None)));
        if asked.method != http::Method::GET || !asked.whole || !path.name.is_empty() || written_since {
            return;
        }
        let all = cluster.all(&path.resource);
        let there = all
            .filter(|item| path.namespace.is_empty() || item.id.namespace == path.namespace)
            .count();
        if there != count {
            let message = format!(
                "{} was shown {count} {} at revision {shown}, where there are {there}",
                asked.client, path.resource
            );
            report.broken(self.id(), message, &[&asked.client, "apiserver"]);
        }
    }
}
