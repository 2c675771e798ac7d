//! What goes wrong: pinned to a moment, triggered by a write, or drawn by the swarm.
//!
//! Each family of faults has a file, in which a kind of fault says all its [`Words`]: how it is written and described,
//! whom it is about, what is simpler. One line in the list below makes it a part of the format. What it does to a world
//! is in `sim/src/faults`.

mod answers;
mod calls;
mod clock;
mod compact;
mod disk;
mod flows;
mod lag;
mod leader;
mod links;
mod moment;
mod nodes;
mod packets;
mod partition;
mod process;
mod requests;
mod runtime;
mod swarm;
mod watching;
mod which;

use serde::Deserialize;

use super::actions::actions;
use super::quantity::Span;
use super::target::Whom;
use super::trigger::Trigger;
use super::write::Keys;
use super::yaml::Yaml;

pub use answers::{Loss, LostAnswersSpec, WhichAnswers};
pub use calls::{DelayCallSpec, ReconnectSpec};
pub use clock::ClockSpec;
pub use compact::CompactSpec;
pub use disk::{DiskOperation, DiskSpec};
pub use flows::FlowsSpec;
pub use lag::{ApiLagSpec, LagScope, LagSpec};
pub use leader::{HandOverSpec, OldLeader};
pub use links::{LinksTarget, LossSpec, Lost, ResetSpec, SlowLinkSpec};
pub use moment::Moment;
pub use nodes::{NodeTrouble, NodesSpec};
pub use packets::{HalfApplied, PacketsSpec, PacketsTrouble};
pub use partition::{Direction, PartitionSpec, Parts};
pub use process::{CrashSpec, PauseSpec, RestartSpec};
pub use requests::{ApiErrorsSpec, DuplicateSpec, Heard};
pub use runtime::{ContainerTrouble, ContainersSpec, RuntimeSpec, RuntimeTrouble};
pub use swarm::{FaultKind, SwarmSpec};
pub use watching::{DropWatchesSpec, SlowReaderSpec};
pub use which::WhichRequests;

/// What a kind of fault says of itself.
pub trait Words {
    /// Its value, in the shortest way that is read as an equal one. Take the fault apart by name, without `..`: a new
    /// field shall not compile until it can be written.
    fn write(&self) -> Yaml;

    /// The fault as reports call it.
    fn describe(&self) -> String;

    /// Whom it names.
    fn whom(&self) -> Whom<'_> {
        Whom::default()
    }

    /// What is wrong with it beyond its types.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// What is wrong with its moment.
    fn check_moment(&self, _: &Moment) -> Result<(), String> {
        Ok(())
    }

    /// Variants that are simpler in one place, the simplest first.
    fn simpler(&self) -> Vec<Self>
    where
        Self: Sized,
    {
        Vec::new()
    }

    /// How long it lasts, where that is for the scenario to say.
    fn lasts(&mut self) -> Option<&mut Span> {
        None
    }

    /// Whether chance decides request by request whom it befalls: then each one is noted, and not the fault.
    fn is_by_chance(&self) -> bool {
        false
    }

    /// Until what happens it lasts, where the scenario says that instead.
    fn until(&self) -> Option<&Trigger> {
        None
    }

    /// Which requests of their kind it befalls, by number, where it does.
    fn nth(&mut self) -> Option<&mut Vec<u32>> {
        None
    }
}

actions! {
    /// A fault.
    FaultAction, read by FaultWire:

    /// A machine loses power, or a component is killed; back after a while.
    crash: Crash(CrashSpec) = "crash";
    /// A component is killed and started again at once.
    restart: Restart(RestartSpec) = "restart";
    /// A component, or a whole machine, stands still for a while.
    pause: Pause(PauseSpec) = "pause";
    /// Machines are cut off from others for a while.
    partition: Partition(PartitionSpec) = "partition";
    /// Messages on some links take longer.
    slow_link: SlowLink(SlowLinkSpec) = "slow-link";
    /// Requests and answers are lost.
    loss: Loss(LossSpec) = "loss";
    /// Connections break.
    reset: Reset(ResetSpec) = "reset";
    /// Writes are carried out twice.
    duplicate: Duplicate(DuplicateSpec) = "duplicate";
    /// The API answers with errors that its clients did nothing to deserve.
    api_errors: ApiErrors(ApiErrorsSpec) = "api-errors";
    /// Watches break.
    drop_watches: DropWatches(DropWatchesSpec) = "drop-watches";
    /// What a client watches waits for it.
    slow_reader: SlowReader(SlowReaderSpec) = "slow-reader";
    /// Answers of the API server are lost though the requests took effect.
    lost_answers: LostAnswers(LostAnswersSpec) = "lost-answers";
    /// What a component's watches say arrives late.
    lag: Lag(LagSpec) = "lag";
    /// What an API server's watch cache shows is old.
    api_lag: ApiLag(ApiLagSpec) = "api-lag";
    /// Calls of the API are held up.
    delay_call: DelayCall(DelayCallSpec) = "delay-call";
    /// A component is connected to another API server.
    reconnect: Reconnect(ReconnectSpec) = "reconnect";
    /// Changes of a node's packet rules fail.
    packets: Packets(PacketsSpec) = "packets";
    /// The control plane's disk is slow, full, failing, or reads wrong.
    disk: Disk(DiskSpec) = "disk";
    /// A machine's wall clock is wrong.
    clock: Clock(ClockSpec) = "clock";
    /// The store's history is compacted at a bad moment.
    compact: Compact(CompactSpec) = "compact";
    /// Tracked flows linger on a node, and requests to forget some fail.
    flows: Flows(FlowsSpec) = "flows";
    /// A leader loses its lease to a twin.
    hand_over: HandOver(HandOverSpec) = "hand-over";
    /// Something happens to containers or images of a machine.
    containers: Containers(ContainersSpec) = "containers";
    /// Something is wrong with a machine's container runtime.
    runtime: Runtime(RuntimeSpec) = "runtime";
    /// A node is deleted, replaced, wiped, drained, short of something, or flaps.
    nodes: Nodes(NodesSpec) = "nodes";
    /// Faults of these kinds, as the seed draws them.
    swarm: Swarm(SwarmSpec) = "swarm";
}

impl FaultAction {
    /// The fault as reports call it.
    pub fn describe(&self) -> String {
        self.as_ref().describe()
    }

    /// How long it lasts, where that is for the scenario to say.
    pub fn lasts(&mut self) -> Option<&mut Span> {
        self.as_mut().lasts()
    }

    /// Whether chance decides request by request whom it befalls.
    pub fn is_by_chance(&self) -> bool {
        self.as_ref().is_by_chance()
    }

    /// Until what happens it lasts, where the scenario says that instead.
    pub fn until(&self) -> Option<&Trigger> {
        self.as_ref().until()
    }

    /// Which requests of their kind it befalls, by number, where it does.
    pub fn nth(&mut self) -> Option<&mut Vec<u32>> {
        self.as_mut().nth()
    }
}

/// A fault with its moment.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "FaultWire")]
pub struct FaultPlan {
    /// When.
    pub moment: Moment,
    /// What.
    pub action: FaultAction,
}

impl FaultPlan {
    pub(super) fn write(&self) -> Yaml {
        let FaultPlan { moment, action } = self;
        moment.write().with(action.key(), action.as_ref().write()).map()
    }
}

impl TryFrom<FaultWire> for FaultPlan {
    type Error = String;

    fn try_from(wire: FaultWire) -> Result<Self, String> {
        let (last, others) = KEYS.split_last().unwrap_or((&"", &[]));
        let nothing = format!("a fault is one of `{}` and `{last}`", others.join("`, `"));
        let several = "one fault an entry: write another entry for the second";
        let (moment, action) = wire.read(&nothing, several)?;
        Ok(FaultPlan { moment, action })
    }
}

/// How long a fault lasts that does not say so.
fn some_time() -> Span {
    Span::seconds(5, 60)
}

/// The key that says how long a fault lasts.
fn some_times(keys: Keys, lasts: &Span) -> Keys {
    keys.unless(*lasts == some_time(), "for", || Yaml::plain(lasts))
}

/// The key that says how long a fault lasts, or until what happens.
fn some_times_or_until(keys: Keys, lasts: &Span, until: Option<&Trigger>) -> Keys {
    match until {
        Some(trigger) => keys.with("until", trigger.write()),
        None => some_times(keys, lasts),
    }
}

/// A fault lasts for a time, or until something happens.
fn one_end(lasts: &Span, until: Option<&Trigger>) -> Result<(), String> {
    if until.is_some() && *lasts != some_time() {
        return Err("`for` and `until` exclude each other".to_owned());
    }
    Ok(())
}
