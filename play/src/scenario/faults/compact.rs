//! `compact`: the store's history is compacted at a bad moment.

use serde::Deserialize;

use super::Words;
use crate::scenario::between::Between;
use crate::scenario::simpler::fewer;
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// How much of the history stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompactSpec {
    /// How many of the newest revisions can still be watched from; none but the newest if 0.
    pub keep: Between<u32>,
}

impl Words for CompactSpec {
    fn write(&self) -> Yaml {
        let CompactSpec { keep } = self;
        Keys::default().with("keep", Yaml::plain(keep)).map()
    }

    fn describe(&self) -> String {
        "compaction".to_owned()
    }

    fn simpler(&self) -> Vec<Self> {
        let none = (self.keep != 0.into()).then_some(0);
        let keeps = none.into_iter().chain(fewer(self.keep.high));
        keeps.map(|keep| CompactSpec { keep: keep.into() }).collect()
    }
}
