//! How long what an image's containers do takes on a machine. The n-th container of an image draws from a stream of its
//! own: what other images' containers do, and how many there are, shifts nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use orrery_api::random::Random;

use crate::scenario::ImageScript;

/// See the module.
pub struct Draws {
    random: Random,
    counts: BTreeMap<String, u64>,
}

/// What a container is going to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// How long it takes to start.
    pub start: Duration,
    /// How long after its start it answers.
    pub ready: Duration,
    /// How long it takes to end when asked to.
    pub stop: Duration,
    /// How long after its start it ends by itself, and with which code, if it does.
    pub end: Option<(Duration, i32)>,
}

impl Draws {
    /// The draws of one machine.
    pub fn new(random: Random) -> Self {
        Draws {
            random,
            counts: BTreeMap::new(),
        }
    }

    fn stream(&mut self, what: &str, image: &str) -> Random {
        let count = self.counts.entry(format!("{what}/{image}")).or_default();
        *count += 1;
        self.random.stream(what).stream(image).stream(&count.to_string())
    }

    /// How long the next pull of `image` takes.
    pub fn pull(&mut self, image: &str, script: &ImageScript) -> Duration {
        script.pull.draw(&self.stream("pull", image))
    }

    /// What the next container of `image` is going to do.
    pub fn life(&mut self, image: &str, script: &ImageScript) -> Life {
        let random = self.stream("container", image);
        let start = script.start.draw(&random);
        let ready = script.ready.draw(&random);
        let stop = script.stop.draw(&random);
        let end = match script.exit {
            Some(code) => Some((script.lifetime().draw(&random), code)),
            None if random.chance(script.crash) => Some((script.lifetime().draw(&random), 1)),
            None => None,
        };
        Life {
            start,
            ready,
            stop,
            end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Span;

    #[test]
    fn the_containers_of_an_image_do_the_same_whatever_others_do() {
        let script = ImageScript {
            crash: 0.5,
            ..ImageScript::default()
        };
        let mut alone = Draws::new(Random::from_number(9));
        let mut among_others = Draws::new(Random::from_number(9));
        for _ in 0..20 {
            among_others.pull("other:1", &script);
            among_others.life("other:1", &script);
            assert_eq!(alone.life("web:1", &script), among_others.life("web:1", &script));
            assert_eq!(alone.pull("web:1", &script), among_others.pull("web:1", &script));
        }
    }

    #[test]
    fn a_task_ends_at_once_unless_it_takes_its_time() {
        let end = |lifetime| {
            let script = ImageScript {
                exit: Some(3),
                lifetime,
                ..ImageScript::default()
            };
            let life = Draws::new(Random::from_number(9)).life("task:1", &script);
            life.end.expect("it ends")
        };
        let (after, code) = end(None);
        assert!(after < Duration::from_millis(51) && code == 3, "{after:?}, {code}");
        assert_eq!(end(Some(Span::seconds(40, 40))), (Duration::from_secs(40), 3));
    }
}
