//! What a service's slices should hold, and the fewest writes that get them there.
//!
//! Endpoints are not balanced over slices: every write goes to every node, so an endpoint stays in the slice it is in,
//! and slices are filled up before new ones are made. Kubernetes judges alike (KEP-752).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orrery_api::meta::{Object, is_controlled_by};
use orrery_api::mutant;

use crate::{backends, pods};

/// The label that names a slice's service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that names who keeps a slice.
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// This controller, as [`MANAGED_BY`] has it.
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
/// How many endpoints a slice holds at most: kube-controller-manager's `--max-endpoints-per-slice`.
pub(super) const CAPACITY: usize = 100;

/// One port of a slice, in an order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    name: String,
    protocol: String,
    number: Option<i32>,
    application: Option<String>,
}

/// The ports that all endpoints of a slice share, sorted.
pub(super) type Ports = Vec<Port>;

/// What a service's endpoints should be, by ports.
pub(super) type Desired = BTreeMap<Ports, Vec<Endpoint>>;

/// The writes that make a service's slices what they should be.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Slices to make; they have no name yet.
    pub create: Vec<EndpointSlice>,
    /// Slices to replace, each on the base of the revision it was seen at.
    pub update: Vec<EndpointSlice>,
    /// Slices to delete.
    pub delete: Vec<Arc<EndpointSlice>>,
}

impl Plan {
    /// Whether nothing is to be done.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }
}

/// The endpoints of `service`: one for each `selected` pod that has an address, has not finished, and whose node is
/// there, as `node_of` tells by its name. A node that is gone may have taken its pods with it, whatever they say; only
/// a service that publishes all of them keeps them.
pub(super) fn desired<'a>(
    service: &Service,
    selected: impl IntoIterator<Item = &'a Pod>,
    node_of: impl Fn(&str) -> Option<Arc<Node>>,
) -> Desired {
    let mut desired = Desired::new();
    for pod in selected.into_iter().filter(|pod| !pods::is_finished(pod)) {
        let Some(address) = backends::address(pod) else {
            continue;
        };
        let node = pods::node_name(pod).and_then(&node_of);
        if node.is_none() && !backends::publishes_not_ready(service) && !mutant::active("O129") {
            continue;
        }
        desired
            .entry(ports_of(service, pod))
            .or_default()
            .push(endpoint(service, pod, address, node.as_deref()));
    }
    desired
}

/// The zone of a node, if it has one.
pub(super) fn zone(node: &Node) -> Option<&str> {
    node.label("topology.kubernetes.io/zone")
        .filter(|zone| !zone.is_empty())
}

fn endpoint(service: &Service, pod: &Pod, address: &str, node: Option<&Node>) -> Endpoint {
    let serving = pods::is_ready(pod);
    let terminating = pod.is_terminating();
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(backends::publishes_not_ready(service) || (serving && !terminating)),
            serving: Some(serving && (!terminating || !mutant::active("O29"))),
            terminating: Some(terminating),
        }),
        hostname: backends::hostname(service, pod),
        zone: node.and_then(zone).map(str::to_owned),
        node_name: pods::node_name(pod).map(str::to_owned),
        target_ref: Some(backends::target(pod)),
        ..Endpoint::default()
    }
}

fn ports_of(service: &Service, pod: &Pod) -> Ports {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut ports: Ports = ports
        .filter_map(|port| {
            Some(Port {
                name: port.name.clone().unwrap_or_default(),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                number: Some(backends::port_number(pod.spec.as_ref()?, port)?),
                application: port.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort();
    ports
}

fn ports_in(slice: &EndpointSlice) -> Ports {
    let ports = slice.ports.iter().flatten().map(|port| Port {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        number: port.port,
        application: port.app_protocol.clone(),
    });
    let mut ports: Ports = ports.collect();
    ports.sort();
    ports
}

fn write_ports(ports: &Ports) -> Option<Vec<EndpointPort>> {
    let write = |port: &Port| EndpointPort {
        name: Some(port.name.clone()),
        protocol: Some(port.protocol.clone()),
        port: port.number,
        app_protocol: port.application.clone(),
    };
    (!ports.is_empty()).then(|| ports.iter().map(write).collect())
}

/// A slice on its way from what it is to what it should be.
struct Draft {
    slice: Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// The writes that bring `existing`, the slices that this controller keeps for `service`, to `desired`.
///
/// Slices of an earlier service of the same name go. One empty slice stays for a service without endpoints, so that
/// readers can tell "none" from "not yet". `changed` is noted on what is written.
pub(super) fn plan(
    service: &Service,
    mut desired: Desired,
    existing: &[Arc<EndpointSlice>],
    changed: Option<String>,
    capacity: usize,
) -> Plan {
    let mut plan = Plan::default();
    let (own, foreign): (Vec<_>, Vec<_>) = existing
        .iter()
        .filter(|slice| !slice.is_terminating())
        .cloned()
        .partition(|slice| is_controlled_by(&slice.metadata, service.uid()) && slice.address_type == "IPv4");
    plan.delete.extend(foreign);

    let mut groups: BTreeMap<Ports, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in own {
        groups.entry(ports_in(&slice)).or_default().push(slice);
    }
    for ports in desired.keys() {
        groups.entry(ports.clone()).or_default();
    }

    let template = Template::of(service, changed);
    let mut spare = Vec::new();
    let mut new: Vec<(Ports, Vec<Endpoint>)> = Vec::new();
    let mut kept = 0;
    for (ports, slices) in groups {
        let wanted = desired.remove(&ports).unwrap_or_default();
        let (drafts, overflow) = fill(&template, slices, wanted, capacity);
        for draft in drafts {
            if draft.endpoints.is_empty() {
                spare.push(draft.slice);
                continue;
            }
            kept += 1;
            if draft.changed {
                plan.update
                    .push(template.rewrite(&draft.slice, &ports, draft.endpoints));
            }
        }
        let mut overflow = overflow.into_iter().peekable();
        while overflow.peek().is_some() {
            new.push((ports.clone(), overflow.by_ref().take(capacity.max(1)).collect()));
        }
    }
    if kept == 0 && new.is_empty() {
        // The slice that is already as bare as it should be comes first: then nothing needs writing.
        spare.sort_by_key(|slice| !template.is_placeholder(slice));
        new.push((Ports::new(), Vec::new()));
    }
    // An emptied slice becomes a new one: one write instead of two, and nothing in between.
    let mut spare = spare.into_iter();
    for (ports, endpoints) in new {
        match spare.next() {
            Some(slice) if endpoints.is_empty() && template.is_placeholder(&slice) => {}
            Some(slice) => plan.update.push(template.rewrite(&slice, &ports, endpoints)),
            None => plan.create.push(template.create(service, &ports, endpoints)),
        }
    }
    plan.delete.extend(spare);
    plan
}

/// Puts `wanted` into `slices`, each endpoint into the slice it is in; returns what found no room, too.
fn fill(
    template: &Template,
    slices: Vec<Arc<EndpointSlice>>,
    wanted: Vec<Endpoint>,
    capacity: usize,
) -> (Vec<Draft>, Vec<Endpoint>) {
    let mut wanted: BTreeMap<String, Endpoint> = wanted
        .into_iter()
        .map(|endpoint| (identity(&endpoint), endpoint))
        .collect();
    let mut drafts: Vec<Draft> = Vec::new();
    for slice in slices {
        let mut draft = Draft {
            endpoints: Vec::new(),
            changed: !template.fits(&slice),
            slice,
        };
        for endpoint in &draft.slice.endpoints {
            // Taken out when found, so that a second slice with the same endpoint loses it.
            match wanted.remove(&identity(endpoint)) {
                Some(found) => {
                    draft.changed |= found != *endpoint;
                    draft.endpoints.push(found);
                }
                None => draft.changed = true,
            }
        }
        drafts.push(draft);
    }
    let mut wanted: Vec<Endpoint> = wanted.into_values().collect();
    // Slices that are written anyway take what they can.
    for draft in drafts
        .iter_mut()
        .filter(|draft| draft.changed && !draft.endpoints.is_empty())
    {
        let room = capacity.saturating_sub(draft.endpoints.len()).min(wanted.len());
        draft.endpoints.extend(wanted.drain(..room));
    }
    // The rest goes into one more slice if one has room for all of it: the fullest such.
    if !wanted.is_empty() {
        let roomy = drafts.iter_mut().filter(|draft| {
            !draft.changed
                && !draft.endpoints.is_empty()
                && (draft.endpoints.len() + wanted.len() <= capacity || mutant::active("O145"))
        });
        if let Some(draft) = roomy.max_by_key(|draft| draft.endpoints.len()) {
            draft.endpoints.append(&mut wanted);
            draft.changed = true;
        }
    }
    if !drafts.is_empty() && !wanted.is_empty() && mutant::active("O144") {
        wanted.clear();
    }
    (drafts, wanted)
}

/// What makes two endpoints the same one: the pod. Name first, so that slices are filled in the order of names.
fn identity(endpoint: &Endpoint) -> String {
    match &endpoint.target_ref {
        Some(target) => format!(
            "{}/{}",
            target.name.as_deref().unwrap_or_default(),
            target.uid.as_deref().unwrap_or_default()
        ),
        None => format!("/{}", endpoint.addresses.join(",")),
    }
}

/// What all slices of a service have in common.
struct Template {
    labels: BTreeMap<String, String>,
    owner: OwnerReference,
    changed: Option<String>,
}

impl Template {
    fn of(service: &Service, changed: Option<String>) -> Self {
        let mut labels = service.metadata.labels.clone().unwrap_or_default();
        labels.remove(backends::HEADLESS);
        labels.insert(SERVICE_NAME.to_owned(), service.name().to_owned());
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        if backends::is_headless(service) {
            labels.insert(backends::HEADLESS.to_owned(), String::new());
        }
        Template {
            labels,
            owner: service.controller_reference(),
            changed,
        }
    }

    fn fits(&self, slice: &EndpointSlice) -> bool {
        slice.metadata.labels.as_ref() == Some(&self.labels)
    }

    fn is_placeholder(&self, slice: &EndpointSlice) -> bool {
        self.fits(slice) && slice.endpoints.is_empty() && slice.ports.iter().flatten().next().is_none()
    }

    fn create(&self, service: &Service, ports: &Ports, endpoints: Vec<Endpoint>) -> EndpointSlice {
        let slice = EndpointSlice {
            address_type: "IPv4".to_owned(),
            metadata: ObjectMeta {
                namespace: service.metadata.namespace.clone(),
                owner_references: Some(vec![self.owner.clone()]),
                ..ObjectMeta::default()
            },
            ..EndpointSlice::default()
        };
        self.rewrite(&slice, ports, endpoints)
    }

    fn rewrite(&self, slice: &EndpointSlice, ports: &Ports, endpoints: Vec<Endpoint>) -> EndpointSlice {
        let mut slice = EndpointSlice {
            endpoints,
            ports: write_ports(ports),
            ..slice.clone()
        };
        slice.metadata.labels = Some(self.labels.clone());
        let annotations = slice.metadata.annotations.get_or_insert_default();
        match &self.changed {
            Some(time) => annotations.insert(backends::LAST_CHANGE.to_owned(), time.clone()),
            None => annotations.remove(backends::LAST_CHANGE),
        };
        if annotations.is_empty() {
            slice.metadata.annotations = None;
        }
        slice
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
