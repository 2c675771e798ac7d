//! What users read: collections, page by page.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use orrery_client::percent_encode;
use serde_json::Value;
use tokio::time::sleep;

use crate::scenario::{ListSpec, Moment, StepAction};
use crate::workload::requests::{api_version, collection};
use crate::workload::user::{Reply, User};

/// So often a user begins anew when he is told that his pages are too old.
const ANEW: u32 = 3;

/// How reading ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// With the last page, or because nobody can help.
    Over,
    /// The state that the pages are of is no longer known.
    Expired,
}

/// Reads a collection as `kubectl get --chunk-size` does, but rests between two pages, always for the same time.
pub async fn list(user: &User, moment: Moment, spec: &ListSpec) {
    let pause = spec.pause.draw(&user.random);
    let pinned = ListSpec {
        pause: pause.into(),
        ..spec.clone()
    };
    user.stage.does(moment, StepAction::List(pinned));
    let all = collection(api_version(&spec.kind), &spec.kind, &spec.namespace);
    let mut first = format!("{all}?limit={}", spec.limit);
    if let Some(selector) = &spec.selector {
        first += &format!("&labelSelector={}", percent_encode(selector));
    }
    for _ in 0..=ANEW {
        if read(user, &first, pause).await == End::Over {
            return;
        }
        user.stage.saw("a page was too old to go on from");
    }
}

/// Reads from the first page to the last.
async fn read(user: &User, first: &str, pause: Duration) -> End {
    let mut page = first.to_owned();
    loop {
        let answer = match user.ask(Method::GET, &page, None).await {
            Some(Reply::Done(answer)) => answer,
            Some(Reply::Refused(410, _)) => return End::Expired,
            Some(Reply::Refused(404, why)) => {
                user.stage.trouble(format!("GET {page} was refused: {why}"));
                return End::Over;
            }
            Some(Reply::Refused(..)) | None => return End::Over,
        };
        let Some(token) = next(&answer) else { return End::Over };
        sleep(pause).await;
        page = format!("{first}&continue={token}");
    }
}

/// The token with which to ask for the page after this one; none if it is the last.
fn next(page: &Bytes) -> Option<String> {
    let page: Value = serde_json::from_slice(page).ok()?;
    let token = page["metadata"]["continue"].as_str()?;
    (!token.is_empty()).then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_a_token_is_the_last() {
        let next = |page: &'static str| next(&Bytes::from_static(page.as_bytes()));
        assert_eq!(next(r#"{"metadata":{"continue":"a"}}"#).as_deref(), Some("a"));
        assert_eq!(next(r#"{"metadata":{"continue":""}}"#), None);
        assert_eq!(next(r#"{"metadata":{"resourceVersion":"7"}}"#), None);
    }
}
