//! What the kernel has to do for services at the bridges of pods, beside the rules.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use orrery_api::log;

use super::program;

/// Where the kernel shows the switches of its module `br_netfilter`, once that is loaded.
const BRIDGE_FILTER: &str = "/proc/sys/net/bridge";

/// The bridges that pods hang on.
pub(super) struct Bridges {
    names: Vec<String>,
    /// What somebody was already told of.
    told: Mutex<BTreeSet<String>>,
}

impl Bridges {
    pub(super) fn new(names: Vec<String>) -> Self {
        Bridges {
            names,
            told: Mutex::default(),
        }
    }

    /// Sets what services need. What cannot be set is told, with what does not work then.
    pub(super) async fn open(&self) {
        self.load_module().await;
        for bridge in &self.names {
            // Without this the kernel does not let packets from 127.0.0.1 out. KUBE-FIREWALL keeps others out.
            self.set(
                &format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"),
                "node ports will not answer on 127.0.0.1",
            );
            // The answer of a pod to another on its bridge must pass the rules, too: it comes from the service.
            self.set(
                &format!("/sys/class/net/{bridge}/bridge/nf_call_iptables"),
                "pods may not reach other pods by services",
            );
        }
    }

    /// Docker loads the module only for networks of its own that need it (moby#48511, moby#48685).
    async fn load_module(&self) {
        if Path::new(BRIDGE_FILTER).exists() {
            return;
        }
        let Err(error) = program::run("modprobe", &["br_netfilter"], "").await else {
            return;
        };
        self.tell(format!(
            "pods may not reach other pods by services, load br_netfilter: {error}"
        ));
    }

    fn set(&self, switch: &str, otherwise: &str) {
        if let Err(error) = std::fs::write(switch, "1") {
            self.tell(format!("{otherwise}: {switch}: {error}"));
        }
    }

    /// Says what does not work, once: it is tried again with every repair of the rules.
    fn tell(&self, what: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.contains(&what) {
            log::line("kube-proxy", format_args!("{what}"));
            told.insert(what);
        }
    }
}
