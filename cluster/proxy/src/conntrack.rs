//! Which tracked flows are stale after the rules changed: pure.
//!
//! A UDP flow that goes on sending keeps its old translation for as long as it does, whatever the rules say by then:
//! to an endpoint that is gone (Kubernetes issue 139628: also when it was the last one), or to nowhere although there
//! are endpoints now (issue 48370). So what is compared is where flows may be opened to, with the endpoints that
//! answer there, *empty sets included*; and a place that vanished counts as one where nobody answers.

use core::net::SocketAddrV4;
use std::collections::{BTreeMap, BTreeSet};

use orrery_api::mutant;

use crate::filter::StaleFlows;
use crate::plan::{Frontend, ServiceRules};
use crate::ruleset::{Cidr, Protocol};

/// Where UDP flows can be opened to, each with the endpoints that answer there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontends(BTreeMap<Frontend, BTreeSet<SocketAddrV4>>);

impl Frontends {
    /// Those of all services.
    pub fn of<'a>(services: impl Iterator<Item = &'a ServiceRules>) -> Self {
        let mut all: BTreeMap<Frontend, BTreeSet<SocketAddrV4>> = BTreeMap::new();
        let frontends = services.flat_map(ServiceRules::frontends);
        for (frontend, endpoints) in frontends.filter(|(frontend, _)| frontend.protocol == Protocol::Udp) {
            all.entry(*frontend).or_default().extend(endpoints);
        }
        Frontends(all)
    }

    /// What must be forgotten now that flows go by `self`, when they went by `before` until now.
    pub fn stale_since(&self, before: &Frontends) -> Vec<StaleFlows> {
        let frontends: BTreeSet<&Frontend> = before.0.keys().chain(self.0.keys()).collect();
        let number = |all: &Frontends, frontend: &Frontend| all.0.get(frontend).map(BTreeSet::len);
        let changed = frontends
            .into_iter()
            .filter(|frontend| before.0.get(frontend) != self.0.get(frontend))
            .filter(|frontend| number(before, frontend) != number(self, frontend) || !mutant::active("O41"))
            .filter(|frontend| has_endpoints(before, frontend) || !mutant::active("B113"))
            .filter(|frontend| has_endpoints(self, frontend) || !mutant::active("B116"));
        changed.map(|frontend| stale(frontend, self.0.get(frontend))).collect()
    }

    /// What must be forgotten when it is unknown what flows went by: whatever is not right now, and all flows to a
    /// cluster IP that no service has.
    pub fn stale_since_ever(&self, service_cidr: Option<Cidr>) -> Vec<StaleFlows> {
        let known = self
            .0
            .iter()
            .filter(|(_, endpoints)| !endpoints.is_empty() || !mutant::active("B116"))
            .map(|(frontend, endpoints)| stale(frontend, Some(endpoints)));
        let vanished = service_cidr.map(|destination| StaleFlows {
            protocol: Protocol::Udp,
            destination,
            port: None,
            keep: self.0.values().flatten().copied().collect(),
        });
        known.chain(vanished).collect()
    }
}

fn has_endpoints(all: &Frontends, frontend: &Frontend) -> bool {
    all.0.get(frontend).is_some_and(|endpoints| !endpoints.is_empty())
}

fn stale(frontend: &Frontend, endpoints: Option<&BTreeSet<SocketAddrV4>>) -> StaleFlows {
    StaleFlows {
        protocol: frontend.protocol,
        destination: frontend.destination,
        port: Some(frontend.port),
        keep: endpoints.cloned().unwrap_or_default(),
    }
}
