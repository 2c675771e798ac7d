//! What goes wrong: pinned to a moment, triggered by a write, or drawn by the swarm.

use std::time::Duration;

use serde::Deserialize;

use super::quantity::{self, Span};
use super::target::{ClientTarget, ComponentTarget, NodeTarget, Role};

/// When something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// Then.
    At(Duration),
    /// At a moment drawn from the range; what goes on for a while does so all the range long.
    Between(Span),
    /// When a write happened.
    When(Trigger),
}

impl Moment {
    pub(super) fn of(at: Option<Duration>, between: Option<Span>, when: Option<Trigger>) -> Result<Self, String> {
        match (at, between, when) {
            (Some(at), None, None) => Ok(Moment::At(at)),
            (None, Some(between), None) => Ok(Moment::Between(between)),
            (None, None, Some(when)) => Ok(Moment::When(when)),
            (None, None, None) => Err("say when: one of `at`, `between` and `when` is needed".to_owned()),
            _ => Err("say when only once: `at`, `between` and `when` exclude each other".to_owned()),
        }
    }
}

/// A write that something waits for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "TriggerWire")]
pub struct Trigger {
    /// Which kind of write.
    pub kind: TriggerKind,
    /// Of which object: `Kind/namespace/name`, or `Kind/name`; `web-*` for any that begins so.
    pub object: String,
    /// The how manieth such write, from 1.
    pub occurrence: u32,
}

/// A kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerKind {
    /// A create.
    Create,
    /// An update.
    Update,
    /// A delete.
    Delete,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TriggerWire {
    create: Option<String>,
    update: Option<String>,
    delete: Option<String>,
    occurrence: Option<u32>,
}

impl TryFrom<TriggerWire> for Trigger {
    type Error = String;

    fn try_from(wire: TriggerWire) -> Result<Self, String> {
        let (kind, object) = match (wire.create, wire.update, wire.delete) {
            (Some(object), None, None) => (TriggerKind::Create, object),
            (None, Some(object), None) => (TriggerKind::Update, object),
            (None, None, Some(object)) => (TriggerKind::Delete, object),
            _ => return Err("a trigger is one of `create`, `update` and `delete`".to_owned()),
        };
        if object.split('/').count() < 2 {
            return Err(format!("{object:?} names no object: write Kind/namespace/name"));
        }
        match wire.occurrence.unwrap_or(1) {
            0 => Err("occurrences are counted from 1".to_owned()),
            occurrence => Ok(Trigger {
                kind,
                object,
                occurrence,
            }),
        }
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

/// A fault.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultAction {
    /// A machine loses power, or a component is killed; back after a while.
    Crash(CrashSpec),
    /// A component is killed and started again at once.
    Restart(ComponentTarget),
    /// A component, or a whole machine, stands still for a while.
    Pause(PauseSpec),
    /// A machine is cut off from the others for a while.
    Partition(PartitionSpec),
    /// Answers of the API server are lost though the requests took effect.
    LostAnswers(LostAnswersSpec),
    /// What a component's watches say arrives late.
    Lag(LagSpec),
    /// What an API server's watch cache shows is old.
    ApiLag(ApiLagSpec),
    /// Changes of a node's packet rules fail.
    Packets(PacketsSpec),
    /// Faults of these kinds, as the seed draws them.
    Swarm(Vec<FaultKind>),
}

/// A kind of fault that the swarm draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// See [`FaultAction::Crash`].
    Crash,
    /// See [`FaultAction::Restart`].
    Restart,
    /// See [`FaultAction::Pause`].
    Pause,
    /// See [`FaultAction::Partition`].
    Partition,
    /// See [`FaultAction::LostAnswers`].
    LostAnswers,
    /// See [`FaultAction::ApiLag`]; only where there are several API servers.
    ApiLag,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [FaultKind; 6] = [
        FaultKind::Crash,
        FaultKind::Restart,
        FaultKind::Pause,
        FaultKind::Partition,
        FaultKind::LostAnswers,
        FaultKind::ApiLag,
    ];
}

/// Which machine or component crashes, for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrashSpec {
    /// The machine.
    #[serde(default)]
    pub node: Option<NodeTarget>,
    /// The component.
    #[serde(default)]
    pub component: Option<ComponentTarget>,
    /// For how long.
    #[serde(rename = "for", default = "some_time")]
    pub lasts: Span,
}

/// Who stands still, for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseSpec {
    /// The machine.
    #[serde(default)]
    pub node: Option<NodeTarget>,
    /// The component.
    #[serde(default)]
    pub component: Option<ComponentTarget>,
    /// For how long.
    #[serde(rename = "for", default = "some_time")]
    pub lasts: Span,
}

/// Which machine is cut off, in which direction, for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionSpec {
    /// The machine.
    pub node: NodeTarget,
    /// What is cut.
    #[serde(default)]
    pub direction: Direction,
    /// For how long.
    #[serde(rename = "for", default = "some_time")]
    pub lasts: Span,
}

/// What a partition cuts, as the machine sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// What others send it.
    In,
    /// What it sends.
    Out,
}

/// Whose answers are lost, and which.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "LostAnswersWire")]
pub struct LostAnswersSpec {
    /// Whose; everybody's if none.
    pub client: Option<ClientTarget>,
    /// Which.
    pub which: WhichAnswers,
}

/// Which answers to writes are lost.
#[derive(Debug, Clone, PartialEq)]
pub enum WhichAnswers {
    /// Any of them, with a probability, for a while.
    Share {
        /// How many.
        probability: f64,
        /// For how long.
        lasts: Span,
    },
    /// Those to certain requests.
    These {
        /// What the requests are: `patch pods/status`.
        write: String,
        /// The how manieth of them since the fault began, from 1.
        requests: Vec<u32>,
        /// What the client notices.
        then: Loss,
    },
}

/// What a client notices of an answer that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The connection is reset.
    #[default]
    Reset,
    /// Nothing, until it gives up.
    Silence,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LostAnswersWire {
    client: Option<ClientTarget>,
    #[serde(default, deserialize_with = "quantity::some_probability")]
    probability: Option<f64>,
    #[serde(rename = "for")]
    lasts: Option<Span>,
    write: Option<String>,
    requests: Option<Vec<u32>>,
    then: Option<Loss>,
}

impl TryFrom<LostAnswersWire> for LostAnswersSpec {
    type Error = String;

    fn try_from(wire: LostAnswersWire) -> Result<Self, String> {
        let which = match (wire.write, wire.requests) {
            (None, None) if wire.then.is_none() => WhichAnswers::Share {
                probability: wire.probability.unwrap_or(0.5),
                lasts: wire.lasts.unwrap_or_else(some_time),
            },
            (Some(write), Some(requests)) if wire.probability.is_none() && wire.lasts.is_none() => {
                check_requests(&write, &requests)?;
                WhichAnswers::These {
                    write,
                    requests,
                    then: wire.then.unwrap_or_default(),
                }
            }
            _ => {
                return Err(
                    "say which answers are lost by `probability` and `for`, or by `write` and `requests`".into(),
                );
            }
        };
        Ok(LostAnswersSpec {
            client: wire.client,
            which,
        })
    }
}

fn check_requests(write: &str, requests: &[u32]) -> Result<(), String> {
    let verbs = ["create", "update", "patch", "delete"];
    let known = write.split_once(' ').is_some_and(|(verb, _)| verbs.contains(&verb));
    if !known {
        return Err(format!(
            "{write:?} is no write: it is a verb ({}) and a resource, like `patch pods/status`",
            verbs.join(", ")
        ));
    }
    if requests.is_empty() || requests.contains(&0) {
        return Err("`requests` are counted from 1, and there must be one".to_owned());
    }
    Ok(())
}

/// Whose watches are late, by how much, and for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LagSpec {
    /// Whose.
    pub client: ComponentTarget,
    /// By how much.
    pub by: Span,
    /// For how long.
    #[serde(rename = "for", default = "some_time")]
    pub lasts: Span,
}

/// Which API server's watch cache lags, what of it, by how much, and for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "ApiLagWire")]
pub struct ApiLagSpec {
    /// Whose.
    pub server: ComponentTarget,
    /// What of it.
    pub scope: LagScope,
    /// By how much; it stands still if none.
    pub by: Option<Span>,
    /// For how long.
    pub lasts: Span,
}

/// What of a watch cache lags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LagScope {
    /// All of it.
    Everything,
    /// One resource, by its plural.
    Resource(String),
    /// The resource of an object, from the object's next change on: `Kind/namespace/name`, or `Kind/name`; `*` for any.
    Object(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiLagWire {
    server: ComponentTarget,
    resource: Option<String>,
    object: Option<String>,
    by: Option<Span>,
    #[serde(rename = "for", default = "some_time")]
    lasts: Span,
}

impl TryFrom<ApiLagWire> for ApiLagSpec {
    type Error = String;

    fn try_from(wire: ApiLagWire) -> Result<Self, String> {
        if wire.server.role != Role::ApiServer {
            return Err(format!("{} has no watch cache: only an apiserver lags", wire.server));
        }
        let scope = match (wire.resource, wire.object) {
            (None, None) => LagScope::Everything,
            (Some(resource), None) => LagScope::Resource(resource),
            (None, Some(object)) if object.split('/').count() < 2 => {
                return Err(format!("{object:?} names no object: write Kind/namespace/name"));
            }
            (None, Some(object)) => LagScope::Object(object),
            _ => return Err("say what lags only once: `resource` and `object` exclude each other".to_owned()),
        };
        Ok(ApiLagSpec {
            server: wire.server,
            scope,
            by: wire.by,
            lasts: wire.lasts,
        })
    }
}

/// On which node changes of the packet rules fail, and how many.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketsSpec {
    /// The node.
    pub node: NodeTarget,
    /// How many of the next changes.
    #[serde(default = "few")]
    pub times: u32,
    /// Whether the first of them is applied by half, and which half; drawn if none.
    #[serde(default)]
    pub half: Option<HalfApplied>,
}

/// Which half of a change of the packet rules is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HalfApplied {
    /// Nothing of it.
    None,
    /// The table `nat`.
    Nat,
    /// The table `filter`.
    Filter,
}

/// How many changes of the rules fail if nobody says so.
pub fn few() -> u32 {
    3
}

/// How long a fault lasts that does not say so.
pub fn some_time() -> Span {
    Span::seconds(5, 60)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FaultWire {
    #[serde(default, deserialize_with = "quantity::some_duration")]
    at: Option<Duration>,
    between: Option<Span>,
    when: Option<Trigger>,
    crash: Option<CrashSpec>,
    restart: Option<ComponentTarget>,
    pause: Option<PauseSpec>,
    partition: Option<PartitionSpec>,
    lost_answers: Option<LostAnswersSpec>,
    packets: Option<PacketsSpec>,
    lag: Option<LagSpec>,
    api_lag: Option<ApiLagSpec>,
    swarm: Option<SwarmWire>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "`all`, or a list of: crash, restart, pause, partition, lost-answers, api-lag"
)]
enum SwarmWire {
    Word(AllWord),
    Kinds(Vec<FaultKind>),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AllWord {
    All,
}

impl TryFrom<FaultWire> for FaultPlan {
    type Error = String;

    fn try_from(wire: FaultWire) -> Result<Self, String> {
        let one_of = |node: bool, component: bool| match (node, component) {
            (true, true) | (false, false) => Err("one of `node` and `component` is needed".to_owned()),
            _ => Ok(()),
        };
        let mut actions = Vec::new();
        if let Some(spec) = wire.crash {
            one_of(spec.node.is_some(), spec.component.is_some())?;
            actions.push(FaultAction::Crash(spec));
        }
        actions.extend(wire.restart.map(FaultAction::Restart));
        if let Some(spec) = wire.pause {
            one_of(spec.node.is_some(), spec.component.is_some())?;
            actions.push(FaultAction::Pause(spec));
        }
        actions.extend(wire.partition.map(FaultAction::Partition));
        actions.extend(wire.lost_answers.map(FaultAction::LostAnswers));
        actions.extend(wire.lag.map(FaultAction::Lag));
        actions.extend(wire.api_lag.map(FaultAction::ApiLag));
        actions.extend(wire.packets.map(FaultAction::Packets));
        actions.extend(wire.swarm.map(|swarm| match swarm {
            SwarmWire::Word(AllWord::All) => FaultAction::Swarm(FaultKind::ALL.to_vec()),
            SwarmWire::Kinds(kinds) => FaultAction::Swarm(kinds),
        }));
        let moment = Moment::of(wire.at, wire.between, wire.when)?;
        let action = match (actions.pop(), actions.is_empty()) {
            (Some(action), true) => action,
            (None, _) => {
                return Err(
                    "a fault is one of `crash`, `restart`, `pause`, `partition`, `lost-answers`, `lag`, `api-lag`, `packets` and `swarm`"
                        .into(),
                );
            }
            _ => return Err("one fault an entry: write another entry for the second".to_owned()),
        };
        if matches!(action, FaultAction::Swarm(_)) && !matches!(moment, Moment::Between(_)) {
            return Err("a swarm needs `between`: how long it may strike".to_owned());
        }
        Ok(FaultPlan { moment, action })
    }
}
