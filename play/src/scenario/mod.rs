//! Scenarios: topology, workload, faults, expectations, as people write them in YAML.
//!
//! This module knows the format and nothing of worlds. Unknown keys, and parts of the format that are not built yet,
//! are errors with their place: a scenario is never half understood.

mod actions;
mod applied;
mod between;
mod call;
mod error;
mod faults;
mod kind_fields;
mod lingering;
mod made;
mod manifests;
pub mod nearest;
mod place;
mod processes;
mod quantity;
mod read;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod round_trip;
mod served;
pub mod simpler;
mod target;
#[cfg(test)]
mod tests;
mod topology;
mod trigger;
mod unique;
mod vain;
mod values;
mod workload;
mod write;
mod yaml;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Unexpected, Visitor};

pub use between::{Between, Offset, Rate};
pub use call::{CallEnd, CallSpec};
pub use error::Error;
pub use faults::{
    ApiErrorsSpec, ApiLagSpec, ClockSpec, CompactSpec, ContainerTrouble, ContainersSpec, CrashSpec, DelayCallSpec,
    Direction, DiskOperation, DiskSpec, DropWatchesSpec, DuplicateSpec, FaultAction, FaultKind, FaultPlan, FlowsSpec,
    HalfApplied, HandOverSpec, Heard, LagScope, LagSpec, LinksTarget, Loss, LossSpec, Lost, LostAnswersSpec, Moment,
    NodeTrouble, NodesSpec, OldLeader, PacketsSpec, PacketsTrouble, PartitionSpec, Parts, PauseSpec, ReconnectSpec,
    ResetSpec, RestartSpec, RuntimeSpec, RuntimeTrouble, SlowLinkSpec, SlowReaderSpec, SwarmSpec, WhichAnswers,
    WhichRequests,
};
pub use quantity::{Span, parse_duration, parse_moment, write_duration};
pub use read::{drawn_step, examine, examine_file, read, read_file};
pub use target::{ClientTarget, ComponentTarget, NodeTarget, Role, Whom, whose};
pub use topology::{NodeSpec, StoreSpec, TaintSpec, Topology, numbered};
pub use trigger::{FieldChange, Trigger, WriteKind, WriteTrigger};
use unique::{Json, Unique};
pub use workload::{
    Attempt, ChurnKind, ChurnSpec, ConditionSpec, ConditionStatus, CordonSpec, DeleteSpec, DeploymentChoice, DrainSpec,
    EditSpec, FinalizerSpec, LabelSpec, ListSpec, Manifest, NamespaceChoice, Ops, OwnSpec, PodChoice, Propagation,
    RefusedSpec, ReplaceSpec, ScaleSpec, SetImageSpec, StepAction, StepPlan, TaintStep, UndoSpec, identity_of,
};

/// What happens in a world, and what must hold.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a scenario, with `name` and `duration`")]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is about, for people.
    #[serde(default)]
    pub about: String,
    /// The seed that it is played with when nobody names another.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Machines and processes.
    #[serde(default)]
    pub topology: Topology,
    /// How the network behaves when nothing is wrong with it.
    #[serde(default)]
    pub network: NetworkSpec,
    /// How containers behave, by image.
    #[serde(default, deserialize_with = "unique::map")]
    pub images: BTreeMap<String, ImageScript>,
    /// What users do.
    #[serde(default, deserialize_with = "actions::entries::<_, workload::StepWire, _>")]
    pub workload: Vec<StepPlan>,
    /// What goes wrong.
    #[serde(default, deserialize_with = "actions::entries::<_, faults::FaultWire, _>")]
    pub faults: Vec<FaultPlan>,
    /// What is healed after the chaos.
    #[serde(default)]
    pub heal: Heal,
    /// What must hold.
    #[serde(default)]
    pub expect: Expect,
    /// How long the chaos lasts.
    #[serde(deserialize_with = "quantity::duration")]
    pub duration: Duration,
}

impl Scenario {
    /// The objects that steps apply.
    pub fn applied(&self) -> impl Iterator<Item = &serde_json::Value> {
        self.workload.iter().flat_map(|plan| plan.action.applied())
    }

    /// Everything that is waited for.
    pub fn triggers(&self) -> impl Iterator<Item = &Trigger> {
        let faults = self.faults.iter().map(|plan| &plan.moment);
        let steps = self.workload.iter().map(|plan| &plan.moment);
        let begins = faults.chain(steps).filter_map(Moment::trigger);
        begins.chain(self.faults.iter().filter_map(|plan| plan.action.until()))
    }

    /// The scenario with another end: faults that would come too late for it go, and users who do not rest do so then.
    #[must_use]
    pub fn ending_at(&self, end: Duration) -> Scenario {
        let mut variant = self.clone();
        variant.duration = end;
        variant.faults.retain(|plan| plan.moment.earliest() <= end);
        let churns = |plan: &StepPlan| matches!(plan.action, StepAction::Churn(_));
        variant
            .workload
            .retain(|plan| !churns(plan) || plan.moment.earliest() < end);
        for plan in variant.workload.iter_mut().filter(|plan| churns(plan)) {
            if let Moment::Between(span) = &mut plan.moment {
                span.high = span.high.min(end);
            }
        }
        variant
    }

    /// Whether something is waited for that components are shown.
    pub fn is_about_views(&self) -> bool {
        self.triggers().any(Trigger::is_about_views)
    }
}

/// How the network behaves when nothing is wrong with it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSpec {
    /// How long a message takes, one way; at least a millisecond.
    pub latency: Span,
    /// How many requests, and how many answers, are lost.
    #[serde(deserialize_with = "quantity::probability")]
    pub loss: f64,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        NetworkSpec {
            latency: Span::millis(1, 5),
            loss: 0.0,
        }
    }
}

/// How containers of an image behave.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageScript {
    /// How long the image takes to pull.
    pub pull: Span,
    /// How long a container takes to start.
    pub start: Span,
    /// How long after its start a container answers.
    pub ready: Span,
    /// How likely a container is to crash some time after its start.
    #[serde(deserialize_with = "quantity::probability")]
    pub crash: f64,
    /// How long a container lives that crashes or has an `exit`, if it is not as [usual](ImageScript::lifetime()).
    pub lifetime: Option<Span>,
    /// The ports that it answers on; if none are named, all that no other container of its pod names.
    pub listen: Vec<u16>,
    /// It ends by itself with this code.
    pub exit: Option<i32>,
    /// How long it takes to end when asked to.
    pub stop: Span,
}

impl Default for ImageScript {
    fn default() -> Self {
        ImageScript {
            pull: Span::millis(100, 1000),
            start: Span::millis(50, 500),
            ready: Span::millis(0, 1000),
            crash: 0.0,
            lifetime: None,
            listen: Vec::new(),
            exit: None,
            stop: Span::millis(10, 1000),
        }
    }
}

impl ImageScript {
    /// How long a container lives that ends by itself: one with an `exit` usually ends at once.
    pub fn lifetime(&self) -> Span {
        let usual = match self.exit {
            Some(_) => Span::millis(1, 50),
            None => Span::seconds(1, 60),
        };
        self.lifetime.unwrap_or(usual)
    }
}

/// What is healed after the chaos.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Heal {
    /// A random part of what is broken: the control plane, and enough nodes; the rest may stay broken for ever.
    #[default]
    Core,
    /// Everything.
    All,
    /// Everything but these machines, which stay as they are: nodes, and machines of further API servers.
    AllBut(Vec<String>),
}

impl<'de> Deserialize<'de> for Heal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A visitor, and not one of several types that fit: what is wrong is told with its place.
        struct HealVisitor;
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        struct Rest {
            all_but: Vec<String>,
        }
        impl<'de> Visitor<'de> for HealVisitor {
            type Value = Heal;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`core`, `all`, or `{ all-but: [node-1] }`")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Heal, E> {
                match word {
                    "core" => Ok(Heal::Core),
                    "all" => Ok(Heal::All),
                    other => Err(E::invalid_value(Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Heal, A::Error> {
                let rest = Rest::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Heal::AllBut(rest.all_but))
            }
        }
        deserializer.deserialize_any(HealVisitor)
    }
}

/// What must hold.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Which invariants are checked.
    pub invariants: InvariantChoice,
    /// How long after the heal the cluster may take to reach its desired state.
    #[serde(deserialize_with = "quantity::duration")]
    pub converge: Duration,
    /// Fields of objects at the end: `deployment/web: { status.availableReplicas: 3 }`; none of an object that is not to
    /// be there: `pod/web: absent`.
    #[serde(deserialize_with = "states")]
    pub state: States,
    /// X4: what the cluster is to hold in the end.
    #[serde(rename = "end-state")]
    pub end_state: Option<SameAs>,
    /// X5: how many objects are to be made and removed.
    #[serde(rename = "creates-and-deletes")]
    pub creates_and_deletes: Option<SameAs>,
}

/// The values of an object's fields, by their paths.
type Fields = BTreeMap<String, serde_json::Value>;
/// By object, what its fields are to be, none if it is not to be there; one entry of `state` each.
type States = Vec<BTreeMap<String, Option<Fields>>>;

/// Ids that have a meaning but cannot be chosen, and why.
const NOT_CHOSEN: [(&str, &str); 8] = [
    ("C3", "is judged wherever C1 is"),
    ("E4", "is judged in the end of every run"),
    ("X1", "is judged in the end of every run"),
    ("X2", "is judged in the end of every run"),
    ("X3", "is judged in the end of every run"),
    ("X4", "is asked for by `end-state: fault-free`"),
    ("X5", "is asked for by `creates-and-deletes: fault-free`"),
    ("X6", "is judged in the end of every run"),
];

/// The word for an object that is not to be there.
const ABSENT: &str = "absent";

fn states<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<States, D::Error> {
    struct Wanted(Option<Fields>);
    impl<'de> Deserialize<'de> for Wanted {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct WantedVisitor;
            impl<'de> serde::de::Visitor<'de> for WantedVisitor {
                type Value = Wanted;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    write!(f, "fields and their values, or `{ABSENT}`")
                }

                fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Wanted, E> {
                    if word == ABSENT {
                        return Ok(Wanted(None));
                    }
                    Err(E::invalid_value(serde::de::Unexpected::Str(word), &self))
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Wanted, A::Error> {
                    let fields = unique::read::<A, String, Json>(map)?;
                    let fields = fields.into_iter().map(|(path, Json(value))| (path, value));
                    Ok(Wanted(Some(fields.collect())))
                }
            }
            deserializer.deserialize_any(WantedVisitor)
        }
    }
    let states = Vec::<Unique<Wanted>>::deserialize(deserializer)?.into_iter();
    let objects = |Unique(objects): Unique<Wanted>| objects.into_iter().map(|(object, Wanted(own))| (object, own));
    Ok(states.map(|state| objects(state).collect()).collect())
}

/// What the end of a run is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SameAs {
    /// The ends of runs of the same scenario without its faults.
    FaultFree,
}

impl Expect {
    /// Whether the end of a run is compared with that of others.
    pub fn compares_ends(&self) -> bool {
        self.end_state.is_some() || self.creates_and_deletes.is_some()
    }
}

impl Default for Expect {
    fn default() -> Self {
        Expect {
            invariants: InvariantChoice::default(),
            converge: Duration::from_secs(120),
            state: Vec::new(),
            end_state: None,
            creates_and_deletes: None,
        }
    }
}

/// Which invariants are checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum InvariantChoice {
    /// All there are.
    #[default]
    All,
    /// Those with these ids.
    These(Vec<String>),
}

impl InvariantChoice {
    /// Whether the invariant `id` is checked.
    pub fn includes(&self, id: &str) -> bool {
        match self {
            InvariantChoice::All => true,
            InvariantChoice::These(ids) => ids.iter().any(|own| own == id),
        }
    }
}

impl<'de> Deserialize<'de> for InvariantChoice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "`all` or a list of invariants' ids, such as [S3, P2]")]
        enum Wire {
            Word(String),
            List(Vec<String>),
        }
        let ids = match Wire::deserialize(deserializer)? {
            Wire::Word(word) if word == "all" => return Ok(InvariantChoice::All),
            Wire::Word(word) => vec![word],
            Wire::List(ids) => ids,
        };
        let known = crate::vocabulary::vocabulary().invariants();
        let Some(wrong) = ids.iter().find(|id| !known.contains(&id.as_str())) else {
            return Ok(InvariantChoice::These(ids));
        };
        let why = match NOT_CHOSEN.iter().find(|(id, _)| id == wrong) {
            Some((id, why)) => format!("{id:?} {why}"),
            None => format!("no invariant {wrong:?} is built{}", nearest::hint(wrong, &known)),
        };
        Err(serde::de::Error::custom(why))
    }
}
