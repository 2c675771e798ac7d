//! Leader election over a `Lease`: at most one of several twins works at a time.
//!
//! As client-go's: whoever holds the lease renews it; the others take it when they have *seen* it unrenewed for its
//! whole duration by their own monotonic clock, so that clocks that disagree do no harm. The work is dropped as soon as
//! the lease could not be renewed within the renew deadline, which is shorter than the duration others wait.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::clock;
use orrery_api::log;
use orrery_api::meta::ObjectKey;
use orrery_api::random::Random;
use orrery_api::task::within;
use tokio::time::{Instant, sleep};

use crate::api::Api;
use crate::client::Client;
use crate::error::Error;

/// Who runs for which lease, and how patiently.
#[derive(Debug, Clone)]
pub struct LeaderElection {
    /// The lease's name in `kube-system`.
    pub name: String,
    /// This candidate.
    pub identity: String,
    /// How long others wait before they take an unrenewed lease.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// The pause between tries.
    pub retry_period: Duration,
}

impl LeaderElection {
    /// Kubernetes' defaults: 15 s, 10 s, 2 s.
    pub fn new(name: &str, identity: &str) -> Self {
        LeaderElection {
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// What a candidate last saw of the lease.
#[derive(Default)]
struct Observed {
    version: String,
    at: Option<Instant>,
}

/// Runs `work` while this candidate leads; drops it when the lease is lost, then runs for it again. Never returns.
pub async fn lead<F, Fut>(client: &Client, election: LeaderElection, random: &Random, work: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = ()>,
{
    let api: Api<Lease> = Api::new(client);
    let random = random.stream("leader");
    let mut observed = Observed::default();
    loop {
        while !matches!(try_hold(&api, &election, &mut observed).await, Ok(true)) {
            sleep(random.jitter(election.retry_period, 0.2)).await;
        }
        log::line(&election.name, format_args!("{} leads", election.identity));
        tokio::select! {
            biased;
            () = renew(&api, &election, &mut observed) => {}
            () = work() => {}
        }
        log::line(&election.name, format_args!("{} leads no longer", election.identity));
    }
}

/// Renews until that has failed for the renew deadline or somebody else holds the lease.
async fn renew(api: &Api<Lease>, election: &LeaderElection, observed: &mut Observed) {
    loop {
        sleep(election.retry_period).await;
        let renewed = within(election.renew_deadline, async {
            loop {
                match try_hold(api, election, observed).await {
                    Ok(held) => return held,
                    Err(_) => sleep(election.retry_period).await,
                }
            }
        });
        if renewed.await != Ok(true) {
            return;
        }
    }
}

/// Takes or renews the lease if that is possible now; whether it is held.
async fn try_hold(api: &Api<Lease>, election: &LeaderElection, observed: &mut Observed) -> Result<bool, Error> {
    let key = ObjectKey::new("kube-system", election.name.as_str());
    let current = match api.get(&key).await {
        Ok(lease) => lease,
        Err(error) if error.is_not_found() => {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(key.name.clone()),
                    namespace: Some(key.namespace.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(claim(election, None)),
            };
            return api.create(&lease).await.map(|_| true);
        }
        Err(error) => return Err(error),
    };
    let spec = current.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let version = current.metadata.resource_version.clone().unwrap_or_default();
    if observed.version != version {
        *observed = Observed {
            version,
            at: Some(Instant::now()),
        };
    }
    let patience = Duration::from_secs(spec.lease_duration_seconds.unwrap_or(0).max(0) as u64);
    let fresh = observed.at.is_some_and(|at| at.elapsed() < patience);
    if !holder.is_empty() && holder != election.identity && fresh {
        return Ok(false);
    }
    let mut next = current;
    next.spec = Some(claim(election, Some(&spec)));
    match api.replace(&next).await {
        Ok(lease) => {
            *observed = Observed {
                version: lease.metadata.resource_version.unwrap_or_default(),
                at: Some(Instant::now()),
            };
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

fn claim(election: &LeaderElection, before: Option<&LeaseSpec>) -> LeaseSpec {
    let now = clock::now_micro_time();
    let own = before.filter(|spec| spec.holder_identity.as_deref() == Some(&election.identity));
    let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
    LeaseSpec {
        holder_identity: Some(election.identity.clone()),
        lease_duration_seconds: Some(election.lease_duration.as_secs() as i32),
        acquire_time: own
            .and_then(|spec| spec.acquire_time.clone())
            .or_else(|| Some(now.clone())),
        renew_time: Some(now),
        lease_transitions: Some(if own.is_some() || before.is_none() {
            transitions
        } else {
            transitions + 1
        }),
        ..LeaseSpec::default()
    }
}
