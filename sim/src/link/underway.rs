//! Requests on their way, and what becomes of them when their senders give them up.
//!
//! What a kernel has taken cannot be taken back. A passed deadline, a lost lease or a killed process ends the waiting and
//! not the message: it is sent again until its server has it, for [`PERSISTENCE`], and is then carried out though nobody
//! waits for the answer. It is lost if its machine loses power, or if its connection was reset before. Reads that nobody
//! waits for are left out, since they change nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orrery_api::message::Request;
use orrery_api::task::TaskGroup;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::SimTransport;
use super::connection::Line;
use crate::model::Asked;
use crate::world::{Place, World};

/// For so long a kernel goes on sending what a closed socket still holds: Linux's 8 `tcp_orphan_retries`, the first after
/// 200 ms and each after twice the time.
const PERSISTENCE: Duration = Duration::from_secs(102);

/// A request between its sender and its server.
pub struct Letter {
    sender: Arc<SimTransport>,
    line: Line,
    /// The how manieth of its sender it is.
    number: u64,
    asked: Arc<Asked>,
    request: Request,
    /// When it is there if nothing holds it up.
    due: Instant,
}

impl Letter {
    fn place(&self) -> &Place {
        self.sender.connection.server(self.line)
    }

    async fn travel(&self) {
        sleep_until(self.due).await;
        let network = &self.sender.world.network;
        network.pass(&self.sender.machine, &self.place().machine).await;
    }

    /// Whether it comes without its sender.
    fn outlives_its_sender(&self) -> bool {
        let sender = &self.sender;
        self.asked.method != http::Method::GET
            && sender.world.is_up(&sender.machine)
            && !sender.connection.was_reset(self.line)
    }

    /// Brings it to its server, where nobody waits for what comes of it.
    async fn deliver(self) {
        if timeout(PERSISTENCE, self.travel()).await.is_err() {
            return;
        }
        let sender = &self.sender;
        sender.world.coverage.saw("a write outlived its sender's patience");
        sender.event(format_args!("{} arrives, given up by its sender", self.number));
        let _ = sender.arrive(self.request, &self.asked, sender.connection.server(self.line));
    }
}

/// A request on its way while its sender waits.
pub struct Underway(Option<Letter>);

impl Underway {
    /// The `number`th request of `sender` sets out on a line, and is there after `journey` if nothing holds it up.
    pub fn begin(
        sender: Arc<SimTransport>,
        line: Line,
        number: u64,
        asked: &Arc<Asked>,
        request: Request,
        journey: Duration,
    ) -> Self {
        Underway(Some(Letter {
            sender,
            line,
            number,
            asked: asked.clone(),
            request,
            due: Instant::now() + journey,
        }))
    }

    /// It is there.
    pub async fn arrived(mut self) -> Option<Request> {
        self.0.as_ref()?.travel().await;
        self.0.take().map(|letter| letter.request)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(letter) = self.0.take().filter(Letter::outlives_its_sender) {
            let world = letter.sender.world.clone();
            world.courier.take_over(letter);
        }
    }
}

/// Who brings the requests that their senders have given up.
pub struct Courier {
    letters: mpsc::UnboundedSender<Letter>,
    taken_over: Mutex<Option<mpsc::UnboundedReceiver<Letter>>>,
}

impl Default for Courier {
    fn default() -> Self {
        let (letters, taken_over) = mpsc::unbounded_channel();
        Courier {
            letters,
            taken_over: Mutex::new(Some(taken_over)),
        }
    }
}

impl Courier {
    /// What its sender drops may be dropped with the sender's process, where nothing can be spawned.
    fn take_over(&self, letter: Letter) {
        // Without a receiver the run is over.
        let _ = self.letters.send(letter);
    }

    /// Works for as long as the world stands.
    pub async fn work(world: Arc<World>) {
        let begun = world
            .courier
            .taken_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut letters) = begun else { return };
        // Those of machines that are not simulated.
        let others = TaskGroup::new();
        while let Some(letter) = letters.recv().await {
            let machine = letter.sender.machine.clone();
            if world.machine(&machine).is_some() {
                world.spawn_on_machine(&machine, letter.deliver());
            } else {
                others.spawn(letter.deliver());
            }
        }
    }
}
