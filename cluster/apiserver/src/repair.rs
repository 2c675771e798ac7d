//! Mutant B23 alone: a loop that repairs allocations, as Kubernetes has one, with its race (kubernetes#37488).
//!
//! It reads the services, then the claims, and removes each claim that none of the services holds; a service that came
//! between the two reads loses its address to the next one that asks. This server claims and writes a service in one
//! transaction, so that there is nothing to repair, and no such loop.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use orrery_api::mutant;
use orrery_store::{Operation, Range, Transaction};
use tokio::time::sleep;

use crate::allocation::{self, CLAIMS};
use crate::server::ApiServer;
use crate::storage;

/// The pause between repairs; Kubernetes' is three minutes, which would only take more time to find.
const PERIOD: Duration = Duration::from_secs(10);
/// What lies between the two reads, when the server is busy.
const BETWEEN: Duration = Duration::from_secs(1);

/// Repairs for ever.
pub async fn run(server: Arc<ApiServer>) {
    while mutant::is_on("B23") {
        sleep(PERIOD).await;
        let Ok(services) = server
            .store
            .range(Range::prefix(&format!("{}services/", storage::ROOT)))
        else {
            continue;
        };
        let Some(resource) = crate::resources::RESOURCES
            .iter()
            .find(|own| own.info().qualified() == "services")
        else {
            return;
        };
        let held = services.items.iter().filter_map(|kv| resource.decode(&kv.value).ok());
        let held: BTreeSet<String> = held.flat_map(|service| allocation::claims(service.as_ref())).collect();
        sleep(BETWEEN).await;
        let Ok(claims) = server.store.range(Range::prefix(CLAIMS)) else {
            continue;
        };
        for claim in claims.items.iter().filter(|claim| !held.contains(&*claim.key)) {
            if mutant::active("B23") {
                // What cannot be repaired now is looked at again in the next round.
                let _ = server
                    .store
                    .commit(Transaction::new().then(Operation::Delete {
                        key: claim.key.clone(),
                        last: None,
                    }))
                    .await;
            }
        }
    }
}
