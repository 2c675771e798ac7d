//! A walk through all that is written in an object.

use serde_json::{Map, Value};

/// Does something with every map in `value`, the outer ones first.
pub fn maps(value: &mut Value, act: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            act(fields);
            fields.values_mut().for_each(|value| maps(value, act));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| maps(value, act)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_map_is_met_the_outer_ones_first() {
        let mut value = json!({"a": [{"b": {"c": 1}}, 2], "d": {"e": null}});
        let mut met = Vec::new();
        maps(&mut value, &mut |map| met.extend(map.keys().cloned()));
        assert_eq!(met, ["a", "d", "b", "c", "e"]);
    }
}
