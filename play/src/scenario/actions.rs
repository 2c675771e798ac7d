//! What happens in a scenario, faults and steps alike: an entry has a moment, and one of a list of kinds.

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
        struct $reader {
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
