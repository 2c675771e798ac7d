//! What is slow: links between machines, watches that are late, and clients that take their time to read.

use std::time::Duration;

use crate::scenario::ComponentTarget;

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

/// Something that takes longer for a while.
#[derive(Debug, Clone)]
pub struct Delay<T> {
    /// What: links, or a client.
    pub of: T,
    /// How much longer.
    pub by: Duration,
    /// Until when.
    pub until: Duration,
}

/// The delays of one kind.
#[derive(Debug)]
struct Delays<T>(Vec<Delay<T>>);

impl<T> Default for Delays<T> {
    fn default() -> Self {
        Delays(Vec::new())
    }
}

impl<T> Delays<T> {
    /// The longest now of those that are meant.
    fn longest(&mut self, now: Duration, is_meant: impl Fn(&T) -> bool) -> Duration {
        self.0.retain(|delay| delay.until > now);
        let meant = self.0.iter().filter(|delay| is_meant(&delay.of));
        meant.map(|delay| delay.by).max().unwrap_or_default()
    }
}

/// Everything that is slow now.
#[derive(Debug, Default)]
pub struct Slow {
    links: Delays<Links>,
    watches: Delays<ComponentTarget>,
    readers: Delays<ComponentTarget>,
}

impl Slow {
    /// From now on messages on these links take longer.
    pub fn slow_links(&mut self, delay: Delay<Links>) {
        self.links.0.push(delay);
    }

    /// From now on what a client watches is late.
    pub fn lag(&mut self, delay: Delay<ComponentTarget>) {
        self.watches.0.push(delay);
    }

    /// From now on a client takes so long to read each message of a watch.
    pub fn slow_reader(&mut self, delay: Delay<ComponentTarget>) {
        self.readers.0.push(delay);
    }

    /// What a message from one machine to another takes longer now.
    pub fn of_link(&mut self, from: &str, to: &str, now: Duration) -> Duration {
        self.links.longest(now, |links| links.include(from, to))
    }

    /// How late what `client` watches is now.
    pub fn of_watches(&mut self, client: &str, now: Duration) -> Duration {
        self.watches.longest(now, |target| target.means(client))
    }

    /// How long `client` takes now to read a message of a watch.
    pub fn of_reader(&mut self, client: &str, now: Duration) -> Duration {
        self.readers.longest(now, |target| target.means(client))
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
            slow.slow_links(Delay {
                of: links(Some("a"), None),
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
