//! Calls and connections: `delay-call` holds up what clients ask, `reconnect` moves a component to another API server.

use serde::Deserialize;

use super::{Words, some_time};
use crate::scenario::call::{CallEnd, CallSpec, CallWire};
use crate::scenario::quantity::Span;
use crate::scenario::simpler::shorter;
use crate::scenario::target::{ClientTarget, ComponentTarget, Role, Whom, whose};
use crate::scenario::trigger::Trigger;
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// Which calls are held up, how many, and for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "DelayCallWire")]
pub struct DelayCallSpec {
    /// Which, and at which of their ends.
    pub call: CallSpec,
    /// How many of the next ones.
    pub times: u32,
    /// How long each is held up, unless it is until something happens.
    pub by: Span,
    /// Until what happens all of them are held up.
    pub until: Option<Trigger>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DelayCallWire {
    client: Option<ClientTarget>,
    verb: Option<String>,
    resource: Option<String>,
    object: Option<String>,
    when: Option<CallEnd>,
    times: Option<u32>,
    by: Option<Span>,
    until: Option<Trigger>,
}

impl TryFrom<DelayCallWire> for DelayCallSpec {
    type Error = String;

    fn try_from(wire: DelayCallWire) -> Result<Self, String> {
        if wire.by.is_some() && wire.until.is_some() {
            return Err("`by` and `until` exclude each other".to_owned());
        }
        let call = CallWire {
            client: wire.client,
            verb: wire.verb,
            resource: wire.resource,
            object: wire.object,
            when: wire.when,
        };
        match wire.times.unwrap_or(1) {
            0 => Err("at least one call is held up: `times` is counted from 1".to_owned()),
            times => Ok(DelayCallSpec {
                call: CallSpec::try_from(call)?,
                times,
                by: wire.by.unwrap_or_else(some_time),
                until: wire.until,
            }),
        }
    }
}

impl Words for DelayCallSpec {
    fn write(&self) -> Yaml {
        let DelayCallSpec { call, times, by, until } = self;
        let is_usual = until.is_some() || *by == some_time();
        call.keys()
            .unless(*times == 1, "times", || Yaml::plain(times))
            .unless(is_usual, "by", || Yaml::plain(by))
            .some("until", until.as_ref(), Trigger::write)
            .map()
    }

    fn describe(&self) -> String {
        format!("delayed calls of {}", whose(self.call.client.as_ref()))
    }

    fn whom(&self) -> Whom<'_> {
        self.call.whom()
    }

    fn simpler(&self) -> Vec<Self> {
        let once = (self.times > 1).then(|| DelayCallSpec {
            times: 1,
            ..self.clone()
        });
        let by: Vec<Self> = match &self.until {
            Some(_) => vec![DelayCallSpec {
                until: None,
                ..self.clone()
            }],
            None => shorter(&self.by)
                .map(|by| DelayCallSpec { by, ..self.clone() })
                .collect(),
        };
        once.into_iter().chain(by).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        self.until.is_none().then_some(&mut self.by)
    }

    fn until(&self) -> Option<&Trigger> {
        self.until.as_ref()
    }
}

/// Which component is connected to which API server from now on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconnectSpec {
    /// The component.
    pub component: ComponentTarget,
    /// The API server, by its number: `apiserver/2`.
    pub to: ComponentTarget,
    /// Whether the component is restarted for it, and so knows nothing but what that server shows it.
    #[serde(default)]
    pub restart: bool,
}

impl Words for ReconnectSpec {
    fn write(&self) -> Yaml {
        let ReconnectSpec { component, to, restart } = self;
        Keys::default()
            .with("component", Yaml::text_of(component))
            .with("to", Yaml::text_of(to))
            .unless(!*restart, "restart", || Yaml::plain(restart))
            .map()
    }

    fn describe(&self) -> String {
        format!("reconnection of {} to {}", self.component, self.to)
    }

    fn whom(&self) -> Whom<'_> {
        Whom {
            nodes: Vec::new(),
            components: vec![&self.component, &self.to],
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.to.role != Role::ApiServer || self.to.instance.is_none() {
            return Err(format!("{} is not one API server: name one like apiserver/2", self.to));
        }
        if matches!(self.component.role, Role::ApiServer | Role::Store) {
            return Err(format!("{} is not connected to an API server", self.component));
        }
        Ok(())
    }

    fn simpler(&self) -> Vec<Self> {
        let moved = self.restart.then(|| ReconnectSpec {
            restart: false,
            ..self.clone()
        });
        moved.into_iter().collect()
    }
}
