//! Scenarios written back: the shortest YAML, in the style of the house's scenarios, that is read as an equal scenario.
//!
//! Everything is taken apart by name, without `..` and without `_`: a new kind of fault, step or field does not compile
//! until it can be written. Manifests that were read from files are written into the scenario.

use std::collections::BTreeMap;
use std::time::Duration;

use super::quantity::write_duration;
use super::topology::numbered;
use super::yaml::Yaml;
use super::{ABSENT, Fields};
use super::{
    Expect, FaultPlan, Heal, ImageScript, InvariantChoice, NetworkSpec, NodeSpec, SameAs, Scenario, StepPlan,
    StoreSpec, TaintSpec, Topology,
};

impl Scenario {
    /// The scenario as YAML; reading it gives an equal scenario.
    pub fn to_yaml(&self) -> String {
        Yaml::document(&scenario(self).0)
    }

    /// How many lines its faults and its workload take: what a reader has to understand of a failure.
    pub fn lines(&self) -> usize {
        let all = scenario(self).0.into_iter();
        let counted: Vec<(String, Yaml)> = all
            .filter(|(key, _)| matches!(key.as_str(), "faults" | "workload"))
            .collect();
        // The two keys themselves say nothing.
        Yaml::document(&counted).lines().count() - counted.len()
    }
}

/// The keys of a map that differ from their defaults, in order.
#[derive(Default)]
pub(super) struct Keys(Vec<(String, Yaml)>);

impl Keys {
    pub(super) fn with(mut self, key: &str, value: Yaml) -> Self {
        self.0.push((key.to_owned(), value));
        self
    }

    pub(super) fn unless(self, default: bool, key: &str, value: impl FnOnce() -> Yaml) -> Self {
        if default { self } else { self.with(key, value()) }
    }

    pub(super) fn some<'a, T>(self, key: &str, value: Option<&'a T>, write: impl FnOnce(&'a T) -> Yaml) -> Self {
        match value {
            Some(value) => self.with(key, write(value)),
            None => self,
        }
    }

    pub(super) fn map(self) -> Yaml {
        Yaml::Map(self.0)
    }
}

pub(super) fn words<'a, T>(items: &'a [T], word: impl Fn(&'a T) -> Yaml) -> Yaml {
    Yaml::List(items.iter().map(word).collect())
}

fn texts(map: &BTreeMap<String, String>) -> Yaml {
    Yaml::Map(
        map.iter()
            .map(|(key, value)| (key.clone(), Yaml::text(value)))
            .collect(),
    )
}

pub(super) fn time(duration: &Duration) -> Yaml {
    Yaml::plain(write_duration(*duration))
}

fn scenario(all: &Scenario) -> Keys {
    let Scenario {
        name,
        about,
        seed,
        topology: machines,
        network: links,
        images,
        workload,
        faults,
        heal: healed,
        expect: expected,
        duration,
    } = all;
    let scripts = || {
        Yaml::Map(
            images
                .iter()
                .map(|(name, script)| (name.clone(), image(script)))
                .collect(),
        )
    };
    Keys::default()
        .with("name", Yaml::text(name))
        .unless(about.is_empty(), "about", || Yaml::text(about))
        .some("seed", seed.as_ref(), Yaml::plain)
        .unless(*machines == Topology::default(), "topology", || topology(machines))
        .unless(*links == NetworkSpec::default(), "network", || network(links))
        .unless(images.is_empty(), "images", scripts)
        .unless(workload.is_empty(), "workload", || {
            Yaml::Entries(workload.iter().map(StepPlan::write).collect())
        })
        .unless(faults.is_empty(), "faults", || {
            Yaml::Entries(faults.iter().map(FaultPlan::write).collect())
        })
        .unless(*healed == Heal::default(), "heal", || heal(healed))
        .unless(*expected == Expect::default(), "expect", || expect(expected))
        .with("duration", time(duration))
}

fn topology(topology: &Topology) -> Yaml {
    let Topology {
        apiservers,
        schedulers,
        controller_managers,
        components,
        nodes,
        zones,
        node,
        store: files,
    } = topology;
    let default = Topology::default();
    let some_nodes = || {
        let count = nodes.len() as u32;
        if count > 0 && *nodes == numbered(count) {
            Yaml::plain(count)
        } else {
            words(nodes, node_spec)
        }
    };
    Keys::default()
        .unless(*nodes == default.nodes, "nodes", some_nodes)
        .unless(*zones == default.zones, "zones", || Yaml::plain(zones))
        .unless(*apiservers == default.apiservers, "apiservers", || {
            Yaml::plain(apiservers)
        })
        .unless(*schedulers == default.schedulers, "schedulers", || {
            Yaml::plain(schedulers)
        })
        .unless(
            *controller_managers == default.controller_managers,
            "controllerManagers",
            || Yaml::plain(controller_managers),
        )
        .unless(components.is_empty(), "components", || {
            Yaml::Map(
                components
                    .iter()
                    .map(|(name, count)| (name.clone(), Yaml::plain(count)))
                    .collect(),
            )
        })
        .unless(node.is_empty(), "node", || texts(node))
        .unless(*files == StoreSpec::default(), "store", || store(files))
        .map()
}

fn store(files: &StoreSpec) -> Yaml {
    let StoreSpec { segment, snapshot } = files;
    Keys::default()
        .some("segment", segment.as_ref(), Yaml::plain)
        .some("snapshot", snapshot.as_ref(), Yaml::plain)
        .map()
}

fn node_spec(spec: &NodeSpec) -> Yaml {
    let NodeSpec {
        name,
        zone,
        labels,
        taints,
        capacity,
    } = spec;
    Keys::default()
        .with("name", Yaml::text(name))
        .some("zone", zone.as_ref(), Yaml::text)
        .unless(labels.is_empty(), "labels", || texts(labels))
        .unless(taints.is_empty(), "taints", || words(taints, taint))
        .unless(capacity.is_empty(), "capacity", || texts(capacity))
        .map()
}

fn taint(taint: &TaintSpec) -> Yaml {
    let TaintSpec { key, value, effect } = taint;
    Keys::default()
        .with("key", Yaml::text(key))
        .some("value", value.as_ref(), Yaml::text)
        .with("effect", Yaml::text(effect))
        .map()
}

fn network(network: &NetworkSpec) -> Yaml {
    let NetworkSpec { latency, loss } = network;
    let default = NetworkSpec::default();
    Keys::default()
        .unless(*latency == default.latency, "latency", || Yaml::plain(latency))
        .unless(*loss == default.loss, "loss", || Yaml::plain(loss))
        .map()
}

fn image(script: &ImageScript) -> Yaml {
    let ImageScript {
        pull,
        start,
        ready,
        crash,
        lifetime,
        listen,
        exit,
        stop,
    } = script;
    let default = ImageScript::default();
    Keys::default()
        .unless(*pull == default.pull, "pull", || Yaml::plain(pull))
        .unless(*start == default.start, "start", || Yaml::plain(start))
        .unless(*ready == default.ready, "ready", || Yaml::plain(ready))
        .unless(*stop == default.stop, "stop", || Yaml::plain(stop))
        .unless(*crash == default.crash, "crash", || Yaml::plain(crash))
        .some("lifetime", lifetime.as_ref(), Yaml::plain)
        .some("exit", exit.as_ref(), Yaml::plain)
        .unless(listen.is_empty(), "listen", || words(listen, Yaml::plain))
        .map()
}

fn heal(heal: &Heal) -> Yaml {
    match heal {
        Heal::Core => Yaml::plain("core"),
        Heal::All => Yaml::plain("all"),
        Heal::AllBut(machines) => Yaml::one("all-but", words(machines, Yaml::text)),
    }
}

fn expect(expect: &Expect) -> Yaml {
    let Expect {
        invariants,
        converge,
        state,
        end_state,
        creates_and_deletes,
    } = expect;
    let same_as = |SameAs::FaultFree: &SameAs| Yaml::plain("fault-free");
    let default = Expect::default();
    let chosen = || match invariants {
        InvariantChoice::All => Yaml::plain("all"),
        InvariantChoice::These(ids) => words(ids, Yaml::text),
    };
    let fields = |fields: &Option<Fields>| match fields {
        None => Yaml::plain(ABSENT),
        Some(fields) => Yaml::Map(
            fields
                .iter()
                .map(|(path, value)| (path.clone(), Yaml::of_json(value)))
                .collect(),
        ),
    };
    let objects = |objects: &BTreeMap<String, Option<Fields>>| {
        Yaml::Map(
            objects
                .iter()
                .map(|(object, wanted)| (object.clone(), fields(wanted)))
                .collect(),
        )
    };
    Keys::default()
        .unless(*invariants == default.invariants, "invariants", chosen)
        .unless(*converge == default.converge, "converge", || time(converge))
        .unless(state.is_empty(), "state", || words(state, objects))
        .some("end-state", end_state.as_ref(), same_as)
        .some("creates-and-deletes", creates_and_deletes.as_ref(), same_as)
        .map()
}
