//! Mutants: well-documented bugs of Kubernetes, each put back as a mechanism behind a switch (`orrery_api::mutant`),
//! and sabotages of our own. They measure the simulator: how many seeds does it need to find what is known to be wrong?
//!
//! The switches are in the components, in builds with the feature `mutants` only; here are the cards that say what each
//! is about. `cargo sim mutants` runs the campaign.

mod cards;

pub use cards::cards;

/// What is known of a mutant.
#[derive(Debug, Clone, Copy)]
pub struct Card {
    /// Its id: `B…` for bugs of Kubernetes, `O…` for our own sabotages.
    pub id: &'static str,
    /// Where the bug is documented: issues of kubernetes/kubernetes unless another project is named.
    pub source: &'static str,
    /// Which component has the switch; none if it is not built yet.
    pub component: Option<&'static str>,
    /// What goes wrong, in a few words.
    pub mechanism: &'static str,
    /// The shortest schedule that shows it.
    pub schedule: &'static str,
    /// The invariants of which one must fire; `convergence` where the cluster does not reach its state.
    pub invariants: &'static [&'static str],
}

impl Card {
    /// The card of a mutant.
    pub fn of(id: &str) -> Option<&'static Card> {
        cards().find(|card| card.id == id)
    }
}

/// Whether a mutant can be switched on.
///
/// # Errors
///
/// Says why it cannot: there is no such mutant, its component is not built, or this build has no switches.
pub fn check(id: &str) -> Result<(), String> {
    let card =
        Card::of(id).ok_or_else(|| format!("there is no mutant {id:?}; `cargo sim mutants --list` shows all"))?;
    if card.component.is_none() {
        return Err(format!("mutant {id}: its component is not built yet"));
    }
    if !cfg!(feature = "mutants") {
        return Err(
            "this build has no mutants; `cargo sim mutants` builds one that has and says how to replay".to_owned(),
        );
    }
    Ok(())
}

/// Switches a mutant on for the life of this process.
///
/// # Errors
///
/// Says why that is impossible: it [cannot be](check), or another one is on.
pub fn switch_on(id: &str) -> Result<(), String> {
    check(id)?;
    #[cfg(feature = "mutants")]
    if !orrery_api::mutant::switch_on(id) {
        return Err("another mutant is on already".to_owned());
    }
    Ok(())
}

/// How often the branch of the mutant that is on was taken; 0 if none is.
pub fn reached() -> u64 {
    #[cfg(feature = "mutants")]
    return orrery_api::mutant::reached();
    #[cfg(not(feature = "mutants"))]
    0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_every_card_names_an_invariant_that_there_is() {
        let mut seen = BTreeSet::new();
        for card in cards() {
            assert!(seen.insert(card.id), "{} stands twice", card.id);
            let of_the_end = |id: &&str| *id == "convergence" || crate::end_state::IDS.contains(id);
            let known = |id: &&str| of_the_end(id) || crate::invariants::ids().contains(id);
            let unknown: Vec<_> = card.invariants.iter().filter(|id| !known(id)).collect();
            assert!(
                card.component.is_none() || (unknown.is_empty() && !card.invariants.is_empty()),
                "{}: {unknown:?}",
                card.id
            );
        }
    }

    /// A card without a switch, or a switch without a card, would count nothing.
    #[test]
    fn every_card_of_a_built_component_has_a_switch_in_that_component() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../cluster");
        for card in cards() {
            let Some(component) = card.component else { continue };
            let mut folders = vec![std::path::PathBuf::from(format!("{root}/{component}/src"))];
            let mut found = false;
            while let Some(folder) = folders.pop() {
                for entry in std::fs::read_dir(&folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        folders.push(path);
                    } else if std::fs::read_to_string(&path)
                        .unwrap()
                        .contains(&format!("\"{}\"", card.id))
                    {
                        found = true;
                    }
                }
            }
            assert!(found, "no switch of {} in {component}", card.id);
        }
    }

    #[cfg(not(feature = "mutants"))]
    #[test]
    fn an_ordinary_build_refuses_to_switch_a_mutant_on() {
        assert!(switch_on("B41").unwrap_err().contains("this build has no mutants"));
        assert!(switch_on("B99").unwrap_err().contains("no mutant"));
        assert!(switch_on("B42").unwrap_err().contains("not built yet"));
    }
}
