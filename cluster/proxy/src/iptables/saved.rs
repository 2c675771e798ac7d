//! What iptables-save prints, as far as it concerns us: which chains stand, and who jumps to ours.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::is_own_chain;

/// The tables that stand, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    tables: BTreeMap<String, SavedTable>,
}

/// One table that stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SavedTable {
    /// All chains, built-in ones too.
    pub chains: BTreeSet<String>,
    /// Rules in chains that are not ours and jump to ours, each with its chain, without the `-A CHAIN`, in order.
    pub hooks: Vec<(String, String)>,
}

impl Saved {
    /// Reads the output of iptables-save. What it does not know it skips.
    pub fn parse(text: &str) -> Self {
        let mut saved = Saved::default();
        let mut table = String::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name.trim().to_string();
                saved.tables.entry(table.clone()).or_default();
            } else if let Some(rest) = line.strip_prefix(':') {
                let name = rest.split_whitespace().next().unwrap_or_default();
                saved
                    .tables
                    .entry(table.clone())
                    .or_default()
                    .chains
                    .insert(name.to_string());
            } else if let Some((chain, rule)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' '))
                && !is_own_chain(chain)
                && target(rule).is_some_and(is_own_chain)
            {
                let hook = (chain.to_string(), rule.trim_end().to_string());
                saved.tables.entry(table.clone()).or_default().hooks.push(hook);
            }
        }
        saved
    }

    /// The table of this name; an empty one when there is none.
    pub fn table(&self, name: &str) -> &SavedTable {
        static EMPTY: SavedTable = SavedTable {
            chains: BTreeSet::new(),
            hooks: Vec::new(),
        };
        self.tables.get(name).unwrap_or(&EMPTY)
    }
}

impl SavedTable {
    /// The chains that bear names of ours.
    pub fn own_chains(&self) -> impl Iterator<Item = &String> {
        self.chains.iter().filter(|chain| is_own_chain(chain))
    }

    /// The rules of ours in a chain of others, in order.
    pub fn hooks_in(&self, chain: &str) -> Vec<&str> {
        self.hooks
            .iter()
            .filter(|(in_chain, _)| in_chain == chain)
            .map(|(_, rule)| rule.as_str())
            .collect()
    }
}

/// The chain or target after the last `-j`. A comment cannot fake it: what follows it is the true one.
fn target(rule: &str) -> Option<&str> {
    rule.rsplit_once("-j ")?.1.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_found_among_the_rules_of_others() {
        let saved = Saved::parse(
            "# Generated\n*nat\n:PREROUTING ACCEPT [1:2]\n:DOCKER - [0:0]\n:KUBE-SERVICES - [0:0]\n\
             -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
             -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A KUBE-SERVICES -j KUBE-NODEPORTS\nCOMMIT\n",
        );
        let nat = saved.table("nat");
        assert_eq!(nat.own_chains().collect::<Vec<_>>(), ["KUBE-SERVICES"]);
        assert_eq!(
            nat.hooks_in("PREROUTING"),
            ["-m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES"]
        );
        assert!(saved.table("filter").hooks.is_empty());
    }
}
