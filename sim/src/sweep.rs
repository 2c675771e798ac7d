//! When a collection is looked through for what is over: not at every change, which would be slow in large worlds.

/// So few entries are no burden.
const FEW: usize = 64;

/// Due whenever a collection has grown to twice what was left in it, so that an entry costs the same however many
/// others there are.
#[derive(Debug)]
pub struct Sweep {
    at: usize,
}

impl Default for Sweep {
    fn default() -> Self {
        Sweep { at: FEW }
    }
}

impl Sweep {
    /// Whether a collection of so many entries is to be looked through.
    pub fn is_due(&self, length: usize) -> bool {
        length >= self.at
    }

    /// It has been; so many entries are left.
    pub fn left(&mut self, length: usize) {
        self.at = (length * 2).max(FEW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_looked_at_a_few_times_at_most() {
        let (mut sweep, mut looked) = (Sweep::default(), 0);
        for length in 1..=10_000 {
            if sweep.is_due(length) {
                looked += length;
                sweep.left(length);
            }
        }
        assert!((10_000..=30_000).contains(&looked), "{looked}");
    }

    #[test]
    fn what_shrinks_is_swept_again_when_it_has_grown() {
        let mut sweep = Sweep::default();
        sweep.left(1000);
        assert!(!sweep.is_due(1999) && sweep.is_due(2000));
        sweep.left(0);
        assert!(!sweep.is_due(FEW - 1) && sweep.is_due(FEW));
    }
}
