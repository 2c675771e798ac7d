//! Secrets: data that only those who may should read.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use orrery_api::field::{self, Error};
use orrery_api::meta::Object as _;
use orrery_api::names;
use serde_json::{Value, json};

use super::cells::{AGE, NAME, age, column};
use super::check::{MAX_DATA, SEALED, immutable, messages, text};
use crate::resource::{Column, ResourceInfo, Strategy};

/// Secrets.
pub struct Secrets;

static INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
};

static COLUMNS: &[Column] = &[
    NAME,
    column("Type", "string", "What the secret is for, which tells its keys."),
    column("Data", "string", "The number of keys."),
    AGE,
];

impl Strategy for Secrets {
    type Object = Secret;

    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }

    fn set_defaults(&self, object: &mut Secret) {
        if text(&object.type_).is_empty() {
            object.type_ = Some("Opaque".to_owned());
        }
        // `stringData` is for writing only: its values win over those in `data`, and only `data` is kept.
        if let Some(texts) = object.string_data.take() {
            let data = object.data.get_or_insert_default();
            data.extend(
                texts
                    .into_iter()
                    .map(|(key, text)| (key, ByteString(text.into_bytes()))),
            );
        }
    }

    fn validate(&self, object: &Secret) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let mut size = 0;
        for (key, value) in object.data.iter().flatten() {
            errors.extend(messages(
                &format!("data[{key}]"),
                key.as_str(),
                names::config_map_key(key),
            ));
            size += value.0.len();
        }
        if size > MAX_DATA {
            errors.push(Error::too_long("data", MAX_DATA));
        }
        errors.extend(typed(object));
        errors
    }

    fn validate_update(&self, new: &Secret, old: &Secret) -> Vec<field::Error> {
        let mut errors = immutable("type", &new.type_, &old.type_);
        if old.immutable == Some(true) {
            if new.immutable != Some(true) {
                errors.push(Error::forbidden("immutable", SEALED));
            }
            if new.data.iter().flatten().ne(old.data.iter().flatten()) {
                errors.push(Error::forbidden("data", SEALED));
            }
        }
        errors.extend(self.validate(new));
        errors
    }

    fn fields(&self, object: &Secret) -> Vec<(&'static str, String)> {
        vec![("type", text(&object.type_).to_owned())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Secret, now: Timestamp) -> Vec<Value> {
        let keys = object.data.iter().flatten().count();
        vec![
            json!(object.name()),
            json!(text(&object.type_)),
            json!(keys),
            json!(age(&object.metadata, now)),
        ]
    }
}

/// The keys that a secret of a known type must have.
fn typed(secret: &Secret) -> Vec<Error> {
    let has = |key: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(key));
    let missing = |keys: &[&str]| -> Vec<Error> {
        keys.iter()
            .filter(|key| !has(key))
            .map(|key| Error::required(format!("data[{key}]"), ""))
            .collect()
    };
    match text(&secret.type_) {
        "kubernetes.io/service-account-token" => {
            let annotation = "kubernetes.io/service-account.name";
            match secret.annotation(annotation).unwrap_or_default() {
                "" => vec![Error::required(format!("metadata.annotations[{annotation}]"), "")],
                _ => Vec::new(),
            }
        }
        "kubernetes.io/dockercfg" => json_key(secret, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => json_key(secret, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if has("username") || has("password") => Vec::new(),
        "kubernetes.io/basic-auth" => missing(&["username", "password"]),
        "kubernetes.io/ssh-auth" => missing(&["ssh-privatekey"]),
        "kubernetes.io/tls" => missing(&["tls.crt", "tls.key"]),
        _ => Vec::new(),
    }
}

fn json_key(secret: &Secret, key: &str) -> Vec<Error> {
    let path = format!("data[{key}]");
    let Some(value) = secret.data.as_ref().and_then(|data| data.get(key)) else {
        return vec![Error::required(path, "")];
    };
    match serde_json::from_slice::<serde_json::Map<String, Value>>(&value.0) {
        Ok(_) => Vec::new(),
        // The parser's message may hold what is secret, so only that it failed is told.
        Err(_) => vec![Error::invalid(
            path,
            "<secret contents redacted>",
            "must be a JSON object",
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{defaulted, faults, object, row, update_faults, value};
    use super::*;

    #[test]
    fn string_data_becomes_data() {
        let given: Secret = object(json!({"data": {"a": "MQ==", "b": "Mg=="}, "stringData": {"b": "three"}}));
        let secret = defaulted(&Secrets, given);
        assert_eq!(value(&secret)["data"], json!({"a": "MQ==", "b": "dGhyZWU="}));
        assert_eq!(secret.string_data, None);
        insta::assert_snapshot!(row(&Secrets, &secret), @"web | Opaque | 2 | 10m");
    }

    #[test]
    fn a_type_tells_the_keys() {
        let show = |value: Value| faults(&Secrets, &object(value));
        insta::assert_snapshot!(show(json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "MQ=="}})), @"data[tls.key]: Required value");
        insta::assert_snapshot!(show(json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "MQ=="}})), @r#"data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": must be a JSON object"#);
        insta::assert_snapshot!(show(json!({"type": "kubernetes.io/service-account-token"})), @"metadata.annotations[kubernetes.io/service-account.name]: Required value");
    }

    #[test]
    fn the_type_of_a_secret_stays() {
        let (new, old): (Secret, Secret) = (object(json!({"type": "a"})), object(json!({"type": "b"})));
        insta::assert_snapshot!(update_faults(&Secrets, &new, &old), @r#"type: Invalid value: "a": field is immutable"#);
    }
}
