//! The order of a merged list.

use serde_json::Value;

use super::super::PatchError;
use super::directives::no_merge_key;

/// Arranges a merged list: the elements that the patch names stand in the patch's order; those that only the server
/// has keep their place relative to the named ones, as the server had them, and come after new ones.
pub(super) fn arrange(
    merged: Vec<Value>,
    wanted: &[Value],
    server_order: &[Value],
    merge_key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    let identity = |element: &Value| match merge_key {
        None => Some(element.clone()),
        Some(key) => element.get(key).cloned(),
    };
    let position = |list: &[Option<Value>], element: &Option<Value>| list.iter().position(|other| other == element);
    let wanted: Vec<_> = wanted.iter().map(identity).collect();
    let server_order: Vec<_> = server_order.iter().map(identity).collect();

    let mut named = Vec::new();
    let mut server_only = Vec::new();
    for element in merged {
        let id = identity(&element);
        if let (None, Some(key)) = (&id, merge_key) {
            return Err(no_merge_key(&element, key));
        }
        let server_place = position(&server_order, &id);
        match position(&wanted, &id) {
            Some(place) => named.push((place, server_place, element)),
            None => server_only.push((server_place.unwrap_or(usize::MAX), server_place, element)),
        }
    }
    named.sort_by_key(|(place, ..)| *place);
    server_only.sort_by_key(|(place, ..)| *place);

    let mut arranged = Vec::with_capacity(named.len() + server_only.len());
    let mut named = named.into_iter().peekable();
    let mut server_only = server_only.into_iter().peekable();
    loop {
        let server_first = match (server_only.peek(), named.peek()) {
            (None, None) => return Ok(arranged),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((_, left, _)), Some((_, right, _))) => {
                matches!((left, right), (Some(left), Some(right)) if left < right)
            }
        };
        let next = if server_first { server_only.next() } else { named.next() };
        arranged.extend(next.map(|(.., element)| element));
    }
}
