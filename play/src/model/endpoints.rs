//! What an endpoint slice says of the pods in it.

use k8s_openapi::api::discovery::v1::Endpoint;

use super::item::Item;

/// What an endpoint says of its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointState {
    /// It may be sent to.
    pub ready: bool,
    /// It answers.
    pub serving: bool,
    /// It is on its way out.
    pub terminating: bool,
}

impl EndpointState {
    /// What `endpoint` says. Source: the API's documentation of `EndpointConditions`: what is not said of `ready` is
    /// true, of `serving` as `ready` is, and of `terminating` false.
    pub fn of(endpoint: &Endpoint) -> Self {
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|own| own.ready).unwrap_or(true);
        EndpointState {
            ready,
            serving: conditions.and_then(|own| own.serving).unwrap_or(ready),
            terminating: conditions.and_then(|own| own.terminating).unwrap_or(false),
        }
    }
}

impl Item {
    /// The endpoints of a slice; none of any other object.
    pub fn slice_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.slice().into_iter().flat_map(|slice| &slice.endpoints)
    }

    /// Those of them that are ready.
    pub fn ready_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.slice_endpoints()
            .filter(|endpoint| EndpointState::of(endpoint).ready)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::ObjectId;

    fn slice(endpoints: &[Value]) -> Item {
        let slice = json!({"metadata": {"name": "s", "namespace": "a"}, "addressType": "IPv4", "endpoints": endpoints});
        let id = ObjectId {
            resource: "endpointslices.discovery.k8s.io".into(),
            namespace: "a".to_owned(),
            name: "s".to_owned(),
        };
        Item::decode(id, 1, slice.to_string().into_bytes().into())
    }

    #[test]
    fn what_an_endpoint_does_not_say_is_as_the_api_has_it() {
        let said = |conditions: Value| {
            let slice = slice(&[json!({"addresses": ["10.0.0.1"], "conditions": conditions})]);
            let state = slice
                .slice_endpoints()
                .next()
                .map(EndpointState::of)
                .expect("an endpoint");
            (state.ready, state.serving, state.terminating)
        };
        assert_eq!(said(Value::Null), (true, true, false));
        assert_eq!(said(json!({"ready": false})), (false, false, false));
        assert_eq!(
            said(json!({"ready": false, "serving": true, "terminating": true})),
            (false, true, true)
        );
    }

    #[test]
    fn only_endpoints_that_are_ready_are_told_as_such() {
        let slice = slice(&[
            json!({"addresses": ["10.0.0.1"]}),
            json!({"addresses": ["10.0.0.2"], "conditions": {"ready": false}}),
        ]);
        let ready: Vec<&str> = slice.ready_endpoints().map(|own| own.addresses[0].as_str()).collect();
        assert_eq!(ready, ["10.0.0.1"]);
    }
}
