//! Reading the table's text into rows.
//!
//! One row a field, tab-separated: message (empty: the one above), protobuf number, JSON name, type, cardinality,
//! listType, listMapKeys, patchStrategy, patchMergeKey, default, mapType or structType, how Go writes it
//! (`p`ointer, `o`mitempty, omit`z`ero, `i`nlined into the parent), and Go's name of the type where it has its own
//! (after `=`: of the whole list or map, else of the element). Number 0 marks what protobuf does not carry: the
//! apiVersion and kind of a message that is a kind. Trailing empty columns are left out.

pub(super) const TEXT: &str = include_str!("kubernetes-1.35.tsv");

/// One line of the table, its columns by name.
pub(super) struct Row {
    pub message: &'static str,
    pub number: u32,
    pub name: &'static str,
    pub type_name: &'static str,
    pub cardinality: &'static str,
    pub list_type: &'static str,
    pub list_map_keys: &'static str,
    pub patch_strategy: &'static str,
    pub patch_merge_key: &'static str,
    pub default: &'static str,
    pub struct_type: &'static str,
    pub go: &'static str,
    pub go_type: &'static str,
}

/// The messages in the table's order: each one's name, and its lines.
pub(super) fn messages() -> Vec<(&'static str, &'static str)> {
    let heading = TEXT.find('\n').map_or(TEXT.len(), |end| end + 1);
    let mut messages: Vec<(&str, &str)> = Vec::new();
    let (mut begin, mut at) = (heading, heading);
    let mut name = "";
    for line in TEXT[heading..].split_inclusive('\n') {
        let named = line.split('\t').next().unwrap_or("");
        if !named.is_empty() && at > begin {
            messages.push((name, &TEXT[begin..at]));
            begin = at;
        }
        if !named.is_empty() {
            name = named;
        }
        at += line.len();
    }
    messages.push((name, &TEXT[begin..at]));
    messages
}

/// The rows in the lines of one message; a line that is not a row is left out (the tests show that there is none).
pub(super) fn rows(lines: &'static str) -> Vec<Row> {
    let mut message = "";
    let mut rows = Vec::new();
    for line in lines.lines() {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap_or("");
        let named = next();
        if !named.is_empty() {
            message = named;
        }
        let Ok(number) = next().parse() else { continue };
        rows.push(Row {
            message,
            number,
            name: next(),
            type_name: next(),
            cardinality: next(),
            list_type: next(),
            list_map_keys: next(),
            patch_strategy: next(),
            patch_merge_key: next(),
            default: next(),
            struct_type: next(),
            go: next(),
            go_type: next(),
        });
    }
    rows
}
