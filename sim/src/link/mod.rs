//! The links between processes and the API servers: whole messages that are late, lost, held up or cut off.
//!
//! A request travels, is carried out by a task of the server's process (so that it dies with it), and its answer
//! travels back; a stream's frames follow one by one. A partition holds messages up as TCP does: they arrive after it
//! heals, if their sender still waits. A process that died refuses quickly; a machine that died says nothing. An
//! answer may be lost though the request took effect. Not simulated: duplicated and reordered messages of one
//! connection (TCP does not let them through), and how much a link can carry.

mod connection;
mod execution;
mod network;
mod priorities;
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

use connection::{Connection, Line, Patience};
use execution::Execution;
pub use network::{Lag, Network};
pub use priorities::Priorities;

use crate::model::{Answered, Asked, Path};
use crate::recording::What;
use crate::scenario::{Loss, Role};
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
    connection: Arc<Connection>,
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
            connection: Connection::new(world, client, random.stream("server")),
            random,
            requests: AtomicU64::new(0),
        })
    }

    /// How long a message takes.
    fn latency(&self) -> Duration {
        self.world.scenario.network.latency.draw(&self.random) + self.world.lateness(&self.client)
    }

    fn event(&self, what: std::fmt::Arguments<'_>) {
        self.world.trace.event(self.world.now(), &self.client, what);
    }

    /// No answer to a request will be heard.
    fn unanswered(&self, asked: &Asked, why: &str) {
        self.world.trace.recorder.note(self.world.now(), || What::Unanswered {
            request: asked.number,
            why: why.to_owned(),
        });
    }

    /// Whether the answer is lost, by a fault or because the link is bad, and what of it is noticed.
    fn loses_answer(&self, asked: &Asked) -> Option<Loss> {
        let world = &self.world;
        if let Some(lost) = world.network.loses_answer(asked, self.role, world.now(), &self.random) {
            if let Some((began, write, number)) = lost.drawn {
                world.choices.lost(began, &self.client, write, number, lost.then);
            }
            return Some(lost.then);
        }
        let loss = world.scenario.network.loss;
        let lost = loss > 0.0 && self.random.chance(loss) && !world.is_healed();
        lost.then(|| network::draw_loss(&self.random))
    }

    /// The message is lost: the connection is reset, or nothing is heard until the caller gives up.
    async fn lose(&self, number: u64, asked: &Asked, what: &str, then: Loss) -> TransportError {
        self.event(format_args!("{number} {what}"));
        self.unanswered(asked, what);
        if then == Loss::Reset {
            sleep(self.latency()).await;
            return TransportError {
                message: "connection reset by peer".to_owned(),
                sent: true,
            };
        }
        std::future::pending().await
    }
}

#[async_trait]
impl Transport for SimTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let line = self.connection.line();
        let patience = Patience::new(&self.connection, line);
        let answer = tokio::select! {
            biased;
            answer = self.send_on(line, request) => answer,
            () = self.connection.left(line) => Err(TransportError {
                message: "the connection was given up".to_owned(),
                sent: true,
            }),
        };
        patience.end();
        if answer.is_err() {
            self.connection.leave(line);
        }
        answer
    }
}

impl SimTransport {
    /// Sends a request on a line to one of the servers.
    async fn send_on(&self, line: Line, mut request: Request) -> Result<Response, TransportError> {
        let world = &self.world;
        let place = self.connection.server(line);
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut asked = tap::describe(&self.client, &request, world.now());
        asked.number = world.trace.recorder.asked(&asked, request.uri(), request.body());
        self.event(format_args!("{number} {} {}", request.method(), request.uri()));
        let asked = Arc::new(world.witness.ask(world, asked));
        let loss = world.scenario.network.loss;
        sleep(self.latency()).await;
        world.network.pass(&self.machine, &place.machine).await;
        if loss > 0.0 && self.random.chance(loss) && !world.is_healed() {
            world.coverage.saw("a request was lost");
            return Err(self
                .lose(number, &asked, "request lost", network::draw_loss(&self.random))
                .await);
        }
        let Some(server) = world.server(&place.name) else {
            if !world.is_up(&place.machine) {
                std::future::pending::<()>().await;
            }
            sleep(self.latency()).await;
            self.event(format_args!("{number} refused"));
            self.unanswered(&asked, "refused");
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
            Desk {
                service: server.service,
                machine: place.machine.clone(),
            },
            request,
            reply,
        );
        let latency = world.scenario.network.latency;
        let random = self.random.clone();
        server.node.spawn(job(latency, random));
        let Ok(response) = answer.await else {
            if !world.is_up(&place.machine) {
                // Nobody is left to say that the connection is gone.
                std::future::pending::<()>().await;
            }
            sleep(self.latency()).await;
            self.event(format_args!("{number} reset"));
            self.unanswered(&asked, "reset");
            return Err(TransportError {
                message: "connection reset by peer".to_owned(),
                sent: true,
            });
        };
        sleep(self.latency()).await;
        world.network.pass(&place.machine, &self.machine).await;
        if let Some(then) = self.loses_answer(&asked) {
            world.coverage.saw("an answer was lost");
            return Err(self.lose(number, &asked, "answer lost", then).await);
        }
        let status = response.status().as_u16();
        self.event(format_args!("{number} answered {status}"));
        let request = asked.number;
        world
            .trace
            .recorder
            .note(world.now(), || What::Received { request, status });
        let listener = stream::Listener {
            world: world.clone(),
            connection: self.connection.clone(),
            line,
            machine: self.machine.clone(),
            client: self.client.clone(),
            role: self.role,
        };
        Ok(stream::receive(response, listener))
    }
}

/// Where requests are carried out.
struct Desk {
    service: Arc<dyn orrery_api::message::Service>,
    machine: String,
}

impl Desk {
    /// Carries a request out. What needs the store waits until its machine can be reached, and for its answer.
    async fn call(&self, world: &World, request: Request) -> Response {
        let store = world.control_plane();
        if self.machine == store || !needs_store(&request) {
            return self.service.call(request).await;
        }
        world.network.pass(&self.machine, store).await;
        let response = self.service.call(request).await;
        world.network.pass(store, &self.machine).await;
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

type Reply = oneshot::Sender<http::Response<stream::Arriving>>;

/// The server's side: carries a request out, answers, and pumps the answer's frames.
fn serve(
    world: Arc<World>,
    asked: Arc<Asked>,
    client: String,
    desk: Desk,
    request: Request,
    reply: Reply,
) -> impl FnOnce(crate::scenario::Span, Random) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    move |latency, random| {
        Box::pin(async move {
            let uri = request.uri().clone();
            let execution = Execution::begin(&world, &asked);
            let response = desk.call(&world, request).await;
            let (parts, body) = response.into_parts();
            let mut answered = Answered {
                status: parts.status.as_u16(),
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
                    let watch = tap::WatchTap::open(&world, &client, &uri, &asked);
                    let number = watch.as_ref().map(|watch| watch.stream);
                    if reply
                        .send(http::Response::from_parts(
                            parts,
                            stream::Arriving::Stream(receiver, number),
                        ))
                        .is_ok()
                    {
                        stream::pump(frames, sender, watch, latency, random).await;
                    }
                }
            }
        })
    }
}
