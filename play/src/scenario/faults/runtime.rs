//! What happens to containers, and to what runs them: `containers`, `runtime`.

use serde::Deserialize;

use super::{Words, some_time, some_times};
use crate::scenario::quantity::Span;
use crate::scenario::simpler::shorter;
use crate::scenario::target::{NodeTarget, Whom};
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// What happens to containers and images of a machine, for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainersSpec {
    /// The machine.
    pub node: NodeTarget,
    /// What happens.
    pub trouble: ContainerTrouble,
    /// To which of the machine's running containers, counted from 1, the one that runs longest; drawn if none.
    #[serde(default)]
    pub nth: Option<u32>,
    /// For how long, unless it is over at once.
    #[serde(rename = "for", default = "some_time")]
    pub lasts: Span,
}

/// What happens to containers and images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerTrouble {
    /// A container crashes, with exit code 1.
    Crash,
    /// A container is killed because memory is short: exit code 137, reason `OOMKilled`.
    OomKill,
    /// A container ends by itself, with exit code 0.
    Exit,
    /// A container runs on, but answers nobody.
    NoAnswer,
    /// Images cannot be pulled.
    PullFails,
    /// No pull ends.
    PullSlow,
    /// Containers cannot be started.
    StartFails,
}

impl ContainerTrouble {
    /// Everything that can happen.
    pub const ALL: [ContainerTrouble; 7] = [
        ContainerTrouble::Crash,
        ContainerTrouble::OomKill,
        ContainerTrouble::Exit,
        ContainerTrouble::NoAnswer,
        ContainerTrouble::PullFails,
        ContainerTrouble::PullSlow,
        ContainerTrouble::StartFails,
    ];

    fn as_str(self) -> &'static str {
        match self {
            ContainerTrouble::Crash => "crash",
            ContainerTrouble::OomKill => "oom-kill",
            ContainerTrouble::Exit => "exit",
            ContainerTrouble::NoAnswer => "no-answer",
            ContainerTrouble::PullFails => "pull-fails",
            ContainerTrouble::PullSlow => "pull-slow",
            ContainerTrouble::StartFails => "start-fails",
        }
    }

    /// Whether it happens to one container, and not to all of the machine.
    pub fn is_of_one(self) -> bool {
        match self {
            ContainerTrouble::Crash
            | ContainerTrouble::OomKill
            | ContainerTrouble::Exit
            | ContainerTrouble::NoAnswer => true,
            ContainerTrouble::PullFails | ContainerTrouble::PullSlow | ContainerTrouble::StartFails => false,
        }
    }

    /// Whether it is over at once.
    pub fn is_a_moment(self) -> bool {
        self.is_of_one() && self != ContainerTrouble::NoAnswer
    }
}

impl ContainersSpec {
    /// That happens to the containers of `node`; what is over at once has no length.
    pub fn new(node: NodeTarget, trouble: ContainerTrouble, nth: Option<u32>, lasts: Span) -> Self {
        ContainersSpec {
            node,
            trouble,
            nth,
            lasts: if trouble.is_a_moment() { some_time() } else { lasts },
        }
    }
}

impl Words for ContainersSpec {
    fn write(&self) -> Yaml {
        let ContainersSpec {
            node,
            trouble,
            nth,
            lasts,
        } = self;
        let keys = Keys::default()
            .with("node", Yaml::text_of(node))
            .with("trouble", Yaml::plain(trouble.as_str()))
            .some("nth", nth.as_ref(), Yaml::plain);
        some_times(keys, lasts).map()
    }

    fn describe(&self) -> String {
        format!("containers of {}: {}", self.node, self.trouble.as_str())
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(Some(&self.node), None)
    }

    fn check(&self) -> Result<(), String> {
        let what = self.trouble.as_str();
        match self.nth {
            Some(0) => Err("containers are counted from 1".to_owned()),
            Some(_) if !self.trouble.is_of_one() => Err(format!("{what} concerns all of a node: leave `nth` out")),
            _ if self.trouble.is_a_moment() && self.lasts != some_time() => {
                Err(format!("{what} is over at once: leave `for` out"))
            }
            _ => Ok(()),
        }
    }

    fn simpler(&self) -> Vec<Self> {
        let first = self.nth.filter(|nth| *nth > 1).map(|_| ContainersSpec {
            nth: Some(1),
            ..self.clone()
        });
        let lasts = (!self.trouble.is_a_moment()).then(|| shorter(&self.lasts));
        let shorter = lasts.into_iter().flatten();
        let shorter = shorter.map(|lasts| ContainersSpec { lasts, ..self.clone() });
        first.into_iter().chain(shorter).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        (!self.trouble.is_a_moment()).then_some(&mut self.lasts)
    }
}

/// What is wrong with a machine's container runtime, for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeSpec {
    /// The machine.
    pub node: NodeTarget,
    /// What is wrong.
    pub trouble: RuntimeTrouble,
    /// For how long, unless it is over at once.
    #[serde(rename = "for", default = "some_time")]
    pub lasts: Span,
}

/// What is wrong with a container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeTrouble {
    /// Calls return only when it is over, and are carried out then.
    Hang,
    /// The same, but it says who it is: a node that seems well.
    Deadlock,
    /// Calls made meanwhile never return, whether they are carried out or not.
    Stuck,
    /// It is away: calls are refused, what happens meanwhile is told to nobody. Containers live on.
    Restart,
    /// What happens is told late, and out of order.
    LateEvents,
    /// What happens is not told.
    LostEvents,
    /// Sandboxes cannot be removed.
    Leak,
    /// A sandbox appears of a pod that nobody knows.
    Stray,
}

impl RuntimeTrouble {
    /// Everything that can be wrong.
    pub const ALL: [RuntimeTrouble; 8] = [
        RuntimeTrouble::Hang,
        RuntimeTrouble::Deadlock,
        RuntimeTrouble::Stuck,
        RuntimeTrouble::Restart,
        RuntimeTrouble::LateEvents,
        RuntimeTrouble::LostEvents,
        RuntimeTrouble::Leak,
        RuntimeTrouble::Stray,
    ];

    fn as_str(self) -> &'static str {
        match self {
            RuntimeTrouble::Hang => "hang",
            RuntimeTrouble::Deadlock => "deadlock",
            RuntimeTrouble::Stuck => "stuck",
            RuntimeTrouble::Restart => "restart",
            RuntimeTrouble::LateEvents => "late-events",
            RuntimeTrouble::LostEvents => "lost-events",
            RuntimeTrouble::Leak => "leak",
            RuntimeTrouble::Stray => "stray",
        }
    }

    /// Whether it is over at once.
    pub fn is_a_moment(self) -> bool {
        self == RuntimeTrouble::Stray
    }
}

impl RuntimeSpec {
    /// That is wrong with the runtime of `node`; what is over at once has no length.
    pub fn new(node: NodeTarget, trouble: RuntimeTrouble, lasts: Span) -> Self {
        RuntimeSpec {
            node,
            trouble,
            lasts: if trouble.is_a_moment() { some_time() } else { lasts },
        }
    }
}

impl Words for RuntimeSpec {
    fn write(&self) -> Yaml {
        let RuntimeSpec { node, trouble, lasts } = self;
        let keys = Keys::default()
            .with("node", Yaml::text_of(node))
            .with("trouble", Yaml::plain(trouble.as_str()));
        some_times(keys, lasts).map()
    }

    fn describe(&self) -> String {
        format!("runtime of {}: {}", self.node, self.trouble.as_str())
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(Some(&self.node), None)
    }

    fn check(&self) -> Result<(), String> {
        if self.trouble.is_a_moment() && self.lasts != some_time() {
            return Err("stray is over at once: leave `for` out".to_owned());
        }
        Ok(())
    }

    fn simpler(&self) -> Vec<Self> {
        let hang = (self.trouble == RuntimeTrouble::Stuck).then(|| RuntimeSpec {
            trouble: RuntimeTrouble::Hang,
            ..self.clone()
        });
        let lasts = (!self.trouble.is_a_moment()).then(|| shorter(&self.lasts));
        let shorter = lasts.into_iter().flatten();
        let shorter = shorter.map(|lasts| RuntimeSpec { lasts, ..self.clone() });
        hang.into_iter().chain(shorter).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        (!self.trouble.is_a_moment()).then_some(&mut self.lasts)
    }
}
