//! Users' own parts of a world: their components, kinds and invariants, beside those of the house.
//!
//! [`Simulator`] takes them and is then the whole command: `run`, `fuzz`, `verify`, `shrink`, `explain` and the others
//! work with them as with ours. They are part of the build, in the sense in which a run is a function of (build,
//! scenario, seed): set once, when the program begins, and the same for the life of the process.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use orrery_api::field;
use orrery_api::names;
use orrery_api::random::Random;
use orrery_apiserver::{CustomResource, CustomResourceDefinition, Kinds};
use orrery_client::{Client, Resource};
use orrery_controllers::CustomKind;
use orrery_play::{ComponentWords, Vocabulary};
use serde_json::Value;

use crate::exit;
use crate::invariants::Invariant;
use crate::scenario::Role;

type Run = Arc<dyn Fn(Client, Random) -> BoxFuture<'static, ()> + Send + Sync>;
type Make = Box<dyn Fn() -> Box<dyn Invariant> + Send + Sync>;

/// A component of a user's own: a controller that runs as a process a replica, on the control plane's machines or on
/// nodes.
#[derive(Clone)]
pub struct Component {
    name: &'static str,
    replicas: u32,
    leader_election: bool,
    on_nodes: bool,
    run: Run,
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Component {
    /// The component `name`, which is what scenarios call it: `restart: website-controller`. `run` is its whole life:
    /// it is given its way to the API server, where it may do everything, and its chance; it is dropped when the
    /// process dies. One that returns is started again after a while, as a new process.
    ///
    /// What it must keep to for a run to be a function of its seed is in `CONTRIBUTING.md`: time is `tokio::time`,
    /// tasks belong to an `orrery_api::task::TaskGroup`, randomness is the one it is given, `select!` is `biased`.
    pub fn new<F, Fut>(name: &'static str, run: F) -> Self
    where
        F: Fn(Client, Random) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Component {
            name,
            replicas: 1,
            leader_election: false,
            on_nodes: false,
            run: Arc::new(move |client, random| Box::pin(run(client, random))),
        }
    }

    /// How many of them run where the scenario does not say (`topology: { components: { NAME: 2 } }`); 1 by default.
    /// One with 0 runs only where a scenario wants it.
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// Its replicas elect a leader by a lease of its name in `kube-system`, and only the leader runs; a single one does
    /// without, as ours. Invariant L1 then judges it, too. (One that calls `orrery_client::lead` by itself needs this
    /// not, and is not judged by L1.)
    pub fn leader_election(mut self) -> Self {
        self.leader_election = true;
        self
    }

    /// Its replicas run on the nodes, in turn, as pods of a Deployment would, and not on the control plane's machines:
    /// a node that crashes takes its replica with it, and a partition cuts it off. (Such a node does not stay broken
    /// after the heal.)
    pub fn on_nodes(mut self) -> Self {
        self.on_nodes = true;
        self
    }

    /// Whether its replicas run on the nodes.
    pub(crate) fn runs_on_nodes(&self) -> bool {
        self.on_nodes
    }

    /// What scenarios call it.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// What scenarios may know of it.
    pub(crate) fn words(&self) -> ComponentWords {
        ComponentWords {
            name: self.name,
            replicas: self.replicas,
            elects: self.leader_election,
        }
    }

    /// Whether its replicas elect a leader.
    pub(crate) fn elects(&self) -> bool {
        self.leader_election
    }

    /// Its life.
    pub(crate) fn run(&self, client: Client, random: Random) -> BoxFuture<'static, ()> {
        (self.run)(client, random)
    }
}

type Validate<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// A custom resource: a kind of a user's own, which the API servers serve. See `orrery_client::custom_resource!` for
/// its type.
///
/// Objects are kept as they are written, with the subresource `status`, and have to be readable as a `K`. The garbage
/// collector and the namespace controller treat them as they treat all others.
pub struct Kind<K> {
    definition: CustomResourceDefinition,
    validate: Option<Validate<K>>,
    kind: PhantomData<fn() -> K>,
}

impl<K: Resource> Kind<K> {
    /// The kind of `K`, with the names that its type has.
    pub fn of() -> Self
    where
        K::Scope: 'static,
    {
        Kind {
            definition: CustomResourceDefinition::of::<K>(),
            validate: None,
            kind: PhantomData,
        }
    }

    /// Short names, for scenarios and kubectl.
    pub fn short_names(mut self, names: &[&str]) -> Self {
        self.definition.short_names = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Refuses objects of which `validate` says what is wrong, as an admission webhook or a rule of a schema would.
    pub fn validate(mut self, validate: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Self {
        self.validate = Some(Box::new(validate));
        self
    }

    fn resource(self) -> Result<CustomResource, String> {
        let validate = self.validate;
        let invalid = move |object: &Value| match serde_json::from_value::<K>(object.clone()) {
            Ok(typed) => validate.as_ref().map_or_else(Vec::new, |validate| validate(&typed)),
            Err(error) => vec![error.to_string()],
        };
        let check = move |object: &Value| {
            let errors = invalid(object).into_iter();
            errors
                .map(|why| field::Error::invalid("", object["metadata"]["name"].clone(), why))
                .collect()
        };
        Ok(CustomResource::new(&self.definition)?.checked(check))
    }
}

/// A simulator of worlds in which users' own controllers run beside the cluster's; the crate's page shows a `main`.
#[derive(Default)]
pub struct Simulator {
    command: Option<String>,
    components: Vec<Component>,
    definitions: Vec<CustomResourceDefinition>,
    resources: Vec<CustomResource>,
    collected: Vec<CustomKind>,
    invariants: Vec<Make>,
    wrong: Option<String>,
}

impl Simulator {
    /// That of the house alone.
    pub fn new() -> Self {
        Simulator::default()
    }

    /// How people call the program, for the lines that say how to replay a run: `cargo website-sim`. By default as it
    /// was called.
    pub fn command(mut self, command: &str) -> Self {
        self.command = Some(command.to_owned());
        self
    }

    /// With a component.
    pub fn component(mut self, component: Component) -> Self {
        self.components.push(component);
        self
    }

    /// With a kind.
    pub fn kind<K: Resource>(mut self, kind: Kind<K>) -> Self {
        self.definitions.push(kind.definition.clone());
        self.collected.push(CustomKind::of::<K>());
        match kind.resource() {
            Ok(resource) => self.resources.push(resource),
            Err(why) => self.wrong = self.wrong.or(Some(why)),
        }
        self
    }

    /// With an invariant; `make` makes a fresh one for each run.
    pub fn invariant<I, F>(mut self, make: F) -> Self
    where
        I: Invariant + 'static,
        F: Fn() -> I + Send + Sync + 'static,
    {
        self.invariants.push(Box::new(move || Box::new(make())));
        self
    }

    /// Does what the command line says; this is the whole `main` of the program. The exit codes are in the README.
    pub fn main(self) -> ExitCode {
        match self.install() {
            Ok(()) => crate::command::main(),
            Err(why) => {
                eprintln!("error: this simulator is put together wrongly: {why}");
                ExitCode::from(exit::WRONG)
            }
        }
    }

    /// Makes these the parts of all worlds of this process.
    fn install(self) -> Result<(), String> {
        let (parts, vocabulary) = self.parts()?;
        vocabulary.set()?;
        PARTS
            .set(parts)
            .map_err(|_| "there is one in this process already".to_owned())
    }

    fn parts(self) -> Result<(Parts, Vocabulary), String> {
        if let Some(why) = self.wrong {
            return Err(why);
        }
        let mut taken: BTreeSet<&str> = Role::HOUSE.iter().map(|role| role.as_str()).collect();
        for component in &self.components {
            let name = component.name;
            if let Some(fault) = names::dns1123_label(name).first() {
                return Err(format!("the component {name:?}: {fault}"));
            }
            if name == "user" || !taken.insert(name) {
                return Err(format!("two components are called {name:?}"));
            }
        }
        let mut ids: BTreeSet<&str> = crate::invariants::house().iter().map(|own| own.id()).collect();
        let all: Vec<Box<dyn Invariant>> = self.invariants.iter().map(|make| make()).collect();
        for invariant in &all {
            if !ids.insert(invariant.id()) {
                return Err(format!("two invariants are called {:?}", invariant.id()));
            }
        }
        let called = || std::env::args().next().unwrap_or_else(|| HOUSE_COMMAND.to_owned());
        let versions = self
            .definitions
            .iter()
            .map(|definition| format!("{}/{}", definition.group, definition.version));
        let vocabulary = Vocabulary {
            components: self.components.iter().map(Component::words).collect(),
            versions: versions.collect(),
            kinds: Kinds::with(self.resources)?,
            definitions: self.definitions,
            invariants: all.iter().map(|invariant| invariant.id()).collect(),
        };
        let parts = Parts {
            command: self.command.unwrap_or_else(called),
            components: self.components,
            collected: self.collected,
            invariants: self.invariants,
        };
        Ok((parts, vocabulary))
    }
}

/// How the simulator of the house is called.
const HOUSE_COMMAND: &str = "cargo sim";

/// What a world of this process is made of, besides the house's own.
pub(crate) struct Parts {
    /// How the program is called.
    pub command: String,
    /// Users' components.
    pub components: Vec<Component>,
    /// Users' kinds, for the garbage collector.
    pub collected: Vec<CustomKind>,
    invariants: Vec<Make>,
}

static PARTS: OnceLock<Parts> = OnceLock::new();

/// Those of this process.
pub(crate) fn parts() -> &'static Parts {
    PARTS.get_or_init(|| Parts {
        command: HOUSE_COMMAND.to_owned(),
        components: Vec::new(),
        collected: Vec::new(),
        invariants: Vec::new(),
    })
}

impl Parts {
    /// The component of this name.
    pub(crate) fn component(&self, name: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.name == name)
    }

    /// Users' invariants, freshly made.
    pub(crate) fn invariants(&self) -> impl Iterator<Item = Box<dyn Invariant>> {
        self.invariants.iter().map(|make| make())
    }

    /// Whether there is anything that is not the house's.
    pub(crate) fn is_house(&self) -> bool {
        self.components.is_empty() && self.collected.is_empty() && self.invariants.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::Report;
    use crate::model::{Cluster, Seen};

    #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Size {
        size: u8,
    }

    orrery_client::custom_resource! {
        struct Thing("example.com", "v1", "things", namespaced) {
            spec: Size,
            status: Size,
        }
    }

    #[derive(Default)]
    struct Nothing;

    impl Invariant for Nothing {
        fn id(&self) -> &'static str {
            "nothing"
        }

        fn statement(&self) -> &'static str {
            "Nothing."
        }

        fn observe(&mut self, _seen: &Seen<'_>, _cluster: &Cluster, _report: &mut Report) {}
    }

    fn component(name: &'static str) -> Component {
        Component::new(name, |_client, _random| std::future::pending())
    }

    fn wrong(simulator: Simulator) -> String {
        simulator.parts().err().unwrap_or_default()
    }

    #[test]
    fn what_does_not_fit_together_is_said() {
        let own = || Simulator::new().component(component("mine"));
        assert_eq!(wrong(own()), "");
        assert_eq!(
            wrong(own().component(component("mine"))),
            "two components are called \"mine\""
        );
        assert_eq!(
            wrong(own().component(component("kubelet"))),
            "two components are called \"kubelet\""
        );
        assert!(wrong(own().component(component("No/Name"))).starts_with("the component \"No/Name\": "));
        let twice = own().invariant(Nothing::default).invariant(Nothing::default);
        assert_eq!(wrong(twice), "two invariants are called \"nothing\"");
        let twice = own().kind(Kind::<Thing>::of()).kind(Kind::<Thing>::of());
        assert!(wrong(twice).contains("is served already"));
    }

    #[test]
    fn a_kind_is_found_by_what_people_call_it() {
        let kind = Kind::<Thing>::of().short_names(&["th"]);
        let (_, vocabulary) = Simulator::new().kind(kind).parts().expect("it fits");
        for name in ["Thing", "thing", "things", "th"] {
            let found = vocabulary
                .called(name)
                .map(|(own, version)| (own.plural.as_str(), version));
            assert_eq!(found, Some(("things", "example.com/v1")), "{name}");
        }
        assert!(vocabulary.called("stuff").is_none());
        assert!(vocabulary.kinds.find("example.com", "v1", "things").is_some());
    }
}
