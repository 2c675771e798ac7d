//! What is wrong with a machine's container runtime, by faults, and what that does to calls.
//!
//! Troubles are counted: two faults may bring the same one, and it is over when both are. A call that is carried out
//! while the runtime hangs belongs to the machine: whoever asked may have given up, or died, when it takes effect.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orrery_kubelet::runtime::{ErrorKind, RuntimeError};
use tokio::sync::{oneshot, watch};

use super::SimRuntime;

/// Something that is wrong with a runtime for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// No call returns before it is over. Those made meanwhile are carried out then.
    Hang,
    /// As [`Hang`](Self::Hang), but the question who it is gets its answer.
    Deadlock,
    /// Calls made meanwhile never return; some of them are carried out all the same.
    Stuck,
    /// It is away: calls are refused, and what happens meanwhile is told to nobody. Containers live on.
    Away,
    /// What happens is told late and in any order.
    LateEvents,
    /// What happens is not told.
    LostEvents,
    /// Sandboxes cannot be removed, only stopped.
    Leak,
    /// Pulls fail.
    PullFails,
    /// No pull ends before it is over.
    PullSlow,
    /// Containers cannot be started.
    StartFails,
    /// The machine is short of memory.
    MemoryShort,
    /// The machine is short of room on its disk.
    DiskShort,
}

/// The troubles of one runtime.
pub struct Troubles {
    counts: Mutex<BTreeMap<Trouble, u32>>,
    changed: watch::Sender<()>,
}

impl Default for Troubles {
    fn default() -> Self {
        Troubles {
            counts: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl Troubles {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Trouble, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fault brings `trouble`.
    pub fn begin(&self, trouble: Trouble) {
        *self.lock().entry(trouble).or_default() += 1;
        self.changed.send_replace(());
    }

    /// Takes back one [`begin`](Self::begin).
    pub fn end(&self, trouble: Trouble) {
        {
            let mut counts = self.lock();
            if let Some(count) = counts.get_mut(&trouble) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&trouble);
                }
            }
        }
        self.changed.send_replace(());
    }

    /// Nothing is wrong any more.
    pub fn end_all(&self) {
        self.lock().clear();
        self.changed.send_replace(());
    }

    /// Whether this is wrong now.
    pub fn has(&self, trouble: Trouble) -> bool {
        self.lock().contains_key(&trouble)
    }

    /// Whether calls cannot be relied on to be answered.
    pub fn is_silent(&self) -> bool {
        [Trouble::Hang, Trouble::Deadlock, Trouble::Stuck, Trouble::Away]
            .into_iter()
            .any(|trouble| self.has(trouble))
    }

    /// Waits until none of these is wrong.
    pub async fn over(&self, troubles: &[Trouble]) {
        self.wait(|counts| !troubles.iter().any(|trouble| counts.contains_key(trouble)))
            .await;
    }

    /// Waits until this is wrong.
    async fn begins(&self, trouble: Trouble) {
        self.wait(|counts| counts.contains_key(&trouble)).await;
    }

    async fn wait(&self, wanted: impl Fn(&BTreeMap<Trouble, u32>) -> bool) {
        let mut changes = self.changed.subscribe();
        while !wanted(&self.lock()) {
            // The sender lives in `self`.
            let _ = changes.changed().await;
        }
    }
}

/// What a call is about, as far as troubles care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// Who the runtime is.
    Version,
    /// Anything else.
    Other,
}

fn away() -> RuntimeError {
    RuntimeError::new(
        ErrorKind::Unavailable,
        "cannot connect to the container runtime: connection refused",
    )
}

impl SimRuntime {
    /// Carries a call out, as the runtime's troubles have it.
    pub(super) async fn carry_out<T: Send + 'static>(
        self: &Arc<Self>,
        call: Call,
        work: impl Future<Output = Result<T, RuntimeError>> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let hang: &'static [Trouble] = match call {
            Call::Version => &[Trouble::Hang],
            Call::Other => &[Trouble::Hang, Trouble::Deadlock],
        };
        let troubles = &self.troubles;
        if troubles.has(Trouble::Away) {
            self.call().await;
            return Err(away());
        }
        if troubles.has(Trouble::Stuck) {
            if self.faults.chance(0.5) {
                self.spawn(async move {
                    let _ = work.await;
                });
            }
            // The connection ends when the runtime does.
            troubles.begins(Trouble::Away).await;
            return Err(away());
        }
        let answer = async {
            if hang.iter().any(|trouble| troubles.has(*trouble)) {
                return self.carry_out_later(hang, work).await;
            }
            let answer = work.await;
            troubles.over(hang).await;
            answer
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            () = troubles.begins(Trouble::Away) => Err(away()),
        }
    }

    /// Carries a call out when the runtime goes on, whether or not somebody still waits for it.
    async fn carry_out_later<T: Send + 'static>(
        self: &Arc<Self>,
        hang: &'static [Trouble],
        work: impl Future<Output = Result<T, RuntimeError>> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let (reply, answer) = oneshot::channel();
        let runtime = Arc::downgrade(self);
        self.spawn(async move {
            let Some(runtime) = runtime.upgrade() else { return };
            runtime.troubles.over(hang).await;
            if !runtime.troubles.has(Trouble::Away) {
                let _ = reply.send(work.await);
            }
        });
        answer.await.unwrap_or_else(|_| Err(away()))
    }
}
