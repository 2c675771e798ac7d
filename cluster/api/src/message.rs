//! The messages components exchange: HTTP requests, responses and bodies as plain values.
//!
//! The seam between the two worlds lies here. For real, these values travel over TLS by hyper or straight into a
//! service of the same process; simulated, they travel over links that lose, delay and cut them. No I/O here.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

/// A request with its whole body. [`Identity`] travels in its extensions once it is authenticated.
pub type Request = http::Request<Bytes>;

/// A response whose body may go on for ever (watch, logs).
pub type Response = http::Response<Body>;

/// A frame of a streamed body.
pub type Frame = Result<Bytes, BodyError>;

/// A streamed body: pulled, so that a slow reader holds back its writer.
pub type FrameStream = Pin<Box<dyn Stream<Item = Frame> + Send>>;

/// The body broke off before its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body broke off: {0}")]
pub struct BodyError(pub String);

/// The body of a response.
pub enum Body {
    /// All of it.
    Full(Bytes),
    /// Frames as they come.
    Stream(FrameStream),
}

impl Body {
    /// A body without content.
    pub fn empty() -> Self {
        Body::Full(Bytes::new())
    }

    /// A streamed body.
    pub fn stream(frames: impl Stream<Item = Frame> + Send + 'static) -> Self {
        Body::Stream(Box::pin(frames))
    }

    /// Reads to the end. The caller sets the deadline.
    pub async fn collect(self) -> Result<Bytes, BodyError> {
        match self {
            Body::Full(bytes) => Ok(bytes),
            Body::Stream(mut frames) => {
                let mut all = BytesMut::new();
                while let Some(frame) = frames.next().await {
                    all.extend_from_slice(&frame?);
                }
                Ok(all.freeze())
            }
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Body::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body::Full(bytes)
    }
}

impl Stream for Body {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        match &mut *self {
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Body::Stream(frames) => frames.as_mut().poll_next(context),
        }
    }
}

/// Who sends a request: a user name and its groups, as authentication found them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The user, for example `system:kube-scheduler` or `system:node:orrery`.
    pub user: String,
    /// The groups, for example `system:masters`.
    pub groups: Vec<String>,
}

impl Identity {
    /// An identity of `user` in `groups` and `system:authenticated`.
    pub fn new(user: impl Into<String>, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        groups.push("system:authenticated".to_owned());
        Identity {
            user: user.into(),
            groups,
        }
    }

    /// The kubelet of the node `name`.
    pub fn node(name: &str) -> Self {
        Identity::new(format!("system:node:{name}"), &["system:nodes"])
    }

    /// Whether the identity is in `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

/// Why a request has no answer. Whether it took effect is unknown unless [`TransportError::sent`] is false.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    /// What happened, in words.
    pub message: String,
    /// Whether the request may have reached the server.
    pub sent: bool,
}

/// The client's side of the seam: carries a request to a server and brings its answer.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends `request`; the caller sets the deadline.
    async fn send(&self, request: Request) -> Result<Response, TransportError>;
}

/// The server's side of the seam: answers requests. Never fails: errors are responses.
#[async_trait]
pub trait Service: Send + Sync {
    /// Answers `request`.
    async fn call(&self, request: Request) -> Response;
}

/// A transport straight into a service of the same process, with the sender's identity attached.
pub struct Direct {
    service: Arc<dyn Service>,
    identity: Identity,
}

impl Direct {
    /// Requests reach `service` as sent by `identity`.
    pub fn new(service: Arc<dyn Service>, identity: Identity) -> Self {
        Direct { service, identity }
    }
}

#[async_trait]
impl Transport for Direct {
    async fn send(&self, mut request: Request) -> Result<Response, TransportError> {
        request.extensions_mut().insert(self.identity.clone());
        Ok(self.service.call(request).await)
    }
}
