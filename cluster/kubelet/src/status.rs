//! A pod's status from what is seen: phase, conditions, container statuses. Pure.
//!
//! Source: Kubernetes' documentation "Pod Lifecycle". Phases never go back (a pod whose sandbox is made anew stays
//! Running), and a finished pod keeps its phase for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState as StateStatus, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orrery_api::clock::whole_seconds;
use orrery_api::mutant;

use crate::plan::Waiting;
use crate::resources::qos_class;
use crate::runtime::{Container, ContainerState, Exit, PodSandbox};
use crate::view::{
    Place, View, api_phase, api_status, host_network, is_finished, is_terminal, restart_policy, unhindered,
    usable_sandbox, views_replacing,
};

/// The conditions that a kubelet says something of; all others are somebody else's.
pub const OWN_CONDITIONS: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// The most bytes of last words that the containers of a pod show together, each its share. Source:
/// `MaxPodTerminationMessageLogLength` of Kubernetes' kubelet.
const MESSAGES_LIMIT: usize = 12 * 1024;

/// What a status is made of, beside the pod and its sandboxes.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// Why containers do not run, by name.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// Containers that are ready, by id.
    pub ready: &'a BTreeSet<String>,
    /// Containers whose startup probe has succeeded or that have none, by id.
    pub started: &'a BTreeSet<String>,
    /// Containers that were told to end so that others take their places, by id.
    pub replaced: &'a BTreeSet<String>,
    /// The node's address.
    pub host_ip: IpAddr,
    /// The pod's address when it last had one.
    pub last_ip: Option<IpAddr>,
    /// The runtime's name, the scheme of container ids.
    pub runtime: &'a str,
    /// Why the kubelet ends the pod early, if it does: reason and message.
    pub ended: Option<&'a (String, String)>,
    /// The pod is being deleted and nothing of it runs any more.
    pub gone: bool,
    /// The wall clock.
    pub now: Timestamp,
}

/// The status of a pod.
pub fn pod_status(pod: &Pod, sandboxes: &[PodSandbox], seen: &Seen<'_>) -> PodStatus {
    let old = pod.status.clone().unwrap_or_default();
    let views = views_replacing(pod, sandboxes, seen.replaced);
    let statuses: Vec<(Place, ContainerStatus)> = views
        .iter()
        .map(|view| {
            let mut status = container_status(pod, view, seen);
            cut_messages(&mut status, MESSAGES_LIMIT / views.len());
            (view.place, until_it_ends_again(pod, view, status))
        })
        .collect();
    let phase = phase(pod, &views, seen);
    let ip = match usable_sandbox(pod, sandboxes) {
        Some(_) if host_network(pod) => Some(seen.host_ip),
        Some(sandbox) => sandbox.ip,
        None => seen.last_ip,
    };
    let (init, main): (Vec<_>, Vec<_>) = statuses.into_iter().partition(|(place, _)| *place != Place::Main);
    let conditions = conditions(pod, sandboxes, &phase, &init, &main, seen);
    let plain = |statuses: Vec<(Place, ContainerStatus)>| -> Option<Vec<ContainerStatus>> {
        (!statuses.is_empty()).then(|| statuses.into_iter().map(|(_, status)| status).collect())
    };
    let (reason, message) = match seen.ended {
        Some((reason, message)) => (Some(reason.clone()), Some(message.clone())),
        None => (old.reason.clone(), old.message.clone()),
    };
    PodStatus {
        phase: Some(phase),
        reason,
        message,
        conditions: Some(conditions),
        host_ip: Some(seen.host_ip.to_string()),
        host_ips: Some(vec![HostIP {
            ip: seen.host_ip.to_string(),
        }]),
        pod_ip: ip.map(|ip| ip.to_string()),
        pod_ips: ip.map(|ip| vec![PodIP { ip: ip.to_string() }]),
        start_time: Some(old.start_time.clone().unwrap_or_else(|| time(seen.now))),
        qos_class: Some(old.qos_class.clone().unwrap_or_else(|| qos_class(pod).to_owned())),
        observed_generation: match old.observed_generation {
            Some(known) if mutant::active("O181") => Some(known),
            _ => pod.metadata.generation,
        },
        init_container_statuses: plain(init),
        container_statuses: plain(main),
        ..old
    }
}

/// The status of a pod that the node refuses. Nothing of it ever runs.
pub fn rejected_status(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> PodStatus {
    let old = pod.status.clone().unwrap_or_default();
    PodStatus {
        phase: Some("Failed".to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        start_time: Some(old.start_time.clone().unwrap_or_else(|| time(now))),
        qos_class: Some(old.qos_class.clone().unwrap_or_else(|| qos_class(pod).to_owned())),
        observed_generation: pod.metadata.generation,
        ..old
    }
}

fn time(at: Timestamp) -> Time {
    Time(whole_seconds(at))
}

fn rank(phase: &str) -> u8 {
    match phase {
        "Pending" | "" => 0,
        "Running" | "Unknown" => 1,
        _ => 2,
    }
}

fn phase(pod: &Pod, views: &[View<'_>], seen: &Seen<'_>) -> String {
    let before = api_phase(pod);
    if is_terminal(before) {
        return before.to_owned();
    }
    let now = computed_phase(pod, views, seen);
    if rank(now) < rank(before) {
        before.to_owned()
    } else {
        now.to_owned()
    }
}

fn computed_phase(pod: &Pod, views: &[View<'_>], seen: &Seen<'_>) -> &'static str {
    let runs = views.iter().any(View::is_running);
    let mut main = views.iter().filter(|view| view.place == Place::Main);
    if (seen.gone || seen.ended.is_some()) && (!runs || mutant::active("O50")) {
        let succeeded = seen.ended.is_none() && main.all(|view| view.exit_code() == Some(0));
        return if succeeded { "Succeeded" } else { "Failed" };
    }
    if is_finished(pod, views) && !runs {
        return if main.all(|view| view.exit_code().is_some_and(|code| code == 0 || mutant::active("O26"))) {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    let has_begun = |view: &View<'_>| view.is_running() || view.exit_code().is_some() || view.previous.is_some();
    let one_began = main.clone().any(has_begun);
    let all_began = main.all(has_begun) || (one_began && mutant::active("O180"));
    if all_began && views.iter().any(|view| view.place == Place::Main) {
        "Running"
    } else {
        "Pending"
    }
}

fn container_status(pod: &Pod, view: &View<'_>, seen: &Seen<'_>) -> ContainerStatus {
    let name = &view.spec.name;
    let known = api_status(pod, name);
    let waiting = || {
        let hindered = seen.waiting.get(name);
        let reason = hindered.map_or_else(|| unhindered(pod), |waiting| waiting.reason.as_str());
        let message = hindered
            .map(|waiting| waiting.message.clone())
            .filter(|message| !message.is_empty());
        let waiting = ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message,
        };
        StateStatus {
            waiting: Some(waiting),
            ..StateStatus::default()
        }
    };
    let mut status = ContainerStatus {
        name: name.clone(),
        image: view.spec.image.clone().unwrap_or_default(),
        started: Some(false),
        last_state: Some(StateStatus::default()),
        ..ContainerStatus::default()
    };
    let previous = view
        .previous
        .map(|(container, exit)| terminated(container, exit, seen.runtime));
    let Some((container, _)) = view.current else {
        match (&view.lost, known) {
            // Nothing is left of it but what the API remembers.
            (Some(_), Some(known)) => return lost(known, seen, view, pod),
            _ => status.state = Some(waiting()),
        }
        return status;
    };
    status.restart_count = i32::try_from(container.attempt).unwrap_or(i32::MAX);
    status.container_id = Some(format!("{}://{}", seen.runtime, container.id));
    status.image_id = container.image_id.clone();
    if !container.image.is_empty() {
        status.image = container.image.clone();
    }
    match &container.state {
        ContainerState::Created => {
            status.container_id = None;
            status.state = Some(waiting());
            status.last_state = previous.map(Some).unwrap_or(status.last_state);
        }
        ContainerState::Running { started_at } => {
            let running = ContainerStateRunning {
                started_at: Some(time(*started_at)),
            };
            status.state = Some(StateStatus {
                running: Some(running),
                ..StateStatus::default()
            });
            status.last_state = previous.map(Some).unwrap_or(status.last_state);
            status.started = Some(seen.started.contains(&container.id));
            status.ready = seen.ready.contains(&container.id);
        }
        ContainerState::Exited(exit) => {
            let ended = terminated(container, exit, seen.runtime);
            // One that is replaced is never told as ended: under a policy that forbids restarts the API takes no way
            // back.
            let waits = seen.waiting.contains_key(name) || view.replaced;
            if waits && !view.is_finished(restart_policy(pod)) && !seen.gone {
                status.state = Some(waiting());
                status.last_state = previous.filter(|_| mutant::active("O88")).or(Some(ended));
            } else {
                status.state = Some(ended);
                status.last_state = previous.map(Some).unwrap_or(status.last_state);
            }
            status.ready = view.place == Place::Init && exit.code == 0;
        }
    }
    status
}

/// Leaves at most `limit` bytes of each of a container's last words.
fn cut_messages(status: &mut ContainerStatus, limit: usize) {
    let states = [&mut status.state, &mut status.last_state];
    let ends = states
        .into_iter()
        .flatten()
        .filter_map(|state| state.terminated.as_mut());
    for message in ends.filter_map(|end| end.message.as_mut()) {
        let mut lengths = (0..=limit.min(message.len())).rev();
        let longest = lengths.find(|length| message.is_char_boundary(*length));
        message.truncate(longest.unwrap_or_default());
    }
}

/// What an init container shows that runs anew, as all do in a new sandbox: where the API takes no end back, all that
/// it showed when it ended, until it has ended again.
fn until_it_ends_again(pod: &Pod, view: &View<'_>, status: ContainerStatus) -> ContainerStatus {
    let end = |status: &ContainerStatus| status.state.as_ref().and_then(|state| state.terminated.clone());
    let policy = restart_policy(pod);
    let is_final = |end: ContainerStateTerminated| policy == "Never" || (policy == "OnFailure" && end.exit_code == 0);
    match api_status(pod, &view.spec.name) {
        Some(known) if view.place == Place::Init && end(known).is_some_and(is_final) && end(&status).is_none() => {
            known.clone()
        }
        _ => status,
    }
}

/// The status of a container that has run and of which the runtime has nothing left.
fn lost(known: &ContainerStatus, seen: &Seen<'_>, view: &View<'_>, pod: &Pod) -> ContainerStatus {
    let mut status = known.clone();
    status.ready = view.place == Place::Init && view.exit_code() == Some(0);
    status.started = Some(false);
    let ran = known.state.as_ref().and_then(|state| state.running.as_ref());
    let Some(ran) = ran else { return status };
    let ended = StateStatus {
        terminated: Some(ContainerStateTerminated {
            exit_code: view.exit_code().unwrap_or_default(),
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some("The container could not be located when the pod was terminated".to_owned()),
            started_at: ran.started_at.clone(),
            finished_at: Some(time(seen.now)),
            container_id: known.container_id.clone(),
            signal: None,
        }),
        ..StateStatus::default()
    };
    if seen.gone || view.is_finished(restart_policy(pod)) {
        status.state = Some(ended);
    } else {
        let waiting = ContainerStateWaiting {
            reason: Some(unhindered(pod).to_owned()),
            message: None,
        };
        status.state = Some(StateStatus {
            waiting: Some(waiting),
            ..StateStatus::default()
        });
        status.last_state = Some(ended);
    }
    status
}

fn terminated(container: &Container, exit: &Exit, runtime: &str) -> StateStatus {
    let reason = match exit.reason.as_str() {
        "" if exit.code == 0 => "Completed",
        "" => "Error",
        reason => reason,
    };
    StateStatus {
        terminated: Some(ContainerStateTerminated {
            exit_code: exit.code,
            reason: Some(reason.to_owned()),
            message: (!exit.message.is_empty()).then(|| exit.message.clone()),
            started_at: Some(time(exit.started_at)),
            finished_at: Some(time(exit.finished_at)),
            container_id: Some(format!("{runtime}://{}", container.id)),
            signal: None,
        }),
        ..StateStatus::default()
    }
}

/// A condition before it is compared with what stands.
struct Claim {
    type_: &'static str,
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

fn conditions(
    pod: &Pod,
    sandboxes: &[PodSandbox],
    phase: &str,
    init: &[(Place, ContainerStatus)],
    main: &[(Place, ContainerStatus)],
    seen: &Seen<'_>,
) -> Vec<PodCondition> {
    let names = |statuses: Vec<&str>| format!("[{}]", statuses.join(" "));
    let over = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let sandbox_up = usable_sandbox(pod, sandboxes).is_some();
    // Once the main containers have started, they were initialised: a new sandbox does not take that back.
    let began = main.iter().any(|(_, status)| status.container_id.is_some());
    let incomplete: Vec<&str> = init
        .iter()
        .filter(|(place, status)| match place {
            Place::Sidecar => status.started != Some(true),
            _ => !status.ready,
        })
        .filter(|_| !began)
        .map(|(_, status)| status.name.as_str())
        .collect();
    let initialized = Claim {
        type_: "Initialized",
        holds: incomplete.is_empty() || phase == "Succeeded",
        reason: match (phase, incomplete.is_empty()) {
            ("Succeeded", _) if !init.is_empty() => Some("PodCompleted"),
            (_, false) => Some("ContainersNotInitialized"),
            _ => None,
        },
        message: (!incomplete.is_empty())
            .then(|| format!("containers with incomplete status: {}", names(incomplete.clone()))),
    };
    let sidecars = init
        .iter()
        .filter(|(place, status)| *place == Place::Sidecar && (status.ready || !mutant::active("O237")));
    let counted = sidecars.chain(main);
    let unready: Vec<&str> = counted
        .filter(|(_, status)| !status.ready)
        .map(|(_, status)| status.name.as_str())
        .collect();
    let (reason, message) = match over {
        Some(reason) => (Some(reason), None),
        None if unready.is_empty() => (None, None),
        None => (
            Some("ContainersNotReady"),
            Some(format!("containers with unready status: {}", names(unready.clone()))),
        ),
    };
    let containers_ready = over.is_none() && unready.is_empty();
    let gates = closed_gates(pod);
    let (ready_reason, ready_message) = match reason {
        None if !gates.is_empty() => (Some("ReadinessGatesNotReady"), Some(gates.join(", "))),
        reason => (reason, message.clone()),
    };
    let claims = [
        Claim {
            type_: "PodReadyToStartContainers",
            holds: sandbox_up,
            reason: None,
            message: None,
        },
        initialized,
        Claim {
            type_: "Ready",
            holds: containers_ready && (gates.is_empty() || mutant::active("O27")),
            reason: ready_reason,
            message: ready_message,
        },
        Claim {
            type_: "ContainersReady",
            holds: containers_ready,
            reason,
            message,
        },
        Claim {
            type_: "PodScheduled",
            holds: true,
            reason: None,
            message: None,
        },
    ];
    let old = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let mut all: Vec<PodCondition> = claims
        .into_iter()
        .map(|claim| settle(claim, old, pod.metadata.generation, seen.now))
        .collect();
    // What others have said stays.
    let others = old
        .iter()
        .filter(|other| !all.iter().any(|own| own.type_ == other.type_));
    let others: Vec<PodCondition> = others.cloned().collect();
    all.extend(others);
    all
}

/// What is said of each of the pod's readiness gates that nobody has opened. Source: `GeneratePodReadyCondition` of
/// Kubernetes' kubelet.
fn closed_gates(pod: &Pod) -> Vec<String> {
    let gates = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.readiness_gates.as_deref())
        .unwrap_or_default();
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let closed = gates.iter().filter_map(|gate| {
        let gate = &gate.condition_type;
        match conditions.iter().find(|own| own.type_ == *gate) {
            None => Some(format!(
                "corresponding condition of pod readiness gate {gate:?} does not exist."
            )),
            Some(own) if own.status == "True" => None,
            Some(own) => Some(format!(
                "the status of pod readiness gate {gate:?} is not \"True\", but {}",
                own.status
            )),
        }
    });
    closed.collect()
}

fn settle(claim: Claim, old: &[PodCondition], generation: Option<i64>, now: Timestamp) -> PodCondition {
    let status = if claim.holds { "True" } else { "False" };
    let before = old.iter().find(|condition| condition.type_ == claim.type_);
    if claim.type_ == "PodScheduled"
        && let Some(before) = before.filter(|before| before.status == "True")
    {
        return before.clone();
    }
    let since = before
        .filter(|before| before.status == status || mutant::active("O87"))
        .and_then(|before| before.last_transition_time.clone());
    PodCondition {
        type_: claim.type_.to_owned(),
        status: status.to_owned(),
        reason: claim.reason.map(str::to_owned),
        message: claim.message,
        last_transition_time: Some(since.unwrap_or_else(|| time(now))),
        last_probe_time: None,
        observed_generation: generation,
    }
}
