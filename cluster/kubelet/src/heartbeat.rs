//! The node's place in the API: registered, its status told, its lease renewed.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orrery_api::clock;
use orrery_api::log;
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::mutant;
use orrery_api::task::within;
use orrery_client::{Api, Cache, Client, Error, Patch};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::node::{RuntimeHealth, correction, difference, registration, status};
use crate::runtime::Pressure;

/// How often the status is computed and the lease renewed.
const PERIOD: Duration = Duration::from_secs(10);
/// How often the status is written when nothing has changed.
const HEARTBEAT: Duration = Duration::from_secs(300);
/// How long others believe in a lease that is not renewed.
const LEASE_SECONDS: i32 = 40;
/// How long the runtime may be silent.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// How long a shortage of the machine is told after it is over.
const PRESSURE_TRANSITION: Duration = Duration::from_secs(300);
/// How long a question to the runtime may take.
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// How long a request may take: a heartbeat that hangs is better sent again.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// The first pause after a failed request; doubled up to [`PAUSE_LIMIT`].
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_LIMIT: Duration = Duration::from_secs(5);
/// Where leases of nodes are.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What the machine was short of lately: a shortage that is over is told for a while yet, as Kubernetes' kubelet does
/// (`evictionPressureTransitionPeriod`), so that a node does not take pods and shed them in turn.
#[derive(Debug, Default)]
struct Shortage {
    /// When memory and disk were last short, since the kubelet's start.
    memory: Option<Duration>,
    disk: Option<Duration>,
}

impl Shortage {
    /// Takes in what the machine is short of `now`; what the node says.
    fn notice(&mut self, pressure: Pressure, now: Duration) -> Pressure {
        let lately = |last: &mut Option<Duration>, short: bool| {
            if short {
                *last = Some(now);
            }
            last.is_some_and(|last| now.saturating_sub(last) < PRESSURE_TRANSITION)
        };
        Pressure {
            memory: lately(&mut self.memory, pressure.memory),
            disk: match pressure.memory != pressure.disk && mutant::active("O91") {
                true => lately(&mut self.memory, pressure.disk),
                false => lately(&mut self.disk, pressure.disk),
            },
        }
    }
}

/// Registers the node, tells its status, and registers it again when somebody deletes it.
pub async fn keep_node(context: &Context, node: &Cache<Node>, changed: &Notify) {
    let mut writer = NodeWriter {
        context,
        api: Api::new(&context.client.clone().with_limit(REQUEST_LIMIT)),
        cache: node,
        registered: None,
    };
    node.wait_synced().await;
    let mut runtime = RuntimeHealth {
        version: String::new(),
        trouble: None,
        pressure: Pressure::default(),
    };
    let mut shortage = Shortage::default();
    let mut answered: Option<Instant> = None;
    let mut written: Option<Instant> = None;
    let mut failures = 0;
    // What there was nothing to write about: as long as it stays so, there is nothing to think about either.
    let mut settled: Option<(Arc<Node>, RuntimeHealth)> = None;
    let key = ObjectKey::new("", &context.options.node_name);
    loop {
        let answer = within(VERSION_LIMIT, context.runtime.version()).await;
        let trouble = match answer {
            Ok(Ok(version)) => {
                answered = Some(Instant::now());
                version.clone_into_context(context);
                runtime.version = version.to_string();
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer".to_owned()),
        };
        runtime.trouble = trouble
            .filter(|_| answered.is_none_or(|at| at.elapsed() > SILENCE_LIMIT))
            .map(|why| format!("container runtime is down: {why}"))
            .or_else(|| context.observer.trouble());
        if let Ok(Ok(pressure)) = within(VERSION_LIMIT, context.runtime.pressure()).await {
            runtime.pressure = shortage.notice(pressure, context.elapsed());
        }
        let due = written.is_none_or(|at| at.elapsed() >= HEARTBEAT);
        let seen = node.get(&key);
        let is_told =
            |told: &RuntimeHealth| *told == runtime || (told.version == runtime.version && mutant::active("O73"));
        let is_settled = !due
            && failures == 0
            && matches!((&settled, &seen), (Some((node, told)), Some(seen)) if Arc::ptr_eq(node, seen) && is_told(told));
        let outcome = if is_settled {
            Ok(false)
        } else {
            writer.write(&runtime, due, failures > 0).await
        };
        match outcome {
            Ok(wrote) => {
                failures = 0;
                if wrote {
                    written = Some(Instant::now());
                }
                settled = seen.filter(|_| !wrote).map(|seen| (seen, runtime.clone()));
                tokio::select! {
                    biased;
                    // Deleted or changed by others.
                    () = changed.notified() => {}
                    () = sleep(PERIOD) => {}
                }
            }
            Err(error) => {
                failures += 1;
                if failures == 3 {
                    log::line("kubelet", format_args!("cannot tell the node's status: {error}"));
                }
                pause(context, failures).await;
            }
        }
    }
}

impl crate::runtime::RuntimeVersion {
    fn clone_into_context(&self, context: &Context) {
        let mut name = context.runtime_name.write().unwrap_or_else(PoisonError::into_inner);
        if *name != self.name {
            name.clone_from(&self.name);
        }
    }
}

async fn pause(context: &Context, failures: u32) {
    let pause = PAUSE.saturating_mul(1 << failures.min(8)).min(PAUSE_LIMIT);
    sleep(context.random.jitter(pause, 0.2)).await;
}

/// Writes the node to the API.
struct NodeWriter<'a> {
    context: &'a Context,
    api: Api<Node>,
    cache: &'a Cache<Node>,
    /// The uid of the node that this life of the kubelet has registered, or taken for its own.
    registered: Option<String>,
}

impl NodeWriter<'_> {
    /// Brings the API's node up to date; returns whether it wrote.
    ///
    /// After a failure (`doubt`) the node is read from the API first, as Kubernetes' kubelet does. One that can speak
    /// and not hear would else go on saying that it is ready, and get pods that it never hears of.
    async fn write(&mut self, runtime: &RuntimeHealth, heartbeat: bool, doubt: bool) -> Result<bool, Error> {
        let options = &self.context.options;
        let key = ObjectKey::new("", &options.node_name);
        let known = if doubt {
            match self.api.get(&key).await {
                Ok(node) => Some(node),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error),
            }
        } else {
            self.cache.get(&key)
        };
        let mut node = match known {
            Some(node) => node,
            None => {
                let status = status(options, runtime, None, clock::now());
                match self.api.create(&registration(options, status)).await {
                    Ok(node) => node,
                    Err(error) if error.is_already_exists() => self.api.get(&key).await?,
                    Err(error) => return Err(error),
                }
            }
        };
        // Once: what users change of its labels later is theirs to say, until the next start.
        if self.registered.as_deref() != Some(node.uid()) {
            if let Some(patch) = correction(options, &node) {
                node = self.api.patch(&key, &Patch::Strategic(patch)).await?;
            }
            self.registered = Some(node.uid().to_owned());
        }
        let new = status(options, runtime, node.status.as_ref(), clock::now());
        match difference(node.status.as_ref(), &new, heartbeat) {
            Some(patch) => self
                .api
                .patch_status(&key, &Patch::Strategic(patch))
                .await
                .map(|_| true),
            None => Ok(false),
        }
    }
}

/// Renews the node's lease, so that the control plane knows that the node lives.
pub async fn keep_lease(context: &Context, node: &Cache<Node>) {
    let client: Client = context.client.clone().with_limit(REQUEST_LIMIT);
    let api = Api::<Lease>::new(&client);
    node.wait_synced().await;
    let mut held: Option<Arc<Lease>> = None;
    let mut failures = 0;
    loop {
        let owner = node.get(&ObjectKey::new("", &context.options.node_name));
        match renew(&api, &context.options.node_name, owner, held.take()).await {
            Ok(lease) => {
                held = Some(lease);
                failures = 0;
                sleep(context.random.jitter(PERIOD, 0.04)).await;
            }
            Err(error) => {
                failures += 1;
                if failures == 5 {
                    log::line("kubelet", format_args!("cannot renew the node's lease: {error}"));
                }
                pause(context, failures).await;
            }
        }
    }
}

async fn renew(
    api: &Api<Lease>,
    name: &str,
    owner: Option<Arc<Node>>,
    held: Option<Arc<Lease>>,
) -> Result<Arc<Lease>, Error> {
    let key = ObjectKey::new(LEASE_NAMESPACE, name);
    let spec = |old: Option<LeaseSpec>| LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: Some(LEASE_SECONDS),
        renew_time: Some(clock::now_micro_time()),
        ..old.unwrap_or_default()
    };
    let owners = owner.map(|node| {
        vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: node.name().to_owned(),
            uid: node.uid().to_owned(),
            controller: None,
            block_owner_deletion: None,
        }]
    });
    let held = match held {
        Some(lease) => Some(lease),
        None => match api.get(&key).await {
            Ok(lease) => Some(lease),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        },
    };
    if let Some(held) = held {
        let mut lease = Arc::unwrap_or_clone(held);
        lease.spec = Some(spec(lease.spec));
        if owners.is_some() {
            lease.metadata.owner_references = owners.clone();
        }
        match api.replace(&lease).await {
            // Deleted with a node of this name: make it anew.
            Err(error) if error.is_not_found() => {}
            other => return other,
        }
    }
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(LEASE_NAMESPACE.to_owned()),
        owner_references: owners,
        ..ObjectMeta::default()
    };
    api.create(&Lease {
        metadata,
        spec: Some(spec(None)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_told_for_five_minutes_after_its_end() {
        let mut shortage = Shortage::default();
        let at = |shortage: &mut Shortage, memory, second| {
            let pressure = Pressure { memory, disk: false };
            shortage.notice(pressure, Duration::from_secs(second)).memory
        };
        assert!(!at(&mut shortage, false, 0));
        assert!(at(&mut shortage, true, 10));
        assert!(at(&mut shortage, false, 20));
        assert!(at(&mut shortage, true, 200));
        assert!(at(&mut shortage, false, 499));
        assert!(!at(&mut shortage, false, 500));
    }
}
