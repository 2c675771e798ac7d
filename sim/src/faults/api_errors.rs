//! Errors of the API: requests are answered with an error that they did nothing to deserve, and may take effect all the
//! same.

use std::sync::Arc;

use http::Method;
use orrery_api::random::Random;
use orrery_api::status::ApiError;

use super::mishaps::{befall, one};
use super::swarm::Lot;
use super::{Striking, listed};
use crate::link::{Draw, Mishap, Pin, Refusal, Whose};
use crate::model::Asked;
use crate::scenario::{ApiErrorsSpec, FaultAction, whose};
use crate::world::World;

/// As the swarm draws it.
pub fn draw(lot: &Lot<'_>) -> ApiErrorsSpec {
    let mut codes = vec![409, 429, 500, 503, 504];
    codes.retain(|code: &u16| lot.random.stream(&code.to_string()).chance(0.6));
    if codes.is_empty() {
        codes.push(500);
    }
    ApiErrorsSpec {
        client: lot.client_or_everybody(),
        codes,
        effect: None,
        which: lot.any_requests(),
    }
}

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &ApiErrorsSpec, random: &Random, striking: Striking<'_>) {
    let whose = whose(spec.client.as_ref());
    let what = format!("{whose} is told errors {}", listed(&spec.codes));
    let (codes, effect) = (spec.codes.clone(), spec.effect);
    let draw: Draw = Box::new(move |asked, random| {
        let fitting: Vec<u16> = codes.iter().copied().filter(|code| fits(*code, asked)).collect();
        let code = *random.choose(&fitting)?;
        let may = matches!(code, 500 | 504) && asked.method != Method::GET;
        let effect = may && effect.unwrap_or_else(|| random.chance(0.5));
        let error = error(code, asked)?;
        Some(Mishap::Refused(Refusal { error, effect }))
    });
    let pin: Pin = Box::new(|client, request, number, mishap| {
        let (code, effect) = match mishap {
            Mishap::Refused(refusal) => (refusal.error.code(), refusal.effect),
            Mishap::RequestLost(_) | Mishap::AnswerLost(_) | Mishap::Doubled(_) => (500, false),
        };
        let is_read = ["get ", "list ", "watch "].iter().any(|verb| request.starts_with(verb));
        FaultAction::ApiErrors(ApiErrorsSpec {
            client: Some(client),
            codes: vec![code],
            // Of the others nothing has to be said.
            effect: (matches!(code, 500 | 504) && !is_read).then_some(effect),
            which: one(request, number),
        })
    });
    let whose = Whose::Client(spec.client.clone());
    let striking = (striking, FaultAction::ApiErrors(spec.clone()));
    befall(world, (whose, &spec.which), random, what, (draw, pin), striking).await;
}

/// Whether the API may answer so. A conflict is one with another writer of the same object: there is none to a create,
/// to a delete that asks for no revision it would say that the object is another one, and to a binding that the pod is
/// bound. People look before they write again, which the world's users do not.
fn fits(code: u16, asked: &Asked) -> bool {
    let has_rival = match asked.method {
        Method::PUT | Method::PATCH => true,
        Method::DELETE => asked.base.is_some(),
        _ => false,
    };
    code != 409 || (has_rival && asked.client != "user")
}

/// The error as the API words it.
fn error(code: u16, asked: &Asked) -> Option<ApiError> {
    let path = asked.path.as_ref()?;
    Some(match code {
        409 => ApiError::stale(&path.resource, &path.name),
        429 => ApiError::too_many_requests("too many requests, please try again later", 1),
        500 => ApiError::internal("etcdserver: leader changed"),
        503 => ApiError::unavailable("the server is currently unable to handle the request"),
        504 => ApiError::timeout("Timeout: request did not complete within the allotted timeout"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::asked;

    #[test]
    fn a_conflict_is_told_only_to_who_may_have_one() {
        let ask = |method, path: &str| asked("scheduler/1", method, path);
        let patch = ask(Method::PATCH, "/api/v1/namespaces/default/pods/web/status");
        let create = ask(Method::POST, "/api/v1/namespaces/default/pods");
        let bind = ask(Method::POST, "/api/v1/namespaces/default/pods/web/binding");
        assert!(fits(409, &patch) && !fits(409, &create) && !fits(409, &bind));
        assert!(fits(500, &create) && fits(429, &bind));
        let delete = ask(Method::DELETE, "/api/v1/namespaces/default/pods/web");
        let exact = Asked {
            base: Some(7),
            ..delete.clone()
        };
        assert!(!fits(409, &delete) && fits(409, &exact));
        assert!(!fits(
            409,
            &Asked {
                client: "user".to_owned(),
                ..patch
            }
        ));
    }
}
