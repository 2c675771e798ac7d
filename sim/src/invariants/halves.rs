//! S7, its other half: what is written to an object's status changes no spec, and what is written to its spec no status.
//!
//! Judged at every update or patch that a server says it has carried out, of the kinds that have both: the write of the
//! revision that it names must not have changed both. One that has changed the wrong half alone is let pass: what
//! changes nothing is answered with the revision of somebody else's last write. Other subresources, creates and deletes
//! may write both. Source: Kubernetes' API conventions, "Spec and status".

use http::Method;

use super::{Invariant, Report, carried_out};
use crate::model::{Cluster, Item, Seen};

/// See the module.
pub struct Halves;

/// Whether two states of an object have the same spec, and the same status; none for kinds without these.
fn same(before: &Item, after: &Item) -> Option<(bool, bool)> {
    macro_rules! compare {
        ($kind:ident) => {
            if let (Some(before), Some(after)) = (before.$kind(), after.$kind()) {
                return Some((before.spec == after.spec, before.status == after.status));
            }
        };
    }
    compare!(pod);
    compare!(node);
    compare!(deployment);
    compare!(replica_set);
    compare!(service);
    compare!(as_namespace);
    None
}

impl Invariant for Halves {
    fn id(&self) -> &'static str {
        "S7"
    }

    fn statement(&self) -> &'static str {
        "A status write changes no spec, and a write of the spec no status."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Answered(asked, answered) = seen else { return };
        if asked.method != Method::PUT && asked.method != Method::PATCH {
            return;
        }
        let Some((path, change)) = carried_out(asked, answered, cluster) else {
            return;
        };
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return;
        };
        let Some((spec, status)) = same(before, after).filter(|_| before.uid() == after.uid()) else {
            return;
        };
        let wrong = match path.subresource.as_str() {
            _ if spec || status => return,
            "" => "its status",
            "status" => "its spec",
            _ => return,
        };
        let (client, method) = (&asked.client, &asked.method);
        let message = format!(
            "{method} {}{} by {client} has changed {wrong} as well at revision {}",
            path.id(),
            if path.subresource.is_empty() { "" } else { ", status," },
            change.revision
        );
        report.broken(self.id(), message, &["apiserver"]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::contract_tests::with;
    use super::super::tests::{History, asked, pod};
    use super::*;
    use crate::model::Answered;

    #[test]
    fn a_write_of_one_half_that_changes_the_other_as_well_breaks_s7() {
        let written = |subresource: &str, changes: &[(&str, Value)]| {
            let before = pod("a", "n", "Pending");
            let change = |pod: Value, (path, value): &(&str, Value)| with(pod, path, value.clone());
            let after = changes.iter().fold(before.clone(), change);
            let path = format!("/api/v1/namespaces/default/pods/a{subresource}");
            let write = asked("kubelet/n", Method::PATCH, &path);
            let answer = Answered {
                status: 200,
                revision: Some(3),
                ..Answered::default()
            };
            let history = History::of(|id| id == "S7").put("pods", before).put("pods", after);
            history.see(&Seen::Answered(&write, &answer)).broken()
        };
        let (status, spec) = (("/status/phase", json!("Running")), ("/spec/priority", json!(1)));
        let both = [status.clone(), spec.clone()];
        assert_eq!(written("/status", &both), ["S7"]);
        assert_eq!(written("", &both), ["S7"]);
        assert!(written("/resize", &both).is_empty());
        assert!(written("/status", std::slice::from_ref(&status)).is_empty());
        assert!(written("", &[spec]).is_empty());
        // It may be somebody else's.
        assert!(written("", &[status]).is_empty());
    }
}
