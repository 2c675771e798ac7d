//! The loop: what it writes when the cluster changes, when writing fails, and when it need not write.

mod api;
#[path = "../plan/objects.rs"]
#[allow(dead_code, reason = "shared with the tests of the plan")]
mod objects;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_proxy::{FilterError, Options, PacketFilter, Ruleset, StaleFlows};
use tokio::time::{Instant, sleep};

use api::{Api, SERVICES, SLICES};
use objects::{options, ready, service, slice};

/// What a filter was told to do.
#[derive(Debug, Clone, PartialEq)]
enum Act {
    Apply(Ruleset),
    Flush(Vec<StaleFlows>),
}

#[derive(Default)]
struct Recorder {
    acts: Mutex<Vec<Act>>,
    failures: AtomicU32,
}

impl Recorder {
    fn acts(&self) -> Vec<Act> {
        self.acts.lock().unwrap().clone()
    }

    fn applied(&self) -> Vec<Ruleset> {
        let applied = |act| if let Act::Apply(rules) = act { Some(rules) } else { None };
        self.acts().into_iter().filter_map(applied).collect()
    }

    /// Waits until the rules lead to exactly these endpoints.
    async fn leads_to(&self, endpoints: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let standing = self.applied().pop();
            let found: Option<Vec<_>> = standing.map(|rules| rules.endpoints().map(|at| at.to_string()).collect());
            if found.as_ref().is_some_and(|found| {
                found.len() == endpoints.len() && endpoints.iter().all(|at| found.contains(&at.to_string()))
            }) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the rules lead to {found:?}, not to {endpoints:?}"
            );
            sleep(Duration::from_millis(5)).await;
        }
    }
}

#[async_trait]
impl PacketFilter for Recorder {
    async fn apply(&self, rules: &Ruleset) -> Result<(), FilterError> {
        let fail = |left: u32| left.checked_sub(1);
        if self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fail)
            .is_ok()
        {
            return Err(FilterError::Timeout("the test".into()));
        }
        self.acts.lock().unwrap().push(Act::Apply(rules.clone()));
        Ok(())
    }

    async fn flush_conntrack(&self, flows: &[StaleFlows]) -> Result<(), FilterError> {
        self.acts.lock().unwrap().push(Act::Flush(flows.to_vec()));
        Ok(())
    }

    async fn clear(&self) -> Result<(), FilterError> {
        Ok(())
    }
}

/// A proxy that runs as long as the group lives.
fn start(api: &Arc<Api>, options: Options) -> (Arc<Recorder>, TaskGroup) {
    let filter = Arc::new(Recorder::default());
    let tasks = TaskGroup::new();
    tasks.spawn(orrery_proxy::run(
        api.client(),
        options,
        filter.clone(),
        Random::from_number(1),
    ));
    (filter, tasks)
}

fn put_web(api: &Api, protocol: &str, addresses: &[&str]) {
    let endpoints = addresses.iter().map(|address| ready(address, "here")).collect();
    api.put(SLICES, "web", &slice("web", ("", protocol, 8080), endpoints));
    api.put(
        SERVICES,
        "web",
        &service("web", "ClusterIP", "10.96.0.7", &[("", protocol, 80, 0)]),
    );
}

#[tokio::test]
async fn the_rules_follow_services_and_slices() {
    let api = Api::new();
    let (filter, _tasks) = start(&api, options());
    put_web(&api, "TCP", &["10.244.0.5"]);
    filter.leads_to(&["10.244.0.5:8080"]).await;
    put_web(&api, "TCP", &["10.244.0.6", "10.244.0.7"]);
    filter.leads_to(&["10.244.0.6:8080", "10.244.0.7:8080"]).await;
    api.delete(SERVICES, "web");
    filter.leads_to(&[]).await;
    assert!(!filter.applied().pop().unwrap().to_string().contains("default/web"));
}

#[tokio::test]
async fn nothing_is_written_before_both_services_and_slices_are_known() {
    let api = Api::new();
    api.slices_fail.store(true, Ordering::Relaxed);
    put_web(&api, "TCP", &["10.244.0.5"]);
    let (filter, _tasks) = start(&api, options());
    sleep(Duration::from_millis(300)).await;
    assert_eq!(filter.acts(), []);
    api.slices_fail.store(false, Ordering::Relaxed);
    filter.leads_to(&["10.244.0.5:8080"]).await;
    assert_eq!(filter.applied().len(), 1);
}

#[tokio::test]
async fn a_write_that_fails_is_tried_again_until_it_succeeds() {
    let api = Api::new();
    put_web(&api, "TCP", &["10.244.0.5"]);
    let (filter, _tasks) = start(&api, options());
    filter.leads_to(&["10.244.0.5:8080"]).await;
    filter.failures.store(2, Ordering::Relaxed);
    put_web(&api, "TCP", &["10.244.0.6"]);
    filter.leads_to(&["10.244.0.6:8080"]).await;
    assert_eq!(filter.failures.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_change_that_changes_no_rule_writes_nothing_and_many_are_written_as_one() {
    let api = Api::new();
    put_web(&api, "TCP", &["10.244.0.5"]);
    let (filter, _tasks) = start(&api, options());
    filter.leads_to(&["10.244.0.5:8080"]).await;
    let mut relabelled = service("web", "ClusterIP", "10.96.0.7", &[("", "TCP", 80, 0)]);
    relabelled.metadata.labels = Some([("a".to_string(), "b".to_string())].into());
    api.put(SERVICES, "web", &relabelled);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(filter.applied().len(), 1);
    for last in 10..60 {
        put_web(&api, "TCP", &[&format!("10.244.0.{last}")]);
        sleep(Duration::from_millis(1)).await;
    }
    filter.leads_to(&["10.244.0.59:8080"]).await;
    assert!(filter.applied().len() <= 6, "{} writes", filter.applied().len());
}

#[tokio::test]
async fn the_rules_are_written_again_now_and_then_though_nothing_changed() {
    let api = Api::new();
    put_web(&api, "TCP", &["10.244.0.5"]);
    let often = Options {
        resync: Duration::from_millis(150),
        ..options()
    };
    let (filter, _tasks) = start(&api, often);
    sleep(Duration::from_millis(800)).await;
    let applied = filter.applied();
    assert!(applied.len() > 2 && applied.iter().all(|rules| *rules == applied[0]));
}

#[tokio::test]
async fn udp_flows_are_forgotten_after_the_rules_changed_also_when_the_last_endpoint_went() {
    let api = Api::new();
    put_web(&api, "UDP", &["10.244.0.5"]);
    let (filter, _tasks) = start(&api, options());
    filter.leads_to(&["10.244.0.5:8080"]).await;
    put_web(&api, "UDP", &[]);
    filter.leads_to(&[]).await;
    sleep(Duration::from_millis(100)).await;
    let acts = filter.acts();
    let Some(Act::Flush(flows)) = acts.last() else {
        panic!("{acts:?}")
    };
    assert_eq!(flows.len(), 1);
    assert!(flows[0].keep.is_empty() && flows[0].port == Some(80));
}
