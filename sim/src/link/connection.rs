//! Which API server a process is connected to: one at a time, for all of its requests and watches.
//!
//! A process chooses one when it starts, and moves to another when its own refuses, resets, or leaves a request without
//! an answer for too long. What was under way on the old connection breaks then, as the streams of one TCP connection
//! do. In a world with one server there is nothing to choose, nothing is drawn, and connections are not given up. A
//! fault may reset a connection; the next one goes to the same server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use orrery_api::random::Random;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::world::{Place, World};

/// A request that was given up after so long tells that its server is not to be relied on. One that was dropped sooner
/// was no longer of interest.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
pub struct Connection {
    world: Arc<World>,
    client: String,
    machine: String,
    random: Random,
    line: watch::Sender<Line>,
}

/// A connection to one server, until it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The how manieth of the process it is.
    number: u64,
    /// Which of the world's API servers it goes to.
    server: usize,
}

impl Connection {
    /// The connection of a process that begins on `machine`; it draws from `random`.
    pub fn new(world: &Arc<World>, client: &str, machine: &str, random: Random) -> Arc<Self> {
        let servers = world.api_servers().len();
        let drawn = if servers > 1 {
            random.below(servers as u64) as usize
        } else {
            0
        };
        let server = world.connections.take_turn(client).unwrap_or(drawn);
        let connection = Connection {
            world: world.clone(),
            client: client.to_owned(),
            machine: machine.to_owned(),
            random,
            line: watch::Sender::new(Line { number: 0, server }),
        };
        connection.say(server);
        let connection = Arc::new(connection);
        world.network.connected(&connection);
        world.connections.opened(&connection);
        connection
    }

    /// Whether one of its ends is at this machine, or this process.
    pub fn ends_at(&self, name: &str) -> bool {
        let server = self.server(self.line());
        [&self.client, &self.machine, &server.name, &server.machine]
            .into_iter()
            .any(|end| end == name)
    }

    /// Breaks what is under way on it; it goes on with the same server.
    pub fn reset(&self) {
        self.line.send_modify(|line| line.number += 1);
    }

    /// Whether `line` was broken by a reset, and not given up for another server.
    pub fn was_reset(&self, line: Line) -> bool {
        let now = self.line();
        now.number > line.number && now.server == line.server
    }

    fn say(&self, server: usize) {
        if self.world.api_servers().len() > 1 {
            let place = &self.world.api_servers()[server];
            let what = format_args!("connects to {}", place.name);
            self.world.trace.event(self.world.now(), &self.client, what);
        }
    }

    /// The line that is open now.
    pub fn line(&self) -> Line {
        *self.line.borrow()
    }

    /// The server at the other end of `line`.
    pub fn server(&self, line: Line) -> &Place {
        &self.world.api_servers()[line.server]
    }

    /// Gives `line` up and connects to another server, unless that has been done or there is no other.
    pub fn leave(&self, line: Line) {
        let servers = self.world.api_servers().len();
        if servers < 2 || self.line() != line {
            return;
        }
        let step = 1 + self.random.below(servers as u64 - 1) as usize;
        let next = Line {
            number: line.number + 1,
            server: (line.server + step) % servers,
        };
        self.line.send_replace(next);
        self.world.coverage.saw("a client moved to another API server");
        self.say(next.server);
    }

    /// Moves to a server of somebody else's choice; false if it is there already.
    fn move_to(&self, server: usize) -> bool {
        let line = self.line();
        if line.server == server {
            return false;
        }
        let next = Line {
            number: line.number + 1,
            server,
        };
        self.line.send_replace(next);
        self.say(server);
        true
    }

    /// Waits until `line` has been given up, or reset.
    pub async fn left(&self, line: Line) {
        let mut lines = self.line.subscribe();
        // The sender lives in `self`, so that this only ends when the line has changed.
        let _ = lines.wait_for(|now| *now != line).await;
    }
}

/// The connections of all processes, for faults that move them.
#[derive(Default)]
pub struct Connections {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    open: BTreeMap<String, Weak<Connection>>,
    /// Where the next connection of a process goes.
    turns: BTreeMap<String, usize>,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, connection: &Arc<Connection>) {
        self.lock()
            .open
            .insert(connection.client.clone(), Arc::downgrade(connection));
    }

    fn take_turn(&self, client: &str) -> Option<usize> {
        self.lock().turns.remove(client)
    }

    /// When the process `client` starts the next time, it connects to this server.
    pub fn steer(&self, client: &str, server: usize) {
        self.lock().turns.insert(client.to_owned(), server);
    }

    /// Connects the process `client` to a server; false if it is connected to that one, or does not run.
    pub fn move_to(&self, client: &str, server: usize) -> bool {
        let connection = self.lock().open.get(client).and_then(Weak::upgrade);
        connection.is_some_and(|connection| connection.move_to(server))
    }
}

/// A request under way; when it is dropped without an answer after a long time, its line is given up.
pub struct Patience<'a> {
    connection: &'a Connection,
    line: Line,
    since: Instant,
    answered: bool,
}

impl<'a> Patience<'a> {
    /// Begins to wait for an answer on `line`.
    pub fn new(connection: &'a Connection, line: Line) -> Self {
        Patience {
            connection,
            line,
            since: Instant::now(),
            answered: false,
        }
    }

    /// There is an answer.
    pub fn end(mut self) {
        self.answered = true;
    }
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if !self.answered && self.since.elapsed() >= PATIENCE {
            self.connection.leave(self.line);
        }
    }
}
