//! Faults of single fields, by path, in the words of Kubernetes' validation.

use std::fmt;

/// What kind of fault a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A value is missing.
    Required,
    /// A value occurs twice where it must be unique.
    Duplicate,
    /// A value is malformed or out of bounds.
    Invalid,
    /// A value is none of those known.
    NotSupported,
    /// The field may not be set, or not be changed.
    Forbidden,
    /// The value is longer than it may be.
    TooLong,
    /// There are more items than there may be.
    TooMany,
    /// What the value refers to is not there.
    NotFound,
    /// The server's own fault.
    Internal,
}

impl ErrorKind {
    /// The reason of a `StatusCause`.
    pub fn reason(self) -> &'static str {
        match self {
            ErrorKind::Required => "FieldValueRequired",
            ErrorKind::Duplicate => "FieldValueDuplicate",
            ErrorKind::Invalid => "FieldValueInvalid",
            ErrorKind::NotSupported => "FieldValueNotSupported",
            ErrorKind::Forbidden => "FieldValueForbidden",
            ErrorKind::TooLong => "FieldValueTooLong",
            ErrorKind::TooMany => "FieldValueTooMany",
            ErrorKind::NotFound => "FieldValueNotFound",
            ErrorKind::Internal => "InternalError",
        }
    }

    fn title(self) -> &'static str {
        match self {
            ErrorKind::Required => "Required value",
            ErrorKind::Duplicate => "Duplicate value",
            ErrorKind::Invalid => "Invalid value",
            ErrorKind::NotSupported => "Unsupported value",
            ErrorKind::Forbidden => "Forbidden",
            ErrorKind::TooLong => "Too long",
            ErrorKind::TooMany => "Too many",
            ErrorKind::NotFound => "Not found",
            ErrorKind::Internal => "Internal error",
        }
    }
}

/// One fault of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What kind of fault.
    pub kind: ErrorKind,
    /// The path, for example `spec.containers[0].name`.
    pub field: String,
    /// The value as JSON, where the message shows it.
    pub value: Option<String>,
    /// The rule it breaks; may be empty.
    pub detail: String,
}

impl Error {
    fn new(kind: ErrorKind, field: impl Into<String>, value: Option<String>, detail: impl Into<String>) -> Self {
        Error {
            kind,
            field: field.into(),
            value,
            detail: detail.into(),
        }
    }

    /// A value is missing.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Error::new(ErrorKind::Required, field, None, detail)
    }

    /// A value is malformed or out of bounds.
    pub fn invalid(field: impl Into<String>, value: impl serde::Serialize, detail: impl Into<String>) -> Self {
        Error::new(ErrorKind::Invalid, field, Some(shown(value)), detail)
    }

    /// A value occurs twice.
    pub fn duplicate(field: impl Into<String>, value: impl serde::Serialize) -> Self {
        Error::new(ErrorKind::Duplicate, field, Some(shown(value)), "")
    }

    /// A value is none of `supported`.
    pub fn not_supported(field: impl Into<String>, value: impl serde::Serialize, supported: &[&str]) -> Self {
        let supported = supported
            .iter()
            .map(|value| format!("{value:?}"))
            .collect::<Vec<_>>()
            .join(", ");
        Error::new(
            ErrorKind::NotSupported,
            field,
            Some(shown(value)),
            format!("supported values: {supported}"),
        )
    }

    /// The field may not be set or changed.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Error::new(ErrorKind::Forbidden, field, None, detail)
    }

    /// The value is longer than `limit` bytes.
    pub fn too_long(field: impl Into<String>, limit: usize) -> Self {
        Error::new(
            ErrorKind::TooLong,
            field,
            None,
            format!("may not be more than {limit} bytes"),
        )
    }

    /// There are `count` items where at most `limit` may be.
    pub fn too_many(field: impl Into<String>, count: usize, limit: usize) -> Self {
        Error::new(
            ErrorKind::TooMany,
            field,
            Some(count.to_string()),
            format!("must have at most {limit} items"),
        )
    }

    /// What the value refers to is not there.
    pub fn not_found(field: impl Into<String>, value: impl serde::Serialize) -> Self {
        Error::new(ErrorKind::NotFound, field, Some(shown(value)), "")
    }

    /// The message without the field: what stands in a `StatusCause`.
    pub fn body(&self) -> String {
        let mut body = self.kind.title().to_owned();
        if let Some(value) = &self.value {
            body.push_str(": ");
            body.push_str(value);
        }
        if !self.detail.is_empty() {
            body.push_str(": ");
            body.push_str(&self.detail);
        }
        body
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

fn shown(value: impl serde::Serialize) -> String {
    serde_json::to_string(&value).unwrap_or_default()
}
