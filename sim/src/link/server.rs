//! The server's side of a link: carries requests out, answers them, and sends what its watches say.

use std::sync::Arc;

use orrery_api::message::{Body, Request, Response, Service};
use orrery_api::random::Random;
use tokio::sync::{mpsc, oneshot};

use super::execution::Execution;
use super::mishaps::Refusal;
use super::stream::{self, WINDOW, Way};
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
        let uri = self.request.uri().clone();
        let (world, asked) = (self.world.clone(), self.asked.clone());
        let (way, random) = (self.way, self.random);
        // Streams are pumped for long: what only the answer needs has a place of its own, and leaves it with the
        // answer.
        let answer = answer(world.clone(), asked.clone(), self.request, self.refusal, desk);
        let (parts, body) = Box::pin(answer).await.into_parts();
        match body {
            Body::Full(bytes) => {
                let _ = reply.send(http::Response::from_parts(parts, stream::Arriving::Full(bytes)));
            }
            Body::Stream(frames) => {
                let (sender, receiver) = mpsc::channel(WINDOW);
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

/// What the server says to a request.
async fn answer(
    world: Arc<World>,
    asked: Arc<Asked>,
    request: Request,
    refusal: Option<Refusal>,
    desk: Desk,
) -> Response {
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
    let mut answered = Answered {
        status: response.status().as_u16(),
        by_fault,
        compacted: world.running_store().map(|store| store.compact_revision()),
        ..Answered::default()
    };
    let whole = match response.body() {
        Body::Full(bytes) => Some(bytes),
        Body::Stream(_) => None,
    };
    if let Some(bytes) = whole {
        answered.body = bytes.clone();
        if response.status().is_success() {
            world.trace.content(bytes);
            tap::show(bytes, &mut answered);
        }
    }
    execution.answer(&asked, answered);
    // A watch whose history is gone is an answer of one line.
    if whole.is_some_and(|bytes| bytes.starts_with(br#"{"type":"ERROR""#)) {
        world.coverage.saw("a relist after 410");
    }
    response
}
