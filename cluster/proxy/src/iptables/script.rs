//! What iptables-restore is told: pure functions from what stands and what should stand to its input.
//!
//! iptables-restore applies a table's lines in one step, up to its `COMMIT`. A line `:CHAIN` makes the chain or empties
//! it; chains that it does not name stay as they are, because it is run with `--noflush`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use super::saved::{Saved, SavedTable};
use crate::filter::FilterError;
use crate::plan::names::MARKER;
use crate::ruleset::{Hook, Rule, Ruleset, Table};

/// Writing to a string cannot fail.
const WRITES: &str = "a string takes everything";

/// An error when chains with names of ours stand in a table that we never wrote.
pub(super) fn refuse_foreign(saved: &Saved) -> Result<(), FilterError> {
    for table in ["nat", "filter"] {
        let chains = saved.table(table);
        if !chains.chains.contains(MARKER)
            && let Some(chain) = chains.own_chains().next()
        {
            return Err(FilterError::Foreign {
                table: table.to_string(),
                chain: chain.clone(),
            });
        }
    }
    Ok(())
}

/// Makes `rules` all of ours, whatever stands.
pub(super) fn full(saved: &Saved, rules: &Ruleset) -> String {
    let mut script = String::new();
    for (name, table) in rules.tables() {
        let standing = saved.table(name);
        let stale: Vec<_> = standing
            .own_chains()
            .filter(|chain| !table.chains.contains_key(*chain))
            .collect();
        writeln!(script, "*{name}").expect(WRITES);
        for chain in table.chains.keys().chain(stale.iter().copied()) {
            writeln!(script, ":{chain} - [0:0]").expect(WRITES);
        }
        write_hooks(&mut script, standing, table);
        for (chain, rules) in &table.chains {
            write_rules(&mut script, chain, rules);
        }
        for chain in stale {
            writeln!(script, "-X {chain}").expect(WRITES);
        }
        script.push_str("COMMIT\n");
    }
    script
}

/// Turns `before`, which stands, into `after`; nothing when that cannot be said without looking at what stands. Only
/// chains that differ are named, so the work is that of the change.
pub(super) fn difference(before: &Ruleset, after: &Ruleset) -> Option<String> {
    let mut script = String::new();
    for ((name, before), (_, after)) in before.tables().into_iter().zip(after.tables()) {
        if before.hooks != after.hooks {
            return None;
        }
        let changed: Vec<(&String, &Arc<[Rule]>)> = after
            .chains
            .iter()
            .filter(|(chain, rules)| before.chains.get(*chain) != Some(rules))
            .collect();
        let stale: Vec<_> = before
            .chains
            .keys()
            .filter(|chain| !after.chains.contains_key(*chain))
            .collect();
        if changed.is_empty() && stale.is_empty() {
            continue;
        }
        writeln!(script, "*{name}").expect(WRITES);
        for chain in changed.iter().map(|(chain, _)| *chain).chain(stale.iter().copied()) {
            writeln!(script, ":{chain} - [0:0]").expect(WRITES);
        }
        for (chain, rules) in changed {
            write_rules(&mut script, chain, rules);
        }
        for chain in stale {
            writeln!(script, "-X {chain}").expect(WRITES);
        }
        script.push_str("COMMIT\n");
    }
    Some(script)
}

/// Removes all of ours; empty when there is nothing of ours.
pub(super) fn clear(saved: &Saved) -> String {
    let mut script = String::new();
    for name in ["filter", "nat"] {
        let standing = saved.table(name);
        if !standing.chains.contains(MARKER) {
            continue;
        }
        writeln!(script, "*{name}").expect(WRITES);
        for chain in standing.own_chains() {
            writeln!(script, ":{chain} - [0:0]").expect(WRITES);
        }
        for (chain, rule) in &standing.hooks {
            writeln!(script, "-D {chain} {rule}").expect(WRITES);
        }
        for chain in standing.own_chains() {
            writeln!(script, "-X {chain}").expect(WRITES);
        }
        script.push_str("COMMIT\n");
    }
    script
}

fn write_rules(script: &mut String, chain: &str, rules: &[Rule]) {
    for rule in rules {
        writeln!(script, "-A {chain} {rule}").expect(WRITES);
    }
}

/// Puts our rules at the head of others' chains, unless they stand there already. Where among others' rules they stand
/// is left alone then: another program that goes before us (Docker does) would be fought for ever.
fn write_hooks(script: &mut String, standing: &SavedTable, table: &Table) {
    let wanted: BTreeSet<&str> = table.hooks.iter().map(|hook| hook.chain.as_str()).collect();
    let present = standing.hooks.iter().map(|(chain, _)| chain.as_str());
    let chains: BTreeSet<&str> = wanted.iter().copied().chain(present).collect();
    for chain in chains {
        let hooks: Vec<&Hook> = table.hooks.iter().filter(|hook| hook.chain == chain).collect();
        let hooks: Vec<String> = hooks
            .into_iter()
            .filter(|hook| !hook.optional || standing.chains.contains(&hook.chain))
            .map(|hook| hook.rule.to_string())
            .collect();
        let present = standing.hooks_in(chain);
        if present == hooks {
            continue;
        }
        for rule in present {
            writeln!(script, "-D {chain} {rule}").expect(WRITES);
        }
        for (place, rule) in (1..).zip(hooks) {
            writeln!(script, "-I {chain} {place} {rule}").expect(WRITES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::plan::plan;
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::api::discovery::v1::EndpointSlice;

    fn empty() -> Ruleset {
        plan::<Service, EndpointSlice>(&[], &[], &Options::default())
    }

    #[test]
    fn on_an_empty_machine_all_is_made_and_hooks_come_first() {
        let script = full(&Saved::default(), &empty());
        assert!(script.contains(":KUBE-SERVICES - [0:0]\n"), "{script}");
        assert!(
            script.contains("-I PREROUTING 1 -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n")
        );
        assert!(!script.contains("DOCKER-USER"), "{script}");
        assert!(!script.contains("-X "), "{script}");
    }

    #[test]
    fn what_vanished_is_emptied_and_deleted_in_the_same_step() {
        let saved = Saved::parse("*nat\n:ORRERY-PROXY - [0:0]\n:KUBE-SVC-OLD - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n");
        let script = full(&saved, &empty());
        let flush = script.find(":KUBE-SVC-OLD - [0:0]\n").unwrap();
        let delete = script.find("-X KUBE-SVC-OLD\n").unwrap();
        assert!(flush < delete && !script[flush..delete].contains("COMMIT"));
        assert!(!script.contains("CANARY"));
    }

    #[test]
    fn hooks_that_stand_are_left_where_they_are_and_doubled_ones_are_put_right() {
        let hook = "-m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING";
        let chains = "*nat\n:POSTROUTING ACCEPT\n:ORRERY-PROXY -\n:KUBE-POSTROUTING -\n-A POSTROUTING -j OTHER\n";
        let once = Saved::parse(&format!("{chains}-A POSTROUTING {hook}\n"));
        assert!(!full(&once, &empty()).contains(" POSTROUTING "));
        let twice = Saved::parse(&format!("{chains}-A POSTROUTING {hook}\n-A POSTROUTING {hook}\n"));
        let script = full(&twice, &empty());
        assert_eq!(script.matches(&format!("-D POSTROUTING {hook}\n")).count(), 2);
        assert_eq!(script.matches(&format!("-I POSTROUTING 1 {hook}\n")).count(), 1);
    }

    #[test]
    fn docker_is_asked_first_only_where_there_is_docker() {
        let saved = Saved::parse("*filter\n:FORWARD DROP\n:DOCKER-USER -\n");
        assert!(full(&saved, &empty()).contains("-I DOCKER-USER 1 "));
    }

    #[test]
    fn a_difference_names_only_what_differs() {
        let before = empty();
        assert_eq!(difference(&before, &before), Some(String::new()));
        let mut after = before.clone();
        let rule = Rule::to(crate::ruleset::Target::Accept);
        after.nat.chains.insert("KUBE-SVC-NEW".into(), [rule].into());
        insta::assert_snapshot!(difference(&before, &after).unwrap(), @r"
        *nat
        :KUBE-SVC-NEW - [0:0]
        -A KUBE-SVC-NEW -j ACCEPT
        COMMIT
        ");
        insta::assert_snapshot!(difference(&after, &before).unwrap(), @r"
        *nat
        :KUBE-SVC-NEW - [0:0]
        -X KUBE-SVC-NEW
        COMMIT
        ");
    }

    #[test]
    fn rules_of_another_kubernetes_are_neither_overwritten_nor_removed() {
        let saved = Saved::parse("*nat\n:KUBE-SERVICES -\n-A PREROUTING -j KUBE-SERVICES\n");
        assert!(matches!(refuse_foreign(&saved), Err(FilterError::Foreign { .. })));
        assert_eq!(clear(&saved), "");
        let kubelet = Saved::parse("*nat\n:KUBE-KUBELET-CANARY -\n");
        assert_eq!(refuse_foreign(&kubelet), Ok(()));
    }
}
