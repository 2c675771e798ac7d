//! Acting as somebody else (`kubectl --as`): a request whose headers name another user is carried out with that user's
//! rights, if its sender may lend them. It is never carried out with the sender's own.
//!
//! Source: Kubernetes' "Authenticating", user impersonation, and the server's filter `WithImpersonation`; where that
//! answers 500 to groups without a user, we say what is wrong with the request (400).

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};
use orrery_api::message::{Identity, Request};
use orrery_api::names;
use orrery_api::status::ApiError;
use percent_encoding::percent_decode_str;

use crate::authorization::{Persona, authorize_impersonation};

/// What the names of all headers of impersonation begin with.
const PREFIX: &str = "impersonate-";
const ANONYMOUS: &str = "system:anonymous";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Who a request is to be carried out as: its sender, or whom its headers name. 403 when the sender may not act as that
/// one, 401 when there is no sender.
pub fn acting(request: &Request) -> Result<Option<Cow<'_, Identity>>, ApiError> {
    let sender = request.extensions().get::<Identity>();
    let headers = request.headers();
    // Every request comes by here, and hardly any asks for more.
    if !headers.keys().any(|name| name.as_str().starts_with(PREFIX)) {
        return Ok(sender.map(Cow::Borrowed));
    }
    let sender = sender.ok_or_else(ApiError::unauthorized)?;
    let wanted = Wanted::read(headers)?;
    if wanted.user.is_empty() {
        if wanted.has_more() {
            let why = "groups, a uid or extra fields cannot be impersonated without impersonating a user";
            return Err(ApiError::bad_request(why));
        }
        return Ok(Some(Cow::Borrowed(sender)));
    }
    for persona in wanted.personas() {
        authorize_impersonation(sender, &persona)?;
    }
    Ok(Some(Cow::Owned(Identity {
        user: wanted.user.to_owned(),
        groups: wanted.all_groups(),
    })))
}

/// What the headers name; absent is empty.
#[derive(Default)]
struct Wanted<'a> {
    user: &'a str,
    groups: Vec<&'a str>,
    uid: &'a str,
    extra: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Wanted<'a> {
    fn read(headers: &'a HeaderMap) -> Result<Self, ApiError> {
        let text = |name: &str, value: &'a HeaderValue| {
            std::str::from_utf8(value.as_bytes())
                .map_err(|_| ApiError::bad_request(format!("the header {name} is not UTF-8")))
        };
        // Of these the first counts, as in Go.
        let first = |name: &str| headers.get(name).map_or(Ok(""), |value| text(name, value));
        let mut wanted = Wanted {
            user: first("impersonate-user")?,
            uid: first("impersonate-uid")?,
            ..Wanted::default()
        };
        for (name, value) in headers {
            let Some(what) = name.as_str().strip_prefix(PREFIX) else {
                continue;
            };
            let value = text(name.as_str(), value)?;
            match what {
                "group" => wanted.groups.push(value),
                // A header's name cannot have every character that a field's can.
                what => wanted.extra.extend(
                    what.strip_prefix("extra-")
                        .map(|field| (percent_decode_str(field).decode_utf8_lossy(), value)),
                ),
            }
        }
        Ok(wanted)
    }

    /// Whether more than a user is named.
    fn has_more(&self) -> bool {
        !(self.groups.is_empty() && self.uid.is_empty() && self.extra.is_empty())
    }

    /// What the sender needs a right for, one by one.
    fn personas(&self) -> Vec<Persona<'_>> {
        const AUTHENTICATION: &str = "authentication.k8s.io";
        let persona = |group, resource, name| Persona {
            group,
            resource,
            subresource: "",
            namespace: "",
            name,
        };
        let mut personas = vec![match service_account(self.user) {
            Some((namespace, name)) => Persona {
                namespace,
                ..persona("", "serviceaccounts", name)
            },
            None => persona("", "users", self.user),
        }];
        personas.extend(self.groups.iter().map(|name| persona("", "groups", *name)));
        personas.extend(self.extra.iter().map(|(field, value)| Persona {
            subresource: field,
            ..persona(AUTHENTICATION, "userextras", *value)
        }));
        if !self.uid.is_empty() {
            personas.push(persona(AUTHENTICATION, "uids", self.uid));
        }
        personas
    }

    /// The groups that are named, or those that a service account always has; and whether the user is known.
    fn all_groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = match service_account(self.user) {
            Some((namespace, _)) if self.groups.is_empty() => vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ],
            _ => self.groups.iter().map(|group| (*group).to_owned()).collect(),
        };
        let usual = if self.user == ANONYMOUS {
            UNAUTHENTICATED
        } else {
            AUTHENTICATED
        };
        if !groups.iter().any(|group| group == UNAUTHENTICATED || group == usual) {
            groups.push(usual.to_owned());
        }
        groups
    }
}

/// The namespace and name of the service account that a user is.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let is_one = names::dns1123_label(namespace).is_empty() && names::dns1123_subdomain(name).is_empty();
    is_one.then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn request(sender: Option<Identity>, headers: &[(&str, &str)]) -> Request {
        let mut builder = http::Request::builder();
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let mut request = builder.body(Bytes::new()).expect("the test's own request is sound");
        if let Some(sender) = sender {
            request.extensions_mut().insert(sender);
        }
        request
    }

    fn admin() -> Identity {
        Identity::new("admin", &["system:masters"])
    }

    /// User and groups, as the administrator's request with these headers has them.
    fn shown(headers: &[(&str, &str)]) -> String {
        match acting(&request(Some(admin()), headers)) {
            Ok(Some(identity)) => format!("{} in {}", identity.user, identity.groups.join(", ")),
            Ok(None) => "nobody".to_owned(),
            Err(error) => format!("{} {}", error.code(), error.message()),
        }
    }

    #[test]
    fn an_administrator_acts_as_anybody_with_that_ones_rights() {
        let user = ("Impersonate-User", "jane");
        insta::assert_snapshot!(shown(&[]), @"admin in system:masters, system:authenticated");
        insta::assert_snapshot!(shown(&[user]), @"jane in system:authenticated");
        insta::assert_snapshot!(
            shown(&[user, ("Impersonate-Group", "a"), ("Impersonate-Group", "b"), ("Impersonate-Uid", "7")]),
            @"jane in a, b, system:authenticated"
        );
        insta::assert_snapshot!(
            shown(&[user, ("Impersonate-Group", "system:unauthenticated")]),
            @"jane in system:unauthenticated"
        );
        insta::assert_snapshot!(shown(&[("Impersonate-User", "system:anonymous")]), @"system:anonymous in system:unauthenticated");
        let account = ("Impersonate-User", "system:serviceaccount:default:robot");
        insta::assert_snapshot!(
            shown(&[account]),
            @"system:serviceaccount:default:robot in system:serviceaccounts, system:serviceaccounts:default, system:authenticated"
        );
        insta::assert_snapshot!(
            shown(&[account, ("Impersonate-Group", "a")]),
            @"system:serviceaccount:default:robot in a, system:authenticated"
        );
    }

    #[test]
    fn groups_uids_and_extra_fields_need_a_user() {
        for header in ["Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-Scopes"] {
            assert_eq!(
                shown(&[(header, "a")]),
                "400 groups, a uid or extra fields cannot be impersonated without impersonating a user"
            );
        }
    }

    #[test]
    fn an_extra_fields_name_is_escaped_in_its_header() {
        let request = request(None, &[("Impersonate-Extra-Acme.com%2FProject", "orrery")]);
        let wanted = Wanted::read(request.headers()).expect("headers that can be read");
        let personas = wanted.personas();
        let field = personas.last().expect("the field is asked for");
        assert_eq!((field.subresource, field.name), ("acme.com/project", "orrery"));
    }

    #[test]
    fn who_may_not_lend_a_right_hears_which() {
        let refused = |headers: &[(&str, &str)]| {
            let sender = Identity::new("system:kube-controller-manager", &[]);
            let error = acting(&request(Some(sender), headers)).expect_err("no right");
            format!("{} {}", error.code(), error.message())
        };
        insta::assert_snapshot!(
            refused(&[("Impersonate-User", "jane")]),
            @r#"403 users "jane" is forbidden: User "system:kube-controller-manager" cannot impersonate resource "users" in API group "" at the cluster scope"#
        );
        insta::assert_snapshot!(
            refused(&[("Impersonate-User", "system:serviceaccount:default:robot")]),
            @r#"403 serviceaccounts "robot" is forbidden: User "system:kube-controller-manager" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "default""#
        );
        let nobody = acting(&request(None, &[("Impersonate-User", "jane")])).expect_err("nobody");
        assert_eq!(nobody.code(), 401);
    }
}
