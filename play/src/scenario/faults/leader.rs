//! Leaders that lose their lease: `hand-over`.

use serde::Deserialize;

use super::{Words, some_time, some_times};
use crate::scenario::quantity::Span;
use crate::scenario::simpler::shorter;
use crate::scenario::target::{ComponentTarget, Whom};
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// Whose leader loses its lease to a twin, and how.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandOverSpec {
    /// The component; of its processes the one that leads is meant.
    pub component: ComponentTarget,
    /// What the old leader does until another leads.
    #[serde(default)]
    pub leader: OldLeader,
    /// For how long after another leads.
    #[serde(rename = "for", default = "some_time")]
    pub lasts: Span,
}

/// What an old leader does until another leads, and a little longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OldLeader {
    /// It stands still, and believes that it leads when it goes on.
    #[default]
    StandsStill,
    /// What it sends is held up, and carried out after another leads: two leaders at a time.
    SpeaksLate,
}

impl Words for HandOverSpec {
    fn write(&self) -> Yaml {
        let HandOverSpec {
            component,
            leader,
            lasts,
        } = self;
        let word = || {
            Yaml::plain(match leader {
                OldLeader::StandsStill => "stands-still",
                OldLeader::SpeaksLate => "speaks-late",
            })
        };
        let keys = Keys::default().with("component", Yaml::text_of(component)).unless(
            *leader == OldLeader::default(),
            "leader",
            word,
        );
        some_times(keys, lasts).map()
    }

    fn describe(&self) -> String {
        format!("hand-over of {}", self.component)
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(None, Some(&self.component))
    }

    fn check(&self) -> Result<(), String> {
        match self.component.role.lease() {
            Some(_) => Ok(()),
            None => Err(format!(
                "no {} leads: only schedulers and controller-managers do, and components of one's own that elect a leader",
                self.component.role
            )),
        }
    }

    fn simpler(&self) -> Vec<Self> {
        let still = (self.leader != OldLeader::StandsStill).then(|| HandOverSpec {
            leader: OldLeader::StandsStill,
            ..self.clone()
        });
        let shorter = shorter(&self.lasts).map(|lasts| HandOverSpec { lasts, ..self.clone() });
        still.into_iter().chain(shorter).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        Some(&mut self.lasts)
    }
}
