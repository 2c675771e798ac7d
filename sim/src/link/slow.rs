//! What is slow: links between machines, watches that are late, and clients that take their time to read.

use std::time::Duration;

use super::is_meant;
use crate::scenario::{ComponentTarget, Role};

/// Links between machines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Links {
    /// Those of this machine; of every machine if none.
    pub of: Option<String>,
    /// Those to this machine; to every other if none.
    pub to: Option<String>,
}

impl Links {
    /// Whether the link between two machines is one of them. Within a machine there is no link.
    pub fn include(&self, one: &str, other: &str) -> bool {
        let ends = |of: &str, to: &str| {
            self.of.as_deref().is_none_or(|own| own == of) && self.to.as_deref().is_none_or(|own| own == to)
        };
        one != other && (ends(one, other) || ends(other, one))
    }
}

/// Links that are slow.
#[derive(Debug, Clone)]
pub struct SlowLinks {
    /// Which.
    pub links: Links,
    /// What a message takes longer.
    pub by: Duration,
    /// Until when.
    pub until: Duration,
}

/// Watches that are late.
#[derive(Debug, Clone)]
pub struct Lag {
    /// Whose.
    pub client: ComponentTarget,
    /// By how much.
    pub by: Duration,
    /// Until when.
    pub until: Duration,
}

/// Clients that read slowly.
#[derive(Debug, Clone)]
pub struct SlowReader {
    /// Who.
    pub client: ComponentTarget,
    /// How long each message of a watch takes to be read.
    pub by: Duration,
    /// Until when.
    pub until: Duration,
}

/// Everything that is slow now.
#[derive(Debug, Default)]
pub struct Slow {
    links: Vec<SlowLinks>,
    lags: Vec<Lag>,
    readers: Vec<SlowReader>,
}

impl Slow {
    /// From now on links are slow.
    pub fn slow_links(&mut self, fault: SlowLinks) {
        self.links.push(fault);
    }

    /// From now on watches are late.
    pub fn lag(&mut self, fault: Lag) {
        self.lags.push(fault);
    }

    /// From now on clients read slowly.
    pub fn slow_reader(&mut self, fault: SlowReader) {
        self.readers.push(fault);
    }

    /// What a message from one machine to another takes longer now.
    pub fn of_link(&mut self, from: &str, to: &str, now: Duration) -> Duration {
        self.links.retain(|fault| fault.until > now);
        let meant = self.links.iter().filter(|fault| fault.links.include(from, to));
        meant.map(|fault| fault.by).max().unwrap_or_default()
    }

    /// How late what `client` watches is now.
    pub fn of_watches(&mut self, client: &str, role: Option<Role>, now: Duration) -> Duration {
        self.lags.retain(|fault| fault.until > now);
        let meant = self.lags.iter().filter(|fault| is_meant(&fault.client, client, role));
        meant.map(|fault| fault.by).max().unwrap_or_default()
    }

    /// How long `client` takes now to read a message of a watch.
    pub fn of_reader(&mut self, client: &str, role: Option<Role>, now: Duration) -> Duration {
        self.readers.retain(|fault| fault.until > now);
        let meant = self
            .readers
            .iter()
            .filter(|fault| is_meant(&fault.client, client, role));
        meant.map(|fault| fault.by).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn links(of: Option<&str>, to: Option<&str>) -> Links {
        Links {
            of: of.map(str::to_owned),
            to: to.map(str::to_owned),
        }
    }

    #[test]
    fn a_link_has_two_ends_and_no_direction() {
        let both = links(Some("a"), Some("b"));
        assert!(both.include("a", "b") && both.include("b", "a") && !both.include("a", "c"));
        let one = links(Some("a"), None);
        assert!(one.include("a", "c") && one.include("c", "a") && !one.include("b", "c"));
        let all = links(None, None);
        assert!(all.include("b", "c") && !all.include("a", "a"));
    }

    #[test]
    fn of_several_the_slowest_counts_and_only_while_it_lasts() {
        let mut slow = Slow::default();
        for (by, until) in [(1, 100), (3, 50)] {
            slow.slow_links(SlowLinks {
                links: links(Some("a"), None),
                by: seconds(by),
                until: seconds(until),
            });
        }
        assert_eq!(slow.of_link("a", "b", seconds(10)), seconds(3));
        assert_eq!(slow.of_link("c", "b", seconds(10)), Duration::ZERO);
        assert_eq!(slow.of_link("b", "a", seconds(50)), seconds(1));
        assert_eq!(slow.of_link("a", "b", seconds(100)), Duration::ZERO);
    }
}
