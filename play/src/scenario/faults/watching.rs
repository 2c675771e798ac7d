//! Watches that break, or are read slowly: `drop-watches`, `slow-reader`.

use serde::Deserialize;

use super::{Words, some_time, some_times};
use crate::scenario::quantity::Span;
use crate::scenario::served::check_resource;
use crate::scenario::simpler::shorter;
use crate::scenario::target::{ComponentTarget, Whom};
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// Whose watches break, of what, how long they stay away, and whether they can be resumed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropWatchesSpec {
    /// Whose.
    pub client: ComponentTarget,
    /// Of which resource, by its plural; of all if none.
    #[serde(default)]
    pub resource: Option<String>,
    /// Whether what they had seen is forgotten: who comes back is told 410 and must list anew, so that the single
    /// events between are never seen.
    #[serde(default)]
    pub relist: bool,
    /// So long none can be opened; not at all if none.
    #[serde(rename = "for", default)]
    pub lasts: Option<Span>,
}

impl Words for DropWatchesSpec {
    fn write(&self) -> Yaml {
        let DropWatchesSpec {
            client,
            resource,
            relist,
            lasts,
        } = self;
        Keys::default()
            .with("client", Yaml::text_of(client))
            .some("resource", resource.as_ref(), Yaml::text)
            .unless(!*relist, "relist", || Yaml::plain(relist))
            .some("for", lasts.as_ref(), Yaml::plain)
            .map()
    }

    fn describe(&self) -> String {
        match &self.resource {
            Some(resource) => format!("end of the watches of {resource} by {}", self.client),
            None => format!("end of the watches of {}", self.client),
        }
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(None, Some(&self.client))
    }

    fn check(&self) -> Result<(), String> {
        self.resource.as_deref().map_or(Ok(()), check_resource)
    }

    fn simpler(&self) -> Vec<Self> {
        let with = |change: &dyn Fn(&mut DropWatchesSpec)| {
            let mut variant = self.clone();
            change(&mut variant);
            variant
        };
        let variants = [
            with(&|spec| spec.relist = false),
            with(&|spec| spec.resource = None),
            with(&|spec| spec.lasts = None),
        ];
        let shorter = self.lasts.iter().flat_map(shorter);
        let shorter = shorter.map(|lasts| with(&|spec| spec.lasts = Some(lasts)));
        let variants = variants.into_iter().chain(shorter);
        variants.filter(|variant| variant != self).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        self.lasts.as_mut()
    }
}

/// Who reads what it watches slowly, how slowly, and for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowReaderSpec {
    /// Who.
    pub client: ComponentTarget,
    /// How long each message of a watch takes to be read.
    pub by: Span,
    /// For how long.
    #[serde(rename = "for", default = "some_time")]
    pub lasts: Span,
}

impl Words for SlowReaderSpec {
    fn write(&self) -> Yaml {
        let SlowReaderSpec { client, by, lasts } = self;
        let keys = Keys::default()
            .with("client", Yaml::text_of(client))
            .with("by", Yaml::plain(by));
        some_times(keys, lasts).map()
    }

    fn describe(&self) -> String {
        format!("slow reading by {}", self.client)
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(None, Some(&self.client))
    }

    fn simpler(&self) -> Vec<Self> {
        let by = shorter(&self.by).map(|by| SlowReaderSpec { by, ..self.clone() });
        let lasts = shorter(&self.lasts).map(|lasts| SlowReaderSpec { lasts, ..self.clone() });
        by.chain(lasts).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        Some(&mut self.lasts)
    }
}
