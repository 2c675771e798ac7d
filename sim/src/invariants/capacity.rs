//! Q3: the requests of the pods on a node never exceed what it has, and no two want the same port of it.
//!
//! Checked at the write that carries out what a scheduler asked for: cpu, memory and the number of pods, summed over
//! the pods bound there that have not finished, against the node's allocatable. Init containers count by their largest,
//! sidecars beside what follows them, as in Kubernetes (KEP-753); what a pod asks for as a whole goes before that
//! (KEP-2837), and its overhead comes on top (KEP-688). What the node does not have at all is nothing.
//!
//! A scheduler knows from the moment when it decides of all pods that it has bound since it took up its work. Of what
//! others do it may not have heard within its lag, which faults lengthen: that a node has less than before, and of pods
//! that somebody else has put there, be it a twin or itself in an earlier life. Not judged: bindings of pods that
//! several have asked for, or that were refused before, and what is carried out so late that it may have been given up.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use orrery_api::quantity::Quantity;

use super::{Invariant, MEMORY, Report, UNANSWERED};
use crate::model::{Asked, Change, Cluster, Item, Seen, sidecars};
use crate::scenario::Role;

/// See the module.
#[derive(Default)]
pub struct Capacity {
    /// When what nodes have last changed, by name.
    changed: BTreeMap<String, Duration>,
    /// By uid of a pod: who has asked to bind it.
    asks: BTreeMap<String, Vec<Ask>>,
    /// The pods that have a node, by uid.
    placed: BTreeMap<String, Placed>,
}

/// Somebody has asked to bind a pod.
struct Ask {
    client: String,
    at: Duration,
    /// Whether it still counts on it: it has not been refused, and has not begun anew.
    stands: bool,
}

/// How a pod came to its node.
struct Placed {
    at: Duration,
    /// The scheduler that counts it there by itself; none if it has to hear of it.
    by: Option<String>,
}

/// What a node has for pods.
fn allocatable(node: &Item) -> Option<&BTreeMap<String, Amount>> {
    node.node()?.status.as_ref()?.allocatable.as_ref()
}

/// Whether it is a binding of a pod.
fn is_binding(asked: &Asked) -> bool {
    asked.method == http::Method::POST
        && asked
            .path
            .as_ref()
            .is_some_and(|path| &*path.resource == "pods" && path.subresource == "binding")
}

/// The uid of the pod that is to be bound.
fn uid_of(asked: &Asked, cluster: &Cluster) -> Option<String> {
    let pod = || cluster.get(&asked.path.as_ref()?.id());
    asked.uid.clone().or_else(|| Some(pod()?.uid().to_owned()))
}

/// A process counts no more on these, as far as they are its own.
fn forget<'a>(
    asks: impl Iterator<Item = &'a mut Ask>,
    placed: impl IntoIterator<Item = &'a mut Placed>,
    process: &str,
) {
    for ask in asks.filter(|ask| ask.client == process) {
        ask.stands = false;
    }
    for placed in placed
        .into_iter()
        .filter(|placed| placed.by.as_deref() == Some(process))
    {
        placed.by = None;
    }
}

impl Capacity {
    fn ask(&mut self, asked: &Asked, cluster: &Cluster) {
        let Some(uid) = uid_of(asked, cluster) else { return };
        let now = cluster.now;
        let asks = self.asks.entry(uid).or_default();
        asks.retain(|ask| ask.stands || ask.at + MEMORY > now);
        match asks.iter_mut().find(|ask| ask.stands && ask.client == asked.client) {
            Some(ask) => ask.at = now,
            None => asks.push(Ask {
                client: asked.client.clone(),
                at: now,
                stands: true,
            }),
        }
    }

    /// A binding was refused: whoever asked for it does not count on it.
    fn refuse(&mut self, asked: &Asked, cluster: &Cluster) {
        let Some(uid) = uid_of(asked, cluster) else { return };
        let asks = self.asks.get_mut(&uid).into_iter().flatten();
        forget(asks, self.placed.get_mut(&uid), &asked.client);
    }

    /// A process begins, knowing nothing.
    fn begin(&mut self, process: &str) {
        forget(self.asks.values_mut().flatten(), self.placed.values_mut(), process);
    }

    /// The scheduler that has a pod bound now, if it is known.
    fn binder(&self, uid: &str, now: Duration) -> Option<String> {
        let [ask] = self.asks.get(uid)?.as_slice() else {
            return None;
        };
        let counts = ask.stands && ask.at + UNANSWERED >= now && ask.client.starts_with("scheduler/");
        counts.then(|| ask.client.clone())
    }

    /// Takes in what nodes have, and which pods they have.
    fn note(&mut self, change: &Change, now: Duration) {
        let (before, after) = (change.before.as_deref(), change.after.as_deref());
        match &*change.id.resource {
            "nodes"
                if before
                    .and_then(allocatable)
                    .is_some_and(|had| after.and_then(allocatable) != Some(had)) =>
            {
                self.changed.insert(change.id.name.clone(), now);
            }
            "pods" => match (before, after) {
                (Some(pod), None) => {
                    self.asks.remove(pod.uid());
                    self.placed.remove(pod.uid());
                }
                (_, Some(pod)) if !pod.node_name().is_empty() && !self.placed.contains_key(pod.uid()) => {
                    let by = self.binder(pod.uid(), now);
                    self.placed.insert(pod.uid().to_owned(), Placed { at: now, by });
                }
                _ => {}
            },
            _ => {}
        }
    }
}

fn add(total: &mut BTreeMap<String, i128>, more: BTreeMap<String, i128>) {
    for (name, amount) in more {
        *total.entry(name).or_default() += amount;
    }
}

/// Thousandths of a unit of what a pod requests.
fn requests(pod: &Pod) -> BTreeMap<String, i128> {
    let Some(spec) = &pod.spec else { return BTreeMap::new() };
    let amounts = |amounts: Option<&BTreeMap<String, Amount>>| -> BTreeMap<String, i128> {
        let amounts = amounts.into_iter().flatten();
        amounts
            .filter_map(|(name, amount)| Some((name.clone(), millis(&amount.0)?)))
            .collect()
    };
    let of = |container: &Container| amounts(container.resources.as_ref().and_then(|own| own.requests.as_ref()));
    let mut total: BTreeMap<String, i128> = BTreeMap::new();
    for container in &spec.containers {
        add(&mut total, of(container));
    }
    // Sidecars run on, beside whatever follows; other init containers run alone with the sidecars before them.
    let (mut sidecars, mut starting) = (BTreeMap::new(), BTreeMap::new());
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, own);
            continue;
        }
        for (name, amount) in own {
            let beside = sidecars.get(&name).copied().unwrap_or_default();
            let known: &mut i128 = starting.entry(name).or_default();
            *known = (*known).max(amount + beside);
        }
    }
    add(&mut total, sidecars);
    for (name, amount) in starting {
        let known = total.entry(name).or_default();
        *known = (*known).max(amount);
    }
    let whole = spec.resources.as_ref().and_then(|whole| whole.requests.as_ref());
    total.extend(amounts(whole));
    add(&mut total, amounts(spec.overhead.as_ref()));
    total.insert("pods".to_owned(), 1000);
    total
}

/// The ports of its node that a pod takes: address, protocol and number.
fn host_ports(pod: &Pod) -> impl Iterator<Item = (&str, &str, i32)> {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|spec| spec.containers.iter().chain(sidecars(spec)));
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let address = port.host_ip.as_deref().unwrap_or_default();
        Some((address, port.protocol.as_deref().unwrap_or("TCP"), number))
    })
}

/// A port that both pods want of one node.
fn shared_port(pod: &Pod, other: &Pod) -> Option<i32> {
    let is_any = |address: &str| matches!(address, "" | "0.0.0.0" | "::");
    let clashes = |(address, protocol, number): (&str, &str, i32)| {
        host_ports(other).any(|(its_address, its_protocol, its_number)| {
            let meet = address == its_address || is_any(address) || is_any(its_address);
            meet && protocol == its_protocol && number == its_number
        })
    };
    let shared = host_ports(pod).find(|port| clashes(*port));
    shared.map(|(_, _, number)| number)
}

fn millis(text: &str) -> Option<i128> {
    Quantity::parse(text)
        .ok()
        .map(|quantity| i128::from(quantity.milli_value()))
}

impl Invariant for Capacity {
    fn id(&self) -> &'static str {
        "Q3"
    }

    fn statement(&self) -> &'static str {
        "The requests of the pods on a node never exceed what it has, and no two want the same port of it."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        match seen {
            Seen::Started { process } | Seen::Leads { process } => self.begin(process),
            Seen::Asked(asked) if is_binding(asked) => self.ask(asked, cluster),
            Seen::Answered(asked, answer) if is_binding(asked) && answer.status >= 400 => self.refuse(asked, cluster),
            Seen::Change(change) => {
                self.note(change, cluster.now);
                self.judge(change, cluster, report);
            }
            _ => {}
        }
    }
}

impl Capacity {
    fn judge(&self, change: &Change, cluster: &Cluster, report: &mut Report) {
        let (Some(before), Some(after)) = (&change.before, &change.after) else {
            return;
        };
        let name = after.node_name();
        if !before.node_name().is_empty() || name.is_empty() {
            return;
        }
        let Some(pod) = after.pod() else { return };
        let Some(scheduler) = self.placed.get(after.uid()).and_then(|placed| placed.by.as_deref()) else {
            return;
        };
        let Some(allocatable) = cluster.find("nodes", "", name).and_then(|node| allocatable(node)) else {
            return;
        };
        let lag = cluster.lag(Role::Scheduler);
        let is_heard = |at: Duration| at + lag < cluster.now;
        if self.changed.get(name).is_some_and(|at| !is_heard(*at)) {
            return;
        }
        let is_known = |item: &Item| {
            let placed = self.placed.get(item.uid());
            placed.is_none_or(|placed| placed.by.as_deref() == Some(scheduler) || is_heard(placed.at))
        };
        let mut used: BTreeMap<String, i128> = BTreeMap::new();
        let counted = cluster.pods_on(name).filter(|item| !item.is_finished());
        for item in counted.filter(|item| is_known(item)) {
            let other = item.pod().filter(|_| item.uid() != after.uid());
            if let Some(port) = other.and_then(|other| shared_port(pod, other)) {
                report.broken(
                    self.id(),
                    format!(
                        "{} (uid {}) was bound to {name} at revision {}, where {} has the port {port}",
                        change.id,
                        after.uid(),
                        change.revision,
                        item.id
                    ),
                    &["scheduler"],
                );
            }
            for (resource, amount) in item.pod().map(requests).unwrap_or_default() {
                *used.entry(resource).or_default() += amount;
            }
        }
        for (resource, used) in used {
            let has = allocatable.get(&resource).map(|quantity| millis(&quantity.0));
            let Some(has) = has.unwrap_or(Some(0)) else { continue };
            if used > has {
                report.broken(
                    self.id(),
                    format!(
                        "{} (uid {}) was bound to {name} at revision {}, which makes {used}m of {resource} where there are {has}m",
                        change.id,
                        after.uid(),
                        change.revision
                    ),
                    &["scheduler"],
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::contract_tests::with;
    use super::super::tests::{History, asked, node, pod};
    use crate::model::{Answered, Asked, Seen};
    use crate::scenario::Role;

    const SCHEDULER: &str = "scheduler/1";

    /// A node that may have so many pods, and has cpu for as many.
    fn for_pods(pods: &str) -> Value {
        with(node("n"), "/status/allocatable", json!({"cpu": "9", "pods": pods}))
    }

    fn history() -> History {
        History::of(|id| id == "Q3")
    }

    fn binding(by: &str, name: &str) -> Asked {
        let path = format!("/api/v1/namespaces/default/pods/{name}/binding");
        asked(by, http::Method::POST, &path)
    }

    /// A pod is made, and `by` asks to bind it.
    fn asks(history: History, by: &str, name: &str) -> History {
        let made = history.put("pods", pod(name, "", "Pending"));
        made.see(&Seen::Asked(&binding(by, name)))
    }

    /// The pod is bound.
    fn bound(history: History, name: &str) -> History {
        history.put("pods", pod(name, "n", "Pending"))
    }

    fn bind(history: History, name: &str) -> History {
        bound(asks(history, SCHEDULER, name), name)
    }

    /// What is broken when `wanted` is bound to `node`.
    fn placed(node: Value, wanted: &Value) -> Vec<&'static str> {
        let pending = with(wanted.clone(), "/spec/nodeName", json!(""));
        let history = history().put("nodes", node).put("pods", pending);
        let history = history.see(&Seen::Asked(&binding(SCHEDULER, "a")));
        history.put("pods", wanted.clone()).broken()
    }

    #[test]
    fn a_node_that_gets_more_than_it_has_breaks_q3() {
        let first = || bind(history().put("nodes", node("n")), "a");
        assert!(first().broken().is_empty());
        assert_eq!(bind(first(), "b").broken(), ["Q3"]);
        let finished = first().put("pods", pod("a", "n", "Succeeded"));
        assert!(bind(finished, "b").broken().is_empty());
    }

    #[test]
    fn a_node_that_gets_more_pods_than_it_may_have_breaks_q3() {
        let first = bind(history().put("nodes", for_pods("1")), "a");
        assert_eq!(bind(first, "b").broken(), ["Q3"]);
    }

    #[test]
    fn what_a_node_does_not_have_at_all_breaks_q3() {
        let requests = json!({"requests": {"example.com/gpu": "1"}});
        let mut wanted = pod("a", "n", "Pending");
        wanted["spec"]["containers"][0]["resources"] = requests;
        assert_eq!(placed(node("n"), &wanted), ["Q3"]);
    }

    #[test]
    fn sidecars_count_beside_what_follows_them_for_q3() {
        let bind = |sidecar: &str, starts: &str| {
            let own =
                |name: &str, cpu: &str| json!({"name": name, "image": "i", "resources": {"requests": {"cpu": cpu}}});
            let mut beside = own("beside", sidecar);
            beside["restartPolicy"] = json!("Always");
            let mut wanted = pod("a", "n", "Pending");
            wanted["spec"]["initContainers"] = json!([beside, own("starts", starts)]);
            wanted["spec"]["containers"] = json!([own("main", "1")]);
            let small = with(node("n"), "/status/allocatable", json!({"cpu": "2", "pods": "9"}));
            placed(small, &wanted)
        };
        assert!(bind("1", "1").is_empty());
        assert_eq!(bind("1100m", "100m"), ["Q3"]);
        assert_eq!(bind("500m", "1600m"), ["Q3"]);
    }

    #[test]
    fn what_a_pod_asks_for_as_a_whole_and_its_overhead_count_for_q3() {
        let bind = |whole: &str, overhead: &str| {
            let mut wanted = pod("a", "n", "Pending");
            wanted["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
            wanted["spec"]["resources"] = json!({"requests": {"cpu": whole}});
            wanted["spec"]["overhead"] = json!({"cpu": overhead});
            let small = with(node("n"), "/status/allocatable", json!({"cpu": "2", "pods": "9"}));
            placed(small, &wanted)
        };
        assert!(bind("1500m", "500m").is_empty());
        assert_eq!(bind("2100m", "0"), ["Q3"]);
        assert_eq!(bind("1500m", "600m"), ["Q3"]);
    }

    #[test]
    fn two_pods_that_want_the_same_port_of_a_node_break_q3() {
        let asking = |name: &str, on: &str, ports: &Value| {
            with(pod(name, on, "Pending"), "/spec/containers/0/ports", ports.clone())
        };
        let bind = |history: History, name: &str, ports: &Value| {
            let made = history.put("pods", asking(name, "", ports));
            let asked = made.see(&Seen::Asked(&binding(SCHEDULER, name)));
            asked.put("pods", asking(name, "n", ports))
        };
        let port = |number: u16, protocol: &str, ip: &str| json!([{"containerPort": 80, "hostPort": number, "protocol": protocol, "hostIP": ip}]);
        let web = port(8080, "TCP", "");
        let first = || bind(history().put("nodes", for_pods("9")), "a", &web);
        assert_eq!(bind(first(), "b", &web).broken(), ["Q3"]);
        assert_eq!(bind(first(), "b", &port(8080, "TCP", "10.0.0.1")).broken(), ["Q3"]);
        for other in [port(8081, "TCP", ""), port(8080, "UDP", "")] {
            assert!(bind(first(), "b", &other).broken().is_empty());
        }
        // The first one has ended.
        let ended = with(pod("a", "n", "Succeeded"), "/spec/containers/0/ports", web.clone());
        assert!(bind(first().put("pods", ended), "b", &web).broken().is_empty());
        // Its maker has put it there just now.
        let made = |at| {
            let history = history().put("nodes", for_pods("9")).at(50);
            history.put("pods", asking("a", "n", &web)).at(at)
        };
        assert!(bind(made(50), "b", &web).broken().is_empty());
        assert_eq!(bind(made(100), "b", &web).broken(), ["Q3"]);
    }

    #[test]
    fn what_the_scheduler_cannot_have_heard_does_not_break_q3() {
        let made_there = |at| bind(bound(history().put("nodes", for_pods("1")).at(50), "b").at(at), "a");
        assert!(made_there(50).broken().is_empty());
        assert_eq!(made_there(100).broken(), ["Q3"]);
        let shrunk = |at| {
            let shrunk = history().put("nodes", for_pods("1")).at(50).put("nodes", for_pods("0"));
            bind(shrunk.at(at), "a")
        };
        assert!(shrunk(50).broken().is_empty());
        assert_eq!(shrunk(100).broken(), ["Q3"]);
    }

    #[test]
    fn what_the_scheduler_has_bound_itself_counts_for_q3_however_much_a_fault_holds_it_up() {
        let held_up = || {
            let history = history().put("nodes", for_pods("1")).at(50);
            bind(history, "b").know(|cluster| {
                let seconds = Duration::from_secs;
                cluster.stall(Role::Scheduler, seconds(40), seconds(90));
            })
        };
        assert_eq!(bind(held_up().at(60), "a").broken(), ["Q3"]);
        // Its former life's it has to hear of, and what it was told had failed; and so has its twin of all of it.
        let anew = held_up().see(&Seen::Leads { process: SCHEDULER });
        assert!(bind(anew.at(60), "a").broken().is_empty());
        let failed = Answered {
            status: 500,
            ..Answered::default()
        };
        let refused = held_up().see(&Seen::Answered(&binding(SCHEDULER, "b"), &failed));
        assert!(bind(refused.at(60), "a").broken().is_empty());
        let twin = |at| bound(asks(held_up().at(at), "scheduler/2", "a"), "a");
        assert!(twin(60).broken().is_empty());
        assert_eq!(twin(400).broken(), ["Q3"]);
    }

    #[test]
    fn a_binding_that_its_scheduler_may_have_given_up_does_not_break_q3() {
        let full = || bind(history().put("nodes", for_pods("1")).at(50), "b").at(200);
        let waits = || asks(full(), SCHEDULER, "a");
        assert_eq!(bound(waits(), "a").broken(), ["Q3"]);
        assert!(bound(waits().at(240), "a").broken().is_empty());
        let begun = waits().see(&Seen::Started { process: SCHEDULER });
        assert!(bound(begun, "a").broken().is_empty());
        let by_two = waits().see(&Seen::Asked(&binding("scheduler/2", "a")));
        assert!(bound(by_two, "a").broken().is_empty());
        assert!(bound(asks(full(), "user", "a"), "a").broken().is_empty());
    }
}
