//! What a scenario asks for in vain: objects that nobody makes, fields that they do not have,
//! processes that there are not, and moments after the end.
//!
//! A run would pass over it without a word, and be about less than the scenario says. What is certain is refused; what
//! may be meant so is a doubt, which `check` tells.

use std::time::Duration;

use serde_json::Value;

use super::faults::{FaultAction, LagScope, Moment};
use super::kind_fields;
use super::made::Made;
use super::manifests::namespace_of;
use super::processes::{no_such_process, nobody_to_hand_over_to};
use super::served::called;
use super::trigger::{Trigger, WriteTrigger};
use super::workload::{Manifest, StepAction};
use super::{CallSpec, Scenario, Span, Whom, write_duration};
use crate::workload::{is_namespaced, named};

/// Something that is asked for in vain.
#[derive(Debug)]
pub struct Vain {
    /// The list that it stands in, and as which entry of it.
    pub entry: (&'static str, usize),
    /// The word that it is about.
    pub word: String,
    /// What is wrong.
    pub why: String,
    /// Whether that is certain, and no meaning can be found in it.
    pub certain: bool,
}

/// All of it, in the order of the scenario's keys.
pub fn find(scenario: &Scenario) -> Vec<Vain> {
    let mut search = Search {
        scenario,
        made: Made::of(scenario),
        found: Vec::new(),
    };
    for (index, plan) in scenario.workload.iter().enumerate() {
        let entry = ("workload", index);
        match (&plan.action, &plan.moment) {
            (StepAction::Churn(_), Moment::Between(span)) => search.churn(entry, span),
            (_, moment) => search.moment(entry, moment),
        }
        search.step(entry, &plan.action);
    }
    for (index, plan) in scenario.faults.iter().enumerate() {
        let entry = ("faults", index);
        search.moment(entry, &plan.moment);
        search.components(entry, &plan.action.whom());
        plan.action
            .until()
            .into_iter()
            .for_each(|until| search.trigger(entry, until));
        match &plan.action {
            FaultAction::ApiLag(spec) => {
                if let LagScope::Object(object) = &spec.scope {
                    search.written(entry, object);
                }
            }
            FaultAction::DelayCall(spec) => search.call(entry, &spec.call),
            FaultAction::HandOver(spec) => {
                if let Some(why) = nobody_to_hand_over_to(&scenario.topology, spec.component.role) {
                    search.tell(entry, &spec.component.to_string(), why, true);
                }
            }
            _ => {}
        }
    }
    for (object, fields) in scenario.expect.state.iter().flatten() {
        search.object(("expect", 0), object, true);
        let paths = fields.iter().flat_map(|fields| fields.keys());
        paths.for_each(|path| search.field(("expect", 0), object, path));
    }
    search.found
}

/// A run looks only now and then whether it is over.
const LOOK: Duration = Duration::from_secs(60);

/// The code that says that something is not there.
const NOT_FOUND: u16 = 404;

type Entry = (&'static str, usize);

struct Search<'a> {
    scenario: &'a Scenario,
    made: Made<'a>,
    found: Vec<Vain>,
}

impl Search<'_> {
    fn tell(&mut self, entry: Entry, word: &str, why: String, certain: bool) {
        self.found.push(Vain {
            entry,
            word: word.to_owned(),
            why,
            certain,
        });
    }

    /// Faults strike until the chaos ends, and steps are waited for until the run is given up.
    fn moment(&mut self, entry: Entry, moment: &Moment) {
        let (word, first, last) = match moment {
            Moment::At(at) => ("at", *at, *at),
            Moment::Between(span) => ("between", span.low, span.high),
            Moment::When(trigger) => {
                self.trigger(entry, trigger);
                let first = trigger.earliest();
                ("when", first, first)
            }
        };
        let end = self.scenario.duration;
        let given_up = end + self.scenario.expect.converge + LOOK;
        let over = write_duration(end);
        let told = match entry.0 {
            "faults" if first > end => Some((
                format!("too late to strike: the chaos ends after {over} (`duration`)"),
                true,
            )),
            "faults" if last > end => Some((
                format!("may be too late to strike: the chaos ends after {over} (`duration`)"),
                false,
            )),
            "workload" if first > given_up => Some((
                format!("too late to be done: the chaos ends after {over}, and after `converge` the run is given up"),
                true,
            )),
            "workload" if last > end => Some((
                format!("nothing goes wrong any more then: the chaos ends after {over} (`duration`)"),
                false,
            )),
            _ => None,
        };
        if let Some((why, certain)) = told {
            self.tell(entry, word, why, certain);
        }
    }

    /// A user who does not rest when the chaos is over lets the cluster come to no rest, either.
    fn churn(&mut self, entry: Entry, span: &Span) {
        if span.high > self.scenario.duration {
            let over = write_duration(self.scenario.duration);
            let why = format!(
                "the user goes on after the chaos, and the cluster cannot converge: let `between` end by {over} \
                 (`duration`), or make `duration` {} or more",
                write_duration(span.high)
            );
            self.tell(entry, "between", why, true);
        }
    }

    fn step(&mut self, entry: Entry, action: &StepAction) {
        match action {
            StepAction::Scale(spec) => self.deployment(entry, &spec.namespace, &spec.deployment),
            StepAction::SetImage(spec) => self.deployment(entry, &spec.namespace, &spec.deployment),
            StepAction::Undo(spec) => self.deployment(entry, &spec.namespace, &spec.deployment),
            StepAction::Restart(choice)
            | StepAction::PauseRollout(choice)
            | StepAction::ResumeRollout(choice)
            | StepAction::CreateDeleteSameName(choice)
            | StepAction::DeleteForeground(choice) => self.deployment(entry, &choice.namespace, &choice.deployment),
            StepAction::Edit(spec) => self.object(entry, &spec.object, true),
            StepAction::SetCondition(spec) => self.object(entry, &spec.object, true),
            StepAction::AddFinalizer(spec) | StepAction::RemoveFinalizer(spec) => {
                self.object(entry, &spec.object, true);
            }
            // Owners that do not exist are left out, and what is not there need not be deleted.
            StepAction::Own(spec) => {
                self.object(entry, &spec.object, true);
                spec.owners.iter().for_each(|owner| self.object(entry, owner, false));
            }
            StepAction::Delete(spec) => self.object(entry, &spec.object, false),
            StepAction::Replace(spec) => self.replaced(entry, &spec.object),
            // Of what is not there, something else is said.
            StepAction::Refused(spec) => {
                if let Some(object) = spec.object() {
                    self.object(entry, object, spec.code != NOT_FOUND);
                }
            }
            StepAction::RecreateNamespace(choice) => {
                self.ask(entry, &choice.namespace, ("Namespace", None, &choice.namespace), true);
            }
            StepAction::Apply(Manifest::Inline(_) | Manifest::File(_))
            | StepAction::DeletePod(_)
            | StepAction::LabelPod(_)
            | StepAction::Cordon(_)
            | StepAction::Uncordon(_)
            | StepAction::Drain(_)
            | StepAction::Taint(_)
            | StepAction::Untaint(_)
            | StepAction::List(_)
            | StepAction::Churn(_) => {}
        }
    }

    /// An object in whose place another is put.
    fn replaced(&mut self, entry: Entry, object: &Value) {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let namespace = Some(namespace_of(object)).filter(|_| is_namespaced(kind));
        self.ask(entry, name, (kind, namespace, name), true);
    }

    fn deployment(&mut self, entry: Entry, namespace: &str, name: &str) {
        self.ask(entry, name, ("Deployment", Some(namespace), name), true);
    }

    /// An object as steps and expectations name it.
    fn object(&mut self, entry: Entry, object: &str, certain: bool) {
        if object.contains('*') {
            let why =
                format!("{object:?} is no object: `*` has a meaning only in triggers and faults; here one is named");
            self.tell(entry, object, why, true);
        } else if let Some((kind, namespace, name)) = named(object) {
            let namespace = Some(namespace).filter(|_| is_namespaced(kind));
            self.ask(entry, object, (kind, namespace, name), certain);
        }
    }

    /// An object as triggers name it, whose write is waited for.
    fn written(&mut self, entry: Entry, object: &str) {
        let meant = match *object.split('/').collect::<Vec<_>>() {
            [kind, namespace, name] => (kind, Some(namespace).filter(|own| *own != "*"), name),
            [kind, name] => (kind, None, name),
            _ => return,
        };
        self.ask(entry, object, meant, true);
    }

    /// Processes that there are not.
    fn components(&mut self, entry: Entry, whom: &Whom<'_>) {
        for component in &whom.components {
            if let Some(why) = no_such_process(&self.scenario.topology, component) {
                self.tell(entry, &component.to_string(), why, true);
            }
        }
    }

    /// A field that objects of such a kind do not have.
    fn field(&mut self, entry: Entry, object: &str, path: &str) {
        let kind = object.split('/').next().and_then(called);
        let wrong = kind.and_then(|kind| kind_fields::wrong(&kind.api_version(), kind.kind, path));
        if let Some(wrong) = wrong.filter(|_| !path.is_empty()) {
            self.tell(entry, path, format!("{object} has {wrong}"), true);
        }
    }

    fn trigger(&mut self, entry: Entry, trigger: &Trigger) {
        match trigger {
            Trigger::Write(WriteTrigger { object, fields, .. }) => {
                self.written(entry, object);
                fields.iter().for_each(|field| self.field(entry, object, &field.path));
                self.components(entry, &trigger.whom());
            }
            Trigger::Call { call, .. } => {
                self.call(entry, call);
                self.components(entry, &trigger.whom());
            }
            Trigger::After(_) => {}
            Trigger::All(items) | Trigger::Any(items) | Trigger::Sequence(items) => {
                items.iter().for_each(|item| self.trigger(entry, item));
            }
        }
    }

    /// A call may be about what is not there.
    fn call(&mut self, entry: Entry, call: &CallSpec) {
        let (Some(resource), Some(object)) = (&call.resource, &call.object) else {
            return;
        };
        let (namespace, name) = match object.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, object.as_str()),
        };
        let plural = resource.split('/').next().unwrap_or_default();
        self.ask(entry, object, (plural, namespace, name), false);
    }

    fn ask(&mut self, entry: Entry, word: &str, (kind, namespace, name): (&str, Option<&str>, &str), certain: bool) {
        if let Some(why) = self.made.nobody_makes(kind, namespace, name) {
            self.tell(entry, word, why, certain);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Error, examine, examine_file};

    const MANIFEST: &str = "
apiVersion: v1
kind: List
items:
  - { apiVersion: apps/v1, kind: Deployment, metadata: { name: web } }
  - { apiVersion: apps/v1, kind: Deployment, metadata: { name: db, namespace: team } }
  - { apiVersion: v1, kind: Service, metadata: { name: front } }
  - { apiVersion: v1, kind: Namespace, metadata: { name: team } }
";

    fn told(text: &str) -> Result<Vec<String>, String> {
        let source = format!("name: a\nduration: 1m\nworkload:\n  - at: 1s\n    apply: all.yaml\n{text}");
        let examined = examine("a.yaml", &source, |_| Ok(MANIFEST.to_owned()));
        let lines = |doubts: Vec<Error>| doubts.iter().map(ToString::to_string).collect();
        examined
            .map(|(_, doubts)| lines(doubts))
            .map_err(|error| error.to_string())
    }

    fn step(action: &str) -> Result<Vec<String>, String> {
        told(&format!("  - at: 2s\n    {action}\n"))
    }

    fn fault(entry: &str) -> Result<Vec<String>, String> {
        told(&format!("faults:\n  - {entry}\n"))
    }

    #[test]
    fn a_step_on_what_nobody_makes_is_refused_with_the_nearest_that_there_is() {
        insta::assert_snapshot!(step("scale: { deployment: wbe, replicas: 1 }").unwrap_err(), @r#"a.yaml:7:26: nobody makes a Deployment "default/wbe"; did you mean "default/web"? (known: default/web, team/db)"#);
        insta::assert_snapshot!(step("restart: { deployment: db }").unwrap_err(), @r#"a.yaml:7:28: nobody makes a Deployment "default/db"; did you mean "default/web"? (known: default/web, team/db)"#);
        insta::assert_snapshot!(step("edit: { object: svc/fornt, patch: {} }").unwrap_err(), @r#"a.yaml:7:21: nobody makes a Service "default/fornt"; did you mean "default/front"? (known: default/front, default/kubernetes)"#);
        insta::assert_snapshot!(step("add-finalizer: { object: Secret/key }").unwrap_err(), @r#"a.yaml:7:30: nobody makes a Secret "default/key", and no other Secret"#);
        insta::assert_snapshot!(step("recreate-namespace: { namespace: taem }").unwrap_err(), @r#"a.yaml:7:38: nobody makes a Namespace "taem"; did you mean "team"? (known: default, team)"#);
        for right in [
            "scale: { deployment: web, replicas: 1 }",
            "undo: { deployment: db, namespace: team }",
            "edit: { object: deploy/team/db, patch: {} }",
            "edit: { object: no/node-2, patch: {} }",
            "edit: { object: endpoints/front, patch: {} }",
            "edit: { object: cm/kube-root-ca.crt, patch: {} }",
            // Who makes these is not known.
            "edit: { object: serviceaccount/default, patch: {} }",
            "edit: { object: lease/kube-system/kube-scheduler, patch: {} }",
            "own: { object: rs/web-5889cd8c84, owners: [Deployment/web] }",
            "recreate-namespace: { namespace: team }",
        ] {
            assert_eq!(step(right), Ok(Vec::new()), "{right}");
        }
    }

    #[test]
    fn what_need_not_be_there_is_a_doubt() {
        let doubts = step("delete: { object: Deployment/wbe, grace: 0 }").unwrap();
        insta::assert_snapshot!(doubts.join("\n"), @r#"a.yaml:7:23: nobody makes a Deployment "default/wbe"; did you mean "default/web"? (known: default/web, team/db)"#);
        let doubts = step("own: { object: svc/front, owners: [svc/fornt, Pod/web-5889cd8c84-x2x4z] }").unwrap();
        insta::assert_snapshot!(doubts.join("\n"), @r#"a.yaml:7:40: nobody makes a Service "default/fornt"; did you mean "default/front"? (known: default/front, default/kubernetes)"#);
        let doubts =
            fault("at: 1s\n    delay-call: { client: user, resource: deployments, object: default/wbe }").unwrap();
        insta::assert_snapshot!(doubts.join("\n"), @r#"a.yaml:8:64: nobody makes a Deployment "default/wbe"; did you mean "default/web"? (known: default/web, team/db)"#);
    }

    #[test]
    fn a_write_that_never_comes_is_not_waited_for() {
        let when = |trigger: &str| fault(&format!("when: {trigger}\n    restart: scheduler"));
        insta::assert_snapshot!(when("{ any: [{ create: Pod/default/web-* }, { create: Pod/default/wbe-* }] }").unwrap_err(), @r#"a.yaml:7:60: nobody makes a Pod "default/wbe-*"; did you mean "default/web-*"? (known: default/web-*, team/db-*)"#);
        insta::assert_snapshot!(when("{ delete: Deployment/web/default }").unwrap_err(), @r#"a.yaml:7:21: nobody makes a Deployment "web/default" (known: default/web, team/db)"#);
        insta::assert_snapshot!(when("{ update: Node/default/node-1 }").unwrap_err(), @r#"a.yaml:7:21: nobody makes a Node "default/node-1" (known: node-1, node-2, node-3)"#);
        let until = "at: 1s\n    pause: { component: scheduler, until: { create: Secret/* } }";
        insta::assert_snapshot!(fault(until).unwrap_err(), @r#"a.yaml:8:53: nobody makes a Secret "*/*", and no other Secret"#);
        let lag = "at: 1s\n    api-lag: { server: apiserver, object: Service/default/frnt, for: 1s }";
        insta::assert_snapshot!(fault(lag).unwrap_err(), @r#"a.yaml:8:43: nobody makes a Service "default/frnt"; did you mean "default/front"? (known: default/front, default/kubernetes)"#);
        for right in [
            "{ create: Pod/default/* }",
            "{ create: Pod/* }",
            "{ create: Pod/default/web-5889cd8c84-x2x4z }",
            "{ create: Pod/w* }",
            "{ update: ReplicaSet/team/db-5889* }",
            "{ update: Node/node-1 }",
            "{ update: Endpoints/default/front }",
            "{ create: EndpointSlice/default/front-abcde }",
            "{ update: Deployment/*/db }",
        ] {
            assert_eq!(when(right), Ok(Vec::new()), "{right}");
        }
    }

    #[test]
    fn an_end_that_nothing_can_have_is_not_expected() {
        insta::assert_snapshot!(told("expect:\n  state: [{ deployment/wbe: { spec.replicas: 1 } }]\n").unwrap_err(), @r#"a.yaml:7:13: nobody makes a Deployment "default/wbe"; did you mean "default/web"? (known: default/web, team/db)"#);
        let state = |object: &str| told(&format!("expect:\n  state: [{{ {object} }}]\n")).unwrap_err();
        insta::assert_snapshot!(state("deployment/web: { status.availableReplica: 3 }"), @r#"a.yaml:7:31: deployment/web has an unknown field "status.availableReplica"; did you mean "availableReplicas"? (known: availableReplicas, collisionCount, conditions, observedGeneration, readyReplicas, replicas, terminatingReplicas, unavailableReplicas, updatedReplicas)"#);
        insta::assert_snapshot!(state("deployment/web*: { spec.replicas: 3 }"), @r#"a.yaml:7:13: "deployment/web*" is no object: `*` has a meaning only in triggers and faults; here one is named"#);
        insta::assert_snapshot!(step("edit: { object: deployment/web*, patch: {} }").unwrap_err(), @r#"a.yaml:7:21: "deployment/web*" is no object: `*` has a meaning only in triggers and faults; here one is named"#);
        let right = "expect: { state: [{ deployment/web: { spec.replicas: 1 } }, { node/node-1: { kind: Node } }] }\n";
        assert_eq!(told(right), Ok(Vec::new()));
    }

    #[test]
    fn a_field_that_no_such_object_has_never_changes() {
        let when = |trigger: &str| fault(&format!("when: {trigger}\n    restart: scheduler"));
        let plain = "{ update: Deployment/default/web, field: spec.replica, to: 1 }";
        insta::assert_snapshot!(when(plain).unwrap_err(), @r#"a.yaml:7:52: Deployment/default/web has an unknown field "spec.replica"; did you mean "replicas"? (known: minReadySeconds, paused, progressDeadlineSeconds, replicas, revisionHistoryLimit, selector, strategy, template)"#);
        let several = "{ any: [{ update: Pod/default/*, fields: { spec.nodeNam: {}, status.phase: {} } }] }";
        insta::assert_snapshot!(when(several).unwrap_err(), @r#"a.yaml:7:54: Pod/default/* has an unknown field "spec.nodeNam"; did you mean "nodeName"? (known: activeDeadlineSeconds, affinity, automountServiceAccountToken, containers, dnsConfig, dnsPolicy, enableServiceLinks, ephemeralContainers, hostAliases, hostIPC, hostNetwork, hostPID, hostUsers, hostname, hostnameOverride, imagePullSecrets, initContainers, nodeName, nodeSelector, os, overhead, preemptionPolicy, priority, priorityClassName, readinessGates, resourceClaims, resources, restartPolicy, runtimeClassName, schedulerName, schedulingGates, securityContext, serviceAccount, serviceAccountName, setHostnameAsFQDN, shareProcessNamespace, subdomain, terminationGracePeriodSeconds, tolerations, topologySpreadConstraints, volumes, workloadRef)"#);
        for right in [
            "{ update: Pod/default/*, fields: { spec.nodeName: { to: node-1 }, status.phase: {} } }",
            "{ update: Deployment/default/web, field: spec.template.spec.containers.0.image }",
            "{ update: po/default/*, field: metadata.labels.app.kubernetes.io/name }",
        ] {
            assert_eq!(when(right), Ok(Vec::new()), "{right}");
        }
    }

    #[test]
    fn a_process_that_there_is_not_is_not_struck() {
        let at = |action: &str| fault(&format!("at: 1s\n    {action}")).unwrap_err();
        insta::assert_snapshot!(at("restart: scheduler/7"), @r#"a.yaml:8:14: no process "scheduler/7"; did you mean "scheduler/1"? (known: scheduler/1)"#);
        insta::assert_snapshot!(at("restart: controller-manager/one"), @r#"a.yaml:8:14: no process "controller-manager/one"; did you mean "controller-manager/1"? (known: controller-manager/1)"#);
        insta::assert_snapshot!(at("crash: { component: store }"), @"a.yaml:8:25: the store has no process of its own with one API server: `topology: { apiservers: 2 }` gives it one");
        insta::assert_snapshot!(at("api-lag: { server: apiserver/2 }"), @r#"a.yaml:8:24: no process "apiserver/2"; did you mean "apiserver/1"? (known: apiserver/1)"#);
        insta::assert_snapshot!(at("reconnect: { component: scheduler, to: apiserver/9 }"), @r#"a.yaml:8:44: no process "apiserver/9"; did you mean "apiserver/1"? (known: apiserver/1)"#);
        insta::assert_snapshot!(at("lost-answers: { client: scheduler/5 }"), @r#"a.yaml:8:29: no process "scheduler/5"; did you mean "scheduler/1"? (known: scheduler/1)"#);
        insta::assert_snapshot!(at("lag: { client: scheduler/5, by: 1s }"), @r#"a.yaml:8:20: no process "scheduler/5"; did you mean "scheduler/1"? (known: scheduler/1)"#);
        insta::assert_snapshot!(at("hand-over: { component: scheduler }"), @"a.yaml:8:29: the only scheduler has no twin to hand over to: `topology: { schedulers: 2 }` makes one");
        let until = "pause: { component: scheduler, until: { create: Pod/*, observed-by: apiserver/2 } }";
        insta::assert_snapshot!(at(until), @r#"a.yaml:8:73: no process "apiserver/2"; did you mean "apiserver/1"? (known: apiserver/1)"#);
        let when = "when: { call: { client: scheduler/2, verb: list } }\n    restart: proxy";
        insta::assert_snapshot!(fault(when).unwrap_err(), @r#"a.yaml:7:29: no process "scheduler/2"; did you mean "scheduler/1"? (known: scheduler/1)"#);
        let several = "topology: { apiservers: 2, schedulers: 2, controllerManagers: 2 }\nfaults:\n  - at: 1s\n    ";
        for right in [
            "restart: scheduler/2",
            "crash: { component: store }",
            "pause: { component: store/1 }",
            "api-lag: { server: apiserver/2 }",
            "reconnect: { component: scheduler, to: apiserver/2 }",
            "hand-over: { component: controller-manager/1 }",
            "lost-answers: { client: user }",
            "lag: { client: kubelet/node-3, by: 1s }",
        ] {
            assert_eq!(told(&format!("{several}{right}\n")), Ok(Vec::new()), "{right}");
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test reads the scenarios of the house")]
    fn no_scenario_of_the_house_asks_for_anything_in_vain() {
        let house = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
        let mut read = 0;
        for folder in [house.to_owned(), format!("{house}/regressions")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "yaml") {
                    let examined = examine_file(path.to_str().unwrap());
                    assert_eq!(examined.map(|(_, doubts)| doubts), Ok(Vec::new()));
                    read += 1;
                }
            }
        }
        assert!(read > 100, "{read}");
    }

    #[test]
    fn who_churns_makes_copies() {
        let churn = "  - between: 1s..9s\n    churn: { every: 1s, ops: all }\n  - at: 9s\n    ";
        let after = |action: &str| told(&format!("{churn}{action}\n"));
        assert_eq!(
            after("scale: { deployment: web, namespace: churn, replicas: 1 }"),
            Ok(Vec::new())
        );
        assert_eq!(after("edit: { object: cm/settings, patch: {} }"), Ok(Vec::new()));
        assert!(after("scale: { deployment: wbe, replicas: 1 }").is_err());
    }

    #[test]
    fn with_a_sooner_end_nothing_comes_too_late() {
        let source = "name: a\nduration: 100s\nworkload:\n  - between: 10s..90s\n    churn: { every: 1s, ops: all }\n  \
                      - between: 60s..90s\n    churn: { every: 1s, ops: all }\nfaults:\n  - at: 70s\n    restart: proxy\n";
        let (long, _) = examine("a.yaml", source, |_| Err(String::new())).unwrap();
        let short = long.ending_at(Duration::from_secs(50));
        assert_eq!((short.workload.len(), short.faults.len()), (1, 0));
        assert_eq!(
            examine("a.yaml", &short.to_yaml(), |_| Err(String::new())),
            Ok((short, Vec::new()))
        );
    }

    #[test]
    fn what_comes_after_the_end_is_refused_or_doubted() {
        insta::assert_snapshot!(fault("at: 61s\n    restart: scheduler").unwrap_err(), @"a.yaml:7:5: too late to strike: the chaos ends after 1m (`duration`)");
        insta::assert_snapshot!(fault("between: 2m..3m\n    restart: scheduler").unwrap_err(), @"a.yaml:7:5: too late to strike: the chaos ends after 1m (`duration`)");
        insta::assert_snapshot!(fault("when: { after: 2m }\n    restart: scheduler").unwrap_err(), @"a.yaml:7:5: too late to strike: the chaos ends after 1m (`duration`)");
        let some = fault("between: 30s..2m\n    swarm: all").unwrap();
        insta::assert_snapshot!(some.join("\n"), @"a.yaml:7:5: may be too late to strike: the chaos ends after 1m (`duration`)");
        assert_eq!(fault("at: 60s\n    restart: scheduler"), Ok(Vec::new()));
        let waits = "when: { any: [{ after: 2m }, { create: Pod/* }] }\n    restart: scheduler";
        assert_eq!(fault(waits), Ok(Vec::new()));
        let churn = |until: &str| {
            told(&format!(
                "  - between: 20s..{until}\n    churn: {{ every: 1s, ops: all }}\n"
            ))
        };
        insta::assert_snapshot!(churn("500s").unwrap_err(), @"a.yaml:6:5: the user goes on after the chaos, and the cluster cannot converge: let `between` end by 1m (`duration`), or make `duration` 500s or more");
        assert_eq!(churn("60s"), Ok(Vec::new()));
        // Steps are done after the chaos, too, as long as the run waits for the cluster.
        let late = |at: &str| told(&format!("  - at: {at}\n    restart: {{ deployment: web }}\n"));
        insta::assert_snapshot!(late("90s").unwrap().join("\n"), @"a.yaml:6:5: nothing goes wrong any more then: the chaos ends after 1m (`duration`)");
        insta::assert_snapshot!(late("241s").unwrap_err(), @"a.yaml:6:5: too late to be done: the chaos ends after 1m, and after `converge` the run is given up");
    }
}
