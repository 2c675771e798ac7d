//! Records for the tests of campaigns.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Input, Record};
use crate::exit;
use crate::variation::{Explore, Redraw, Variation};

/// A run that held.
pub fn record(scenario: &str, seed: u64) -> Record {
    Record {
        input: Input::new(scenario, seed),
        guide: None,
        code: exit::HELD,
        kind: "held".to_owned(),
        hash: format!("{seed:032x}"),
        simulated: 210.25,
        spent: 0.125,
        features: 3,
        new: Vec::new(),
        seen: Vec::new(),
        never_struck: Vec::new(),
        message: String::new(),
        text: String::new(),
    }
}

/// Records of different inputs, some of them failures.
pub fn records() -> impl Strategy<Value = Vec<Record>> {
    let input = ("[ab].yaml", 0u64..50, proptest::option::of(0u64..3));
    let found = (0u8..4, proptest::collection::vec("[a-e]", 0..4));
    let outcomes = proptest::collection::btree_map(input, found, 0..30);
    outcomes.prop_map(|outcomes: BTreeMap<_, _>| {
        let records = outcomes.into_iter().map(|((scenario, seed, redraw), (code, new))| {
            let mut record = record(&scenario, seed);
            record.input.variation = varied(redraw);
            record.new = new.clone();
            record.seen = new;
            if code > 0 {
                record.code = 9 + code;
                record.kind = format!("kind {code}");
                record.message = format!("of revision {seed}");
            }
            record
        });
        records.collect()
    })
}

fn varied(redraw: Option<u64>) -> Variation {
    let redraw = redraw.map(|number| Redraw {
        stream: "fault/0".to_owned(),
        number,
    });
    let explore = if redraw.is_some() {
        Explore::Pct { depth: 2 }
    } else {
        Explore::Random
    };
    Variation {
        redraw: redraw.into_iter().collect(),
        explore,
        mutant: None,
    }
}
