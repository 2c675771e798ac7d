//! Streams under way: frames that arrive one after the other, stall in partitions, and end as their server ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use orrery_api::message::{Body, BodyError, Frame, FrameStream, Response};
use orrery_api::random::Random;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{Connection, Line};
use super::tap::WatchTap;
use crate::model::{Asked, Seen};
use crate::world::World;

/// So many frames of a stream may be under way.
pub const WINDOW: usize = 32;
/// So long a server waits for a sign of life of a connection's other end: Kubernetes sends a ping after 30 s of
/// silence, and waits 15 s for its answer.
const KEEPALIVE: Duration = Duration::from_secs(45);

/// A piece of a stream.
pub enum Piece {
    /// A frame; of a watch, which one it is and how many events it has shown with this frame.
    Frame(Frame, Option<(u64, u64)>),
    /// The server ended it in order.
    End,
    /// The server broke it off.
    Broken,
}

/// A body under way.
pub enum Arriving {
    /// All of it, with the answer.
    Full(Bytes),
    /// Pieces under way; and the watch's number, if it is one.
    Stream(mpsc::Receiver<UnderWay>, Option<u64>),
}

/// A piece with the moment it arrives, unless a partition holds it up. In a box, since a channel keeps room for many.
pub type UnderWay = Box<(Instant, Piece)>;

/// The way of a stream's frames.
pub struct Way {
    /// The server's machine.
    pub from: String,
    /// The client's machine.
    pub to: String,
}

/// Sends frames into `sender` as they come, and stops when the server hears that nobody listens any more.
pub async fn pump(
    world: &World,
    mut frames: FrameStream,
    sender: mpsc::Sender<UnderWay>,
    mut watch: Option<WatchTap>,
    way: &Way,
    random: Random,
) {
    let latency = world.scenario.network.latency;
    let mut last = Instant::now();
    loop {
        let frame = tokio::select! {
            biased;
            () = sender.closed() => break,
            frame = frames.next() => frame,
        };
        if let (Some(watch), Some(Ok(bytes))) = (&mut watch, &frame) {
            watch.see(bytes);
        }
        // Frames of one connection do not overtake each other.
        let late = watch.as_ref().map(WatchTap::lateness).unwrap_or_default();
        let slow = world.network.slowness(&way.from, &way.to, world.now());
        last = last.max(Instant::now() + latency.draw(&random) + late + slow);
        let shown = watch.as_ref().map(WatchTap::shown);
        let piece = frame.map_or(Piece::End, |frame| Piece::Frame(frame, shown));
        let end = matches!(piece, Piece::End);
        if sender.send(Box::new((last, piece))).await.is_err() {
            break;
        }
        if end {
            return;
        }
    }
    // What nobody can see any more need not be right.
    drop(watch);
    half_open(world, frames, way).await;
}

/// The client is gone. If nobody could tell, because its machine lost power or is cut off, the server goes on sending:
/// as much as is not acknowledged in any case, and until its keepalive is not answered.
async fn half_open(world: &World, mut frames: FrameStream, way: &Way) {
    let hears = || world.is_up(&way.to) && world.network.passes(&way.to, &way.from);
    if hears() {
        return;
    }
    world.coverage.saw("a connection was half-open");
    let told = async {
        let mut changes = world.network.changes();
        while !hears() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    let sends = async {
        for _ in 0..WINDOW {
            if !matches!(frames.next().await, Some(Ok(_))) {
                return;
            }
        }
        // Nothing of it is acknowledged: what comes now waits at the server, until the watch is ended for falling
        // behind.
        std::future::pending().await
    };
    tokio::select! {
        biased;
        () = told => {}
        () = sleep(KEEPALIVE) => {}
        () = sends => {}
    }
}

/// Who receives a stream, and how it comes.
pub struct Listener {
    /// The world.
    pub world: Arc<World>,
    /// Its connection to the servers, and the line on which the stream comes.
    pub connection: Arc<Connection>,
    /// See `connection`.
    pub line: Line,
    /// Its machine.
    pub machine: String,
    /// Its process.
    pub client: String,
}

impl Listener {
    /// The next piece of a stream; none when its server's process is gone and that was heard.
    async fn next(&self, receiver: &mut mpsc::Receiver<UnderWay>) -> Option<Piece> {
        let world = &self.world;
        let server = &self.connection.server(self.line).machine;
        let reading = world.network.reading(&self.client, world.now());
        if !reading.is_zero() {
            sleep(reading).await;
        }
        match receiver.recv().await {
            Some(under_way) => {
                let (at, piece) = *under_way;
                let at = at + world.network.lateness(&self.client, world.now());
                if at > Instant::now() {
                    sleep_until(at).await;
                }
                world.network.pass(server, &self.machine).await;
                Some(piece)
            }
            None => {
                // Its machine says so, once it is up and can be heard.
                let mut changes = world.network.changes();
                while !world.is_up(server) || !world.network.passes(server, &self.machine) {
                    if changes.changed().await.is_err() {
                        break;
                    }
                }
                sleep(Duration::from_millis(1)).await;
                None
            }
        }
    }
}

/// The answer as its client gets it.
pub fn receive(response: http::Response<Arriving>, asked: &Asked, listener: Listener) -> Response {
    let (parts, body) = response.into_parts();
    let body = match body {
        Arriving::Full(bytes) => Body::Full(bytes),
        Arriving::Stream(receiver, stream) => {
            let world = listener.world.clone();
            let mut reader = stream.and_then(|stream| world.trace.recorder.reader(stream));
            let resource = asked.path.as_ref().map_or("", |path| &path.resource);
            let broken = world.network.watch_opened(&listener.client, resource);
            let state = Some((receiver, listener, broken));
            let frames = futures_util::stream::unfold(state, |state| async move {
                let (mut receiver, listener, broken) = state?;
                let piece = tokio::select! {
                    biased;
                    piece = listener.next(&mut receiver) => piece,
                    () = listener.connection.left(listener.line) => None,
                    () = broken.notified() => Some(Piece::Broken),
                };
                match piece {
                    Some(Piece::Frame(frame, shown)) => {
                        if let Some((stream, events)) = shown {
                            let world = &listener.world;
                            world.witness.observe(world, &Seen::Delivered { stream, events });
                        }
                        Some((frame, Some((receiver, listener, broken))))
                    }
                    Some(Piece::End) => None,
                    Some(Piece::Broken) => {
                        listener.world.coverage.saw("a watch broke");
                        Some((Err(BodyError("stream reset by peer".to_owned())), None))
                    }
                    None => {
                        listener.world.coverage.saw("a watch broke");
                        listener.connection.leave(listener.line);
                        Some((Err(BodyError("connection reset by peer".to_owned())), None))
                    }
                }
            });
            Body::stream(frames.inspect(move |frame| {
                if let (Some(reader), Ok(bytes)) = (&mut reader, frame) {
                    reader.read(world.now(), bytes);
                }
            }))
        }
    };
    http::Response::from_parts(parts, body)
}
