//! Columns and cells that tables of several kinds share.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use orrery_api::labels::Selector;

use crate::resource::Column;

/// A column that `kubectl get` always shows.
pub(super) const fn column(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind,
        format: "",
        priority: 0,
        description,
    }
}

/// A column that is shown with `-o wide` only.
pub(super) const fn wide(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind,
        format: "",
        priority: 1,
        description,
    }
}

/// The name, which every table starts with.
pub(crate) const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    priority: 0,
    description: "The name, unique among its kind in its namespace.",
};

/// The age since creation.
pub(crate) const AGE: Column = column("Age", "string", "The time since the object was created.");

/// The age of an object, as `5m12s`; `<unknown>` before the server stamped it.
pub(crate) fn age(meta: &ObjectMeta, now: Timestamp) -> String {
    since(meta.creation_timestamp.as_ref(), now)
}

/// The time since `time`, as people read it; `<unknown>` when there is none.
pub(super) fn since(time: Option<&Time>, now: Timestamp) -> String {
    time.map_or_else(|| "<unknown>".to_owned(), |time| elapsed(time.0, now))
}

/// The time from `then` to `now`, as people read it.
pub(super) fn elapsed(then: Timestamp, now: Timestamp) -> String {
    human_duration(now.duration_since(then).as_secs())
}

/// A duration at the precision that matters at its size: two units while the smaller one still tells something.
///
/// The steps are those of apimachinery's `HumanDuration`, which kubectl's users are used to. A clock that is one
/// second ahead counts as 0; further ahead is `<invalid>`.
pub(super) fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{big_unit}")
        } else {
            format!("{big}{big_unit}{small}{small_unit}")
        }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(s / MINUTE, "m", s % MINUTE, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(s / HOUR, "h", s % HOUR / MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(s / DAY, "d", s % DAY / HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(s / YEAR, "y", s % YEAR / DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

/// A selector as a cell: `<none>` when it is empty, `<error>` when it cannot be read.
pub(super) fn selector(selector: &LabelSelector) -> String {
    match Selector::from_label_selector(selector) {
        Ok(selector) => or_none(selector.to_string()),
        Err(_) => "<error>".to_owned(),
    }
}

/// `text`, or `<none>` in place of an empty one.
pub(super) fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text }
}

/// The first three of several, and how many more there are.
pub(super) fn first_few(all: impl Iterator<Item = String>, empty: &str) -> String {
    const FEW: usize = 3;
    let mut all = all.peekable();
    if all.peek().is_none() {
        return empty.to_owned();
    }
    let first = all.by_ref().take(FEW).collect::<Vec<_>>().join(",");
    match all.count() {
        0 => first,
        more => format!("{first} + {more} more..."),
    }
}

/// Labels as a cell: `a=b,c=d`, or `<none>`.
pub(super) fn pairs(labels: Option<&std::collections::BTreeMap<String, String>>) -> String {
    let pairs = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"));
    or_none(pairs.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_as_precise_as_it_is_short() {
        let shown = [
            -5,
            -1,
            0,
            119,
            120,
            125,
            599,
            600,
            10_799,
            10_800,
            11_100,
            28_800,
            172_800,
            180_000,
            700_000,
            63_072_000,
            70_000_000,
            300_000_000,
        ]
        .map(human_duration)
        .join(" ");
        insta::assert_snapshot!(shown, @"<invalid> 0s 0s 119s 2m 2m5s 9m59s 10m 179m 3h 3h5m 8h 2d 2d2h 8d 2y 2y80d 9y");
    }
}
