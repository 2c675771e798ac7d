//! Images: whether to pull, and what to tell when it fails.
//!
//! Source: Kubernetes' documentation "Images", pull policy and ImagePullBackOff.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use orrery_api::mutant;
use orrery_api::task::within;
use orrery_client::EventKind;
use tokio::time::Instant;

use crate::backoff::{Backoffs, go_duration};
use crate::context::Context;
use crate::plan::{Trouble, Waiting};
use crate::runtime::{ErrorKind, ImageInfo};

/// How long a pull may take before it is begun anew: large images take hours over slow lines. One that stands still is
/// ended by the runtime itself; this is for a runtime that has lost the call.
const PULL_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long looking for an image may take.
const LOOK_LIMIT: Duration = Duration::from_secs(60);
/// How long a status shows the failure itself before it shows that the kubelet waits.
const SHOW_FAILURE: Duration = Duration::from_secs(2);

/// Failed pulls of a pod, by image.
#[derive(Default)]
pub struct Pulls {
    backoffs: Backoffs,
    failures: BTreeMap<String, (Duration, String)>,
}

/// The pull policy in force: unless given, an image without a tag or with the tag `latest` is always pulled.
pub fn pull_policy(container: &Container) -> &str {
    match container.image_pull_policy.as_deref() {
        Some(policy) if !policy.is_empty() => policy,
        _ => {
            let image = container.image.as_deref().unwrap_or_default();
            let last = image.rsplit('/').next().unwrap_or_default();
            let latest = !image.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
            if latest { "Always" } else { "IfNotPresent" }
        }
    }
}

impl Pulls {
    /// The image of `container`, which is present then, or why it is not and when to try again.
    pub async fn ensure(&mut self, context: &Context, pod: &Pod, container: &Container) -> Result<ImageInfo, Trouble> {
        let image = container.image.as_deref().unwrap_or_default();
        let policy = pull_policy(container);
        let tell = |kind, reason, message: &str| context.container_event(pod, &container.name, kind, reason, message);
        let trouble = |reason: &str, message: &str, delay| Trouble {
            waiting: Waiting {
                reason: reason.to_owned(),
                message: message.to_owned(),
            },
            retry_at: context.elapsed() + delay,
        };
        let present = match within(LOOK_LIMIT, context.runtime.image(image)).await {
            Ok(Ok(present)) => present,
            Ok(Err(error)) if error.kind == ErrorKind::InvalidImageName => {
                let message = format!("Failed to apply default image tag \"{image}\": {error}");
                tell(EventKind::Warning, "InspectFailed", &message);
                return Err(trouble("InvalidImageName", &message, crate::backoff::FIRST));
            }
            Ok(Err(error)) => {
                let message = format!("Failed to inspect image \"{image}\": {error}");
                tell(EventKind::Warning, "InspectFailed", &message);
                return Err(trouble("ImageInspectError", &message, crate::backoff::FIRST));
            }
            Err(_) => {
                return Err(trouble(
                    "ImageInspectError",
                    "the runtime does not answer",
                    SHOW_FAILURE,
                ));
            }
        };
        if let Some(info) = present.filter(|_| policy != "Always") {
            let message = format!("Container image \"{image}\" already present on machine");
            tell(EventKind::Normal, "Pulled", &message);
            return Ok(info);
        }
        if policy == "Never" {
            let message = format!("Container image \"{image}\" is not present with pull policy of Never");
            tell(EventKind::Warning, "ErrImageNeverPull", &message);
            tell(EventKind::Warning, "Failed", "Error: ErrImageNeverPull");
            return Err(trouble("ErrImageNeverPull", &message, crate::backoff::FIRST));
        }
        if let Some((failed, why)) = self.failures.get(image)
            && let Some((left, _)) = self.backoffs.remaining(image, *failed, context.elapsed())
        {
            let message = format!("Back-off pulling image \"{image}\"");
            tell(EventKind::Normal, "BackOff", &message);
            tell(EventKind::Warning, "Failed", "Error: ImagePullBackOff");
            return Err(trouble(
                "ImagePullBackOff",
                &format!("{message}: ErrImagePull: {why}"),
                left,
            ));
        }
        if let Some((_, why)) = self.failures.get(image)
            && mutant::active("O43")
        {
            return Err(trouble("ErrImagePull", why, crate::backoff::LONGEST));
        }
        tell(EventKind::Normal, "Pulling", &format!("Pulling image \"{image}\""));
        let began = Instant::now();
        let why = match within(PULL_LIMIT, context.runtime.pull_image(image)).await {
            Ok(Ok(info)) => {
                self.backoffs.forget(image);
                self.failures.remove(image);
                let took = go_duration(began.elapsed());
                let size = info.size;
                let message = format!(
                    "Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: {size} bytes."
                );
                tell(EventKind::Normal, "Pulled", &message);
                return Ok(info);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the pull took too long".to_owned(),
        };
        let now = context.elapsed();
        self.backoffs.raise(image, now, now);
        self.failures.insert(image.to_owned(), (now, why.clone()));
        tell(
            EventKind::Warning,
            "Failed",
            &format!("Failed to pull image \"{image}\": {why}"),
        );
        tell(EventKind::Warning, "Failed", "Error: ErrImagePull");
        Err(trouble("ErrImagePull", &why, SHOW_FAILURE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_tag_is_always_pulled() {
        let policy = |image: &str| {
            let container = Container {
                image: Some(image.to_owned()),
                ..Container::default()
            };
            pull_policy(&container).to_owned()
        };
        assert_eq!(policy("nginx"), "Always");
        assert_eq!(policy("nginx:latest"), "Always");
        assert_eq!(policy("nginx:1"), "IfNotPresent");
        assert_eq!(policy("localhost:5000/nginx"), "Always");
        assert_eq!(policy("localhost:5000/nginx:1"), "IfNotPresent");
        assert_eq!(policy("nginx@sha256:00"), "IfNotPresent");
    }
}
