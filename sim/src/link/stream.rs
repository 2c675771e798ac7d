//! Streams under way: frames that arrive one after the other, stall in partitions, and end as their server ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use orrery_api::message::{Body, BodyError, Frame, FrameStream, Response};
use orrery_api::random::Random;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::tap::WatchTap;
use crate::scenario::{Role, Span};
use crate::world::World;

/// A piece of a stream.
pub enum Piece {
    /// A frame.
    Frame(Frame),
    /// The server ended it in order.
    End,
}

/// A body under way.
pub enum Arriving {
    /// All of it, with the answer.
    Full(Bytes),
    /// Pieces with the moment they arrive, unless a partition holds them up.
    Stream(mpsc::Receiver<(Instant, Piece)>),
}

/// Sends frames into `sender` as they come, and stops when nobody listens any more.
pub async fn pump(
    mut frames: FrameStream,
    sender: mpsc::Sender<(Instant, Piece)>,
    mut watch: Option<WatchTap>,
    latency: Span,
    random: Random,
) {
    let mut last = Instant::now();
    loop {
        let frame = tokio::select! {
            biased;
            () = sender.closed() => return,
            frame = frames.next() => frame,
        };
        if let (Some(watch), Some(Ok(bytes))) = (&mut watch, &frame) {
            watch.see(bytes);
        }
        // Frames of one connection do not overtake each other.
        last = last.max(Instant::now() + latency.draw(&random));
        let piece = frame.map_or(Piece::End, Piece::Frame);
        let end = matches!(piece, Piece::End);
        if sender.send((last, piece)).await.is_err() || end {
            return;
        }
    }
}

/// The answer as its client gets it.
pub fn receive(
    response: http::Response<Arriving>,
    world: Arc<World>,
    machine: String,
    client: (String, Option<Role>),
) -> Response {
    let (parts, body) = response.into_parts();
    let body = match body {
        Arriving::Full(bytes) => Body::Full(bytes),
        Arriving::Stream(receiver) => {
            let state = Some((receiver, world, machine, client));
            Body::stream(futures_util::stream::unfold(state, |state| async move {
                let (mut receiver, world, machine, client) = state?;
                let server = world.control_plane().to_owned();
                match receiver.recv().await {
                    Some((at, piece)) => {
                        let at = at + world.network.lateness(&client.0, client.1, world.now());
                        if at > Instant::now() {
                            sleep_until(at).await;
                        }
                        world.network.pass(&server, &machine).await;
                        match piece {
                            Piece::Frame(frame) => Some((frame, Some((receiver, world, machine, client)))),
                            Piece::End => None,
                        }
                    }
                    None => {
                        // The server's process is gone. Its machine says so, once it is up and can be heard.
                        let mut changes = world.network.changes();
                        while !world.is_up(&server) || !world.network.passes(&server, &machine) {
                            if changes.changed().await.is_err() {
                                break;
                            }
                        }
                        sleep(Duration::from_millis(1)).await;
                        world.coverage.saw("a watch broke");
                        Some((Err(BodyError("connection reset by peer".to_owned())), None))
                    }
                }
            }))
        }
    };
    http::Response::from_parts(parts, body)
}
