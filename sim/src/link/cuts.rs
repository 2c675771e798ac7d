//! Cuts: which machines cannot send to which others, for partitions of any shape. Plain data, no time passes here.

use std::collections::BTreeMap;

/// A partition: what some machines send to others, or hear of them, or both, is held up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The machines that are cut off. Among themselves they go on speaking.
    pub off: Vec<String>,
    /// From these machines; from all others if none.
    pub from: Option<Vec<String>>,
    /// Whether what they send is held up.
    pub out: bool,
    /// Whether what they would hear is held up.
    pub inward: bool,
}

impl Cut {
    /// Whether it lies between a machine that is cut off, and another one.
    fn parts(&self, off: &str, other: &str) -> bool {
        let is_off = |machine: &str| self.off.iter().any(|own| own == machine);
        is_off(off)
            && match &self.from {
                None => !is_off(other),
                Some(others) => others.iter().any(|own| own == other),
            }
    }

    fn holds(&self, from: &str, to: &str) -> bool {
        (self.out && self.parts(from, to)) || (self.inward && self.parts(to, from))
    }
}

/// The cuts there are now. They may lie over each other, and each is taken back alone.
#[derive(Debug, Default)]
pub struct Cuts {
    cuts: BTreeMap<u64, Cut>,
    last: u64,
}

impl Cuts {
    /// One more cut; its number.
    pub fn add(&mut self, cut: Cut) -> u64 {
        self.last += 1;
        self.cuts.insert(self.last, cut);
        self.last
    }

    /// Takes a cut back, if it is still there.
    pub fn remove(&mut self, number: u64) {
        self.cuts.remove(&number);
    }

    /// Nothing cuts `machine` off any more; others stay as they are.
    pub fn free(&mut self, machine: &str) {
        for cut in self.cuts.values_mut() {
            cut.off.retain(|off| off != machine);
        }
        self.cuts.retain(|_, cut| !cut.off.is_empty());
    }

    /// Whether a message from one machine to another is held up.
    pub fn hold(&self, from: &str, to: &str) -> bool {
        from != to && self.cuts.values().any(|cut| cut.holds(from, to))
    }

    /// Whether `machine` is cut off from anybody, in some direction.
    pub fn concern(&self, machine: &str) -> bool {
        self.cuts.values().any(|cut| cut.off.iter().any(|off| off == machine))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn isolated(machine: &str) -> Cut {
        Cut {
            off: names(&[machine]),
            from: None,
            out: true,
            inward: true,
        }
    }

    #[test]
    fn a_machine_that_is_isolated_speaks_to_itself_alone_until_all_its_cuts_are_taken_back() {
        let mut cuts = Cuts::default();
        let (first, second) = (cuts.add(isolated("a")), cuts.add(isolated("a")));
        for (from, to, held) in [("a", "b", true), ("b", "a", true), ("a", "a", false), ("b", "c", false)] {
            assert_eq!(cuts.hold(from, to), held, "{from} {to}");
        }
        cuts.remove(first);
        assert!(cuts.hold("a", "b") && cuts.concern("a") && !cuts.concern("b"));
        cuts.remove(second);
        assert!(!cuts.hold("a", "b") && !cuts.concern("a"));
    }

    #[test]
    fn two_groups_speak_among_themselves_and_a_one_way_cut_lets_the_other_way_pass() {
        let mut cuts = Cuts::default();
        cuts.add(Cut {
            off: names(&["a", "b"]),
            from: Some(names(&["c"])),
            out: true,
            inward: false,
        });
        for (from, to, held) in [
            ("a", "c", true),
            ("b", "c", true),
            ("c", "a", false),
            ("a", "b", false),
            ("a", "d", false),
        ] {
            assert_eq!(cuts.hold(from, to), held, "{from} {to}");
        }
    }

    #[test]
    fn freeing_one_machine_of_a_group_leaves_the_others_cut_off() {
        let mut cuts = Cuts::default();
        let number = cuts.add(Cut {
            off: names(&["a", "b"]),
            from: None,
            out: true,
            inward: true,
        });
        cuts.free("a");
        assert!(!cuts.hold("a", "c") && cuts.hold("b", "c"));
        cuts.free("b");
        cuts.remove(number);
        assert!(!cuts.hold("b", "c"));
    }
}
