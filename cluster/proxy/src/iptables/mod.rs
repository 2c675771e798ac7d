//! The real packet filter: Linux' own, driven by iptables-save, iptables-restore and conntrack. Real world only.
//!
//! It owns the chains whose names [`is_own_chain`](crate::plan::is_own_chain) knows, in the tables where it has put
//! the chain `ORRERY-PROXY`, and the jumps to them. It touches nothing else, and no table where such chains stand
//! without that mark: they are another Kubernetes'. Kernels without the conntrack tool are served, but UDP clients
//! that never pause then keep their endpoint for as long as they go on.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the real half of PacketFilter"
)]

mod bridges;
mod conntrack;
mod program;
mod saved;
mod script;

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use orrery_api::log;
use tokio::sync::Mutex;

use crate::filter::{FilterError, PacketFilter, StaleFlows};
use crate::ruleset::{Protocol, Ruleset};
use bridges::Bridges;
use saved::Saved;

/// How long a program waits for another that is changing rules.
const LOCK_WAIT: &str = "--wait=10";

/// The packet filter of this machine, or of the network namespace that the process is in.
pub struct Iptables {
    bridges: Bridges,
    /// The rules that stand; nothing when that is not known for sure. Its lock also lets changes go one by one.
    standing: Mutex<Option<Ruleset>>,
    /// Whether somebody was already told that there is no conntrack tool.
    told_of_conntrack: AtomicBool,
}

impl Iptables {
    /// The packet filter of this machine, whose pods hang on these bridges.
    pub fn new(bridges: Vec<String>) -> Self {
        Iptables {
            bridges: Bridges::new(bridges),
            standing: Mutex::new(None),
            told_of_conntrack: AtomicBool::new(false),
        }
    }

    /// Whether rules can be written here: the tools are there, we may, and no other Kubernetes' rules stand.
    pub async fn check(&self) -> Result<(), FilterError> {
        program::run(
            "iptables-restore",
            &["--noflush", LOCK_WAIT, "--test"],
            "*nat\nCOMMIT\n*filter\nCOMMIT\n",
        )
        .await?;
        script::refuse_foreign(&self.saved().await?)
    }

    async fn saved(&self) -> Result<Saved, FilterError> {
        let mut text = String::new();
        for table in ["nat", "filter"] {
            text += &program::run("iptables-save", &["-t", table], "").await?;
        }
        Ok(Saved::parse(&text))
    }

    async fn restore(&self, script: &str) -> Result<(), FilterError> {
        if script.is_empty() {
            return Ok(());
        }
        program::run("iptables-restore", &["--noflush", LOCK_WAIT], script)
            .await
            .map(drop)
    }
}

#[async_trait]
impl PacketFilter for Iptables {
    async fn apply(&self, rules: &Ruleset) -> Result<(), FilterError> {
        let mut standing = self.standing.lock().await;
        // What stands is unknown until this has succeeded, also when the caller stops waiting for it.
        let before = standing.take();
        // The same rules again are a wish for repair: then only a look at the machine helps.
        let difference = before
            .filter(|before| before != rules)
            .and_then(|before| script::difference(&before, rules));
        match difference {
            Some(difference) => self.restore(&difference).await?,
            None => {
                let saved = self.saved().await?;
                script::refuse_foreign(&saved)?;
                self.restore(&script::full(&saved, rules)).await?;
                self.bridges.open().await;
            }
        }
        *standing = Some(rules.clone());
        Ok(())
    }

    async fn flush_conntrack(&self, flows: &[StaleFlows]) -> Result<(), FilterError> {
        let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        for protocol in protocols
            .into_iter()
            .filter(|one| flows.iter().any(|flows| flows.protocol == *one))
        {
            let listing = match program::run("conntrack", &["--dump", "--proto", protocol.as_str()], "").await {
                Ok(listing) => listing,
                Err(FilterError::Missing(tool)) => {
                    if !self.told_of_conntrack.swap(true, Ordering::Relaxed) {
                        log::line(
                            "kube-proxy",
                            format_args!("{tool} is not installed: UDP clients may keep endpoints that are gone"),
                        );
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            for flow in conntrack::stale(&listing, flows) {
                let arguments = flow.deletion();
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                match program::run("conntrack", &arguments, "").await {
                    // The flow ended by itself in the meantime.
                    Err(FilterError::Failed { message, .. }) if message.contains("0 flow entries") => {}
                    result => drop(result?),
                }
            }
        }
        Ok(())
    }

    async fn clear(&self) -> Result<(), FilterError> {
        let mut standing = self.standing.lock().await;
        *standing = None;
        let saved = self.saved().await?;
        self.restore(&script::clear(&saved)).await
    }
}
