//! A connection to an API server: requests with a deadline, answers read, failures told apart.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use orrery_api::message::{Request, Response, Transport};
use orrery_api::status::ApiError;
use orrery_api::task::within;

use crate::error::Error;

/// How long a request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// A connection to an API server. Clones share it.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    user_agent: HeaderValue,
    limit: Duration,
}

impl Client {
    /// A client over `transport` that calls itself `user_agent` (also its field manager's name).
    pub fn new(transport: Arc<dyn Transport>, user_agent: &str) -> Self {
        let user_agent = HeaderValue::from_str(user_agent).unwrap_or_else(|_| HeaderValue::from_static("orrery"));
        Client {
            transport,
            user_agent,
            limit: REQUEST_LIMIT,
        }
    }

    /// The same client, whose requests also say which part of the component sends them: `agent/part`.
    pub fn named(mut self, part: &str) -> Self {
        let agent = self.user_agent.to_str().unwrap_or_default();
        if let Ok(whole) = HeaderValue::from_str(&format!("{agent}/{part}")) {
            self.user_agent = whole;
        }
        self
    }

    /// The same client with another limit per request.
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The same client over a transport that is made of its own.
    pub(crate) fn over<T: Transport + 'static>(&self, wrap: impl FnOnce(Arc<dyn Transport>) -> Arc<T>) -> Self {
        Client {
            transport: wrap(self.transport.clone()),
            ..self.clone()
        }
    }

    /// Sends `request` and returns the answer as it begins; an error status is an [`Error::Api`].
    pub fn open(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + Send {
        self.limited(self.answer(request))
    }

    /// Sends `request` and returns the whole answer's body.
    pub fn fetch(&self, request: Request) -> impl Future<Output = Result<Bytes, Error>> + Send {
        self.limited(async {
            let body = self.answer(request).await?.into_body();
            body.collect().await.map_err(|error| Error::Decode(error.to_string()))
        })
    }

    async fn answer(&self, mut request: Request) -> Result<Response, Error> {
        let headers = request.headers_mut();
        headers
            .entry(header::USER_AGENT)
            .or_insert_with(|| self.user_agent.clone());
        headers
            .entry(header::ACCEPT)
            .or_insert(HeaderValue::from_static("application/json"));
        let response = self.transport.send(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap_or_default();
        Err(Error::Api(status_of(code, &body)))
    }

    /// The outcome of `work`, unless it takes too long.
    ///
    /// The request lies in a place of its own while it is under way, and not in whoever asks: tasks that live long
    /// would keep room for it all their life.
    fn limited<T, W>(&self, work: W) -> impl Future<Output = Result<T, Error>> + Send + use<T, W>
    where
        W: Future<Output = Result<T, Error>> + Send,
    {
        let work = within(self.limit, work);
        async { work.await.map_err(|_| Error::Timeout)? }
    }
}

fn status_of(code: u16, body: &[u8]) -> ApiError {
    match serde_json::from_slice::<Status>(body) {
        Ok(status) if status.code.is_some() || status.reason.is_some() => ApiError(Box::new(status)),
        _ => ApiError::new(code, "", String::from_utf8_lossy(body).into_owned()),
    }
}
