//! Reading: `list`.

use std::time::Duration;

use orrery_api::labels::Selector;
use serde::Deserialize;

use super::{Words, default_namespace, in_namespace};
use crate::scenario::quantity::Span;
use crate::scenario::simpler::shorter;
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// Sizes of pages that need fewer pages, the largest (that of `kubectl get`) first.
const LARGER: [u32; 4] = [500, 50, 10, 5];

/// Which collection is read, page by page.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSpec {
    /// Of which kind: `Pod`.
    pub kind: String,
    /// The namespace; `*` is all of them.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Only objects with these labels, as `kubectl get --selector` takes them: `app=web`.
    #[serde(default)]
    pub selector: Option<String>,
    /// So many objects a page.
    pub limit: u32,
    /// How long the user rests between two pages.
    #[serde(default = "at_once")]
    pub pause: Span,
}

fn at_once() -> Span {
    Span::from(Duration::ZERO)
}

impl Words for ListSpec {
    fn write(&self) -> Yaml {
        let ListSpec {
            kind,
            namespace,
            selector,
            limit,
            pause,
        } = self;
        in_namespace(Keys::default().with("kind", Yaml::text(kind)), namespace)
            .unless(selector.is_none(), "selector", || {
                Yaml::text(selector.as_deref().unwrap_or_default())
            })
            .with("limit", Yaml::plain(limit))
            .unless(*pause == at_once(), "pause", || Yaml::plain(pause))
            .map()
    }

    fn check(&self) -> Result<(), String> {
        if self.kind.is_empty() || !self.kind.chars().all(|letter| letter.is_ascii_alphanumeric()) {
            return Err(format!("{:?} is no kind: write it like Pod", self.kind));
        }
        if self.limit == 0 {
            return Err("`limit` is how many objects a page has: at least 1".to_owned());
        }
        match self.selector.as_deref().map(Selector::parse) {
            Some(Err(why)) => Err(format!("`selector`: {why}")),
            _ => Ok(()),
        }
    }

    fn simpler(&self) -> Vec<Self> {
        let all = self.selector.as_ref().map(|_| ListSpec {
            selector: None,
            ..self.clone()
        });
        let larger = LARGER.into_iter().filter(|limit| *limit > self.limit);
        let larger = larger.map(|limit| ListSpec { limit, ..self.clone() });
        let none = (self.pause != at_once()).then(at_once);
        let sooner = none.into_iter().chain(shorter(&self.pause));
        let sooner = sooner.map(|pause| ListSpec { pause, ..self.clone() });
        all.into_iter().chain(larger).chain(sooner).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_pages_and_shorter_rests_are_simpler() {
        let read = |text: &str| serde_yaml::from_str::<ListSpec>(text).expect("it is a list");
        let simpler = read("{ kind: Pod, limit: 10, pause: 2s }").simpler();
        let lines: Vec<String> = simpler.iter().map(|spec| spec.write().flow()).collect();
        let wanted = [
            "{ kind: Pod, limit: 500, pause: 2s }",
            "{ kind: Pod, limit: 50, pause: 2s }",
            "{ kind: Pod, limit: 10 }",
            "{ kind: Pod, limit: 10, pause: 1s }",
        ];
        assert_eq!(lines, wanted);
        assert!(read("{ kind: Pod, limit: 500 }").simpler().is_empty());
        let selects = read("{ kind: Pod, selector: app=web, limit: 500 }");
        assert_eq!(selects.write().flow(), "{ kind: Pod, selector: app=web, limit: 500 }");
        assert_eq!(selects.simpler(), [read("{ kind: Pod, limit: 500 }")]);
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        let wrong = serde_yaml::from_str::<ListSpec>("{ kind: Pod, selector: app in (, limit: 2 }");
        let why = wrong.map(|spec| spec.check().expect_err("it is refused"));
        assert!(why.is_ok_and(|why| why.starts_with("`selector`: ")));
    }
}
