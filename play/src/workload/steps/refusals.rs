//! What users ask for that the server must refuse.

use std::time::Duration;

use http::Method;
use tokio::time::sleep;

use crate::scenario::{Attempt, RefusedSpec, identity_of};
use crate::workload::requests::{named, path_of};
use crate::workload::user::{Content, JSON, MERGE, Reply, TRIES, User, deletion, given_up, path_to};

/// Asks until the server answers for good; what is wrong with the answer, if it is not the refusal that must come.
pub async fn refused(user: &User, spec: &RefusedSpec) -> Option<String> {
    let Some((method, path, body)) = request(&spec.request) else {
        user.stage.trouble("what is to be refused names no object".to_owned());
        return None;
    };
    let who = spec.who.as_ref().and_then(identity_of);
    let mut last = String::new();
    for _ in 0..TRIES {
        let reply = user.ask_once_as(who.as_ref(), &method, &path, &body).await;
        match reply.map(|reply| Heard::of(reply, spec.code)) {
            Some(Heard::Refusal) => return None,
            Some(Heard::Wrong(answer)) => {
                let who = spec.who.as_ref().map(|who| format!(" as {who}")).unwrap_or_default();
                return Some(format!(
                    "{method} {path}{who} was to be refused with {}, and {answer}",
                    spec.code
                ));
            }
            Some(Heard::Later(why)) => last = why,
            None => {}
        }
        sleep(user.random.duration(Duration::from_millis(500), Duration::from_secs(2))).await;
    }
    user.stage.trouble(given_up(&method, &path, &last));
    None
}

/// What is asked; none if it names no object.
fn request(attempt: &Attempt) -> Option<(Method, String, Content)> {
    let path = |object: &str| named(object).map(|(kind, namespace, name)| path_to(kind, namespace, name));
    Some(match attempt {
        Attempt::Create(object) => (Method::POST, path_of(object).0, Some((JSON, object.clone()))),
        Attempt::Edit(edit) => (Method::PATCH, path(&edit.object)?, Some((MERGE, edit.patch.clone()))),
        Attempt::Delete(delete) => (
            Method::DELETE,
            path(&delete.object)?,
            deletion(delete.propagation, delete.grace),
        ),
        Attempt::Get(object) => (Method::GET, path(object)?, None),
    })
}

/// What an answer means to who is sure to be refused.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// It is the refusal.
    Refusal,
    /// It says something else: what.
    Wrong(String),
    /// It says nothing of what was asked; why.
    Later(String),
}

impl Heard {
    fn of(reply: Reply, code: u16) -> Self {
        match reply {
            Reply::Done(_) => Heard::Wrong("was done".to_owned()),
            Reply::Refused(own, _) if own == code => Heard::Refusal,
            // The server is slow or away, or others were quicker.
            Reply::Refused(own, why) if own >= 500 || own == 429 || own == 409 => Heard::Later(why),
            Reply::Refused(own, why) => Heard::Wrong(format!("was with {own}: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::scenario::DeleteSpec;

    #[test]
    fn only_the_refusal_that_must_come_is_right_and_who_is_told_to_wait_does() {
        let heard = |code: u16| Heard::of(Reply::Refused(code, "no".to_owned()), 422);
        assert_eq!(heard(422), Heard::Refusal);
        assert_eq!(heard(403), Heard::Wrong("was with 403: no".to_owned()));
        for code in [409, 429, 500, 503] {
            assert_eq!(heard(code), Heard::Later("no".to_owned()), "{code}");
        }
        let done = Heard::of(Reply::Done(Bytes::new()), 422);
        assert_eq!(done, Heard::Wrong("was done".to_owned()));
        let taken = Heard::of(Reply::Refused(409, "taken".to_owned()), 409);
        assert_eq!(taken, Heard::Refusal);
    }

    #[test]
    fn what_is_asked_goes_where_kubectl_sends_it() {
        let shown = |attempt: &Attempt| request(attempt).map(|(method, path, _)| format!("{method} {path}"));
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}});
        assert_eq!(
            shown(&Attempt::Create(service)).as_deref(),
            Some("POST /api/v1/namespaces/default/services")
        );
        let namespace = Attempt::Delete(DeleteSpec {
            object: "namespace/kube-public".to_owned(),
            propagation: None,
            grace: None,
        });
        assert_eq!(
            shown(&namespace).as_deref(),
            Some("DELETE /api/v1/namespaces/kube-public")
        );
        assert_eq!(shown(&Attempt::Get("key".to_owned())), None);
    }
}
