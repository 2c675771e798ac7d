//! `orrery status`: whether the cluster runs, and how it is.

use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use orrery_client::{Api, ListParams};

use super::{executor, stop, tell_of_other};
use crate::daemon::Failure;
use crate::kubeconfig;
use crate::place::{self, Place};
use crate::progress::say;

/// What `status` answers when there is nothing to ask, as `systemctl` does.
const NOT_RUNNING: u8 = 3;

/// Says how the cluster is.
pub fn status(place: &Place) -> Result<ExitCode, Failure> {
    let Some(process) = stop::running(place)? else {
        say(if place.exists() {
            "The cluster is stopped; `orrery start` brings it back."
        } else {
            "There is no cluster; `orrery start` makes one."
        });
        tell_of_other(place);
        return Ok(ExitCode::from(NOT_RUNNING));
    };
    say(&format!("cluster     running, process {}", process.as_raw_nonzero()));
    let access = kubeconfig::access(&place.kubeconfig(), place::NAME).map_err(|error| Failure(error.to_string()))?;
    say(&format!("API server  {}", access.server));
    let client = access.client("orrery").map_err(|error| Failure(error.to_string()))?;
    let client = client.with_limit(Duration::from_secs(5));
    let failed = |error: orrery_client::Error| Failure(error.to_string());
    executor()?.block_on(async {
        let nodes = Api::<Node>::new(&client)
            .list(&ListParams::default())
            .await
            .map_err(failed)?;
        let mut all_ready = true;
        for node in &nodes.items {
            let conditions = node
                .status
                .as_ref()
                .and_then(|status| status.conditions.as_deref())
                .unwrap_or_default();
            let is_ready = conditions
                .iter()
                .any(|one| one.type_ == "Ready" && one.status == "True");
            all_ready &= is_ready;
            let name = node.metadata.name.as_deref().unwrap_or_default();
            say(&format!(
                "node        {name}, {}",
                if is_ready { "Ready" } else { "not Ready" }
            ));
        }
        let pods = Api::<Pod>::new(&client)
            .list(&ListParams::default())
            .await
            .map_err(failed)?;
        let running = pods
            .items
            .iter()
            .filter(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running"));
        say(&format!(
            "pods        {} of {} running",
            running.count(),
            pods.items.len()
        ));
        Ok(if all_ready {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}
