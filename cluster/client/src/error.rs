//! Why a call failed, and what that says about its effect.

use orrery_api::message::TransportError;
use orrery_api::mutant;
use orrery_api::status::ApiError;

/// Why a call to the API failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The server refused or failed.
    #[error("{0}")]
    Api(ApiError),
    /// No answer came.
    #[error("the API server cannot be reached: {0}")]
    Transport(#[from] TransportError),
    /// No answer came in time.
    #[error("the API server did not answer in time")]
    Timeout,
    /// The answer could not be read.
    #[error("the API server's answer could not be read: {0}")]
    Decode(String),
}

impl Error {
    fn has(&self, code: u16, reason: &str) -> bool {
        matches!(self, Error::Api(error) if error.code() == code && (reason.is_empty() || error.reason() == reason))
    }

    /// What is wrong, in the server's own words if it refused: without the reason, which is for programs.
    pub fn words(&self) -> String {
        match self {
            Error::Api(refusal) => refusal.message().to_owned(),
            other => other.to_string(),
        }
    }

    /// 404.
    pub fn is_not_found(&self) -> bool {
        self.has(404, "")
    }

    /// 409 because of a stale base or a failed precondition.
    pub fn is_conflict(&self) -> bool {
        self.has(409, "Conflict")
    }

    /// 409 because the name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.has(409, "AlreadyExists")
    }

    /// 410: the revision is compacted away.
    pub fn is_expired(&self) -> bool {
        self.has(410, "")
    }

    /// 403.
    pub fn is_forbidden(&self) -> bool {
        self.has(403, "")
    }

    /// 422.
    pub fn is_invalid(&self) -> bool {
        self.has(422, "")
    }

    /// Whether a write may have happened although it was not acknowledged.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Error::Timeout if mutant::active("O35") => false,
            Error::Timeout | Error::Decode(_) => true,
            Error::Transport(error) => error.sent,
            Error::Api(error) => matches!(error.code(), 500 | 504),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let refusal = Error::Api(ApiError::forbidden("pods/binding", "web", "not there"));
        assert_eq!(refusal.words(), "pods/binding \"web\" is forbidden: not there");
        assert_eq!(Error::Timeout.words(), "the API server did not answer in time");
    }
}
