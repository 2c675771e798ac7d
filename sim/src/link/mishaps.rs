//! What befalls single requests: they are lost, refused for no reason, or carried out twice.
//!
//! Faults say whose requests are meant, and how many of them or which. Each request draws its own lot, by its client,
//! what it is and the how manieth of its like it is, so that one more or less changes nothing for the others. What was
//! drawn is told with the fault that would do just this to just that request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use orrery_api::random::Random;
use orrery_api::status::ApiError;
use tokio::sync::Notify;

use super::slow::Links;
use crate::faults::Victims;
use crate::model::Asked;
use crate::scenario::{ClientTarget, FaultAction, Loss};

/// What befalls a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Mishap {
    /// It does not arrive.
    RequestLost(Loss),
    /// It is carried out, and its answer is lost.
    AnswerLost(Loss),
    /// It is answered with an error that it did nothing to deserve.
    Refused(Refusal),
    /// It is carried out twice.
    Doubled(Doubling),
}

impl Mishap {
    /// How long it keeps a client from trying again, at most: until the request's deadline, or a pause of an informer.
    pub fn delays(&self) -> Duration {
        match self {
            Mishap::RequestLost(Loss::Silence) | Mishap::AnswerLost(Loss::Silence) => Duration::from_secs(30),
            Mishap::RequestLost(Loss::Reset) | Mishap::AnswerLost(Loss::Reset) | Mishap::Refused(_) => {
                Duration::from_secs(10)
            }
            Mishap::Doubled(_) => Duration::ZERO,
        }
    }
}

/// An error instead of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// What the client is told.
    pub error: ApiError,
    /// Whether the request is carried out all the same.
    pub effect: bool,
}

/// How a request is carried out a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubling {
    /// So long after the first.
    pub after: Duration,
    /// Whether the client hears the second answer, as behind a proxy that tries again, and not the first.
    pub second: bool,
}

/// Where a request comes from and goes to.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// Its client's machine.
    pub from: &'a str,
    /// Its server's machine.
    pub to: &'a str,
}

/// Whose requests are meant.
#[derive(Debug, Clone, PartialEq)]
pub enum Whose {
    /// Those of a client; everybody's if none.
    Client(Option<ClientTarget>),
    /// Those that take one of these links.
    Links(Links),
}

/// Which of the requests are meant.
#[derive(Debug, Clone, PartialEq)]
pub enum Which {
    /// Each with a probability, for a while.
    Chance {
        /// How many.
        probability: f64,
        /// Until when.
        until: Duration,
    },
    /// Some, by number.
    These {
        /// What they are: `patch pods/status`.
        request: String,
        /// The how manieth of their like since the fault began, from 1.
        nth: Vec<u32>,
    },
}

/// What befalls a request, if it is of the kind that it can befall.
pub type Draw = Box<dyn Fn(&Asked, &Random) -> Option<Mishap> + Send>;
/// The fault by which just this befalls just that request of that client.
pub type Pin = Box<dyn Fn(ClientTarget, &str, u32, &Mishap) -> FaultAction + Send>;

/// A fault that single requests meet with.
pub struct Meddler {
    /// Whose.
    pub whose: Whose,
    /// Which.
    pub which: Which,
    /// What befalls them.
    pub draw: Draw,
    /// How to say what befell.
    pub pin: Pin,
    /// When it began, as the scenario counts.
    pub began: Duration,
    /// Where lots come from.
    pub random: Random,
    /// Who is told of those whom it befalls.
    pub victims: Victims,
}

/// What has befallen a request.
pub struct Befell {
    /// What.
    pub mishap: Mishap,
    /// If it was drawn: when the fault began, and the fault that says just this.
    pub drawn: Option<(Duration, FaultAction)>,
}

/// The faults that single requests meet with now.
#[derive(Default)]
pub struct Mishaps {
    meddlers: Vec<Counting>,
}

struct Counting {
    meddler: Meddler,
    /// How many requests of each kind each client has sent since.
    counts: BTreeMap<(String, String), u32>,
    /// Told when the last one of those that are numbered has come.
    done: Arc<Notify>,
}

impl Mishaps {
    /// One more; who is told when all requests that it names have come.
    pub fn begin(&mut self, meddler: Meddler) -> Arc<Notify> {
        let done = Arc::new(Notify::new());
        self.meddlers.push(Counting {
            meddler,
            counts: BTreeMap::new(),
            done: done.clone(),
        });
        done
    }

    /// What befalls a request. Every fault counts it, so that what one does not depend on another; the first one
    /// counts.
    pub fn befall(&mut self, asked: &Asked, route: &Route<'_>, now: Duration) -> Option<Befell> {
        self.meddlers
            .retain(|own| !matches!(own.meddler.which, Which::Chance { until, .. } if until <= now));
        if self.meddlers.is_empty() {
            return None;
        }
        let request = asked.request()?;
        let mut first = None;
        for own in &mut self.meddlers {
            if let Some(befell) = own.befall(asked, &request, route)
                && first.is_none()
            {
                first = Some((befell, &own.meddler.victims));
            }
        }
        let (befell, victims) = first?;
        victims.add();
        Some(befell)
    }
}

impl Counting {
    fn befall(&mut self, asked: &Asked, request: &str, route: &Route<'_>) -> Option<Befell> {
        let meddler = &self.meddler;
        let client = ClientTarget::parse(&asked.client).ok()?;
        if let Whose::Client(Some(wanted)) = &meddler.whose
            && !wanted.means(&asked.client)
        {
            return None;
        }
        let count = self
            .counts
            .entry((asked.client.clone(), request.to_owned()))
            .or_default();
        *count += 1;
        // All of a client's requests count, whichever way they take: who says by number what befell them names no link.
        if let Whose::Links(links) = &meddler.whose
            && !links.include(route.from, route.to)
        {
            return None;
        }
        match &meddler.which {
            Which::Chance { probability, .. } => {
                let lot = meddler.random.stream(&format!("{} {request} {count}", asked.client));
                if !lot.chance(*probability) {
                    return None;
                }
                let mishap = (meddler.draw)(asked, &lot)?;
                let fault = (meddler.pin)(client, request, *count, &mishap);
                Some(Befell {
                    mishap,
                    drawn: Some((meddler.began, fault)),
                })
            }
            Which::These { request: wanted, nth } => {
                if wanted != request || !nth.contains(count) {
                    return None;
                }
                if nth.iter().max() == Some(count) {
                    self.done.notify_one();
                }
                let mishap = (meddler.draw)(asked, &meddler.random)?;
                Some(Befell { mishap, drawn: None })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::asked;
    use crate::scenario::{LossSpec, Lost, RestartSpec, SwarmSpec, WhichRequests};

    const ROUTE: Route<'_> = Route {
        from: "node-1",
        to: "control-plane",
    };

    fn meddler(whose: Whose, which: Which) -> Meddler {
        Meddler {
            whose,
            which,
            draw: Box::new(|_, random| {
                Some(Mishap::RequestLost(if random.chance(0.5) {
                    Loss::Reset
                } else {
                    Loss::Silence
                }))
            }),
            pin: Box::new(|client, _, _, _| match client {
                ClientTarget::Component(target) => FaultAction::Restart(RestartSpec(target)),
                ClientTarget::User => FaultAction::Swarm(SwarmSpec { kinds: Vec::new() }),
            }),
            began: Duration::from_secs(1),
            random: Random::from_number(7),
            victims: Victims::default(),
        }
    }

    fn patch(client: &str) -> Asked {
        asked(
            client,
            http::Method::PATCH,
            "/api/v1/namespaces/default/pods/web/status",
        )
    }

    /// Which of so many patches of a kubelet something befalls, when others ask besides.
    fn befallen(count: usize, others: usize) -> Vec<usize> {
        let mut mishaps = Mishaps::default();
        let which = Which::Chance {
            probability: 0.3,
            until: Duration::from_secs(100),
        };
        mishaps.begin(meddler(Whose::Client(None), which));
        let now = Duration::from_secs(2);
        let struck = (0..count).filter(|_| {
            for _ in 0..others {
                mishaps.befall(&patch("kubelet/node-2"), &ROUTE, now);
            }
            mishaps.befall(&patch("kubelet/node-1"), &ROUTE, now).is_some()
        });
        struck.collect()
    }

    #[test]
    fn each_request_draws_its_own_lot() {
        let alone = befallen(40, 0);
        assert!((5..25).contains(&alone.len()), "{alone:?}");
        assert_eq!(alone, befallen(40, 3));
    }

    #[test]
    fn those_that_are_numbered_are_counted_by_client_and_request_and_then_all_is_said() {
        let mut mishaps = Mishaps::default();
        let which = Which::These {
            request: "patch pods/status".to_owned(),
            nth: vec![2],
        };
        let whose = Whose::Client(ClientTarget::parse("kubelet/node-1").ok());
        let done = mishaps.begin(meddler(whose, which));
        let now = Duration::from_secs(2);
        let read = asked("kubelet/node-1", http::Method::GET, "/api/v1/nodes/node-1");
        assert!(mishaps.befall(&patch("kubelet/node-1"), &ROUTE, now).is_none());
        assert!(mishaps.befall(&read, &ROUTE, now).is_none());
        assert!(mishaps.befall(&patch("kubelet/node-2"), &ROUTE, now).is_none());
        assert!(futures_util::FutureExt::now_or_never(done.notified()).is_none());
        let befell = mishaps.befall(&patch("kubelet/node-1"), &ROUTE, now).unwrap();
        assert!(befell.drawn.is_none());
        assert!(futures_util::FutureExt::now_or_never(done.notified()).is_some());
        assert!(mishaps.befall(&patch("kubelet/node-1"), &ROUTE, now).is_none());
    }

    #[test]
    fn a_link_concerns_whoever_takes_it_and_only_as_long_as_the_fault_lasts() {
        let mut mishaps = Mishaps::default();
        let which = Which::Chance {
            probability: 1.0,
            until: Duration::from_secs(10),
        };
        let links = Links {
            of: Some("node-1".to_owned()),
            to: None,
        };
        mishaps.begin(meddler(Whose::Links(links), which));
        let elsewhere = Route {
            from: "node-2",
            ..ROUTE
        };
        let at = Duration::from_secs;
        assert!(mishaps.befall(&patch("kubelet/node-2"), &elsewhere, at(2)).is_none());
        let befell = mishaps.befall(&patch("kubelet/node-1"), &ROUTE, at(2)).unwrap();
        assert!(matches!(befell.drawn, Some((began, FaultAction::Restart(_))) if began == at(1)));
        assert!(mishaps.befall(&patch("kubelet/node-1"), &ROUTE, at(10)).is_none());
    }

    #[test]
    fn a_request_that_takes_another_link_counts_as_well_as_it_does_for_who_names_its_client() {
        let mut mishaps = Mishaps::default();
        let which = Which::Chance {
            probability: 1.0,
            until: Duration::from_secs(10),
        };
        let links = Links {
            of: Some("node-1".to_owned()),
            to: Some("control-plane".to_owned()),
        };
        let pin: Pin = Box::new(|client, request, number, _| {
            FaultAction::Loss(LossSpec::These {
                client,
                which: WhichRequests::These {
                    request: request.to_owned(),
                    nth: vec![number],
                },
                lost: Lost::Request,
                then: Loss::Reset,
            })
        });
        mishaps.begin(Meddler {
            pin,
            ..meddler(Whose::Links(links), which)
        });
        let elsewhere = Route {
            to: "control-plane-2",
            ..ROUTE
        };
        let now = Duration::from_secs(2);
        assert!(mishaps.befall(&patch("kubelet/node-1"), &elsewhere, now).is_none());
        let befell = mishaps.befall(&patch("kubelet/node-1"), &ROUTE, now).unwrap();
        let (_, mut pinned) = befell.drawn.unwrap();
        assert_eq!(pinned.nth().cloned(), Some(vec![2]));
    }

    #[test]
    fn a_fault_befalls_only_those_requests_that_no_other_befell_before() {
        let mut mishaps = Mishaps::default();
        let [first, second] = [[1, 2], [2, 3]].map(|nth| {
            let (victims, count) = Victims::counted();
            let which = Which::These {
                request: "patch pods/status".to_owned(),
                nth: nth.to_vec(),
            };
            mishaps.begin(Meddler {
                victims,
                ..meddler(Whose::Client(None), which)
            });
            count
        });
        let mut counts = Vec::new();
        for _ in 0..4 {
            mishaps.befall(&patch("kubelet/node-1"), &ROUTE, Duration::from_secs(2));
            counts.push((first(), second()));
        }
        assert_eq!(counts, [(1, 0), (2, 0), (2, 1), (2, 1)]);
    }
}
