//! A disk in trouble: the control plane's is slow, full, failing, or reads wrong.

use std::sync::Arc;

use orrery_api::random::Random;
use tokio::time::sleep;

use super::crash::stall_clients;
use super::swarm::Lot;
use super::{Striking, trace};
use crate::disk::Trouble;
use crate::scenario::{Between, DiskOperation, DiskSpec, FaultAction, Span};
use crate::world::World;

/// See the module. What is to fail so many times is trouble as soon as the first one does.
pub async fn strike(world: &Arc<World>, spec: &DiskSpec, random: &Random, striking: Striking<'_>) {
    let Some(disk) = world.disk() else { return };
    let (trouble, pinned, lasts) = match *spec {
        DiskSpec::Slow { by, lasts } => {
            let lasts = lasts.draw(random);
            let pinned = DiskSpec::Slow {
                by,
                lasts: lasts.into(),
            };
            (Trouble::Slow(by), pinned, Some(lasts))
        }
        DiskSpec::Full { room, lasts } => {
            let (room, lasts) = (room.draw(random), lasts.draw(random));
            let pinned = DiskSpec::Full {
                room: room.into(),
                lasts: lasts.into(),
            };
            (Trouble::Full(room as usize), pinned, Some(lasts))
        }
        DiskSpec::Fails { operation, times } => (Trouble::Fails(operation, times), *spec, None),
        DiskSpec::Misreads { times } => (Trouble::Misreads(times), *spec, None),
        DiskSpec::Rots { lasts } => {
            let lasts = lasts.draw(random);
            (Trouble::Rots, DiskSpec::Rots { lasts: lasts.into() }, Some(lasts))
        }
    };
    let pinned = FaultAction::Disk(pinned);
    let time = lasts.map_or(String::new(), |lasts| format!(" for {lasts:?}"));
    let tell = move |world: &World| {
        world.coverage.saw("a disk was in trouble");
        trace(world, format_args!("the disk is in trouble{time}: {trouble}"));
    };
    match lasts {
        Some(lasts) => {
            let victims = striking.begins(pinned);
            tell(world);
            let number = disk.begin(trouble, victims);
            if let DiskSpec::Slow { by, .. } = spec {
                // Writes wait, and so do those who hang on them.
                stall_clients(world, lasts + by.high);
            }
            sleep(lasts).await;
            disk.end(number);
        }
        None => {
            let number = disk.begin(trouble, striking.begins_with_first(pinned, tell));
            disk.over(number).await;
        }
    }
    trace(world, format_args!("the disk is well again; it was that {trouble}"));
}

/// Any trouble that a store survives.
pub fn draw(lot: &Lot<'_>) -> DiskSpec {
    let (random, times) = (lot.random, lot.random.between(1, 3) as u32);
    let lasts = lot.lasts();
    match random.below(8) {
        0 | 1 => DiskSpec::Slow {
            by: Span::millis(random.between(5, 500), 2000),
            lasts,
        },
        2 => DiskSpec::Full {
            room: Between { low: 0, high: 8000 },
            lasts,
        },
        3 => DiskSpec::Misreads { times },
        4 => DiskSpec::Rots { lasts },
        _ => DiskSpec::Fails {
            operation: *random.choose(&DiskOperation::ALL).unwrap_or(&DiskOperation::Sync),
            times,
        },
    }
}
