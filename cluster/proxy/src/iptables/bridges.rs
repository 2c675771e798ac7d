//! What the kernel has to do for services at the bridges of pods, beside the rules.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use orrery_api::log;

use super::program;

/// Where the kernel shows the switches of its module `br_netfilter`, once that is loaded.
const BRIDGE_FILTER: &str = "/proc/sys/net/bridge";

/// The bridges that pods hang on.
pub(super) struct Bridges {
    names: Vec<String>,
    /// Whether somebody was already told that the module cannot be loaded.
    told_of_module: AtomicBool,
}

impl Bridges {
    pub(super) fn new(names: Vec<String>) -> Self {
        Bridges {
            names,
            told_of_module: AtomicBool::new(false),
        }
    }

    /// Sets what services need. What cannot be set is told, with what does not work then.
    pub(super) async fn open(&self) {
        self.load_module().await;
        for bridge in &self.names {
            // Without this the kernel does not let packets from 127.0.0.1 out. KUBE-FIREWALL keeps others out.
            set(
                &format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"),
                "node ports will not answer on 127.0.0.1",
            );
            // The answer of a pod to another on its bridge must pass the rules, too: it comes from the service.
            set(
                &format!("/sys/class/net/{bridge}/bridge/nf_call_iptables"),
                "pods may not reach other pods by services",
            );
        }
    }

    /// Docker does not load the module itself any more (since 27.3, moby#48511).
    async fn load_module(&self) {
        if Path::new(BRIDGE_FILTER).exists() {
            return;
        }
        let Err(error) = program::run("modprobe", &["br_netfilter"], "").await else {
            return;
        };
        if !self.told_of_module.swap(true, Ordering::Relaxed) {
            log::line(
                "kube-proxy",
                format_args!("pods may not reach other pods by services, load br_netfilter: {error}"),
            );
        }
    }
}

fn set(switch: &str, otherwise: &str) {
    if let Err(error) = std::fs::write(switch, "1") {
        log::line("kube-proxy", format_args!("{otherwise}: {switch}: {error}"));
    }
}
