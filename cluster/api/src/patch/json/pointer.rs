//! JSON pointers (RFC 6901) and what can be done at the place they point to.

use std::fmt;

use serde_json::Value;

/// A path of keys and indexes.
pub(super) struct Pointer<'a> {
    text: &'a str,
    steps: Vec<String>,
}

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// The ending that Kubernetes' library gives to errors about what is not there.
pub(super) fn missing(message: String) -> String {
    format!("{message}: missing value")
}

fn invalid_index(step: &str) -> String {
    format!("Unable to access invalid index: {step}: invalid index referenced")
}

impl<'a> Pointer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        // What stands before the first slash means nothing, as in Kubernetes' library.
        let steps = text
            .split('/')
            .skip(1)
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .collect();
        Pointer { text, steps }
    }

    /// Whether this place lies below another.
    pub(super) fn is_within(&self, other: &Pointer<'_>) -> bool {
        self.steps.len() > other.steps.len() && self.steps.starts_with(&other.steps)
    }

    pub(super) fn get<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.steps.iter().try_fold(document, |value, step| match value {
            Value::Object(entries) => entries.get(step),
            Value::Array(items) => items.get(index(step, items.len())?),
            _ => None,
        })
    }

    /// The list or object that holds the place, and the last step into it.
    fn parent<'v>(&self, document: &'v mut Value) -> Option<(&'v mut Value, &str)> {
        let (last, steps) = self.steps.split_last()?;
        let parent = steps.iter().try_fold(document, |value, step| match value {
            Value::Object(entries) => entries.get_mut(step),
            Value::Array(items) => {
                let index = index(step, items.len())?;
                items.get_mut(index)
            }
            _ => None,
        })?;
        Some((parent, last))
    }

    pub(super) fn add(&self, document: &mut Value, value: Value, operation: &str) -> Result<(), String> {
        if self.steps.is_empty() {
            *document = value;
            return Ok(());
        }
        let failed = |error: String| format!("error in {operation} for path: '{self}': {error}");
        match self.parent(document) {
            Some((Value::Object(entries), step)) => {
                entries.insert(step.to_owned(), value);
                Ok(())
            }
            Some((Value::Array(items), "-")) => {
                items.push(value);
                Ok(())
            }
            Some((Value::Array(items), step)) => {
                let place = index(step, items.len() + 1).ok_or_else(|| failed(invalid_index(step)))?;
                items.insert(place, value);
                Ok(())
            }
            _ => Err(missing(format!(
                "{operation} operation does not apply: doc is missing path: \"{self}\""
            ))),
        }
    }

    pub(super) fn remove(&self, document: &mut Value, operation: &str) -> Result<Value, String> {
        let failed = |error: String| format!("error in {operation} for path: '{self}': {error}");
        match self.parent(document) {
            Some((Value::Object(entries), step)) => entries
                .remove(step)
                .ok_or_else(|| failed(missing(format!("Unable to remove nonexistent key: {step}")))),
            Some((Value::Array(items), step)) => match index(step, items.len()) {
                Some(place) => Ok(items.remove(place)),
                None => Err(failed(invalid_index(step))),
            },
            _ => Err(missing(format!(
                "{operation} operation does not apply: doc is missing path: \"{self}\""
            ))),
        }
    }

    pub(super) fn replace(&self, document: &mut Value, value: Value) -> Result<(), String> {
        if self.steps.is_empty() {
            *document = value;
            return Ok(());
        }
        let no_key = || missing(format!("replace operation does not apply: doc is missing key: {self}"));
        let slot = match self.parent(document) {
            Some((Value::Object(entries), step)) => entries.get_mut(step).ok_or_else(no_key)?,
            Some((Value::Array(items), step)) => {
                let place = index(step, items.len()).ok_or_else(no_key)?;
                &mut items[place]
            }
            _ => {
                return Err(missing(format!(
                    "replace operation does not apply: doc is missing path: {self}"
                )));
            }
        };
        *slot = value;
        Ok(())
    }
}

/// An index into a list with so many places; negative ones count from the end.
fn index(step: &str, places: usize) -> Option<usize> {
    let digits = step.strip_prefix('-').unwrap_or(step);
    let plain =
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    let number: i64 = if plain { step.parse().ok()? } else { return None };
    let index = if step.starts_with('-') {
        usize::try_from(places as i64 + number).ok()?
    } else {
        usize::try_from(number).ok()?
    };
    (index < places).then_some(index)
}
