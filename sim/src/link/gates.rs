//! Watches that are broken off, and may not be resumed at once, or not at all.
//!
//! An API server ends watches when it likes. It refuses new ones while its cache is not ready (429), and those from
//! before what its cache remembers (410): their clients must list anew, and never hear the single events between,
//! deletions least of all.

use std::sync::{Arc, Weak};
use std::time::Duration;

use orrery_api::status::ApiError;
use tokio::sync::Notify;

pub use super::mishaps::Refusal;
use crate::faults::Victims;
use crate::model::Asked;
use crate::scenario::ComponentTarget;
use crate::sweep::Sweep;

/// Which watches break, and what their clients are told when they come again.
#[derive(Debug, Clone)]
pub struct Gate {
    /// Whose.
    pub client: ComponentTarget,
    /// Of which resource, by its plural; of all if none.
    pub resource: Option<String>,
    /// Until then they are refused.
    pub until: Duration,
    /// Whether what they had seen is forgotten then.
    pub relist: bool,
    /// Who is told of the watches that break and of those that are refused.
    pub victims: Victims,
}

impl Gate {
    fn concerns(&self, client: &str, resource: &str) -> bool {
        self.client.means(client) && self.resource.as_deref().is_none_or(|own| own == resource)
    }
}

/// The watches that are open, and the gates that are not.
#[derive(Default)]
pub struct Gates {
    open: Vec<OpenWatch>,
    sweep: Sweep,
    closed: Vec<Closed>,
}

struct OpenWatch {
    client: String,
    resource: String,
    broken: Weak<Notify>,
}

struct Closed {
    gate: Gate,
    /// The watches that cannot be resumed: whose, and of what.
    forgotten: Vec<(String, String)>,
}

impl Gates {
    /// A watch is open; who is told when it breaks.
    pub fn opened(&mut self, client: &str, resource: &str) -> Arc<Notify> {
        let broken = Arc::new(Notify::new());
        if self.sweep.is_due(self.open.len()) {
            self.open.retain(|watch| watch.broken.strong_count() > 0);
            self.sweep.left(self.open.len());
        }
        self.open.push(OpenWatch {
            client: client.to_owned(),
            resource: plural(resource).to_owned(),
            broken: Arc::downgrade(&broken),
        });
        broken
    }

    /// Breaks what a gate concerns; how many watches that were.
    pub fn close(&mut self, gate: Gate, now: Duration) -> usize {
        let mut forgotten = Vec::new();
        self.open.retain(|watch| {
            let meant = gate.concerns(&watch.client, &watch.resource);
            if let Some(broken) = watch.broken.upgrade().filter(|_| meant) {
                broken.notify_one();
                gate.victims.add();
                forgotten.push((watch.client.clone(), watch.resource.clone()));
            }
            !meant
        });
        let count = forgotten.len();
        if !gate.relist {
            forgotten.clear();
        }
        if gate.until > now || !forgotten.is_empty() {
            self.closed.push(Closed { gate, forgotten });
        }
        count
    }

    /// Why a request to watch is refused, if it is one and is.
    pub fn refuse(&mut self, asked: &Asked, now: Duration) -> Option<Refusal> {
        self.closed
            .retain(|closed| closed.gate.until > now || !closed.forgotten.is_empty());
        if self.closed.is_empty() || !asked.is_watch() {
            return None;
        }
        let resource = plural(&asked.path.as_ref()?.resource);
        let concerned = |closed: &&mut Closed| closed.gate.concerns(&asked.client, resource);
        let mut error = None;
        for closed in self.closed.iter_mut().filter(concerned) {
            if closed.gate.until > now {
                closed.gate.victims.add();
                // What clients are told while a watch cache is being filled.
                return Some(refusal(ApiError::too_many_requests("storage is (re)initializing", 1)));
            }
            let known = |(client, own): &(String, String)| *client == asked.client && own == resource;
            if let Some(index) = closed.forgotten.iter().position(known) {
                closed.forgotten.remove(index);
                closed.gate.victims.add();
                error = Some(refusal(ApiError::expired("too old resource version")));
            }
        }
        error
    }

    /// All watches may be opened, and nothing is forgotten.
    pub fn open_all(&mut self) {
        self.closed.clear();
    }
}

fn refusal(error: ApiError) -> Refusal {
    Refusal { error, effect: false }
}

/// The plural of a resource, without its group.
fn plural(resource: &str) -> &str {
    resource.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::asked;
    use crate::model::Selection;

    fn gate(resource: Option<&str>, until: u64, relist: bool) -> Gate {
        Gate {
            client: ComponentTarget::parse("scheduler").unwrap(),
            resource: resource.map(str::to_owned),
            until: Duration::from_secs(until),
            relist,
            victims: Victims::default(),
        }
    }

    fn code(gates: &mut Gates, plural: &str, now: u64) -> Option<u16> {
        let watch = asked("scheduler/1", http::Method::GET, &format!("/api/v1/{plural}"));
        let refusal = gates.refuse(&watch, Duration::from_secs(now));
        refusal.map(|refusal| refusal.error.code())
    }

    #[test]
    fn a_watch_that_breaks_is_refused_for_a_while_and_then_once_for_good() {
        let mut gates = Gates::default();
        let [nodes, pods] = ["nodes", "pods"].map(|plural| gates.opened("scheduler/1", plural));
        let kubelet = gates.opened("kubelet/node-1", "nodes");
        assert_eq!(gates.close(gate(Some("nodes"), 20, true), Duration::from_secs(5)), 1);
        let told = |notify: &Notify| futures_util::FutureExt::now_or_never(notify.notified()).is_some();
        assert!(told(&nodes) && !told(&pods) && !told(&kubelet));
        assert_eq!(code(&mut gates, "nodes", 10), Some(429));
        assert_eq!(code(&mut gates, "pods", 10), None);
        assert_eq!(code(&mut gates, "nodes", 20), Some(410));
        assert_eq!(code(&mut gates, "nodes", 21), None);
    }

    #[test]
    fn a_gate_befalls_the_watches_that_break_and_those_that_are_refused() {
        let (victims, count) = Victims::counted();
        let mut gates = Gates::default();
        let open = gates.opened("scheduler/1", "nodes");
        let gate = Gate {
            victims,
            ..gate(Some("nodes"), 20, true)
        };
        gates.close(gate, Duration::from_secs(5));
        assert_eq!(count(), 1);
        let mut befallen = |plural, now| {
            code(&mut gates, plural, now);
            count()
        };
        assert_eq!(befallen("nodes", 10), 2);
        assert_eq!(befallen("pods", 10), 2);
        assert_eq!(befallen("nodes", 20), 3);
        assert_eq!(befallen("nodes", 21), 3);
        drop(open);
    }

    #[test]
    fn a_list_is_never_refused() {
        let mut gates = Gates::default();
        gates.close(gate(None, 20, true), Duration::ZERO);
        let mut list = asked("scheduler/1", http::Method::GET, "/api/v1/nodes");
        list.selection = Some(Selection {
            resource: "nodes".into(),
            namespace: String::new(),
            labels: None,
            fields: None,
        });
        assert!(gates.refuse(&list, Duration::from_secs(1)).is_none());
        assert_eq!(code(&mut gates, "nodes", 1), Some(429));
    }

    #[test]
    fn a_watch_that_was_dropped_before_is_not_broken_again() {
        let mut gates = Gates::default();
        drop(gates.opened("scheduler/1", "nodes"));
        assert_eq!(gates.close(gate(None, 0, true), Duration::ZERO), 0);
        assert_eq!(code(&mut gates, "nodes", 1), None);
    }
}
