//! The swarm: each seed draws which kinds of faults strike, how often, and for how long.
//!
//! How a fault of a kind is drawn stands with the kind (`draw`). A seed that leaves kinds out finds what is hidden when
//! everything happens at once (swarm testing).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use tokio::time::{Instant, sleep_until};

use super::{
    api_errors, api_lag, clock, compact, containers, crash, disk, drop_watches, duplicate, flows, hand_over, lag,
    listed, loss, lost_answers, nodes, packets, partition, pause, reset, restart, runtime, slow_link, slow_reader,
    strike, trace,
};
use crate::scenario::{
    ClientTarget, ComponentTarget, FaultAction, FaultKind, LinksTarget, Moment, NodeTarget, Role, Span, WhichRequests,
};
use crate::world::World;

/// Lets faults of `kinds` strike until `end`; `struck` says then whether any has befallen anybody.
pub async fn run(world: &Arc<World>, kinds: &[FaultKind], end: Instant, random: &Random, struck: &Arc<AtomicBool>) {
    let kinds: Vec<FaultKind> = kinds.iter().copied().filter(|kind| fits(world, *kind)).collect();
    // Each kind draws its own lot: one more kind changes nothing for the others.
    let share = 0.3 + 0.5 * random.fraction();
    let is_drawn = |kind: &FaultKind| random.stream(kind.as_str()).chance(share);
    let mut drawn: Vec<FaultKind> = kinds.iter().copied().filter(is_drawn).collect();
    if drawn.is_empty() {
        drawn.extend(random.choose(&kinds));
    }
    let mean = random.duration(Duration::from_secs(3), Duration::from_secs(40));
    let longest = random.between(2, 90);
    let names: Vec<&str> = drawn.iter().map(|kind| kind.as_str()).collect();
    trace(
        world,
        format_args!("the swarm draws {}, one each {mean:?}", listed(&names)),
    );
    let tasks = TaskGroup::new();
    let mut number = 0u32;
    let mut next = Instant::now();
    loop {
        next += random.duration(mean / 4, mean * 2);
        if next >= end {
            break;
        }
        sleep_until(next).await;
        let own = random.stream(&number.to_string());
        let Some(kind) = drawn.iter().max_by_key(|kind| own.stream(kind.as_str()).bits()) else {
            break;
        };
        let lot = Lot {
            world,
            random: &own,
            longest,
        };
        let action = lot.draw(*kind);
        let (world, struck) = (world.clone(), struck.clone());
        tasks.spawn(async move {
            let moment = Moment::At(world.choices.elapsed());
            strike(&world, moment, &action, &own, &struck).await;
        });
        number += 1;
    }
    // The tasks end with this future, when the chaos does.
    std::future::pending::<()>().await;
}

/// Whether a world has what a kind of fault strikes.
fn fits(world: &World, kind: FaultKind) -> bool {
    match kind {
        FaultKind::ApiLag => world.api_servers().len() > 1,
        FaultKind::HandOver => !hand_over::electing(&world.scenario.topology).is_empty(),
        _ => true,
    }
}

/// What a fault of the swarm is drawn with.
pub struct Lot<'a> {
    /// Where it strikes.
    pub world: &'a World,
    /// Its own stream.
    pub random: &'a Random,
    /// How many seconds the faults of this run last at most.
    longest: u64,
}

impl Lot<'_> {
    fn draw(&self, kind: FaultKind) -> FaultAction {
        match kind {
            FaultKind::Crash => FaultAction::Crash(crash::draw(self)),
            FaultKind::Restart => FaultAction::Restart(restart::draw(self)),
            FaultKind::Pause => FaultAction::Pause(pause::draw(self)),
            FaultKind::Partition => FaultAction::Partition(partition::draw(self)),
            FaultKind::LostAnswers => FaultAction::LostAnswers(lost_answers::draw(self)),
            FaultKind::ApiLag => FaultAction::ApiLag(api_lag::draw(self)),
            FaultKind::Lag => FaultAction::Lag(lag::draw(self)),
            FaultKind::SlowLink => FaultAction::SlowLink(slow_link::draw(self)),
            FaultKind::Loss => FaultAction::Loss(loss::draw(self)),
            FaultKind::Reset => FaultAction::Reset(reset::draw(self)),
            FaultKind::Duplicate => FaultAction::Duplicate(duplicate::draw(self)),
            FaultKind::ApiErrors => FaultAction::ApiErrors(api_errors::draw(self)),
            FaultKind::DropWatches => FaultAction::DropWatches(drop_watches::draw(self)),
            FaultKind::SlowReader => FaultAction::SlowReader(slow_reader::draw(self)),
            FaultKind::Disk => FaultAction::Disk(disk::draw(self)),
            FaultKind::Clock => FaultAction::Clock(clock::draw(self)),
            FaultKind::Compact => FaultAction::Compact(compact::draw(self)),
            FaultKind::Packets => FaultAction::Packets(packets::draw(self)),
            FaultKind::Flows => FaultAction::Flows(flows::draw(self)),
            FaultKind::HandOver => FaultAction::HandOver(hand_over::draw(self)),
            FaultKind::Containers => FaultAction::Containers(containers::draw(self)),
            FaultKind::Runtime => FaultAction::Runtime(runtime::draw(self)),
            FaultKind::Nodes => FaultAction::Nodes(nodes::draw(self)),
        }
    }

    /// For how long.
    pub fn lasts(&self) -> Span {
        Span::seconds(1, self.longest)
    }

    /// Whether there are several API servers.
    pub fn has_several_servers(&self) -> bool {
        self.world.api_servers().len() > 1
    }

    /// Any component that has processes of its own here.
    pub fn any_component(&self) -> ComponentTarget {
        let roles: Vec<Role> = Role::all()
            .filter(|role| *role != Role::Store || self.has_several_servers())
            .filter(|role| self.world.has(*role))
            .collect();
        ComponentTarget {
            role: *self.random.choose(&roles).unwrap_or(&Role::Kubelet),
            instance: None,
        }
    }

    /// Any component that is a client of the API.
    pub fn any_client(&self) -> ComponentTarget {
        let mut roles = vec![Role::Scheduler, Role::ControllerManager, Role::Kubelet, Role::Proxy];
        let own = Role::all().filter(|role| matches!(role, Role::Custom(_)));
        roles.extend(own.filter(|role| self.world.has(*role)));
        ComponentTarget {
            role: *self.random.choose(&roles).unwrap_or(&Role::Kubelet),
            instance: None,
        }
    }

    /// A component that is a client of the API, or everybody.
    pub fn client_or_everybody(&self) -> Option<ClientTarget> {
        let client = self.random.chance(0.7).then(|| self.any_client());
        client.map(ClientTarget::Component)
    }

    /// Any share of the requests, a few of them or most.
    pub fn any_requests(&self) -> WhichRequests {
        WhichRequests::Share {
            probability: 0.05 + 0.6 * self.random.fraction(),
            lasts: self.lasts(),
        }
    }

    /// The links of a machine, or all, or the one between a worker and one of several API servers.
    pub fn any_links(&self) -> LinksTarget {
        if self.random.chance(0.3) {
            return LinksTarget::default();
        }
        let node = self.any_machine(0.2);
        let servers = self.world.scenario.topology.control_planes();
        let to = (node == NodeTarget::Any && self.has_several_servers() && self.random.chance(0.5))
            .then(|| self.random.choose(&servers).cloned());
        LinksTarget {
            node: Some(node),
            to: to.flatten().map(NodeTarget::Named),
        }
    }

    /// A machine of the control plane with `probability`, else any worker. Certainty draws nothing.
    pub fn any_machine(&self, probability: f64) -> NodeTarget {
        if probability == 0.0 || !self.random.chance(probability) {
            return NodeTarget::Any;
        }
        let machines = self.world.scenario.topology.control_planes();
        let chosen = match machines.as_slice() {
            [only] => Some(only),
            several => self.random.choose(several),
        };
        chosen.map_or(NodeTarget::Any, |name| NodeTarget::Named(name.clone()))
    }
}
