//! News that are late: `lag` of a client's watches, `api-lag` of an API server's watch cache.

use serde::Deserialize;

use super::{Words, one_end, some_time, some_times, some_times_or_until};
use crate::scenario::call::object_pattern;
use crate::scenario::quantity::Span;
use crate::scenario::served::check_resource;
use crate::scenario::simpler::shorter;
use crate::scenario::target::{ComponentTarget, Role, Whom};
use crate::scenario::trigger::Trigger;
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

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
    /// Until what happens, instead.
    pub until: Option<Trigger>,
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
    until: Option<Trigger>,
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
            (None, Some(object)) => {
                object_pattern(&object)?;
                LagScope::Object(object)
            }
            _ => return Err("say what lags only once: `resource` and `object` exclude each other".to_owned()),
        };
        Ok(ApiLagSpec {
            server: wire.server,
            scope,
            by: wire.by,
            lasts: wire.lasts,
            until: wire.until,
        })
    }
}

impl Words for LagSpec {
    fn write(&self) -> Yaml {
        let LagSpec { client, by, lasts } = self;
        let keys = Keys::default()
            .with("client", Yaml::text_of(client))
            .with("by", Yaml::plain(by));
        some_times(keys, lasts).map()
    }

    fn describe(&self) -> String {
        format!("lag of {}", self.client)
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(None, Some(&self.client))
    }

    fn simpler(&self) -> Vec<Self> {
        let by = shorter(&self.by).map(|by| LagSpec { by, ..self.clone() });
        let lasts = shorter(&self.lasts).map(|lasts| LagSpec { lasts, ..self.clone() });
        by.chain(lasts).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        Some(&mut self.lasts)
    }
}

impl Words for ApiLagSpec {
    fn write(&self) -> Yaml {
        let ApiLagSpec {
            server,
            scope,
            by,
            lasts,
            until,
        } = self;
        let keys = Keys::default().with("server", Yaml::text_of(server));
        let keys = match scope {
            LagScope::Everything => keys,
            LagScope::Resource(resource) => keys.with("resource", Yaml::text(resource)),
            LagScope::Object(object) => keys.with("object", Yaml::text(object)),
        };
        let keys = keys.some("by", by.as_ref(), Yaml::plain);
        some_times_or_until(keys, lasts, until.as_ref()).map()
    }

    fn describe(&self) -> String {
        format!("lag of {}", self.server)
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(None, Some(&self.server))
    }

    fn check(&self) -> Result<(), String> {
        one_end(&self.lasts, self.until.as_ref())?;
        match &self.scope {
            LagScope::Resource(plural) => check_resource(plural),
            LagScope::Everything | LagScope::Object(_) => Ok(()),
        }
    }

    fn simpler(&self) -> Vec<Self> {
        let all = (self.scope != LagScope::Everything).then(|| ApiLagSpec {
            scope: LagScope::Everything,
            ..self.clone()
        });
        let still = self.by.is_some().then(|| ApiLagSpec {
            by: None,
            ..self.clone()
        });
        let timed = self.until.is_some().then(|| ApiLagSpec {
            until: None,
            ..self.clone()
        });
        let is_timed = self.until.is_none();
        let shorter = shorter(&self.lasts).filter(|_| is_timed);
        let shorter = shorter.map(|lasts| ApiLagSpec { lasts, ..self.clone() });
        all.into_iter().chain(still).chain(timed).chain(shorter).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        self.until.is_none().then_some(&mut self.lasts)
    }

    fn until(&self) -> Option<&Trigger> {
        self.until.as_ref()
    }
}
