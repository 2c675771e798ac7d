//! Links between machines: `slow-link`, `loss`; and connections: `reset`.

use serde::Deserialize;

use super::which::WhichRequests;
use super::{Loss, Words, some_time, some_times};
use crate::scenario::quantity::{self, Span};
use crate::scenario::simpler::shorter;
use crate::scenario::target::{ClientTarget, ComponentTarget, NodeTarget, Whom};
use crate::scenario::write::Keys;
use crate::scenario::yaml::Yaml;

/// Links between machines: all of them, those of one, or the one between two.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LinksTarget {
    /// Those of this machine.
    pub node: Option<NodeTarget>,
    /// To this one alone.
    pub to: Option<NodeTarget>,
}

impl LinksTarget {
    fn write(&self, keys: Keys) -> Keys {
        let LinksTarget { node, to } = self;
        keys.some("node", node.as_ref(), Yaml::text_of)
            .some("to", to.as_ref(), Yaml::text_of)
    }

    fn whom(&self) -> Whom<'_> {
        Whom {
            nodes: self.node.iter().chain(&self.to).collect(),
            ..Whom::default()
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        match (&self.node, &self.to) {
            (Some(node), Some(to)) => format!("the link between {node} and {to}"),
            (Some(node), None) | (None, Some(node)) => format!("the links of {node}"),
            (None, None) => "all links".to_owned(),
        }
    }

    fn check(&self) -> Result<(), String> {
        match (&self.node, &self.to) {
            (_, Some(NodeTarget::Any)) => Err("`to` is a machine; without it, all are meant".to_owned()),
            (None, Some(_)) => Err("`to` needs `node`: a link has two ends".to_owned()),
            (node, to) if to.is_some() && node == to => Err("a link has two ends".to_owned()),
            _ => Ok(()),
        }
    }

    fn simpler(&self) -> Option<Self> {
        self.to.is_some().then(|| LinksTarget {
            node: self.node.clone(),
            to: None,
        })
    }
}

/// Which links are slow, by how much, and for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "SlowLinkWire")]
pub struct SlowLinkSpec {
    /// Which.
    pub links: LinksTarget,
    /// What a message takes longer.
    pub by: Span,
    /// For how long.
    pub lasts: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlowLinkWire {
    node: Option<NodeTarget>,
    to: Option<NodeTarget>,
    by: Span,
    #[serde(rename = "for", default = "some_time")]
    lasts: Span,
}

impl From<SlowLinkWire> for SlowLinkSpec {
    fn from(wire: SlowLinkWire) -> Self {
        SlowLinkSpec {
            links: LinksTarget {
                node: wire.node,
                to: wire.to,
            },
            by: wire.by,
            lasts: wire.lasts,
        }
    }
}

impl Words for SlowLinkSpec {
    fn write(&self) -> Yaml {
        let SlowLinkSpec { links, by, lasts } = self;
        let keys = links.write(Keys::default()).with("by", Yaml::plain(by));
        some_times(keys, lasts).map()
    }

    fn describe(&self) -> String {
        format!("slowness of {}", self.links.describe())
    }

    fn whom(&self) -> Whom<'_> {
        self.links.whom()
    }

    fn check(&self) -> Result<(), String> {
        self.links.check()
    }

    fn simpler(&self) -> Vec<Self> {
        let links = self.links.simpler().map(|links| SlowLinkSpec { links, ..self.clone() });
        let by = shorter(&self.by).map(|by| SlowLinkSpec { by, ..self.clone() });
        let lasts = shorter(&self.lasts).map(|lasts| SlowLinkSpec { lasts, ..self.clone() });
        links.into_iter().chain(by).chain(lasts).collect()
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        Some(&mut self.lasts)
    }
}

/// Requests and answers that are lost.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "LossWire")]
pub enum LossSpec {
    /// On some links, by chance.
    Links {
        /// Which.
        links: LinksTarget,
        /// How many of them, for how long: a share.
        which: WhichRequests,
    },
    /// Certain ones.
    These {
        /// Whose.
        client: ClientTarget,
        /// Which: by number.
        which: WhichRequests,
        /// What is lost.
        lost: Lost,
        /// What the client notices.
        then: Loss,
    },
}

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lost {
    /// The request.
    #[default]
    Request,
    /// The answer, after the request took effect.
    Answer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LossWire {
    node: Option<NodeTarget>,
    to: Option<NodeTarget>,
    client: Option<ClientTarget>,
    #[serde(default, deserialize_with = "quantity::some_probability")]
    probability: Option<f64>,
    #[serde(rename = "for")]
    lasts: Option<Span>,
    request: Option<String>,
    nth: Option<Vec<u32>>,
    lost: Option<Lost>,
    then: Option<Loss>,
}

impl TryFrom<LossWire> for LossSpec {
    type Error = String;

    fn try_from(wire: LossWire) -> Result<Self, String> {
        let links = LinksTarget {
            node: wire.node,
            to: wire.to,
        };
        let which = WhichRequests::read(wire.probability, wire.lasts, wire.request, wire.nth)?;
        match wire.client {
            None if which.is_by_chance() && wire.lost.is_none() && wire.then.is_none() => {
                Ok(LossSpec::Links { links, which })
            }
            Some(client) if !which.is_by_chance() && links == LinksTarget::default() => Ok(LossSpec::These {
                client,
                which,
                lost: wire.lost.unwrap_or_default(),
                then: wire.then.unwrap_or_default(),
            }),
            _ => Err("say what is lost by links (`node`, `to`), or by `client`, `request` and `nth`".to_owned()),
        }
    }
}

impl Words for LossSpec {
    fn write(&self) -> Yaml {
        match self {
            LossSpec::Links { links, which } => which.write(links.write(Keys::default())).map(),
            LossSpec::These {
                client,
                which,
                lost,
                then,
            } => {
                let keys = Keys::default().with("client", Yaml::text_of(client));
                which
                    .write(keys)
                    .unless(*lost == Lost::default(), "lost", || {
                        Yaml::plain(match lost {
                            Lost::Request => "request",
                            Lost::Answer => "answer",
                        })
                    })
                    .unless(*then == Loss::default(), "then", || Yaml::plain(then.as_str()))
                    .map()
            }
        }
    }

    fn describe(&self) -> String {
        match self {
            LossSpec::Links { links, .. } => format!("loss on {}", links.describe()),
            LossSpec::These { client, .. } => format!("loss of messages of {client}"),
        }
    }

    fn whom(&self) -> Whom<'_> {
        match self {
            LossSpec::Links { links, .. } => links.whom(),
            LossSpec::These { client, .. } => Whom::of_client(Some(client)),
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            LossSpec::Links { links, .. } => links.check(),
            LossSpec::These { .. } => Ok(()),
        }
    }

    fn simpler(&self) -> Vec<Self> {
        let with = |which: WhichRequests| {
            let mut variant = self.clone();
            match &mut variant {
                LossSpec::Links { which: own, .. } | LossSpec::These { which: own, .. } => *own = which,
            }
            variant
        };
        match self {
            LossSpec::Links { links, which } => {
                let links = links.simpler().map(|links| LossSpec::Links {
                    links,
                    which: which.clone(),
                });
                links.into_iter().chain(which.simpler().into_iter().map(with)).collect()
            }
            LossSpec::These {
                client,
                which,
                lost,
                then,
            } => {
                let reset = (*then != Loss::Reset).then(|| LossSpec::These {
                    client: client.clone(),
                    which: which.clone(),
                    lost: *lost,
                    then: Loss::Reset,
                });
                reset.into_iter().chain(which.simpler().into_iter().map(with)).collect()
            }
        }
    }

    fn lasts(&mut self) -> Option<&mut Span> {
        match self {
            LossSpec::Links { which, .. } | LossSpec::These { which, .. } => which.lasts(),
        }
    }

    fn is_by_chance(&self) -> bool {
        matches!(self, LossSpec::Links { .. })
    }

    fn nth(&mut self) -> Option<&mut Vec<u32>> {
        match self {
            LossSpec::Links { which, .. } | LossSpec::These { which, .. } => which.nth(),
        }
    }
}

/// Whose connections are reset: all of a machine, or of a process.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetSpec {
    /// The machine.
    #[serde(default)]
    pub node: Option<NodeTarget>,
    /// The process.
    #[serde(default)]
    pub component: Option<ComponentTarget>,
}

impl Words for ResetSpec {
    fn write(&self) -> Yaml {
        let ResetSpec { node, component } = self;
        Keys::default()
            .some("node", node.as_ref(), Yaml::text_of)
            .some("component", component.as_ref(), Yaml::text_of)
            .map()
    }

    fn describe(&self) -> String {
        match (&self.node, &self.component) {
            (Some(node), _) => format!("reset of the connections of machine {node}"),
            (_, Some(component)) => format!("reset of the connections of {component}"),
            _ => "reset".to_owned(),
        }
    }

    fn whom(&self) -> Whom<'_> {
        Whom::of(self.node.as_ref(), self.component.as_ref())
    }

    fn check(&self) -> Result<(), String> {
        match (&self.node, &self.component) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            _ => Err("one of `node` and `component` is needed".to_owned()),
        }
    }
}
