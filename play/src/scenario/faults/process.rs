//! Processes and machines that stop: `crash`, `restart`, `pause`.

use serde::Deserialize;

use super::{Words, one_end, some_time, some_times, some_times_or_until};
use crate::scenario::quantity::Span;
use crate::scenario::simpler::shorter;
use crate::scenario::target::{ComponentTarget, NodeTarget, Role, Whom};
use crate::scenario::trigger::Trigger;
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// Which machine or component crashes, for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CrashSpec {
    /// The machine.
    #[serde(default)]
    pub node: Option<NodeTarget>,
    /// The component.
    #[serde(default)]
    pub component: Option<ComponentTarget>,
    /// It crashes when so many of its writes have been carried out since the fault's moment, before it hears of the
    /// last.
    #[serde(default)]
    pub after_writes: Option<u32>,
    /// For how long.
    #[serde(rename = "for", default = "some_time")]
    pub lasts: Span,
}

/// Who stands still, for how long or until what happens.
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
    /// Until what happens, instead.
    #[serde(default)]
    pub until: Option<Trigger>,
}

/// Which component is killed and started again at once.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct RestartSpec(pub ComponentTarget);

/// Either a machine or a component.
fn one_of(node: Option<&NodeTarget>, component: Option<&ComponentTarget>) -> Result<(), String> {
    match (node, component) {
        (Some(_), Some(_)) | (None, None) => Err("one of `node` and `component` is needed".to_owned()),
        _ => Ok(()),
    }
}

fn named(node: Option<&NodeTarget>, component: Option<&ComponentTarget>) -> Keys {
    Keys::default()
        .some("node", node, Yaml::text_of)
        .some("component", component, Yaml::text_of)
}

fn describe(what: &str, node: Option<&NodeTarget>, component: Option<&ComponentTarget>) -> String {
    match (node, component) {
        (Some(node), _) => format!("{what} of machine {node}"),
        (_, Some(component)) => format!("{what} of {component}"),
        _ => what.to_owned(),
    }
}

impl Words for CrashSpec {
    fn write(&self) -> Yaml {
        let CrashSpec {
            node,
            component,
            after_writes,
            lasts,
        } = self;
        let keys = named(node.as_ref(), component.as_ref()).some("after-writes", after_writes.as_ref(), Yaml::plain);
        some_times(keys, lasts).map()
    }

    fn describe(&self) -> String {
        describe("crash", self.node.as_ref(), self.component.as_ref())
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(self.node.as_ref(), self.component.as_ref())
    }

    fn check(&self) -> Result<(), String> {
        one_of(self.node.as_ref(), self.component.as_ref())?;
        let writer = self
            .component
            .as_ref()
            .is_some_and(|target| !matches!(target.role, Role::ApiServer | Role::Store));
        match self.after_writes {
            Some(0) => Err("writes are counted from 1".to_owned()),
            Some(_) if !writer => Err("`after-writes` needs a component that writes by the API".to_owned()),
            _ => Ok(()),
        }
    }

    fn simpler(&self) -> Vec<Self> {
        let whenever = self.after_writes.map(|_| CrashSpec {
            after_writes: None,
            ..self.clone()
        });
        let shorter = shorter(&self.lasts).map(|lasts| CrashSpec { lasts, ..self.clone() });
        whenever.into_iter().chain(shorter).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        Some(&mut self.lasts)
    }
}

impl Words for PauseSpec {
    fn write(&self) -> Yaml {
        let PauseSpec {
            node,
            component,
            lasts,
            until,
        } = self;
        some_times_or_until(named(node.as_ref(), component.as_ref()), lasts, until.as_ref()).map()
    }

    fn describe(&self) -> String {
        describe("pause", self.node.as_ref(), self.component.as_ref())
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(self.node.as_ref(), self.component.as_ref())
    }

    fn check(&self) -> Result<(), String> {
        one_of(self.node.as_ref(), self.component.as_ref())?;
        one_end(&self.lasts, self.until.as_ref())
    }

    fn simpler(&self) -> Vec<Self> {
        if self.until.is_some() {
            return vec![PauseSpec {
                until: None,
                ..self.clone()
            }];
        }
        let shorter = shorter(&self.lasts);
        shorter.map(|lasts| PauseSpec { lasts, ..self.clone() }).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        self.until.is_none().then_some(&mut self.lasts)
    }

    fn until(&self) -> Option<&Trigger> {
        self.until.as_ref()
    }
}

impl Words for RestartSpec {
    fn write(&self) -> Yaml {
        Yaml::text_of(&self.0)
    }

    fn describe(&self) -> String {
        format!("restart of {}", self.0)
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(None, Some(&self.0))
    }
}
