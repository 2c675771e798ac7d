//! What happens in a scenario, faults and steps alike: an entry has a moment, and one of a list of kinds.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// For `#[serde(deserialize_with)]`: entries of a list, which are read as they are written (`Wire`) before they are
/// judged. An entry that is refused is told with its number, which serde would have forgotten.
pub(super) fn entries<'de, D, Wire, Plan>(deserializer: D) -> Result<Vec<Plan>, D::Error>
where
    D: Deserializer<'de>,
    Wire: Deserialize<'de>,
    Plan: TryFrom<Wire, Error = String>,
{
    struct Entries<Wire, Plan>(PhantomData<(Wire, Plan)>);
    impl<'de, Wire: Deserialize<'de>, Plan: TryFrom<Wire, Error = String>> Visitor<'de> for Entries<Wire, Plan> {
        type Value = Vec<Plan>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<Plan>, A::Error> {
            let mut plans = Vec::new();
            while let Some(wire) = sequence.next_element::<Wire>()? {
                let index = plans.len();
                plans.push(Plan::try_from(wire).map_err(|why| A::Error::custom(format!("[{index}]: {why}")))?);
            }
            Ok(plans)
        }
    }
    deserializer.deserialize_seq(Entries(PhantomData))
}

/// Makes of such a list the type of all its kinds, the reader of an entry, and the keys. A line is one kind: the key as
/// a field, the kind, what is read there, and the key as it is written. Each kind says its own `Words`, a trait of the
/// module with the list.
macro_rules! actions {
    (
        $(#[$what:meta])*
        $action:ident, read by $reader:ident:
        $($(#[$about:meta])* $key:ident: $kind:ident($spec:ident) = $word:literal;)*
    ) => {
        $(#[$what])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $action {
            $($(#[$about])* $kind($spec),)*
        }

        impl AsRef<dyn Words> for $action {
            fn as_ref(&self) -> &(dyn Words + 'static) {
                match self {
                    $($action::$kind(spec) => spec,)*
                }
            }
        }

        impl AsMut<dyn Words> for $action {
            fn as_mut(&mut self) -> &mut (dyn Words + 'static) {
                match self {
                    $($action::$kind(spec) => spec,)*
                }
            }
        }

        impl $action {
            /// The key that it is written under.
            pub fn key(&self) -> &'static str {
                match self {
                    $($action::$kind(_) => $word,)*
                }
            }

            /// On one line, without its moment: what is equal has equal lines.
            pub fn to_line(&self) -> String {
                $crate::scenario::yaml::Yaml::one(self.key(), self.as_ref().write()).flow()
            }

            /// Whom it names.
            pub fn whom(&self) -> $crate::scenario::target::Whom<'_> {
                self.as_ref().whom()
            }

            /// Variants that are simpler in one place, the simplest first.
            pub fn simpler(&self) -> Vec<$action> {
                match self {
                    $($action::$kind(spec) => spec.simpler().into_iter().map($action::$kind).collect(),)*
                }
            }
        }

        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub(in crate::scenario) struct $reader {
            #[serde(default, deserialize_with = "crate::scenario::quantity::some_duration")]
            at: Option<std::time::Duration>,
            between: Option<$crate::scenario::quantity::Span>,
            when: Option<$crate::scenario::trigger::Trigger>,
            $($key: Option<$spec>,)*
        }

        impl $reader {
            /// When something happens, and what. The errors say that it is nothing, or that it is several things.
            fn read(self, nothing: &str, several: &str) -> Result<($crate::scenario::faults::Moment, $action), String> {
                let mut actions = Vec::new();
                $(actions.extend(self.$key.map($action::$kind));)*
                let action = match (actions.pop(), actions.is_empty()) {
                    (Some(action), true) => action,
                    (None, _) => return Err(nothing.to_owned()),
                    _ => return Err(several.to_owned()),
                };
                let moment = $crate::scenario::faults::Moment::of(self.at, self.between, self.when)?;
                let words: &dyn Words = action.as_ref();
                words.check()?;
                words.check_moment(&moment)?;
                Ok((moment, action))
            }
        }

        /// All the keys.
        pub(super) const KEYS: &[&str] = &[$($word),*];
    };
}

pub(super) use actions;
