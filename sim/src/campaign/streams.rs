//! The streams of chance that a scenario's runs take, as far as they are worth drawing anew.

use orrery_api::random::Random;

use crate::run::TASKS;
use crate::scenario::{FaultAction, Role, Scenario, nearest};
use crate::simulator;

/// So many strikes of a swarm can be drawn anew one by one.
const STRIKES: usize = 24;

/// What else a run draws from: it can be drawn anew, too, but never is by a campaign.
const OTHERS: [&str; 9] = [
    "boot",
    "link",
    "machine",
    "onlooker",
    "step",
    "store",
    "supervisor",
    "traffic",
    "uncordon",
];

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
            processes.extend(instances(Role::Custom(own.name()), topology.replicas(&own.words())));
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

    /// The nearest of them to a path that is none of a stream's; nothing if it is one's, or of what a stream splits
    /// into.
    pub fn meant_by(&self, path: &str) -> Option<&str> {
        let all: Vec<&str> = self.families.iter().flatten().map(String::as_str).collect();
        let is_below = |own: &&str| {
            path.strip_prefix(*own)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if all.iter().any(is_below) || OTHERS.iter().any(is_below) {
            return None;
        }
        nearest::of(path, &all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_stream_is_told_with_the_nearest_that_is_one() {
        let text = "name: a\nduration: 1s\nfaults:\n  - at: 0s\n    restart: scheduler\n";
        let streams = Streams::of(&crate::scenario::read("a.yaml", text, |_| Err(String::new())).unwrap());
        for stream in [
            "fault/0",
            "fault/0/3",
            "tasks",
            "kubelet/node-1",
            "runtime/node-1/images",
            "link/user",
        ] {
            assert_eq!(streams.meant_by(stream), None, "{stream}");
        }
        assert_eq!(streams.meant_by("fault/1"), Some("fault/0"));
        assert_eq!(streams.meant_by("kubelt/node-2"), Some("kubelet/node-2"));
        assert_eq!(streams.meant_by("task"), Some("tasks"));
        assert!(streams.meant_by("foo").is_some());
        assert!(streams.meant_by("fault").is_some());
    }
}
