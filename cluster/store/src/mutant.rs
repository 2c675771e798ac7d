//! The switches of `orrery_api::mutant`; none in a build without the feature `mutants`, which needs no other crate.

#[cfg(feature = "mutants")]
pub(crate) use orrery_api::mutant::{active, is_on};

#[cfg(not(feature = "mutants"))]
pub(crate) const fn active(_id: &str) -> bool {
    false
}

#[cfg(not(feature = "mutants"))]
pub(crate) const fn is_on(_id: &str) -> bool {
    false
}
