//! The links between processes and the API servers: whole messages that are late, lost, held up, cut off or doubled.
//!
//! A request travels, is carried out by a task of the server's process (so that it dies with it), and its answer
//! travels back; a stream's frames follow one by one. A partition holds messages up as TCP does: they arrive after it
//! heals, even if their sender has given them up (see `underway`). A process that died refuses quickly; a machine that died says nothing, so that
//! whoever is connected to it notices by a time-out of his own. An answer may be lost though the request took effect. A
//! request may be carried out twice, as when something between its ends tries again; messages of one connection are
//! neither doubled nor reordered, since TCP does not let them through. Not simulated: how much a link can carry.

mod connection;
mod cuts;
mod execution;
mod fates;
mod gates;
mod head;
mod holds;
mod lost;
mod mishaps;
mod network;
mod priorities;
mod server;
mod slow;
mod stream;
mod tap;
#[cfg(test)]
mod tests;
mod underway;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use orrery_api::message::{Identity, Request, Response, Transport, TransportError};
use orrery_api::random::Random;
use tokio::sync::oneshot;
use tokio::time::sleep;

pub use connection::Connections;
use connection::{Connection, Line, Patience};
pub use cuts::Cut;
pub use gates::Gate;
pub use holds::Holds;
pub use lost::draw_loss;
pub use mishaps::{Doubling, Draw, Meddler, Mishap, Pin, Refusal, Which, Whose};
pub use network::Network;
pub use priorities::Priorities;
pub use slow::{Delay, Links};
pub use underway::Courier;
use underway::Underway;

use crate::model::{Answered, Asked};
use crate::recording::What;
use crate::scenario::{CallEnd, Loss, Role};
use crate::world::{Place, Server, World};
use mishaps::Route;
use server::{Desk, Job};

/// A process' way to the API server.
pub struct SimTransport {
    world: Arc<World>,
    client: String,
    machine: String,
    identity: Identity,
    random: Random,
    connection: Arc<Connection>,
    requests: AtomicU64,
    own: Weak<SimTransport>,
}

/// What becomes of a request at its server's machine.
enum Arrival {
    /// It is lost on the last bit of its way.
    Lost(Loss),
    /// No server runs there.
    Unwanted,
    /// It is carried out, and its answer comes here, unless that is lost so.
    Taken(oneshot::Receiver<http::Response<stream::Arriving>>, Option<Loss>),
}

impl SimTransport {
    /// The way of the process `client` on `machine`, which speaks as `identity`.
    pub fn new(world: &Arc<World>, client: &str, machine: &str, identity: Identity, random: Random) -> Arc<Self> {
        Arc::new_cyclic(|own| SimTransport {
            own: own.clone(),
            world: world.clone(),
            client: client.to_owned(),
            machine: machine.to_owned(),
            identity,
            connection: Connection::new(world, client, machine, random.stream("server")),
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

    /// An answer has come: whoever waits for it hears so.
    fn show(&self, asked: &Asked, answer: &stream::Arriving) {
        let world = &self.world;
        if world.triggers.follows_views()
            && let stream::Arriving::Full(bytes) = answer
        {
            let mut answered = Answered::default();
            tap::show(bytes, &mut answered);
            let items = answered.items.unwrap_or_default();
            world.witness.look(world, |cluster| {
                world.triggers.listed(cluster, asked, &items, world.now());
            });
        }
        world.triggers.called(asked, CallEnd::After, world.now());
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
        if let Some(lost) = world.network.loses_answer(asked, world.now(), &self.random) {
            if let Some((began, write, number)) = lost.drawn {
                world.choices.lost(began, &self.client, write, number, lost.then);
            }
            return Some(lost.then);
        }
        let loss = world.scenario.network.loss;
        let lost = loss > 0.0 && self.random.chance(loss) && !world.is_healed();
        lost.then(|| draw_loss(&self.random))
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
    async fn send_on(&self, line: Line, request: Request) -> Result<Response, TransportError> {
        let world = &self.world;
        if world.network.fates.is_spent(&self.client) {
            // It dies at this moment.
            std::future::pending::<()>().await;
        }
        let place = self.connection.server(line);
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut asked = tap::describe(&self.client, &request, world.now());
        asked.number = world.trace.recorder.asked(&asked, request.uri(), request.body());
        self.event(format_args!("{number} {} {}", request.method(), request.uri()));
        let asked = Arc::new(world.witness.ask(world, asked));
        world.triggers.called(&asked, CallEnd::Before, world.now());
        world.holds.pass(&asked, CallEnd::Before).await;
        let Some(request) = self.reach(line, number, &asked, request).await else {
            return std::future::pending().await;
        };
        let (answer, lost) = match self.arrive(request, &asked, place) {
            Arrival::Taken(answer, lost) => (answer, lost),
            Arrival::Lost(then) => return Err(self.lose(number, &asked, "request lost", then).await),
            Arrival::Unwanted => {
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
            }
        };
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
        if !world.network.fates.survives(&asked) {
            std::future::pending::<()>().await;
        }
        self.travel(&place.machine, &self.machine).await;
        if let Some(then) = lost.or_else(|| self.loses_answer(&asked)) {
            world.coverage.saw("an answer was lost");
            return Err(self.lose(number, &asked, "answer lost", then).await);
        }
        let status = response.status().as_u16();
        self.event(format_args!("{number} answered {status}"));
        if response.status().is_success() {
            world.holds.pass(&asked, CallEnd::After).await;
            self.show(&asked, response.body());
        }
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
        };
        Ok(stream::receive(response, &asked, listener))
    }

    /// A request gets to the machine of its server, as soon as it can; nothing comes of it if its sender is gone.
    async fn reach(&self, line: Line, number: u64, asked: &Arc<Asked>, request: Request) -> Option<Request> {
        let journey = self.journey(&self.machine, &self.connection.server(line).machine);
        Underway::begin(self.own.upgrade()?, line, number, asked, request, journey)
            .arrived()
            .await
    }

    /// A request has come to its server's machine.
    fn arrive(&self, mut request: Request, asked: &Arc<Asked>, place: &Place) -> Arrival {
        let world = &self.world;
        let loss = world.scenario.network.loss;
        if loss > 0.0 && self.random.chance(loss) && !world.is_healed() {
            world.coverage.saw("a request was lost");
            return Arrival::Lost(draw_loss(&self.random));
        }
        let mishap = self.mishap(asked, place);
        let lost = match mishap {
            Some(Mishap::RequestLost(then)) => {
                world.coverage.saw("a request was lost");
                return Arrival::Lost(then);
            }
            Some(Mishap::AnswerLost(then)) => Some(then),
            _ => None,
        };
        let Some(server) = world.server(&place.name) else {
            return Arrival::Unwanted;
        };
        request.extensions_mut().insert(self.identity.clone());
        Arrival::Taken(self.carry_out(&server, place, asked, request, mishap.as_ref()), lost)
    }

    /// A message goes from one machine to another, as soon as it can.
    async fn travel(&self, from: &str, to: &str) {
        sleep(self.journey(from, to)).await;
        self.world.network.pass(from, to).await;
    }

    /// How long a message is on its way if nothing holds it up.
    fn journey(&self, from: &str, to: &str) -> Duration {
        self.latency() + self.world.network.slowness(from, to, self.world.now())
    }

    /// What befalls a request that has come to its server.
    fn mishap(&self, asked: &Asked, place: &Place) -> Option<Mishap> {
        let (world, now) = (&self.world, self.world.now());
        let route = Route {
            from: &self.machine,
            to: &place.machine,
        };
        if let Some(befell) = world.network.befalls(asked, &route, now) {
            if let Some((began, fault)) = befell.drawn {
                world.choices.befell(began, fault);
            }
            if let (&http::Method::GET, Some(role)) = (&asked.method, Role::of(&self.client)) {
                // Who could not read knows less, until it has tried again.
                world.stall(role, befell.mishap.delays());
            }
            return Some(befell.mishap);
        }
        let refusal = world.network.refuses_watch(asked, now);
        refusal.map(Mishap::Refused)
    }

    /// Lets a server carry a request out, perhaps twice; where its answer comes.
    fn carry_out(
        &self,
        server: &Server,
        place: &Place,
        asked: &Arc<Asked>,
        request: Request,
        mishap: Option<&Mishap>,
    ) -> oneshot::Receiver<http::Response<stream::Arriving>> {
        let world = &self.world;
        let job = |request, refusal: Option<Refusal>| Job {
            world: world.clone(),
            asked: asked.clone(),
            request,
            refusal,
            way: stream::Way {
                from: place.machine.clone(),
                to: self.machine.clone(),
            },
            random: self.random.clone(),
        };
        let desk = || Desk {
            service: server.service.clone(),
            machine: place.machine.clone(),
        };
        let (reply, answer) = oneshot::channel();
        let (first, double) = match mishap {
            Some(Mishap::Doubled(doubling)) => {
                world.coverage.saw("a request was carried out twice");
                let (unheard, _) = oneshot::channel();
                let job = job(request.clone(), None);
                let (first, second) = if doubling.second {
                    (unheard, reply)
                } else {
                    (reply, unheard)
                };
                (first, Some((job, desk(), second, doubling.after)))
            }
            _ => (reply, None),
        };
        let refusal = match mishap {
            Some(Mishap::Refused(refusal)) => {
                world.coverage.saw("an API server erred");
                Some(refusal.clone())
            }
            _ => None,
        };
        let work = job(request, refusal).work(desk(), first);
        if world.network.fates.holds(&self.client) {
            self.hold(place, work);
        } else {
            server.node.spawn(work);
        }
        if let Some((job, desk, reply, after)) = double {
            server.node.spawn(async move {
                sleep(after).await;
                job.work(desk, reply).await;
            });
        }
        answer
    }
}

impl SimTransport {
    /// Lets a request arrive when its sender is no longer held up, whether or not the sender still waits.
    fn hold(&self, place: &Place, work: impl Future<Output = ()> + Send + 'static) {
        let (world, client, machine) = (self.world.clone(), self.client.clone(), self.machine.clone());
        let place = place.clone();
        let at = place.machine.clone();
        self.world.spawn_on_machine(&at, async move {
            world.network.fates.released(&client).await;
            world.network.pass(&machine, &place.machine).await;
            // Without a server nobody is left to answer.
            if let Some(server) = world.server(&place.name) {
                server.node.spawn(work);
            }
        });
    }
}
