//! Compaction at a bad moment: what watches resume from and lists continue with is suddenly gone.

use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use tokio::time::{Instant, sleep, timeout};

use super::swarm::Lot;
use super::{Striking, trace};
use crate::scenario::{Between, CompactSpec, FaultAction};
use crate::world::World;

/// A store that stands still is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a store that is down is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// See the module.
pub async fn strike(world: &Arc<World>, spec: &CompactSpec, random: &Random, striking: Striking<'_>) {
    // A store that is down now may be back soon.
    let until = Instant::now() + PATIENCE;
    let store = loop {
        match world.running_store() {
            Some(store) => break store,
            None if Instant::now() < until => sleep(LOOK).await,
            None => return,
        }
    };
    let keep = spec.keep.draw(random);
    striking.strikes(FaultAction::Compact(CompactSpec { keep: keep.into() }));
    let revision = store.revision().saturating_sub(u64::from(keep)).max(1);
    world.coverage.saw("the history was compacted");
    trace(world, format_args!("the store is compacted to revision {revision}"));
    // What the witness has not seen yet must not go.
    world.witness.catch_up(world);
    world.witness.change(world, |cluster| cluster.compacts(revision));
    // Whether it succeeds is the store's business: it may die meanwhile.
    let _ = timeout(PATIENCE, store.compact(revision)).await;
}

/// To the newest revision, or nearly.
pub fn draw(lot: &Lot<'_>) -> CompactSpec {
    let most = *lot.random.choose(&[0, 3, 100]).unwrap_or(&0);
    CompactSpec {
        keep: Between { low: 0, high: most },
    }
}
