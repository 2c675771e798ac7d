//! E6: what a slice or an `Endpoints` object says of a pod is so, and a pod that is not ready stays in it.
//!
//! Judged at every write of a slice that the controller keeps, and, where no fault disturbs it, at every change of a
//! pod: what was so for half a minute before it must have been told by then. Of each pod in it: `serving` is whether it
//! is ready, `terminating` whether it is being deleted, and `ready` is both `serving` and not `terminating`, unless the
//! service publishes pods that are not ready. And no pod is written out of a service's only slice while it has its
//! address and is selected: one that is not ready, or ends, is shown as such. A pod whose node is gone is in no slice,
//! unless the service publishes pods that are not ready.
//!
//! At every write of an `Endpoints` object that the controller keeps each pod of the service that has an address, has
//! not finished and is not being deleted must be in it: among its `addresses` if it is ready or the service publishes
//! all, else among its `notReadyAddresses`. Source: the API's documentation of `EndpointSubset`.
//!
//! What changed within the controller's lag is held against nobody: the pod's readiness, its deletion, labels and
//! address, whether its node is there, the service, and how many slices it has. A fault that held the controller
//! manager up lengthens the lag. Not judged: slices that others keep, what moves between several slices, slices that
//! are deleted, and pods that never were in one (E3, at convergence); `Endpoints` objects that somebody else writes or
//! that are cut off, of services whose ports go by name (a pod may lack them), pods in their host's network, and
//! addresses that were another node's before (they leave first).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{EndpointAddress, ServiceSpec};
use k8s_openapi::api::discovery::v1::Endpoint;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Invariant, Report, UNANSWERED};
use crate::model::{Asked, Change, Cluster, EndpointState, Item, ObjectId, Seen};
use crate::scenario::Role;

/// So long after the controller's lag what a slice says of a pod may still be old, if no slice is written.
const LATE: Duration = Duration::from_secs(30);
/// So long after a fault its aftermath may hold a controller up: an answer is waited for, and then there are back-offs.
const AFTERMATH: Duration = Duration::from_secs(120);
/// The label that names who keeps an `Endpoints` object, and Kubernetes' own controller as it has it.
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
/// The annotation that tells of addresses cut off.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// See the module.
#[derive(Default)]
pub struct EndpointConditions {
    /// By uid of a pod that is: what slices tell of it.
    pods: BTreeMap<String, Known>,
    /// By name of a node that is or was there: whether it is, and since when.
    nodes: BTreeMap<String, (bool, Duration)>,
    /// When what endpoints follow from last changed in a service.
    services: BTreeMap<ObjectId, Duration>,
    /// By uid of a service: when a slice of it last came or went.
    slices: BTreeMap<String, Duration>,
    /// When somebody else last asked to write an `Endpoints` object.
    by_hand: BTreeMap<ObjectId, Duration>,
}

/// When each of these last changed; a pod was made with what it has.
#[derive(Default)]
struct Known {
    ready: Duration,
    terminating: Duration,
    /// Its labels, its address, and whether it has finished.
    place: Duration,
}

impl Invariant for EndpointConditions {
    fn id(&self) -> &'static str {
        "E6"
    }

    fn statement(&self) -> &'static str {
        "What a slice or an Endpoints object says of a pod is so, and a pod that is not ready stays in it."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        if let Seen::Asked(asked) = seen {
            self.remember_asked(asked, cluster.now);
        }
        let Seen::Change(change) = seen else { return };
        match &*change.id.resource {
            "pods" => {
                self.judge_late(change, cluster, report);
                self.remember_pod(change, cluster.now);
            }
            "nodes" if change.before.is_some() != change.after.is_some() => {
                let is_there = change.after.is_some();
                self.nodes.insert(change.id.name.clone(), (is_there, cluster.now));
            }
            "services" => self.remember_service(change, cluster.now),
            "endpoints" => self.judge_object(change, cluster, report),
            "endpointslices.discovery.k8s.io" => {
                if let (Some(before), Some(after)) = (&change.before, &change.after)
                    && before.uid() == after.uid()
                {
                    self.judge(change, Some(before), after, cluster, report);
                    return;
                }
                if let Some(after) = &change.after {
                    self.judge(change, None, after, cluster, report);
                }
                let slices = [&change.before, &change.after].into_iter().flatten();
                for service in slices.filter_map(|slice| slice.controller_uid()) {
                    self.slices.insert(service.to_owned(), cluster.now);
                }
            }
            _ => {}
        }
    }
}

fn spec(service: &Item) -> Option<&ServiceSpec> {
    service.service()?.spec.as_ref()
}

/// Whether the service publishes pods that are not ready.
fn publishes(service: &Item) -> bool {
    spec(service)
        .and_then(|spec| spec.publish_not_ready_addresses)
        .unwrap_or(false)
}

/// Whether pods may lack a port of the service.
fn goes_by_name(spec: &ServiceSpec) -> bool {
    let mut ports = spec.ports.iter().flatten();
    ports.any(|port| matches!(port.target_port, Some(IntOrString::String(_))))
}

/// Whether the pod's address was another node's in an earlier version of an `Endpoints` object.
fn has_moved(before: Option<&Item>, pod: &Item) -> bool {
    let subsets = before.and_then(Item::endpoints).into_iter();
    let subsets = subsets.flat_map(|endpoints| endpoints.subsets.iter().flatten());
    let mut addresses = subsets.flat_map(|own| own.addresses.iter().chain(&own.not_ready_addresses).flatten());
    addresses.any(|own| {
        let node = own.node_name.as_deref();
        Some(own.ip.as_str()) == pod.address() && node.is_some_and(|node| node != pod.node_name())
    })
}

fn uid(endpoint: &Endpoint) -> Option<&str> {
    let target = endpoint.target_ref.as_ref()?;
    target.uid.as_deref().filter(|_| target.kind.as_deref() == Some("Pod"))
}

impl EndpointConditions {
    fn remember_pod(&mut self, change: &Change, now: Duration) {
        let Some(after) = &change.after else {
            if let Some(before) = &change.before {
                self.pods.remove(before.uid());
            }
            return;
        };
        let known = self.pods.entry(after.uid().to_owned()).or_default();
        let before = change.before.as_ref().filter(|before| before.uid() == after.uid());
        if before.is_none_or(|before| before.condition("Ready") != after.condition("Ready")) {
            known.ready = now;
        }
        if before.is_none_or(|before| before.is_terminating() != after.is_terminating()) {
            known.terminating = now;
        }
        let place = |pod: &Item| {
            (
                pod.meta.labels.clone(),
                pod.address().map(str::to_owned),
                pod.is_finished(),
            )
        };
        if before.is_none_or(|before| place(before) != place(after)) {
            known.place = now;
        }
    }

    fn remember_service(&mut self, change: &Change, now: Duration) {
        match (&change.before, &change.after) {
            (before, None) => {
                self.services.remove(&change.id);
                if let Some(before) = before {
                    self.slices.remove(before.uid());
                }
            }
            (Some(before), Some(after)) if before.uid() == after.uid() && spec(before) == spec(after) => {}
            _ => {
                self.services.insert(change.id.clone(), now);
            }
        }
    }

    fn remember_asked(&mut self, asked: &Asked, now: Duration) {
        if asked.client.starts_with("controller-manager") || asked.write().is_none() {
            return;
        }
        if let Some(path) = asked.path.as_ref().filter(|path| &*path.resource == "endpoints") {
            self.by_hand.insert(path.id(), now);
        }
    }

    /// Where an `Endpoints` object lacks a pod that should be in it.
    fn judge_object(&self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let Some(object) = change.after.as_ref().filter(|object| !object.is_terminating()) else {
            return;
        };
        let Some(endpoints) = object.endpoints() else { return };
        let annotations = endpoints.metadata.annotations.as_ref();
        let is_cut = annotations.is_some_and(|own| own.contains_key(OVER_CAPACITY));
        let is_kept = object.label(MANAGED_BY.0) == Some(MANAGED_BY.1);
        let asked = self.by_hand.get(&change.id);
        if is_cut || !is_kept || asked.is_some_and(|at| *at + UNANSWERED > cluster.now) {
            return;
        }
        let service = cluster.find("services", &object.id.namespace, &object.id.name);
        let Some(service) = service.filter(|service| !service.is_terminating()) else {
            return;
        };
        let old = cluster.now.saturating_sub(cluster.lag(Role::ControllerManager));
        let rests = |since: &Duration| *since < old;
        if !self.services.get(&service.id).is_some_and(rests) || spec(service).is_none_or(goes_by_name) {
            return;
        }
        let target = |own: &EndpointAddress| own.target_ref.as_ref().and_then(|target| target.uid.clone());
        let (mut ready, mut unready) = (BTreeSet::new(), BTreeSet::new());
        for subset in endpoints.subsets.iter().flatten() {
            ready.extend(subset.addresses.iter().flatten().filter_map(target));
            unready.extend(subset.not_ready_addresses.iter().flatten().filter_map(target));
        }
        let publishes = publishes(service);
        for pod in cluster.all("pods").filter(|pod| pod.is_selected_by(service)) {
            let Some(own) = self.pods.get(pod.uid()) else { continue };
            let is_on_host = pod.pod().and_then(|pod| pod.spec.as_ref()?.host_network) == Some(true);
            let counts = pod.address().is_some() && !is_on_host && pod.is_live_pod();
            if !counts || ![own.ready, own.terminating, own.place].iter().all(rests) {
                continue;
            }
            let (name, list) = if publishes || pod.condition("Ready") {
                ("addresses", &ready)
            } else {
                ("notReadyAddresses", &unready)
            };
            if !list.contains(pod.uid()) && !has_moved(change.before.as_deref(), pod) {
                let message = format!(
                    "{} has {} (uid {}) not among its {name} at revision {}",
                    object.id,
                    pod.id,
                    pod.uid(),
                    change.revision
                );
                report.broken(self.id(), message, &["controller-manager", "apiserver"]);
            }
        }
    }

    fn judge(&self, change: &Change, before: Option<&Item>, slice: &Item, cluster: &Cluster, report: &mut Report) {
        if !slice.is_kept_slice() || slice.is_terminating() {
            return;
        }
        let service = slice
            .service_name()
            .and_then(|name| cluster.find("services", &slice.id.namespace, name));
        // What belongs to an earlier service of that name goes in its own time.
        let Some(service) = service.filter(|service| slice.controller_uid() == Some(service.uid())) else {
            return;
        };
        let old = cluster.now.saturating_sub(cluster.lag(Role::ControllerManager));
        let rests = |since: &Duration| *since < old;
        if service.is_terminating() || !self.services.get(&service.id).is_some_and(rests) {
            return;
        }
        let mut wrong: Vec<String> = slice
            .slice_endpoints()
            .filter_map(|endpoint| {
                // Of pods that are gone nothing is to be said here (E2).
                let pod = cluster.by_uid(uid(endpoint)?)?;
                self.untrue(endpoint, pod, service, &rests)
            })
            .collect();
        let alone = self.slices.get(service.uid()).is_some_and(rests)
            && !cluster
                .owned(service.uid())
                .any(|other| other.slice().is_some() && other.id != slice.id);
        let left = before
            .into_iter()
            .flat_map(|slice| slice.slice_endpoints())
            .filter_map(uid);
        for uid in left.filter(|_| alone) {
            let stays = slice.slice_endpoints().any(|own| self::uid(own) == Some(uid));
            let Some(pod) = cluster.by_uid(uid).filter(|_| !stays) else {
                continue;
            };
            let node = self.nodes.get(pod.node_name());
            let has_node = publishes(service) || node.is_some_and(|(is_there, since)| *is_there && rests(since));
            let rested = has_node && self.pods.get(uid).is_some_and(|known| rests(&known.place));
            if rested && !pod.is_finished() && pod.address().is_some() && pod.is_selected_by(service) {
                wrong.push(format!(
                    "leaves {} (uid {uid}) out, which {} selects",
                    pod.id, service.id
                ));
            }
        }
        for wrong in wrong {
            let message = format!("{} {wrong} at revision {}", slice.id, change.revision);
            report.broken(self.id(), message, &["controller-manager", "apiserver"]);
        }
    }

    /// What slices should have told of a pod before it changed.
    fn judge_late(&self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let Some(pod) = change
            .before
            .as_ref()
            .filter(|_| !cluster.is_disturbed_everywhere(AFTERMATH))
        else {
            return;
        };
        let due = cluster.now.saturating_sub(cluster.lag(Role::ControllerManager) + LATE);
        let rests = |since: &Duration| *since < due;
        let known = self.pods.get(pod.uid());
        if !known.is_some_and(|known| rests(&known.ready) || rests(&known.terminating)) {
            return;
        }
        let slices = cluster.all("endpointslices.discovery.k8s.io");
        for slice in slices.filter(|slice| slice.is_kept_slice() && slice.id.namespace == pod.id.namespace) {
            let mut endpoints = slice.slice_endpoints();
            let endpoint = endpoints.find(|endpoint| uid(endpoint) == Some(pod.uid()));
            let service = slice.controller_uid().and_then(|uid| cluster.by_uid(uid));
            let (Some(endpoint), Some(service)) = (endpoint, service) else {
                continue;
            };
            let settled = !service.is_terminating() && self.services.get(&service.id).is_some_and(rests);
            if let Some(wrong) = self.untrue(endpoint, pod, service, &rests).filter(|_| settled) {
                let message = format!("{} still {wrong} at revision {}", slice.id, change.revision);
                report.broken(self.id(), message, &["controller-manager", "apiserver"]);
            }
        }
    }

    /// What an endpoint says of its pod that is not so.
    fn untrue(
        &self,
        endpoint: &Endpoint,
        pod: &Item,
        service: &Item,
        rests: &impl Fn(&Duration) -> bool,
    ) -> Option<String> {
        let uid = pod.uid();
        let known = self.pods.get(uid)?;
        let EndpointState {
            ready,
            serving,
            terminating,
        } = EndpointState::of(endpoint);
        let publishes = publishes(service);
        let gone = self.nodes.get(pod.node_name()).filter(|(is_there, _)| !is_there);
        if let Some((_, since)) = gone.filter(|(_, since)| !publishes && rests(since)) {
            let node = pod.node_name();
            return Some(format!(
                "has {} (uid {uid}), whose node {node} is gone since {since:?}",
                pod.id
            ));
        }
        if serving != pod.condition("Ready") && rests(&known.ready) {
            return Some(format!(
                "has {} (uid {uid}) as serving: {serving}, though it is not so since {:?}",
                pod.id, known.ready
            ));
        }
        if terminating != pod.is_terminating() && rests(&known.terminating) {
            return Some(format!(
                "has {} (uid {uid}) as terminating: {terminating}, though it is not so since {:?}",
                pod.id, known.terminating
            ));
        }
        (ready != (publishes || (serving && !terminating))).then(|| {
            format!(
                "has {} (uid {uid}) as ready: {ready}, though serving is {serving} and terminating {terminating}",
                pod.id
            )
        })
    }
}
