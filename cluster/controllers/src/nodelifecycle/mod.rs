//! Watches over nodes: marks the silent ones, taints them, and drives pods out of those that are lost.
//!
//! Three parts. [`monitor`] judges who is silent, by what [`hearing`] hears, and who is given up; [`marks`] keeps the
//! taints that follow from a node's conditions; [`eviction`] deletes pods whose time on a tainted node has run out.
//! What they decide is in [`health`], [`zones`], [`taints`] and [`tolerations`], all pure. Pods of nodes that are
//! deleted are not handled here.

pub(crate) mod eviction;
mod health;
mod hearing;
mod marks;
mod monitor;
mod taints;
mod tolerations;
mod zones;

use crate::Context;
use crate::informers::Informers;
use eviction::Eviction;
use marks::Marks;
use monitor::Monitor;

/// Marks silent nodes and evicts their pods.
pub(crate) struct NodeLifecycleController {
    monitor: Monitor,
    marks: Marks,
    eviction: Eviction,
}

impl NodeLifecycleController {
    /// Registers the controller's handlers with `informers`.
    pub(crate) fn new(context: &Context, informers: &mut Informers) -> Self {
        let recorder = context.recorder("node-controller");
        let judges = context.named("node-lifecycle-controller");
        NodeLifecycleController {
            monitor: Monitor::new(&judges, informers, recorder.clone()),
            marks: Marks::new(&judges, informers, recorder),
            eviction: Eviction::new(&context.named("taint-eviction-controller"), informers),
        }
    }

    /// Works for ever.
    pub(crate) async fn run(mut self) {
        let parts = (self.monitor.run(), self.marks.run(), self.eviction.run());
        futures_util::future::join3(parts.0, parts.1, parts.2).await;
    }
}
