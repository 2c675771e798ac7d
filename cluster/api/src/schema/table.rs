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

/// The rows in the table's order; a line that is not a row is left out (the tests show that there is none).
pub(super) fn rows(text: &'static str) -> Vec<Row> {
    let mut message = "";
    let mut rows = Vec::new();
    for line in text.lines().skip(1) {
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
