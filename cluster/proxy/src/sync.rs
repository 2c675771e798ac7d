//! The loop: watches services and slices, plans what changed, makes the filter match.
//!
//! Not here: any decision about rules (`plan`) or how they get into the kernel (`iptables`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orrery_api::meta::{Object, ObjectKey};
use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_api::{log, mutant};
use orrery_client::{Cache, Client, Informer};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until, timeout};

use crate::conntrack::Frontends;
use crate::filter::{FilterError, PacketFilter};
use crate::options::Options;
use crate::plan::{ServiceRules, assemble, frame, service_of};
use crate::ruleset::Ruleset;

/// The name that the proxy logs under and that its requests bear.
const COMPONENT: &str = "kube-proxy";

/// The index of slices by the service they belong to.
const BY_SERVICE: &str = "service";

/// The first wait after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(200);

/// The longest wait after a failure.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Runs a node's proxy: keeps `filter` as the cluster's services say. Never returns.
///
/// Until both services and slices are known, it touches nothing: rules that an earlier life left go on serving.
pub async fn run(client: Client, options: Options, filter: Arc<dyn PacketFilter>, random: Random) {
    let changes = Arc::new(Changes::default());
    let services = Informer::<Service>::new(&client, &random.stream("services"));
    let slices = Informer::<EndpointSlice>::new(&client, &random.stream("slices"));
    let services = services.on_change({
        let changes = changes.clone();
        move |change| changes.note(change.object().key())
    });
    let slices = slices.index(BY_SERVICE, |slice| {
        service_of(slice).iter().map(ObjectKey::to_string).collect()
    });
    let slices = slices.on_change({
        let changes = changes.clone();
        move |change| {
            if let Some(key) = service_of(change.object()) {
                changes.note(key);
            }
            // A slice whose label was changed also leaves the service that it had.
            if let orrery_client::Change::Updated { old, .. } = change
                && let Some(key) = service_of(old)
            {
                changes.note(key);
            }
        }
    });

    let mut proxy = Proxy::new(options, filter, services.cache(), slices.cache());
    let tasks = TaskGroup::new();
    tasks.spawn(services.run());
    tasks.spawn(slices.run());
    proxy.services.wait_synced().await;
    if !mutant::active("O56") {
        proxy.slices.wait_synced().await;
    }
    proxy.keep(&changes, &random.stream("retry")).await;
}

/// Which services may look different by now.
#[derive(Default)]
struct Changes {
    keys: Mutex<BTreeSet<ObjectKey>>,
    wake: Notify,
}

impl Changes {
    fn note(&self, key: ObjectKey) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        self.wake.notify_one();
    }

    fn take(&self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Proxy {
    options: Options,
    filter: Arc<dyn PacketFilter>,
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    /// The rules that depend on no service.
    frame: Ruleset,
    /// Each service's rules, as last planned.
    planned: BTreeMap<ObjectKey, ServiceRules>,
    /// The rules that stand; nothing when that is unknown.
    standing: Option<Ruleset>,
    /// What all tracked flows go by; nothing when that is unknown.
    flows: Option<Frontends>,
}

impl Proxy {
    fn new(
        options: Options,
        filter: Arc<dyn PacketFilter>,
        services: Cache<Service>,
        slices: Cache<EndpointSlice>,
    ) -> Self {
        Proxy {
            frame: frame(&options),
            options,
            filter,
            services,
            slices,
            planned: BTreeMap::new(),
            standing: None,
            flows: None,
        }
    }

    /// Syncs for ever: whenever something changed, after failures, and now and then anyway.
    async fn keep(&mut self, changes: &Changes, random: &Random) {
        let mut retry = FIRST_RETRY;
        let mut all = true;
        let mut failed = false;
        let mut next_resync = Instant::now();
        loop {
            let started = Instant::now();
            // Also a cluster in which something changes all the time gets its repairs.
            all |= started >= next_resync;
            let changed = if all {
                next_resync = started + self.options.resync;
                changes.take();
                self.plan_all()
            } else {
                self.plan(changes.take())
            };
            let result = if all || changed || failed {
                self.sync(all).await
            } else {
                Ok(())
            };
            all = false;
            failed = result.is_err();
            if mutant::is_on("O42") && !changes.take().is_empty() {
                // As if the rules that were just written had them in.
                mutant::active("O42");
            }

            // A change is acted on at once, but not sooner than this after the last.
            let mut earliest = started + self.options.min_sync;
            let mut latest = next_resync;
            match result {
                Ok(()) => retry = FIRST_RETRY,
                Err(error) => {
                    log::line(
                        COMPONENT,
                        format_args!("services are not up to date, will retry: {error}"),
                    );
                    if !mutant::active("O05") {
                        latest = Instant::now() + random.jitter(retry, 0.2);
                    }
                    // The next change is not held back by failures for long, but does not hammer a sick machine either.
                    earliest = earliest.max(Instant::now() + FIRST_RETRY);
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
            tokio::select! {
                biased;
                () = changes.wake.notified() => sleep_until(earliest).await,
                () = sleep_until(latest) => all = true,
            }
        }
    }

    /// Plans all services anew; says whether anything differs.
    fn plan_all(&mut self) -> bool {
        let mut keys: BTreeSet<_> = self.services.list().iter().map(|service| service.key()).collect();
        keys.extend(self.planned.keys().cloned());
        self.plan(keys)
    }

    /// Plans these services anew; says whether anything differs. There is no await in here: the caches are read at one
    /// moment.
    fn plan(&mut self, keys: BTreeSet<ObjectKey>) -> bool {
        let mut changed = false;
        for key in keys {
            match self.services.get(&key) {
                Some(service) => {
                    let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
                    changed |= self
                        .planned
                        .entry(key)
                        .or_default()
                        .replan(&service, &slices, &self.options);
                }
                None if mutant::active("O04") => {}
                None => changed |= self.planned.remove(&key).is_some(),
            }
        }
        changed
    }

    /// Makes the filter match what is planned; `repair`s it also when it should match already.
    async fn sync(&mut self, repair: bool) -> Result<(), FilterError> {
        let rules = assemble(self.planned.values(), &self.frame, &self.options);
        let stands = self.standing.as_ref() == Some(&rules);
        if !stands || repair && !mutant::active("O57") {
            // Until it is known to have worked, nothing is known of what stands.
            self.standing = None;
            self.within("writing the rules", self.filter.apply(&rules)).await?;
            self.standing = Some(rules);
        }
        // Only after the rules: a flow that is forgotten before them would be tracked by the old ones again.
        let flows = Frontends::of(self.planned.values());
        let stale = match &self.flows {
            Some(before) if !repair => flows.stale_since(before),
            _ => flows.stale_since_ever(self.options.service_cidr),
        };
        if !stale.is_empty() {
            let forgotten = self.within("forgetting stale flows", self.filter.flush_conntrack(&stale));
            if let Err(error) = forgotten.await
                && !mutant::active("O23")
            {
                return Err(error);
            }
        }
        self.flows = Some(flows);
        Ok(())
    }

    async fn within(
        &self,
        what: impl fmt::Display,
        work: impl Future<Output = Result<(), FilterError>>,
    ) -> Result<(), FilterError> {
        timeout(self.options.apply_timeout, work)
            .await
            .unwrap_or_else(|_| Err(FilterError::Timeout(what.to_string())))
    }
}
