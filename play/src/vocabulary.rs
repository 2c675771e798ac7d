//! What scenarios of this program may name beside what every scenario may: components, kinds and invariants of users'
//! own, which a simulator is put together with. Set once, before anything is read.

use std::sync::OnceLock;

use orrery_apiserver::{CustomResourceDefinition, Kinds};

/// The invariants of the house by their ids, which scenarios may choose from. The simulator checks that these are they.
pub const INVARIANTS: &[&str] = &[
    "S1", "S2", "S3", "S4", "W", "Q1", "Q2", "Q3", "P2", "K1", "K2", "K3", "K4", "E1", "E2", "G1", "S8", "S5", "S6",
    "G4", "S7", "Q4", "Q5", "Q7", "Q6", "P8", "P7", "G3", "E3", "K5", "K7", "K8", "K9", "K10", "K11", "P9", "E6", "E7",
    "N1", "N2", "N3", "N4", "L1", "C1", "C2", "K6", "E5", "E8", "E9", "P10", "K12", "R1", "P11", "P12", "K13", "K14",
    "K15", "K16", "K17", "K18", "A1",
];

/// A component of a user's own, as scenarios know it.
#[derive(Debug, Clone)]
pub struct ComponentWords {
    /// What scenarios call it.
    pub name: &'static str,
    /// How many there are where the scenario does not say.
    pub replicas: u32,
    /// Whether its replicas elect a leader.
    pub elects: bool,
}

/// See the module.
#[derive(Default)]
pub struct Vocabulary {
    /// Users' components.
    pub components: Vec<ComponentWords>,
    /// All kinds that are served.
    pub kinds: Kinds,
    /// Users' kinds among them.
    pub definitions: Vec<CustomResourceDefinition>,
    /// Their API versions, in the same order.
    pub versions: Vec<String>,
    /// The ids of users' invariants.
    pub invariants: Vec<&'static str>,
}

static VOCABULARY: OnceLock<Vocabulary> = OnceLock::new();

/// That of this process: the house's alone, if nobody has set another.
pub fn vocabulary() -> &'static Vocabulary {
    VOCABULARY.get_or_init(Vocabulary::default)
}

impl Vocabulary {
    /// Makes this the vocabulary of the process; an error if there is one already.
    pub fn set(self) -> Result<(), String> {
        VOCABULARY
            .set(self)
            .map_err(|_| "there is one in this process already".to_owned())
    }

    /// The component of this name.
    pub fn component(&self, name: &str) -> Option<&ComponentWords> {
        self.components.iter().find(|component| component.name == name)
    }

    /// The ids of all invariants, users' own last.
    pub fn invariants(&self) -> Vec<&'static str> {
        [INVARIANTS, &self.invariants].concat()
    }

    /// The user's kind that people call so, by its kind, singular, plural or short name, and its API version.
    pub fn called(&self, name: &str) -> Option<(&CustomResourceDefinition, &str)> {
        if self.definitions.is_empty() {
            return None;
        }
        let name = name.to_lowercase();
        let is_called = |definition: &CustomResourceDefinition| {
            let own = [&definition.singular, &definition.plural];
            definition.kind.to_lowercase() == name
                || own.into_iter().chain(&definition.short_names).any(|own| *own == name)
        };
        let versions = self.versions.iter().map(String::as_str);
        self.definitions
            .iter()
            .zip(versions)
            .find(|(definition, _)| is_called(definition))
    }
}
