//! What a run drew, in concrete words: which faults struck whom and when, what the users did, what stayed broken.
//!
//! The scenario made of it is *pinned*: it has no swarm, no churn, no `any` and no `between`. What is still drawn by
//! the seed then: the order of tasks that are ready at the same time, latencies, loss, and how long containers take.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::scenario::{
    ClientTarget, FaultAction, FaultPlan, Heal, Loss, LostAnswersSpec, Moment, Scenario, StepAction, StepPlan,
    WhichAnswers,
};

/// What a run drew so far.
#[derive(Default)]
pub struct Choices {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    start: Option<Instant>,
    faults: Vec<FaultPlan>,
    steps: Vec<StepPlan>,
    lost: BTreeMap<LostKey, Vec<u32>>,
    /// What befell single requests: since when, and the fault that says so.
    befell: Vec<(Duration, FaultAction)>,
    left: Option<Vec<String>>,
}

/// A fault that loses answers, and some of the answers that it lost: since when, whose, to which writes, and how.
type LostKey = (Duration, String, String, Loss);

impl Choices {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chaos begins: moments count from now.
    pub fn begin(&self, start: Instant) {
        self.lock().start = Some(start);
    }

    /// How long the chaos has gone on, in whole microseconds: what is finer is the executor's.
    pub fn elapsed(&self) -> Duration {
        let elapsed = self.lock().start.map_or(Duration::ZERO, |start| start.elapsed());
        Duration::from_micros(elapsed.as_micros() as u64)
    }

    /// A fault struck: whom, for how long, and so on. Where chance decides request by request, each one is told to
    /// [`befell`](Self::befell) or [`lost`](Self::lost) instead.
    pub fn fault(&self, moment: Moment, action: FaultAction) {
        if !action.is_by_chance() {
            self.lock().faults.push(FaultPlan { moment, action });
        }
    }

    /// A user did something.
    pub fn step(&self, moment: Moment, action: StepAction) {
        self.lock().steps.push(StepPlan { moment, action });
    }

    /// A fault that began at `began` lost the answer to the `number`th `write` of `client` since then.
    pub fn lost(&self, began: Duration, client: &str, write: String, number: u32, then: Loss) {
        let key = (began, client.to_owned(), write, then);
        self.lock().lost.entry(key).or_default().push(number);
    }

    /// A fault that began at `began` befell a request; `fault` would do just this.
    pub fn befell(&self, began: Duration, fault: FaultAction) {
        self.lock().befell.push((began, fault));
    }

    /// These machines stay broken.
    pub fn left(&self, machines: &[String]) {
        self.lock().left = Some(machines.to_vec());
    }

    /// The scenario with what this run of it drew, instead of what may be drawn.
    pub fn pinned(&self, scenario: &Scenario, seed: u64) -> Scenario {
        let inner = self.lock();
        let mut faults = inner.faults.clone();
        faults.extend(inner.lost.iter().filter_map(lost_answers));
        faults.extend(befallen(&inner.befell));
        faults.sort_by_cached_key(|plan| (order(&plan.moment), plan.action.to_line()));
        let mut workload = inner.steps.clone();
        workload.sort_by_key(|plan| order(&plan.moment));
        let heal = match inner.left.as_deref() {
            None | Some([]) => Heal::All,
            Some(left) => Heal::AllBut(left.to_vec()),
        };
        Scenario {
            seed: Some(seed),
            workload,
            faults,
            heal,
            ..scenario.clone()
        }
    }
}

/// Moments in time stand in their order, and before those that wait for something.
fn order(moment: &Moment) -> (bool, Duration) {
    match moment {
        Moment::At(at) => (false, *at),
        Moment::Between(span) => (false, span.low),
        Moment::When(_) => (true, Duration::ZERO),
    }
}

fn lost_answers(((began, client, write, then), requests): (&LostKey, &Vec<u32>)) -> Option<FaultPlan> {
    let client = ClientTarget::parse(client).ok()?;
    Some(FaultPlan {
        moment: Moment::At(*began),
        action: FaultAction::LostAnswers(LostAnswersSpec {
            client: Some(client),
            which: WhichAnswers::These {
                write: write.clone(),
                requests: requests.clone(),
                then: *then,
            },
        }),
    })
}

/// What befell single requests, with those that are alike but for their numbers together.
fn befallen(befell: &[(Duration, FaultAction)]) -> Vec<FaultPlan> {
    let mut alike: BTreeMap<(Duration, String), FaultAction> = BTreeMap::new();
    for (began, fault) in befell {
        let mut fault = fault.clone();
        let numbers = fault.nth().map(std::mem::take).unwrap_or_default();
        let known = alike.entry((*began, fault.to_line())).or_insert(fault);
        if let Some(nth) = known.nth() {
            nth.extend(numbers);
        }
    }
    let plans = alike.into_iter().map(|((began, _), action)| FaultPlan {
        moment: Moment::At(began),
        action,
    });
    plans.collect()
}

/// Names for the streams of faults and steps: by what they are, and the how manieth of their like. So one that is added
/// or removed does not shift what the others draw.
#[derive(Debug, Default)]
pub struct Occurrences(BTreeMap<String, u32>);

impl Occurrences {
    /// The name of the next one that is described by `line`.
    pub fn next(&mut self, line: String) -> String {
        let count = self.0.entry(line.clone()).or_default();
        *count += 1;
        format!("{line} #{count}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::read;

    #[test]
    fn a_pinned_scenario_says_what_happened_in_the_order_of_time() {
        let scenario = read(
            "a.yaml",
            "name: a\nduration: 1m\nfaults:\n  - between: 0s..1m\n    swarm: all\n",
            |_| Err(String::new()),
        );
        let (scenario, choices) = (scenario.unwrap(), Choices::default());
        let at = |seconds| Moment::At(Duration::from_secs(seconds));
        let restart = |text: &str| {
            FaultAction::Restart(crate::scenario::RestartSpec(
                crate::scenario::ComponentTarget::parse(text).unwrap(),
            ))
        };
        choices.fault(at(30), restart("kubelet/node-2"));
        choices.fault(at(10), restart("scheduler/1"));
        for number in [2, 5] {
            choices.lost(
                Duration::from_secs(20),
                "user",
                "create pods".to_owned(),
                number,
                Loss::Silence,
            );
        }
        choices.left(&["node-3".to_owned()]);
        let text = choices.pinned(&scenario, 7).to_yaml();
        insta::assert_snapshot!(text, @r#"
        name: a
        seed: 7
        faults:
          - at: 10s
            restart: scheduler/1
          - at: 20s
            lost-answers: { client: user, write: create pods, requests: [2, 5], then: silence }
          - at: 30s
            restart: kubelet/node-2
        heal: { all-but: [node-3] }
        duration: 1m
        "#);
    }

    #[test]
    fn what_befell_single_requests_is_told_together_where_only_the_numbers_differ() {
        let fault = |text: &str| {
            let yaml = format!("name: a\nduration: 1m\nfaults:\n  - at: 5s\n    {text}\n");
            let scenario = read("a.yaml", &yaml, |_| Err(String::new())).unwrap();
            scenario.faults[0].action.clone()
        };
        let binding = |nth: u32, code: u16| {
            fault(&format!(
                "api-errors: {{ client: scheduler/1, request: create pods/binding, nth: [{nth}], codes: [{code}] }}"
            ))
        };
        let began = Duration::from_secs(5);
        let befell: Vec<_> = [binding(2, 500), binding(3, 429), binding(4, 500)]
            .map(|fault| (began, fault))
            .to_vec();
        let told: Vec<String> = befallen(&befell).iter().map(|plan| plan.action.to_line()).collect();
        assert_eq!(told.len(), 2);
        assert!(
            told[0].contains("nth: [3]") && told[1].contains("nth: [2, 4]"),
            "{told:?}"
        );
        let by_chance = fault("api-errors: { codes: [500], probability: 0.5, for: 10s }");
        let choices = Choices::default();
        choices.fault(Moment::At(began), by_chance);
        choices.fault(Moment::At(began), binding(2, 500));
        assert_eq!(choices.lock().faults.len(), 1);
    }

    #[test]
    fn equal_steps_are_told_apart_by_their_number() {
        let mut names = Occurrences::default();
        assert_eq!(names.next("a".to_owned()), "a #1");
        assert_eq!(names.next("b".to_owned()), "b #1");
        assert_eq!(names.next("a".to_owned()), "a #2");
    }
}
