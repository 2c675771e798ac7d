//! What the API server asks a kubelet: logs of containers, and whether it lives.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use orrery_api::clock;
use orrery_api::message::{Body, BodyError, Frame, Request, Response, Service};
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::status::ApiError;
use orrery_api::task::within;
use orrery_client::Api;

use crate::kubelet::Kubelet;
use crate::runtime::{Container, ContainerState, LogLine, LogOptions, LogStream};
use crate::view::{View, api_status, unhindered, views};

/// How long the runtime may take until a log begins.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// The kubelet's HTTP service.
pub(crate) struct Logs {
    kubelet: Arc<Kubelet>,
}

#[async_trait]
impl Service for Logs {
    async fn call(&self, request: Request) -> Response {
        let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
        let answer = match path.as_slice() {
            _ if request.method() != http::Method::GET => Err(ApiError::method_not_allowed()),
            ["healthz"] => Ok(Body::Full(Bytes::from_static(b"ok"))),
            ["containerLogs", namespace, pod, container] => {
                let query = request.uri().query().unwrap_or_default();
                match LogQuery::parse(query) {
                    Ok(query) => self.logs(&ObjectKey::new(*namespace, *pod), container, query).await,
                    Err(why) => Err(ApiError::bad_request(why)),
                }
            }
            _ => Err(ApiError::no_such_path()),
        };
        match answer {
            Ok(body) => {
                let mut response = http::Response::new(body);
                let plain = http::HeaderValue::from_static("text/plain");
                response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
                response
            }
            Err(error) => error.into_response(),
        }
    }
}

/// What part of a log is asked for, and in which form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct LogQuery {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail: Option<usize>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    limit_bytes: Option<usize>,
}

impl LogQuery {
    fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = LogQuery::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let yes = matches!(value, "true" | "1");
            let wrong = || format!("invalid value for {name}: {value:?}");
            match name {
                "follow" => parsed.follow = yes,
                "previous" => parsed.previous = yes,
                "timestamps" => parsed.timestamps = yes,
                "tailLines" => parsed.tail = Some(value.parse().map_err(|_| wrong())?),
                "sinceSeconds" => parsed.since_seconds = Some(value.parse().map_err(|_| wrong())?),
                "sinceTime" => {
                    let time = value.replace("%3A", ":").replace("%3a", ":").replace("%2B", "+");
                    parsed.since_time = Some(time.parse().map_err(|_| wrong())?);
                }
                "limitBytes" => parsed.limit_bytes = Some(value.parse().map_err(|_| wrong())?),
                _ => {}
            }
        }
        Ok(parsed)
    }
}

impl Logs {
    pub(crate) fn new(kubelet: Arc<Kubelet>) -> Self {
        Logs { kubelet }
    }

    async fn logs(&self, key: &ObjectKey, container: &str, query: LogQuery) -> Result<Body, ApiError> {
        let pod = self.pod(key).await?;
        let context = self.kubelet.context();
        let mut sandboxes = context.observer.last(pod.uid());
        if sandboxes.is_empty() {
            let _ = within(OPEN_LIMIT, context.observer.look()).await;
            sandboxes = context.observer.last(pod.uid());
        }
        let views = views(&pod, &sandboxes);
        let view = views.iter().find(|view| view.spec.name == container).ok_or_else(|| {
            ApiError::bad_request(format!("container {container} is not valid for pod {}", pod.name()))
        })?;
        let id = chosen(&pod, view, query.previous).map_err(ApiError::bad_request)?;
        let since = query.since_time.or_else(|| {
            let seconds = query.since_seconds?;
            Timestamp::from_second(clock::now().as_second().saturating_sub(seconds)).ok()
        });
        let options = LogOptions {
            follow: query.follow,
            tail: query.tail,
            since,
        };
        let opened = within(OPEN_LIMIT, context.runtime.logs(&id, &options)).await;
        let lines = opened
            .map_err(|_| ApiError::timeout("the container runtime did not answer in time"))?
            .map_err(ApiError::internal)?;
        Ok(Body::stream(frames(lines, query.timestamps, query.limit_bytes)))
    }

    async fn pod(&self, key: &ObjectKey) -> Result<Arc<Pod>, ApiError> {
        if let Some(pod) = self.kubelet.pods().and_then(|pods| pods.get(key)) {
            return Ok(self.kubelet.context().reporter.newest(&pod));
        }
        let api = Api::<Pod>::new(&self.kubelet.context().client);
        api.get(key).await.map_err(|_| ApiError::not_found("pods", &key.name))
    }
}

/// The id of the container whose log is asked for, or why there is none.
fn chosen(pod: &Pod, view: &View<'_>, previous: bool) -> Result<String, String> {
    let (name, pod_name) = (&view.spec.name, pod.name());
    if previous {
        let ended_before = view.previous.map(|(container, _)| container.id.clone());
        // While the next one waits for its start, the newest container is the previous one.
        let waits = api_status(pod, name)
            .and_then(|status| status.state.as_ref()?.waiting.as_ref())
            .is_some();
        let ended = view.current.filter(|(container, _)| waits && has_ended(container));
        return ended
            .map(|(container, _)| container.id.clone())
            .or(ended_before)
            .ok_or_else(|| format!("previous terminated container \"{name}\" in pod \"{pod_name}\" not found"));
    }
    match view
        .current
        .filter(|(container, _)| container.state != ContainerState::Created)
    {
        Some((container, _)) => Ok(container.id.clone()),
        None => match view.previous {
            Some((container, _)) => Ok(container.id.clone()),
            None => {
                let waiting = api_status(pod, name).and_then(|status| status.state.as_ref()?.waiting.as_ref());
                let reason = waiting
                    .and_then(|waiting| waiting.reason.as_deref())
                    .unwrap_or_else(|| unhindered(pod));
                let why = match reason {
                    "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
                        "trying and failing to pull image".to_owned()
                    }
                    reason => reason.to_owned(),
                };
                Err(format!(
                    "container \"{name}\" in pod \"{pod_name}\" is waiting to start: {why}"
                ))
            }
        },
    }
}

fn has_ended(container: &Container) -> bool {
    matches!(container.state, ContainerState::Exited(_))
}

/// Lines as a client gets them, cut after `limit` bytes.
fn frames(lines: LogStream, timestamps: bool, limit: Option<usize>) -> impl Stream<Item = Frame> + Send {
    let left = limit.unwrap_or(usize::MAX);
    stream::unfold((lines, left), move |(mut lines, left)| async move {
        if left == 0 {
            return None;
        }
        let line = lines.next().await?;
        let frame = line
            .map(|line| render(&line, timestamps))
            .map_err(|error| BodyError(error.to_string()));
        match frame {
            Ok(mut bytes) => {
                bytes.truncate(left);
                let left = left - bytes.len();
                Some((Ok(bytes), (lines, left)))
            }
            Err(error) => Some((Err(error), (lines, 0))),
        }
    })
}

fn render(line: &LogLine, timestamps: bool) -> Bytes {
    if !timestamps {
        return line.bytes.clone();
    }
    let mut bytes = BytesMut::with_capacity(line.bytes.len() + 32);
    bytes.put_slice(format!("{:.9} ", line.time).as_bytes());
    bytes.put_slice(&line.bytes);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::LogSource;

    #[test]
    fn a_log_query_is_read() {
        assert_eq!(
            LogQuery::parse("follow=true&tailLines=5&limitBytes=10&sinceTime=2026-01-02T03%3A04%3A05Z"),
            Ok(LogQuery {
                follow: true,
                tail: Some(5),
                limit_bytes: Some(10),
                since_time: "2026-01-02T03:04:05Z".parse().ok(),
                ..LogQuery::default()
            })
        );
        assert!(LogQuery::parse("tailLines=-1").is_err());
    }

    #[test]
    fn a_line_carries_its_time_in_nanoseconds() {
        let line = LogLine {
            time: Timestamp::new(1, 5).expect("a time"),
            stream: LogSource::Stdout,
            bytes: Bytes::from_static(b"hello\n"),
        };
        assert_eq!(render(&line, true), "1970-01-01T00:00:01.000000005Z hello\n");
    }
}
