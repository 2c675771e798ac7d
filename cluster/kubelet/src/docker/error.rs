//! Docker's failures in our words.

use bollard::errors::Error;

use crate::runtime::{ErrorKind, RuntimeError};

/// Why Docker cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// It does not answer.
    #[error("Docker does not answer; is it running? (try: sudo systemctl start docker): {0}")]
    NotRunning(String),
    /// The options make no sense.
    #[error("{0}")]
    Options(String),
    /// It refused.
    #[error("{doing}: {why}")]
    Docker {
        /// What was tried.
        doing: String,
        /// What Docker said.
        why: String,
    },
    /// It counts users of our network that are not there, which only its restart mends (moby issue 42119).
    #[error("Docker keeps the network {0}, although nothing uses it; restart Docker, then: docker network rm {0}")]
    StuckNetwork(String),
    /// Containers that come up as fast as they are stopped: so many.
    #[error("{0} containers still run: Docker starts them as fast as they are stopped; try again")]
    StillRunning(usize),
    /// Files of volumes.
    #[error("cannot remove the pods' volumes: {0}")]
    Volumes(#[source] std::io::Error),
}

/// Says what was tried.
pub(super) trait Context<T> {
    /// Adds what was tried.
    fn context(self, doing: &str) -> Result<T, DockerError>;
}

impl<T> Context<T> for Result<T, Error> {
    fn context(self, doing: &str) -> Result<T, DockerError> {
        self.map_err(|error| DockerError::Docker {
            doing: doing.to_owned(),
            why: words(&error),
        })
    }
}

/// What Docker said, without the wrapping.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        error => error.to_string(),
    }
}

/// Docker's status code, if it sent one.
pub(super) fn code(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What is already so, or is not there any more, is as it should be.
pub(super) fn settled(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if matches!(code(&error), Some(304 | 404)) => Ok(()),
        // A container that has ended cannot be killed; one that is being removed will be gone.
        Err(error) if code(&error) == Some(409) => {
            let words = words(&error);
            let done = words.contains("is not running") || words.contains("already in progress");
            if done { Ok(()) } else { Err(error) }
        }
        other => other,
    }
}

/// A failure as the kubelet knows it.
pub(super) fn to_runtime(error: Error) -> RuntimeError {
    let message = words(&error);
    let kind = match code(&error) {
        Some(404) if message.contains("image") || message.contains("manifest") => ErrorKind::ImageNotFound,
        Some(404) => ErrorKind::NotFound,
        Some(409) => ErrorKind::AlreadyExists,
        Some(400) if message.contains("reference format") => ErrorKind::InvalidImageName,
        Some(_) => ErrorKind::Other,
        None => match error {
            Error::RequestTimeoutError => ErrorKind::Timeout,
            Error::DockerStreamError { .. } => ErrorKind::Other,
            _ => ErrorKind::Unavailable,
        },
    };
    RuntimeError::new(kind, message)
}

/// A failure with files, as the kubelet knows it.
pub(super) fn io(error: std::io::Error) -> RuntimeError {
    RuntimeError::other(error.to_string())
}
