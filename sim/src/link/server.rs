//! The server's side of a link: carries requests out, answers them, and sends what its watches say.

use std::sync::Arc;

use orrery_api::message::{Body, Request, Response, Service};
use orrery_api::random::Random;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::execution::Execution;
use super::mishaps::Refusal;
use super::stream::{self, Piece, WINDOW, Way};
use super::tap;
use crate::model::{Answered, Asked, Path};
use crate::world::World;

/// Where requests are carried out.
pub struct Desk {
    /// The server.
    pub service: Arc<dyn Service>,
    /// Its machine.
    pub machine: String,
}

impl Desk {
    /// Carries a request out. What needs the store waits until its machine can be reached, and for its answer.
    async fn call(&self, world: &World, request: Request) -> Response {
        let store = world.control_plane();
        if self.machine == store || !needs_store(&request) {
            return self.service.call(request).await;
        }
        world.network.travel(&self.machine, store, world.now()).await;
        let response = self.service.call(request).await;
        world.network.travel(store, &self.machine, world.now()).await;
        response
    }
}

/// Whether more than the watch cache is needed: for everything but lists and watches that are content with a version.
fn needs_store(request: &Request) -> bool {
    let parameters = tap::parameters(request.uri().query().unwrap_or_default());
    let has = |wanted: &str| parameters.iter().any(|(name, _)| name == wanted);
    let whole = Path::parse(request.uri().path()).is_some_and(|path| path.name.is_empty());
    let cached = whole && has("resourceVersion") && !has("resourceVersionMatch") && !has("continue");
    request.method() != http::Method::GET || !cached
}

/// Where an answer is waited for.
pub type Reply = oneshot::Sender<http::Response<stream::Arriving>>;

/// A request that has come to its server.
pub struct Job {
    /// The world.
    pub world: Arc<World>,
    /// What it asks for.
    pub asked: Arc<Asked>,
    /// The request.
    pub request: Request,
    /// An error that a fault puts in the place of the answer.
    pub refusal: Option<Refusal>,
    /// How frames of its answer travel back.
    pub way: Way,
    /// Chance on the way back.
    pub random: Random,
}

impl Job {
    /// Carries it out, answers, and pumps the answer's frames.
    pub async fn work(self, desk: Desk, reply: Reply) {
        let Job {
            world,
            asked,
            request,
            refusal,
            way,
            random,
        } = self;
        let uri = request.uri().clone();
        let execution = Execution::begin(&world, &asked);
        let by_fault = refusal.is_some();
        let response = match refusal {
            None => desk.call(&world, request).await,
            Some(refusal) => {
                if refusal.effect {
                    desk.call(&world, request).await;
                }
                refusal.error.into_response()
            }
        };
        let (parts, body) = response.into_parts();
        let mut answered = Answered {
            status: parts.status.as_u16(),
            by_fault,
            ..Answered::default()
        };
        if let Body::Full(bytes) = &body {
            answered.body = bytes.clone();
            if parts.status.is_success() {
                world.trace.content(bytes);
                tap::show(bytes, &mut answered);
            }
        }
        execution.answer(&asked, answered);
        // A watch whose history is gone is an answer of one line.
        if matches!(&body, Body::Full(bytes) if bytes.starts_with(br#"{"type":"ERROR""#)) {
            world.coverage.saw("a relist after 410");
        }
        match body {
            Body::Full(bytes) => {
                let _ = reply.send(http::Response::from_parts(parts, stream::Arriving::Full(bytes)));
            }
            Body::Stream(frames) => {
                let (sender, receiver) = mpsc::channel::<(Instant, Piece)>(WINDOW);
                let watch = tap::WatchTap::open(&world, &asked.client, &uri, &asked);
                let number = watch.as_ref().map(|watch| watch.stream);
                let arriving = stream::Arriving::Stream(receiver, number);
                if reply.send(http::Response::from_parts(parts, arriving)).is_ok() {
                    stream::pump(&world, frames, sender, watch, &way, random).await;
                }
            }
        }
    }
}
