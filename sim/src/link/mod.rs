//! The links between processes and the API server: whole messages that are late, lost, held up or cut off.
//!
//! A request travels, is carried out by a task of the server's process (so that it dies with it), and its answer
//! travels back; a stream's frames follow one by one. A partition holds messages up as TCP does: they arrive after it
//! heals, if their sender still waits. A process that died refuses quickly; a machine that died says nothing. An
//! answer may be lost though the request took effect. Not simulated: duplicated and reordered messages of one
//! connection (TCP does not let them through), and how much a link can carry.

mod network;
mod stream;
mod tap;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use orrery_api::message::{Body, Identity, Request, Response, Transport, TransportError};
use orrery_api::random::Random;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

pub use network::{Lag, LostAnswers, Network};

use crate::model::{Answered, Asked, Seen};
use crate::scenario::Role;
use crate::world::World;
use stream::Piece;

/// So many frames of a stream may be under way.
const WINDOW: usize = 32;

/// A process' way to the API server.
pub struct SimTransport {
    world: Arc<World>,
    client: String,
    role: Option<Role>,
    machine: String,
    identity: Identity,
    random: Random,
    requests: AtomicU64,
}

impl SimTransport {
    /// The way of the process `client` on `machine`, which speaks as `identity`. `role` is none for users.
    pub fn new(
        world: &Arc<World>,
        client: &str,
        role: Option<Role>,
        machine: &str,
        identity: Identity,
        random: Random,
    ) -> Arc<Self> {
        Arc::new(SimTransport {
            world: world.clone(),
            client: client.to_owned(),
            role,
            machine: machine.to_owned(),
            identity,
            random,
            requests: AtomicU64::new(0),
        })
    }

    /// How long a message takes.
    fn latency(&self) -> Duration {
        self.world.scenario.network.latency.draw(&self.random)
    }

    fn event(&self, what: std::fmt::Arguments<'_>) {
        self.world.trace.event(self.world.now(), &self.client, what);
    }

    /// The message is lost: the connection is reset, or nothing is heard until the caller gives up.
    async fn lose(&self, number: u64, what: &str, sent: bool) -> TransportError {
        self.event(format_args!("{number} {what}"));
        if self.random.chance(0.5) {
            sleep(self.latency()).await;
            return TransportError {
                message: "connection reset by peer".to_owned(),
                sent,
            };
        }
        std::future::pending().await
    }
}

#[async_trait]
impl Transport for SimTransport {
    async fn send(&self, mut request: Request) -> Result<Response, TransportError> {
        let world = &self.world;
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let asked = tap::describe(&self.client, &request, world.now());
        self.event(format_args!("{number} {} {}", request.method(), request.uri()));
        let asked = Arc::new(world.witness.ask(world, asked));
        let loss = world.scenario.network.loss;
        sleep(self.latency()).await;
        world.network.pass(&self.machine, world.control_plane()).await;
        if loss > 0.0 && self.random.chance(loss) && !world.is_healed() {
            world.coverage.saw("a request was lost");
            return Err(self.lose(number, "request lost", true).await);
        }
        let Some(server) = world.server() else {
            if !world.is_up(world.control_plane()) {
                std::future::pending::<()>().await;
            }
            sleep(self.latency()).await;
            self.event(format_args!("{number} refused"));
            return Err(TransportError {
                message: "connection refused".to_owned(),
                sent: false,
            });
        };
        request.extensions_mut().insert(self.identity.clone());
        let (reply, answer) = oneshot::channel();
        let job = serve(
            world.clone(),
            asked.clone(),
            self.client.clone(),
            server.service,
            request,
            reply,
        );
        let latency = world.scenario.network.latency;
        let random = self.random.clone();
        server.node.spawn(job(latency, random));
        let Ok(response) = answer.await else {
            if !world.is_up(world.control_plane()) {
                // Nobody is left to say that the connection is gone.
                std::future::pending::<()>().await;
            }
            sleep(self.latency()).await;
            self.event(format_args!("{number} reset"));
            return Err(TransportError {
                message: "connection reset by peer".to_owned(),
                sent: true,
            });
        };
        sleep(self.latency()).await;
        world.network.pass(world.control_plane(), &self.machine).await;
        let write = asked.method != http::Method::GET;
        let lost = world
            .network
            .loses_answer(&self.client, self.role, world.now(), write, &self.random)
            || (loss > 0.0 && self.random.chance(loss) && !world.is_healed());
        if lost {
            world.coverage.saw("an answer was lost");
            return Err(self.lose(number, "answer lost", true).await);
        }
        self.event(format_args!("{number} answered {}", response.status().as_u16()));
        Ok(stream::receive(
            response,
            world.clone(),
            self.machine.clone(),
            (self.client.clone(), self.role),
        ))
    }
}

type Reply = oneshot::Sender<http::Response<stream::Arriving>>;

/// The server's side: carries a request out, answers, and pumps the answer's frames.
fn serve(
    world: Arc<World>,
    asked: Arc<Asked>,
    client: String,
    service: Arc<dyn orrery_api::message::Service>,
    request: Request,
    reply: Reply,
) -> impl FnOnce(crate::scenario::Span, Random) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    move |latency, random| {
        Box::pin(async move {
            let uri = request.uri().clone();
            let response = service.call(request).await;
            let (parts, body) = response.into_parts();
            let status = parts.status.as_u16();
            let (revision, items) = match &body {
                Body::Full(bytes) if parts.status.is_success() => {
                    world.trace.content(bytes);
                    tap::shown(bytes)
                }
                _ => (None, None),
            };
            let answered = Answered {
                status,
                revision,
                items,
            };
            world.witness.observe(&world, &Seen::Answered(&asked, &answered));
            world.witness.cover(&world, &asked, status);
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
                    let watch = tap::WatchTap::open(&world, &client, &uri, &asked);
                    if reply
                        .send(http::Response::from_parts(parts, stream::Arriving::Stream(receiver)))
                        .is_ok()
                    {
                        stream::pump(frames, sender, watch, latency, random).await;
                    }
                }
            }
        })
    }
}
