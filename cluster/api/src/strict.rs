//! Strict decoding: duplicate fields, unknown fields and wrong types, and what Go's types make of the rest.
//!
//! A body is parsed once, and everything that Kubernetes' strict decoder would find is found by the
//! [table](crate::schema), with its words. What to do with a finding (refuse, warn, ignore) is the caller's decision.
//! Kinds that the table does not know have no unknown fields and no wrong types.
//!
//! Not here: whether values are *valid*, which is each kind's own knowledge, and defaults.

mod normal;
mod parse;
mod settled;
mod target;
mod time;
mod types;

pub use normal::normalize;
pub use parse::{Parsed, SyntaxError, parse_json, parse_json_as};
pub use settled::{is_normal, is_normal_value};
pub use target::unknown_fields;
pub use time::{format_time, parse_time};
pub use types::check_types;

/// At most so many findings are kept, as in Kubernetes.
const MAX_PROBLEMS: usize = 100;

/// The message of a refusal because of problems that strict decoding found, such as
/// `Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.x"`.
pub fn strict_error(api_version: &str, kind: &str, problems: &[String]) -> String {
    cannot_be_handled(
        api_version,
        kind,
        &format!("strict decoding error: {}", problems.join(", ")),
    )
}

/// The message of a refusal because a body does not fit its kind.
pub fn cannot_be_handled(api_version: &str, kind: &str, detail: &str) -> String {
    let version = api_version.rsplit('/').next().unwrap_or(api_version);
    format!("{kind} in version {version:?} cannot be handled as a {kind}: {detail}")
}

#[cfg(test)]
mod tests;
