//! A1: no component asks for what the API refuses as wrong.
//!
//! Judged at every answer that a server itself gives to a component of the cluster: none may say that the request
//! cannot be read, or that what it would write is invalid. That there is nothing or something already, that somebody
//! was faster, or that it may not be is no mistake of who asks: the world may have changed meanwhile. So it is where
//! what was right is invalid by now: the object was written since the request left (it was sent twice, or took its
//! time), another controller has adopted what is to be adopted, or a service's address or port has been given away, be
//! it to the service itself. Users may be wrong.

use super::{Invariant, Report};
use crate::model::{Asked, Cluster, Seen};
use crate::scenario::Role;

/// Bad request, method not allowed, not acceptable, too large, unsupported media type, unprocessable.
///
/// See Kubernetes' [API
/// conventions](https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#http-status-codes).
const WRONG: [u16; 6] = [400, 405, 406, 413, 415, 422];

/// How a server says that an address or a port is somebody's.
const TAKEN: &str = "is already allocated";

/// Whether what is refused as invalid may have been right by what its sender knew.
fn was_right(asked: &Asked, told: &str, cluster: &Cluster) -> bool {
    let is_service = asked.path.as_ref().is_some_and(|path| &*path.resource == "services");
    if is_service && told.contains(TAKEN) {
        return true;
    }
    let object = asked.path.as_ref().and_then(|path| cluster.get(&path.id()));
    object.is_some_and(|object| {
        let adopts = asked.patch.as_ref().is_some_and(|patch| {
            let patch: serde_json::Value = serde_json::from_slice(patch).unwrap_or_default();
            !patch["metadata"]["ownerReferences"].is_null()
        });
        object.revision > asked.floor || (adopts && object.controller_uid().is_some())
    })
}

/// See the module.
pub struct Requests;

impl Invariant for Requests {
    fn id(&self) -> &'static str {
        "A1"
    }

    fn statement(&self) -> &'static str {
        "No component asks for what the API refuses as wrong."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Answered(asked, answered) = seen else { return };
        if answered.by_fault || !WRONG.contains(&answered.status) || Role::of(&asked.client).is_none() {
            return;
        }
        let told = String::from_utf8_lossy(&answered.body);
        if answered.status == 422 && was_right(asked, &told, cluster) {
            return;
        }
        let place = asked
            .path
            .as_ref()
            .map(|path| path.id().to_string())
            .unwrap_or_default();
        let (client, method, status) = (&asked.client, &asked.method, answered.status);
        let message = format!("{client} asks {method} {place}, and is told {status}: {told}");
        report.broken(self.id(), message, &[client]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{History, asked, owned, pod};
    use super::*;
    use crate::model::Answered;

    #[test]
    fn a_component_that_is_told_that_it_is_wrong_breaks_a1() {
        let told = |client: &str, status: u16, by_fault: bool| {
            let asked = asked(client, http::Method::POST, "/api/v1/namespaces/default/events");
            let answered = Answered {
                status,
                by_fault,
                ..Answered::default()
            };
            let history = History::of(|id| id == "A1");
            history.see(&Seen::Answered(&asked, &answered)).broken()
        };
        assert_eq!(told("scheduler/1", 422, false), ["A1"]);
        assert_eq!(told("kubelet/node-1", 400, false), ["A1"]);
        for status in [201, 404, 409, 403, 503] {
            assert!(told("scheduler/1", status, false).is_empty(), "{status}");
        }
        assert!(told("user", 422, false).is_empty());
        assert!(told("scheduler/1", 400, true).is_empty());
    }

    #[test]
    fn a_port_that_somebody_has_been_given_meanwhile_does_not_break_a1() {
        let told = |message: &str| {
            let asked = asked(
                "controller-manager/1",
                http::Method::POST,
                "/api/v1/namespaces/default/services",
            );
            let answered = Answered {
                status: 422,
                body: message.to_owned().into(),
                ..Answered::default()
            };
            let history = History::of(|id| id == "A1");
            history.see(&Seen::Answered(&asked, &answered)).broken()
        };
        assert!(told("spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated").is_empty());
        assert_eq!(told("spec.ports[0].port: Required value"), ["A1"]);
    }

    #[test]
    fn who_was_right_when_he_asked_does_not_break_a1() {
        let path = "/api/v1/namespaces/default/pods/a";
        let refused = |patch: &'static str, floor: u64, pod: serde_json::Value| {
            let asked = Asked {
                patch: Some(patch.into()),
                floor,
                ..asked("controller-manager/1", http::Method::PATCH, path)
            };
            let answered = Answered {
                status: 422,
                ..Answered::default()
            };
            let history = History::of(|id| id == "A1").put("pods", pod);
            history.see(&Seen::Answered(&asked, &answered)).broken()
        };
        let free = || pod("a", "", "Pending");
        let taken = || owned(free(), "ReplicaSet", "other");
        let (adoption, label) = (
            r#"{"metadata": {"ownerReferences": [{"uid": "mine"}]}}"#,
            r#"{"metadata": {"labels": {"a": "b"}}}"#,
        );
        assert!(refused(adoption, 2, taken()).is_empty());
        assert_eq!(refused(adoption, 2, free()), ["A1"]);
        assert_eq!(refused(label, 2, taken()), ["A1"]);
        // The pod was written since the request left.
        assert!(refused(label, 1, free()).is_empty());
    }
}
