//! What the server must refuse: `refused`. No component asks for such, and so no rule that says no is tried otherwise.

use orrery_api::message::Identity;
use serde::Deserialize;
use serde_json::Value;

use super::{DeleteSpec, EditSpec, Words};
use crate::scenario::call::object_pattern;
use crate::scenario::target::{ComponentTarget, Role, Whom};
use crate::scenario::unique::Json;
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// A request that is to be refused, how, and who asks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RefusedWire")]
pub struct RefusedSpec {
    /// What is asked.
    pub request: Attempt,
    /// The code of the answer that must come.
    pub code: u16,
    /// The component as which it is asked, as `kubectl --as` does; the user himself if none.
    pub who: Option<ComponentTarget>,
}

/// Something that is asked in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// That an object be made.
    Create(Value),
    /// That something be merged into an object.
    Edit(EditSpec),
    /// That an object be deleted.
    Delete(DeleteSpec),
    /// To be shown an object: `kind/name` or `kind/namespace/name`.
    Get(String),
}

/// A refusal as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedWire {
    create: Option<Json>,
    edit: Option<EditSpec>,
    delete: Option<DeleteSpec>,
    get: Option<String>,
    code: u16,
    #[serde(rename = "as")]
    who: Option<ComponentTarget>,
}

impl TryFrom<RefusedWire> for RefusedSpec {
    type Error = String;

    fn try_from(wire: RefusedWire) -> Result<Self, String> {
        let RefusedWire {
            create,
            edit,
            delete,
            get,
            code,
            who,
        } = wire;
        let mut attempts: Vec<Attempt> = Vec::new();
        attempts.extend(create.map(|Json(object)| Attempt::Create(object)));
        attempts.extend(edit.map(Attempt::Edit));
        attempts.extend(delete.map(Attempt::Delete));
        attempts.extend(get.map(Attempt::Get));
        match (attempts.pop(), attempts.is_empty()) {
            (Some(request), true) => Ok(RefusedSpec { request, code, who }),
            _ => Err("one of `create`, `edit`, `delete` and `get` is what is to be refused".to_owned()),
        }
    }
}

/// Who a component is to the API server; none of those that ask it for nothing under a name of their own.
pub fn identity_of(component: &ComponentTarget) -> Option<Identity> {
    match (component.role, component.instance.as_deref()) {
        (Role::Kubelet, Some(node)) => Some(Identity::node(node)),
        (Role::Proxy, None) => Some(Identity::new("system:kube-proxy", &[])),
        (Role::Scheduler, None) => Some(Identity::new("system:kube-scheduler", &[])),
        (Role::ControllerManager, None) => Some(Identity::new("system:kube-controller-manager", &[])),
        _ => None,
    }
}

impl RefusedSpec {
    /// The object that is not to be made, if that is asked.
    pub fn created(&self) -> Option<&Value> {
        match &self.request {
            Attempt::Create(object) => Some(object),
            Attempt::Edit(_) | Attempt::Delete(_) | Attempt::Get(_) => None,
        }
    }

    /// The object that is there, by its name; none if it is one that is not to be made.
    pub fn object(&self) -> Option<&str> {
        match &self.request {
            Attempt::Create(_) => None,
            Attempt::Edit(edit) => Some(&edit.object),
            Attempt::Delete(delete) => Some(&delete.object),
            Attempt::Get(object) => Some(object),
        }
    }
}

impl Words for RefusedSpec {
    fn write(&self) -> Yaml {
        let RefusedSpec { request, code, who } = self;
        let (key, asked) = match request {
            Attempt::Create(object) => ("create", Yaml::of_json(object)),
            Attempt::Edit(edit) => ("edit", edit.write()),
            Attempt::Delete(delete) => ("delete", delete.write()),
            Attempt::Get(object) => ("get", Yaml::text(object)),
        };
        Keys::default()
            .some("as", who.as_ref(), Yaml::text_of)
            .with(key, asked)
            .with("code", Yaml::plain(code))
            .map()
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(None, self.who.as_ref())
    }

    fn check(&self) -> Result<(), String> {
        if !(400..500).contains(&self.code) || self.code == 429 {
            return Err(format!(
                "`code` is that of a refusal for good, from 400 to 499 and not 429: {} is none",
                self.code
            ));
        }
        if let Some(who) = self.who.as_ref().filter(|who| identity_of(who).is_none()) {
            let known = "`kubelet/node-1`, `proxy`, `scheduler` and `controller-manager`";
            return Err(format!("{:?} is nobody to ask as: there are {known}", who.to_string()));
        }
        match &self.request {
            Attempt::Create(Value::Object(_)) => Ok(()),
            Attempt::Create(_) => Err("`create` is one object".to_owned()),
            Attempt::Edit(edit) => edit.check(),
            Attempt::Delete(delete) => delete.check(),
            Attempt::Get(object) => object_pattern(object),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::{Attempt, Scenario, StepAction, examine};

    const SETTINGS: &str = "{ apiVersion: v1, kind: ConfigMap, metadata: { name: settings } }";

    fn played(step: &str) -> Result<Scenario, String> {
        let steps = format!("  - at: 1s\n    apply: {SETTINGS}\n  - at: 2s\n    {step}\n");
        let source = format!("name: a\nduration: 1m\nworkload:\n{steps}");
        examine("a.yaml", &source, |_| Err(String::new()))
            .map(|(scenario, _)| scenario)
            .map_err(|error| error.to_string())
    }

    fn refused(refusal: &str) -> Result<Scenario, String> {
        played(&format!("refused: {{ {refusal} }}"))
    }

    #[test]
    fn what_is_to_be_refused_is_one_request_with_a_code() {
        for right in [
            "edit: { object: cm/settings, patch: { data: { a: b } } }, code: 422".to_owned(),
            "delete: namespace/kube-public, code: 403".to_owned(),
            "as: kubelet/node-1, get: cm/settings, code: 403".to_owned(),
            "as: scheduler, delete: { object: cm/settings, grace: 0 }, code: 403".to_owned(),
            format!("create: {SETTINGS}, code: 409"),
        ] {
            let scenario = refused(&right).unwrap_or_else(|error| panic!("{right}: {error}"));
            let StepAction::Refused(spec) = &scenario.workload[1].action else {
                panic!("{right}");
            };
            assert_eq!(matches!(spec.request, Attempt::Create(_)), right.starts_with("create"));
        }
        for (wrong, why) in [
            ("code: 403", "one of `create`, `edit`, `delete` and `get`"),
            ("get: cm/settings, delete: cm/settings, code: 403", "one of `create`"),
            ("get: cm/settings, code: 200", "`code` is that of a refusal"),
            ("get: cm/settings, code: 429", "`code` is that of a refusal"),
            ("get: settings, code: 403", "names no object"),
            ("get: cm/settings, code: 403, as: kubelet", "is nobody to ask as"),
            ("get: cm/settings, code: 403, as: apiserver", "is nobody to ask as"),
            (
                "get: cm/settings, code: 403, as: kubelet/node-9",
                "no machine \"node-9\"",
            ),
            (
                "get: cm/settinsg, code: 403",
                "nobody makes a ConfigMap \"default/settinsg\"",
            ),
            (
                "edit: { object: cm/settings, patch: { dtaa: {} } }, code: 422",
                "unknown field \"dtaa\"",
            ),
            (
                "create: { apiVersion: v1, kind: ConfigMap, metadata: {} }, code: 422",
                "no metadata.name",
            ),
            ("create: settings.yaml, code: 422", "`create` is one object"),
        ] {
            let told = refused(wrong).map(drop).unwrap_err();
            assert!(told.contains(why), "{wrong}: {told}");
        }
        // What is not there is refused as such.
        assert!(refused("get: cm/nothing, code: 404").is_ok());
    }

    #[test]
    fn what_is_replaced_is_an_object_that_somebody_makes() {
        assert!(played(&format!("replace: {SETTINGS}")).is_ok());
        for (wrong, why) in [
            (
                SETTINGS.replace("settings", "other"),
                "nobody makes a ConfigMap \"default/other\"",
            ),
            (SETTINGS.replace("kind", "dtaa: {}, kind"), "unknown field \"dtaa\""),
            (
                SETTINGS.replace("ConfigMap", "ConfigMpa"),
                "no kind \"ConfigMpa\" is served",
            ),
            ("settings.yaml".to_owned(), "`replace` is one object"),
        ] {
            let told = played(&format!("replace: {wrong}")).map(drop).unwrap_err();
            assert!(told.contains(why), "{wrong}: {told}");
        }
    }
}
