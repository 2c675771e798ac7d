//! The streams of chance that a scenario's runs take, as far as they are worth drawing anew.

use orrery_api::random::Random;

use crate::run::TASKS;
use crate::scenario::{FaultAction, Role, Scenario};
use crate::simulator;

/// So many strikes of a swarm can be drawn anew one by one.
const STRIKES: usize = 24;

/// The streams of a scenario, in families that are chosen among evenly.
#[derive(Debug, Clone)]
pub struct Streams {
    families: Vec<Vec<String>>,
}

impl Streams {
    /// Those of `scenario`.
    pub fn of(scenario: &Scenario) -> Self {
        let faults = scenario.faults.iter().enumerate();
        let (mut whole, mut strikes) = (Vec::new(), Vec::new());
        for (index, fault) in faults {
            whole.push(format!("fault/{index}"));
            if matches!(fault.action, FaultAction::Swarm(_)) {
                strikes.extend((0..STRIKES).map(|strike| format!("fault/{index}/{strike}")));
            }
        }
        let steps = (0..scenario.workload.len()).map(|index| format!("workload/{index}"));
        let topology = &scenario.topology;
        let workers = || topology.nodes.iter().map(|node| node.name.as_str());
        let instances = |role: Role, number: u32| (1..=number).map(move |instance| format!("{role}/{instance}"));
        let mut processes: Vec<String> = instances(Role::ApiServer, topology.apiservers).collect();
        processes.extend(instances(Role::Scheduler, topology.schedulers));
        processes.extend(instances(Role::ControllerManager, topology.controller_managers));
        for own in &simulator::parts().components {
            processes.extend(instances(Role::Custom(own.name()), topology.replicas(own)));
        }
        for role in [Role::Kubelet, Role::Proxy] {
            processes.extend(workers().map(|node| format!("{role}/{node}")));
        }
        let mut machines = vec!["disk".to_owned(), "heal".to_owned()];
        machines.extend(workers().map(|node| format!("runtime/{node}")));
        machines.extend(workers().map(|node| format!("packets/{node}")));
        let order = vec![TASKS.to_owned(), "priorities".to_owned()];
        let mut families = vec![whole, strikes, steps.collect(), processes, machines, order];
        families.retain(|family| !family.is_empty());
        Streams { families }
    }

    /// One of them.
    pub fn choose(&self, random: &Random) -> Option<&String> {
        random.choose(random.choose(&self.families)?)
    }
}
