//! Pulls, which may take as long as they like, but not stand still.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::CreateImageOptions;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use crate::backoff::go_duration;
use crate::docker::error::to_runtime;
use crate::runtime::{ErrorKind, RuntimeError};

/// How long a pull may make no progress. Source: containerd's `image_pull_progress_timeout`.
const STALL_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Pulls the image that `reference` names.
pub(super) async fn pull(docker: &Docker, reference: &str) -> Result<(), RuntimeError> {
    // Without a tag Docker would pull every tag there is.
    let last = reference.rsplit('/').next().unwrap_or_default();
    let tagged = reference.contains('@') || last.contains(':');
    let tag = (!tagged).then(|| "latest".to_owned());
    let options = CreateImageOptions {
        from_image: Some(reference.to_owned()),
        tag,
        ..CreateImageOptions::default()
    };
    follow(docker.create_image(Some(options), None, None)).await
}

/// Follows a pull to its end.
async fn follow<T>(progress: impl Stream<Item = Result<T, Error>>) -> Result<(), RuntimeError> {
    let mut progress = std::pin::pin!(progress);
    loop {
        match timeout(STALL_LIMIT, progress.next()).await {
            Ok(Some(step)) => step.map(drop).map_err(failure)?,
            Ok(None) => return Ok(()),
            Err(_) => {
                let message = format!("the pull has made no progress for {}", go_duration(STALL_LIMIT));
                return Err(RuntimeError::new(ErrorKind::Timeout, message));
            }
        }
    }
}

/// What it means that Docker could not pull.
fn failure(error: Error) -> RuntimeError {
    let error = to_runtime(error);
    let signs = ["not found", "manifest unknown", "access denied"];
    match signs.iter().any(|sign| error.message.contains(sign)) {
        true => RuntimeError::new(ErrorKind::ImageNotFound, error.message),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pull_may_take_its_time_but_not_stand_still() {
        let steps = stream::iter(0..20).then(|_| async {
            sleep(Duration::from_secs(4 * 60)).await;
            Ok::<_, Error>(())
        });
        let began = Instant::now();
        assert_eq!(follow(steps).await, Ok(()));
        assert!(began.elapsed() >= Duration::from_secs(80 * 60));
        let stuck = follow(stream::pending::<Result<(), Error>>()).await;
        assert_eq!(stuck.map_err(|error| error.kind), Err(ErrorKind::Timeout));
    }

    #[tokio::test]
    async fn an_image_that_nobody_has_is_told_apart() {
        let error = Error::DockerStreamError {
            error: "manifest unknown: manifest unknown".to_owned(),
        };
        let failed = follow(stream::iter([Err::<(), Error>(error)])).await;
        assert_eq!(failed.map_err(|error| error.kind), Err(ErrorKind::ImageNotFound));
    }
}
