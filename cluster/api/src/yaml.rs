//! YAML bodies into JSON values.
//!
//! One document a body. Keys that are not strings become strings, as in Kubernetes' own converter; duplicate keys,
//! several documents and numbers that JSON cannot hold are errors. Tags are passed over.

use serde::Deserialize;
use serde_json::{Map, Number, Value};

/// Why a body is not a YAML document that JSON can hold, with its line where known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error converting YAML to JSON: yaml: {message}")]
pub struct Error {
    /// What is wrong, and where.
    pub message: String,
    /// The line, counted from one, where the parser knows it.
    pub line: Option<usize>,
}

/// Reads a body of one YAML document; an empty body is null.
pub fn parse(body: &[u8]) -> Result<Value, Error> {
    let mut documents = serde_yaml::Deserializer::from_slice(body);
    let Some(first) = documents.next() else {
        return Ok(Value::Null);
    };
    let value = serde_yaml::Value::deserialize(first).map_err(error)?;
    // A trailing separator is no document; anything more is.
    for rest in documents {
        if serde_yaml::Value::deserialize(rest).map_err(error)? != serde_yaml::Value::Null {
            return Err(Error {
                message: "a body holds one document, this one holds more".into(),
                line: None,
            });
        }
    }
    convert(value)
}

fn error(error: serde_yaml::Error) -> Error {
    let line = error.location().map(|location| location.line());
    let message = match line {
        Some(line) => format!("line {line}: {error}"),
        None => error.to_string(),
    };
    Error { message, line }
}

fn convert(value: serde_yaml::Value) -> Result<Value, Error> {
    Ok(match value {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(value) => Value::Bool(value),
        serde_yaml::Value::Number(number) => Value::Number(convert_number(&number)?),
        serde_yaml::Value::String(text) => Value::String(text),
        serde_yaml::Value::Sequence(items) => Value::Array(items.into_iter().map(convert).collect::<Result<_, _>>()?),
        serde_yaml::Value::Mapping(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                let key = convert_key(key)?;
                let value = convert(value)?;
                if object.contains_key(&key) {
                    return Err(Error {
                        message: format!("key {key:?} already set in map"),
                        line: None,
                    });
                }
                object.insert(key, value);
            }
            Value::Object(object)
        }
        serde_yaml::Value::Tagged(tagged) => convert(tagged.value)?,
    })
}

fn convert_number(number: &serde_yaml::Number) -> Result<Number, Error> {
    if let Some(integer) = number.as_i64() {
        return Ok(integer.into());
    }
    if let Some(integer) = number.as_u64() {
        return Ok(integer.into());
    }
    number.as_f64().and_then(Number::from_f64).ok_or_else(|| Error {
        message: format!("json: unsupported value: {number}"),
        line: None,
    })
}

fn convert_key(key: serde_yaml::Value) -> Result<String, Error> {
    match key {
        serde_yaml::Value::String(text) => Ok(text),
        serde_yaml::Value::Bool(value) => Ok(value.to_string()),
        serde_yaml::Value::Number(number) => Ok(number.to_string()),
        serde_yaml::Value::Null => Ok("null".into()),
        serde_yaml::Value::Tagged(tagged) => convert_key(tagged.value),
        serde_yaml::Value::Sequence(_) | serde_yaml::Value::Mapping(_) => Err(Error {
            message: "a key is a list or a map".into(),
            line: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_becomes_the_same_json() {
        let body =
            b"apiVersion: v1\nkind: ConfigMap\ndata:\n  8080: x\n  \"true\": \"1\"\nlist: [1, 2.5, ~, !tag z]\n---\n";
        assert_eq!(
            parse(body),
            Ok(json!({
                "apiVersion": "v1", "kind": "ConfigMap", "data": {"8080": "x", "true": "1"},
                "list": [1, 2.5, null, "z"],
            }))
        );
        assert_eq!(parse(b"{\"a\": [1]}"), Ok(json!({"a": [1]})), "JSON is YAML");
        assert_eq!(parse(b""), Ok(Value::Null));
    }

    #[test]
    fn what_json_cannot_hold_is_refused_with_its_line() {
        let error = |body: &str| parse(body.as_bytes()).expect_err(body);
        assert_eq!(error("a: 1\nb: [").line, Some(3));
        assert!(
            error("a: 1\na: 2").to_string().contains("duplicate entry"),
            "{}",
            error("a: 1\na: 2")
        );
        assert!(error("1: x\n\"1\": y").to_string().contains("already set"));
        assert!(error("a: 1\n---\nb: 2").to_string().contains("one document"));
        assert!(error("[1]: 2").to_string().contains("key is a list"));
        assert!(error("a: .nan").to_string().contains("unsupported value"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body);
        }

        #[test]
        fn any_text_is_read_or_refused(body in "[a-c0-9:\\-\\[\\]{}&*!|>'\"#,? \n]{0,60}") {
            let _ = parse(body.as_bytes());
        }
    }
}
