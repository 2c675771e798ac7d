//! By what failures are told apart: their kind, and their message without what differs from run to run.

use orrery_api::random::{fnv1a, is_of_suffix, is_uid};

/// A message in which numbers are `#` and uids and generated parts of names `*`.
pub fn masked(message: &str) -> String {
    let mut masked = String::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !is_of_word(letter)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        masked.push_str(&masked_word(word));
        let end = after.find(is_of_word).unwrap_or(after.len());
        let (between, after) = after.split_at(end);
        masked.push_str(between);
        rest = after;
    }
    masked
}

/// A short hash of a failure's kind and masked message: the same for the same failure in other runs.
pub fn fingerprint(kind: &str, masked: &str) -> String {
    let hash = fnv1a(format!("{kind}\n{masked}").as_bytes());
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

fn is_of_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '-'
}

fn masked_word(word: &str) -> String {
    let parts: Vec<&str> = word.split('-').collect();
    if is_uid(word) {
        return "*".to_owned();
    }
    // `-6` is a number, too.
    let parts = parts.iter().enumerate().map(|(place, part)| {
        if place > 0 && is_generated(part) {
            "*".to_owned()
        } else {
            masked_numbers(part)
        }
    });
    parts.collect::<Vec<String>>().join("-")
}

/// Whether a part of a name is a suffix of five letters, or the hash of a template, as generated names have them.
pub fn is_generated(part: &str) -> bool {
    let template = (8..=10).contains(&part.len());
    let letters = part.chars().all(is_of_suffix);
    letters && (part.len() == 5 || template)
}

/// Digits, and long hexadecimal numbers, become `#`.
fn masked_numbers(part: &str) -> String {
    let hexadecimal = part.len() >= 12 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hexadecimal {
        return "#".to_owned();
    }
    let mut masked = String::with_capacity(part.len());
    for letter in part.chars() {
        if !letter.is_ascii_digit() {
            masked.push(letter);
        } else if !masked.ends_with('#') {
            masked.push('#');
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs_between_runs_is_masked() {
        let message = "replicasets.apps/default/web-5889cd8c84 scaled up at revision 192 makes 6 replicas of the sets of \
                       deployments.apps/default/web (uid f715dc1b-4b3f-40f5-8015-3e214ffb0d4e), which allows 4";
        insta::assert_snapshot!(
            masked(message),
            @"replicasets.apps/default/web-* scaled up at revision # makes # replicas of the sets of deployments.apps/default/web (uid *), which allows #"
        );
        insta::assert_snapshot!(masked("web-7d9f8b6c5d-x2k4z on node-12 at 10.244.3.7 after -1.5s"), @"web-*-* on node-# at #.#.#.# after -#.#s");
    }

    #[test]
    fn the_words_stay() {
        for words in [
            "panicked at cluster/store/src/log.rs",
            "kube-proxy and kube-scheduler",
            "not-ready",
            "",
        ] {
            assert_eq!(masked(words), words);
        }
        assert_ne!(fingerprint("S3", "one"), fingerprint("S4", "one"));
        assert_ne!(fingerprint("S3", "one"), fingerprint("S3", "two"));
    }

    proptest! {
        #[test]
        fn masking_twice_is_masking_once(message in ".{0,60}") {
            let once = masked(&message);
            prop_assert_eq!(masked(&once), once);
        }

        #[test]
        fn other_revisions_are_the_same_failure(one in any::<u32>(), other in any::<u32>()) {
            let message = |revision: u32| masked(&format!("pods/default/web-{revision} of revision {revision} is gone"));
            prop_assert_eq!(message(one % 9 + 1), message(other % 9 + 1));
        }
    }
}
