//! Whom a fault or a step is about: a machine, a component, or any of them.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer};

use super::nearest;
use crate::vocabulary::vocabulary;

/// A component of the cluster; each process is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// An API server; the only one has its store with it.
    ApiServer,
    /// The scheduler.
    Scheduler,
    /// The controller manager.
    ControllerManager,
    /// A node's kubelet.
    Kubelet,
    /// A node's proxy.
    Proxy,
    /// The store of several API servers.
    Store,
    /// A component of a user's own, by its name.
    Custom(&'static str),
}

impl Role {
    /// Those of the house.
    pub const HOUSE: [Role; 6] = [
        Role::ApiServer,
        Role::Scheduler,
        Role::ControllerManager,
        Role::Kubelet,
        Role::Proxy,
        Role::Store,
    ];

    /// The name in scenarios and traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::ApiServer => "apiserver",
            Role::Scheduler => "scheduler",
            Role::ControllerManager => "controller-manager",
            Role::Kubelet => "kubelet",
            Role::Proxy => "proxy",
            Role::Store => "store",
            Role::Custom(name) => name,
        }
    }

    /// The lease in `kube-system` by which several processes of this role elect their leader; none if they do not.
    pub fn lease(self) -> Option<&'static str> {
        match self {
            Role::Scheduler => Some("kube-scheduler"),
            Role::ControllerManager => Some("kube-controller-manager"),
            Role::Custom(name) => {
                let own = vocabulary().component(name).filter(|own| own.elects);
                own.map(|own| own.name)
            }
            _ => None,
        }
    }

    /// Whether it is a component of the house, and not a user's own.
    pub fn is_of_house(self) -> bool {
        !matches!(self, Role::Custom(_))
    }

    /// Every role, users' own last.
    pub fn all() -> impl Iterator<Item = Role> {
        let own = vocabulary().components.iter();
        Role::HOUSE
            .into_iter()
            .chain(own.map(|component| Role::Custom(component.name)))
    }

    /// The role of this name, if there is one.
    pub fn named(name: &str) -> Option<Role> {
        Role::all().find(|role| role.as_str() == name)
    }

    /// The role of a process: that of `kubelet/node-1` is the kubelet. None for users.
    pub fn of(process: &str) -> Option<Role> {
        Role::named(process.split_once('/')?.0)
    }

    fn parse(text: &str) -> Result<Role, String> {
        Role::named(text).ok_or_else(|| {
            let names: Vec<_> = Role::all().map(Role::as_str).collect();
            format!("no component {text:?}{}", nearest::hint(text, &names))
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A component: `scheduler`, any of its processes; `kubelet/node-2`, the one there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentTarget {
    /// Which component.
    pub role: Role,
    /// On which machine, or its number among twins; any if none.
    pub instance: Option<String>,
}

impl<'de> Deserialize<'de> for ComponentTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ComponentTarget::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl ComponentTarget {
    /// Whether the process of this name is meant; of twins by their number, on a node by its name.
    pub fn means(&self, process: &str) -> bool {
        let Some(rest) = process.strip_prefix(self.role.as_str()) else {
            return false;
        };
        rest.strip_prefix('/')
            .is_some_and(|instance| self.instance.as_ref().is_none_or(|wanted| wanted == instance))
    }

    /// Reads `scheduler` or `kubelet/node-2`; the name of a process is the target that means it alone.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (role, instance) = match text.split_once('/') {
            Some((role, instance)) => (role, Some(instance.to_owned())),
            None => (text, None),
        };
        Ok(ComponentTarget {
            role: Role::parse(role)?,
            instance,
        })
    }
}

impl fmt::Display for ComponentTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instance {
            Some(instance) => write!(f, "{}/{instance}", self.role),
            None => write!(f, "{}", self.role),
        }
    }
}

/// A client of the API server: a component, or `user`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientTarget {
    /// The users, all of them.
    User,
    /// A component.
    Component(ComponentTarget),
}

impl<'de> Deserialize<'de> for ClientTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ClientTarget::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl ClientTarget {
    /// Whether the client of this name is meant.
    pub fn means(&self, client: &str) -> bool {
        match self {
            ClientTarget::User => client == "user",
            ClientTarget::Component(target) => target.means(client),
        }
    }

    /// The component, if it is no user.
    pub fn component(&self) -> Option<&ComponentTarget> {
        match self {
            ClientTarget::User => None,
            ClientTarget::Component(component) => Some(component),
        }
    }

    /// Reads `user` or a component's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "user" {
            return Ok(ClientTarget::User);
        }
        ComponentTarget::parse(text).map(ClientTarget::Component)
    }
}

impl fmt::Display for ClientTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientTarget::User => f.write_str("user"),
            ClientTarget::Component(target) => target.fmt(f),
        }
    }
}

/// Whose requests a fault is about, in words: everybody's if it names no client.
pub fn whose(client: Option<&ClientTarget>) -> String {
    client.map_or_else(|| "everybody".to_owned(), ToString::to_string)
}

/// A machine: `any` worker node, a named one, or `control-plane`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeTarget {
    /// Any worker node.
    Any,
    /// The machine of this name.
    Named(String),
}

impl<'de> Deserialize<'de> for NodeTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(if text == "any" {
            NodeTarget::Any
        } else {
            NodeTarget::Named(text)
        })
    }
}

impl fmt::Display for NodeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeTarget::Any => f.write_str("any"),
            NodeTarget::Named(name) => f.write_str(name),
        }
    }
}

/// The machines and components that a fault names.
#[derive(Debug, Default)]
pub struct Whom<'a> {
    /// Machines.
    pub nodes: Vec<&'a NodeTarget>,
    /// Components.
    pub components: Vec<&'a ComponentTarget>,
}

impl<'a> Whom<'a> {
    /// Some machine, some component.
    pub fn of(node: Option<&'a NodeTarget>, component: Option<&'a ComponentTarget>) -> Self {
        Whom {
            nodes: node.into_iter().collect(),
            components: component.into_iter().collect(),
        }
    }

    /// The machines that are named, and those of the kubelets and proxies that are; none if nobody is named, or somebody
    /// who is not at home on one machine.
    pub fn machines(&self) -> Option<BTreeSet<String>> {
        let nodes = self.nodes.iter().map(|node| match node {
            NodeTarget::Any => None,
            NodeTarget::Named(name) => Some(name.clone()),
        });
        let components = self.components.iter().map(|target| match target.role {
            Role::Kubelet | Role::Proxy => target.instance.clone(),
            _ => None,
        });
        let all: Option<BTreeSet<String>> = nodes.chain(components).collect();
        all.filter(|machines| !machines.is_empty())
    }

    /// The component that a client is, if one is named and it is no user.
    pub fn of_client(client: Option<&'a ClientTarget>) -> Self {
        Whom::of(None, client.and_then(ClientTarget::component))
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::FaultPlan;

    /// The machines of a fault.
    fn machines(fault: &str) -> Option<Vec<String>> {
        let plan: FaultPlan = serde_yaml::from_str(&format!("at: 1s\n{fault}\n")).unwrap();
        let machines = plan.action.whom().machines();
        machines.map(|machines| machines.into_iter().collect())
    }

    #[test]
    fn a_fault_is_of_the_machines_it_names_and_of_none_if_it_may_befall_others_too() {
        let some = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(machines("crash: { node: node-2 }"), some(&["node-2"]));
        assert_eq!(machines("pause: { component: proxy/node-3 }"), some(&["node-3"]));
        assert_eq!(
            machines("api-errors: { client: kubelet/node-1, codes: [500] }"),
            some(&["node-1"])
        );
        assert_eq!(
            machines("slow-link: { node: node-1, to: node-2, by: 1s }"),
            some(&["node-1", "node-2"])
        );
        for fault in [
            "crash: { node: any }",
            "crash: { component: kubelet }",
            "crash: { component: scheduler/1 }",
            "api-errors: { codes: [500] }",
            "api-errors: { client: user, codes: [500] }",
            "slow-link: { by: 1s }",
            "reconnect: { component: kubelet/node-1, to: apiserver/2 }",
        ] {
            assert_eq!(machines(fault), None, "{fault}");
        }
    }
}
