//! A packet filter's rules as values: what iptables-restore reads, typed. It knows nothing of services.
//!
//! Only what kube-proxy's rules need is here: the tables `nat` and `filter`, the conditions and targets in [`Match`]
//! and [`Target`], IPv4.

mod cidr;
mod rule;

use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use cidr::{Cidr, NotACidr};
pub use rule::{Connection, Match, Protocol, Rule, Target};

/// All the rules that one node should have, and no others of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {
    /// Translation of addresses.
    pub nat: Table,
    /// What may pass.
    pub filter: Table,
}

/// The rules of one table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// The jumps from chains that are not ours into ours, in the order they are asked.
    pub hooks: Arc<[Hook]>,
    /// Our chains by name.
    pub chains: BTreeMap<String, Arc<[Rule]>>,
}

/// A rule of ours in a chain of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The chain it stands in: a built-in one, or another program's.
    pub chain: String,
    /// The rule, a jump.
    pub rule: Rule,
    /// Whether the rule is left out on machines that have no such chain.
    pub optional: bool,
}

impl Hook {
    /// The chain of ours that it leads to; empty when the rule is no jump.
    pub fn leads_to(&self) -> &str {
        self.rule.jumps_to().unwrap_or_default()
    }
}

impl Ruleset {
    /// The tables with their names.
    pub fn tables(&self) -> [(&'static str, &Table); 2] {
        [("filter", &self.filter), ("nat", &self.nat)]
    }

    /// Every address that some rule sends connections to.
    pub fn endpoints(&self) -> impl Iterator<Item = core::net::SocketAddrV4> + '_ {
        self.nat
            .chains
            .values()
            .flat_map(|rules| rules.iter().filter_map(Rule::translates_to))
    }
}

impl Table {
    /// The rules of one of our chains; none when there is no such chain.
    pub fn chain(&self, name: &str) -> &[Rule] {
        self.chains.get(name).map_or(&[], |rules| rules)
    }

    /// The hooks that stand in the chain, in order.
    pub fn hooks_in<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.hooks
            .iter()
            .filter(move |hook| hook.chain == chain)
            .map(|hook| &hook.rule)
    }
}

impl fmt::Display for Ruleset {
    /// The form of iptables-save: per table our chains, the hooks, the rules.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, table) in self.tables() {
            write!(f, "*{name}\n{table}COMMIT\n")?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chain in self.chains.keys() {
            writeln!(f, ":{chain} - [0:0]")?;
        }
        for hook in self.hooks.iter() {
            writeln!(f, "-A {} {}", hook.chain, hook.rule)?;
        }
        for (chain, rules) in &self.chains {
            for rule in rules.iter() {
                writeln!(f, "-A {chain} {rule}")?;
            }
        }
        Ok(())
    }
}
