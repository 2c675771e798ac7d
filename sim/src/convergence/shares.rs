//! E4 at rest: of the connections to a service each endpoint gets the same share.
//!
//! Judged over the rules that stand, exactly: a rule that takes one in so many is followed by others, which share what is
//! left. Clients that are remembered (session affinity) come before these, and are left out.

use orrery_proxy::ruleset::{Match, Rule, Ruleset};

/// Shares are equal if they differ by less.
const EXACT: f64 = 1e-9;

/// By how much a rule divides what comes so far; none if it takes all of it.
fn one_in(rule: &Rule) -> Option<u32> {
    rule.matches.iter().find_map(|condition| match condition {
        Match::OneIn(count) => Some(*count),
        _ => None,
    })
}

/// The shares of a chain's rules, from the first that divides on.
fn shares(rules: &[Rule]) -> Vec<f64> {
    let mut left = 1.0;
    let dividing = rules.iter().skip_while(|rule| one_in(rule).is_none());
    let take = |rule: &Rule| {
        let share = one_in(rule).map_or(left, |count| left / f64::from(count));
        left -= share;
        share
    };
    dividing.map(take).collect()
}

/// The chains of a node's rules that give one endpoint more than another.
pub fn missing(machine: &str, rules: &Ruleset, missing: &mut Vec<String>) {
    for (chain, rules) in &rules.nat.chains {
        let shares = shares(rules);
        let even = 1.0 / shares.len() as f64;
        if shares.iter().any(|share| (share - even).abs() > EXACT) {
            let percent: Vec<String> = shares.iter().map(|share| format!("{:.0} %", share * 100.0)).collect();
            missing.push(format!(
                "{chain} on {machine} gives its endpoints {}",
                percent.join(", ")
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(counts: &[Option<u32>]) -> Vec<String> {
        let rule = |count: &Option<u32>| match count {
            Some(count) => Rule::jump("KUBE-SEP-A").when(Match::OneIn(*count)),
            None => Rule::jump("KUBE-SEP-A"),
        };
        let mut rules = Ruleset::default();
        let chain: Vec<Rule> = counts.iter().map(rule).collect();
        rules.nat.chains.insert("KUBE-SVC-A".to_owned(), chain.into());
        let mut found = Vec::new();
        missing("node-1", &rules, &mut found);
        found
    }

    #[test]
    fn each_endpoint_gets_one_in_those_that_are_left() {
        assert!(told(&[Some(3), Some(2), None]).is_empty());
        // What comes before is no endpoint's.
        assert!(told(&[None, Some(2), None]).is_empty());
        assert!(told(&[None]).is_empty());
        assert_eq!(
            told(&[Some(3), Some(3), None]),
            ["KUBE-SVC-A on node-1 gives its endpoints 33 %, 22 %, 44 %"]
        );
    }
}
