//! Leader election over a `Lease`: at most one of several twins works at a time.
//!
//! As client-go's: whoever holds the lease renews it; the others take it when they have *seen* it unrenewed for its
//! whole duration by their own monotonic clock, so that clocks that disagree do no harm. The work is dropped, and its
//! requests are held back, as soon as the last renewal that succeeded was asked for longer ago than the renew deadline,
//! which is shorter than the duration others wait. (client-go counts from the answer, and lets a leader that stood
//! still act until its next renewal.)

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::clock;
use orrery_api::message::{Request, Response, Transport, TransportError};
use orrery_api::meta::ObjectKey;
use orrery_api::random::Random;
use orrery_api::task::within;
use orrery_api::{log, mutant};
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

/// Until when a leader may act: others take the lease only later.
#[derive(Clone)]
struct Term(Arc<Mutex<Instant>>);

impl Term {
    fn until(end: Instant) -> Self {
        Term(Arc::new(Mutex::new(end)))
    }

    fn end(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn extend(&self, end: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }

    fn left(&self) -> Duration {
        self.end().saturating_duration_since(Instant::now())
    }
}

/// Lets requests through as long as the term lasts. A process that stood still, and has not noticed yet, changes
/// nothing.
struct Fenced {
    transport: Arc<dyn Transport>,
    term: Term,
}

#[async_trait]
impl Transport for Fenced {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        if self.term.left().is_zero() && !mutant::active("B82") {
            return Err(TransportError {
                message: "the lease may be another's by now".to_owned(),
                sent: false,
            });
        }
        self.transport.send(request).await
    }
}

/// Runs `work` while this candidate leads, with a client that sends nothing once the lease may be another's; drops it
/// when the lease is lost, then runs for it again. Never returns.
pub async fn lead<F, Fut>(client: &Client, election: LeaderElection, random: &Random, work: F)
where
    F: Fn(Client) -> Fut,
    Fut: Future<Output = ()>,
{
    let api: Api<Lease> = Api::new(client);
    let random = random.stream("leader");
    let mut observed = Observed::default();
    loop {
        let term = loop {
            let asked = Instant::now();
            let held = matches!(try_hold(&api, &election, &mut observed).await, Ok(true));
            let term = Term::until(asked + election.renew_deadline);
            if held && !term.left().is_zero() {
                break term;
            }
            sleep(random.jitter(election.retry_period, 0.2)).await;
        };
        log::line(&election.name, format_args!("{} leads", election.identity));
        let fenced = client.over(|transport| {
            Arc::new(Fenced {
                transport,
                term: term.clone(),
            })
        });
        tokio::select! {
            biased;
            () = renew(&api, &election, &mut observed, &term) => {}
            () = work(fenced) => {}
        }
        log::line(&election.name, format_args!("{} leads no longer", election.identity));
    }
}

/// Renews until the term ends or somebody else holds the lease.
///
/// A renewal counts from when it was asked for: an answer may be old when it is read, after a standstill above all.
async fn renew(api: &Api<Lease>, election: &LeaderElection, observed: &mut Observed, term: &Term) {
    loop {
        sleep(election.retry_period).await;
        let asked = Instant::now();
        match within(term.left(), try_hold(api, election, observed)).await {
            Ok(Ok(true)) => term.extend(asked + election.renew_deadline),
            Ok(Err(_)) => {}
            Ok(Ok(false)) | Err(_) if mutant::is_on("B82") => {}
            Ok(Ok(false)) | Err(_) => return,
        }
        if term.left().is_zero() && !mutant::is_on("B82") {
            return;
        }
    }
}

/// Whether a lease was renewed so lately by what its holder and this machine's wall clock say; only a mutant asks.
fn is_dated(spec: &LeaseSpec, patience: Duration) -> bool {
    let renewed = spec.renew_time.as_ref();
    let age = renewed.map(|renewed| clock::now().duration_since(renewed.0));
    age.is_some_and(|age| Duration::try_from(age).unwrap_or_default() < patience)
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
    let fresh = fresh != (mutant::is_on("O116") && is_dated(&spec, patience) != fresh && mutant::active("O116"));
    if !holder.is_empty() && holder != election.identity && fresh {
        return Ok(false);
    }
    let mut next = Arc::unwrap_or_clone(current);
    next.spec = Some(claim(election, Some(&spec)));
    match api.replace(&next).await {
        Ok(lease) => {
            *observed = Observed {
                version: lease.metadata.resource_version.clone().unwrap_or_default(),
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
        lease_transitions: Some(if own.is_some() || before.is_none() || mutant::active("O78") {
            transitions
        } else {
            transitions + 1
        }),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use http::Method;
    use k8s_openapi::api::core::v1::ConfigMap;
    use orrery_api::message::Body;
    use orrery_api::task::TaskGroup;
    use serde_json::{Value, json};
    use tokio::time::advance;

    use super::*;

    /// A server with one lease, which answers after a while; it counts what is asked about anything else.
    #[derive(Default)]
    struct Leases {
        lease: Mutex<Option<Value>>,
        renewals: AtomicUsize,
        others: AtomicUsize,
    }

    impl Leases {
        fn carry_out(&self, request: &Request) -> (u16, Value) {
            let mut lease = self.lease.lock().expect("not poisoned");
            let version = |value: &Value| value["metadata"]["resourceVersion"].clone();
            if !request.uri().path().contains("/leases") {
                self.others.fetch_add(1, Ordering::Relaxed);
                return (404, json!({"kind": "Status", "code": 404, "reason": "NotFound"}));
            }
            if *request.method() == Method::GET {
                return match &*lease {
                    Some(lease) => (200, lease.clone()),
                    None => (404, json!({"kind": "Status", "code": 404, "reason": "NotFound"})),
                };
            }
            let mut next: Value = serde_json::from_slice(request.body()).expect("a lease");
            if lease.as_ref().is_some_and(|lease| version(lease) != version(&next)) {
                return (409, json!({"kind": "Status", "code": 409, "reason": "Conflict"}));
            }
            let renewals = self.renewals.fetch_add(1, Ordering::Relaxed);
            next["metadata"]["resourceVersion"] = json!((renewals + 1).to_string());
            *lease = Some(next.clone());
            (200, next)
        }
    }

    #[async_trait]
    impl Transport for Leases {
        async fn send(&self, request: Request) -> Result<Response, TransportError> {
            let (code, body) = self.carry_out(&request);
            sleep(Duration::from_millis(5)).await;
            let body = Body::Full(Bytes::from(body.to_string()));
            Ok(http::Response::builder().status(code).body(body).expect("a response"))
        }
    }

    fn start(server: &Arc<Leases>, identity: &str) -> TaskGroup {
        let client = Client::new(server.clone(), "test");
        let election = LeaderElection::new("test", identity);
        let tasks = TaskGroup::new();
        tasks.spawn(async move {
            let work = |client: Client| async move {
                let maps: Api<ConfigMap> = Api::new(&client);
                loop {
                    // Refused or not, it goes on: that is what is held back.
                    let _ = maps.get(&ObjectKey::new("default", "a")).await;
                    sleep(Duration::from_millis(100)).await;
                }
            };
            lead(&client, election, &Random::from_number(1), work).await;
        });
        tasks
    }

    fn holder(server: &Leases) -> String {
        let lease = server.lease.lock().expect("not poisoned");
        let holder = lease.as_ref().map(|lease| lease["spec"]["holderIdentity"].clone());
        holder
            .and_then(|holder| Some(holder.as_str()?.to_owned()))
            .unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_stood_still_while_it_renewed_does_nothing_more() {
        let server = Arc::new(Leases::default());
        let _tasks = start(&server, "one");
        sleep(Duration::from_secs(5)).await;
        assert!(server.others.load(Ordering::Relaxed) > 0, "it leads");
        let renewals = server.renewals.load(Ordering::Relaxed);
        while server.renewals.load(Ordering::Relaxed) == renewals {
            sleep(Duration::from_millis(1)).await;
        }
        // The renewal is carried out; its answer is read long after.
        advance(Duration::from_secs(12)).await;
        let others = server.others.load(Ordering::Relaxed);
        sleep(Duration::from_millis(8)).await;
        assert_eq!(server.others.load(Ordering::Relaxed), others, "its term is over");
    }

    #[tokio::test(start_paused = true)]
    async fn another_takes_a_lease_that_nobody_renews_and_only_then() {
        let server = Arc::new(Leases::default());
        let one = start(&server, "one");
        sleep(Duration::from_secs(5)).await;
        let _other = start(&server, "other");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(holder(&server), "one");
        drop(one);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(holder(&server), "one", "too soon");
        sleep(Duration::from_secs(10)).await;
        assert_eq!(holder(&server), "other");
    }
}
