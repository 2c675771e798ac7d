//! Objects that are decoded once: equal bytes of one type share one object while somebody holds it.
//!
//! An object travels as bytes, and everybody who reads it would decode it anew: the server at its next write, each
//! informer of its kind, a proxy on each of a thousand nodes. Where they share a process they share the object too, and
//! its memory. Decoding is a function of the bytes, so nobody can tell the difference, except by the time it takes.
//!
//! Objects are found by a hash and told apart by their bytes. What nobody else holds is forgotten once there is a
//! quarter as much of it as of what is in use.

use std::any::{Any, TypeId};
use std::hash::Hasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHasher};
use serde::de::DeserializeOwned;

/// So many bytes of objects may wait to be used again, however few are in use.
const SPARE: usize = 4 << 20;

struct Known {
    bytes: Bytes,
    object: Arc<dyn Any + Send + Sync>,
}

#[derive(Default)]
struct Table {
    known: FxHashMap<(TypeId, u64), Known>,
    /// How many bytes there are.
    size: usize,
    /// How many were in use when that was last looked at.
    used: usize,
}

static TABLE: Mutex<Option<Table>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Table>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The object that `bytes` are, as JSON. They are kept, with the memory that they are a part of.
///
/// # Errors
///
/// As those of `serde_json::from_slice`.
pub fn decode<K: DeserializeOwned + Send + Sync + 'static>(bytes: &Bytes) -> serde_json::Result<Arc<K>> {
    find_or_read(bytes, || bytes.clone())
}

/// As [`decode`], for bytes that are a part of something larger: they are copied if they are kept.
///
/// # Errors
///
/// As those of `serde_json::from_slice`.
pub fn decode_part<K: DeserializeOwned + Send + Sync + 'static>(bytes: &[u8]) -> serde_json::Result<Arc<K>> {
    find_or_read(bytes, || Bytes::copy_from_slice(bytes))
}

/// Makes known that `bytes` are the encoding of `object`: who reads them need not decode what was just encoded.
pub fn know<K: Send + Sync + 'static>(bytes: &Bytes, object: Arc<K>) {
    let place = (TypeId::of::<K>(), hash(bytes));
    lock().get_or_insert_default().add(place, bytes.clone(), object);
}

fn find_or_read<K: DeserializeOwned + Send + Sync + 'static>(
    bytes: &[u8],
    keep: impl FnOnce() -> Bytes,
) -> serde_json::Result<Arc<K>> {
    let place = (TypeId::of::<K>(), hash(bytes));
    if let Some(object) = lock().get_or_insert_default().find(&place, bytes) {
        return Ok(object);
    }
    let object = Arc::new(read::<K>(bytes)?);
    lock().get_or_insert_default().add(place, keep(), object.clone());
    Ok(object)
}

/// Reads `bytes` as JSON that is the caller's alone. Whether they are UTF-8 is looked at once, not for each string.
///
/// # Errors
///
/// As those of `serde_json::from_slice`.
pub fn read<K: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<K> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(bytes),
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

impl Table {
    fn find<K: Send + Sync + 'static>(&self, place: &(TypeId, u64), bytes: &[u8]) -> Option<Arc<K>> {
        let known = self.known.get(place)?;
        // The same piece of memory needs no comparison.
        let same = known.bytes.as_ptr() == bytes.as_ptr() && known.bytes.len() == bytes.len();
        if !same && known.bytes != bytes {
            return None;
        }
        known.object.clone().downcast().ok()
    }

    fn add(&mut self, place: (TypeId, u64), bytes: Bytes, object: Arc<dyn Any + Send + Sync>) {
        self.size += bytes.len();
        if let Some(before) = self.known.insert(place, Known { bytes, object }) {
            self.size -= before.bytes.len();
        }
        if self.size > self.used + self.used / 4 + SPARE {
            self.known.retain(|_, known| Arc::strong_count(&known.object) > 1);
            self.used = self.known.values().map(|known| known.bytes.len()).sum();
            self.size = self.used;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ConfigMap, Secret};

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn equal_bytes_of_one_type_are_one_object() {
        let text = r#"{"metadata":{"name":"equal-bytes"}}"#;
        let one = decode::<ConfigMap>(&bytes(text)).expect("it is one");
        let other = decode::<ConfigMap>(&bytes(text)).expect("it is one");
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(one.metadata.name.as_deref(), Some("equal-bytes"));
        let secret = decode::<Secret>(&bytes(text)).expect("it is one");
        assert_eq!(secret.metadata.name, one.metadata.name);
        let third = decode::<ConfigMap>(&bytes(r#"{"metadata":{"name":"other-bytes"}}"#)).expect("it is one");
        assert_eq!(third.metadata.name.as_deref(), Some("other-bytes"));
    }

    #[test]
    fn what_was_just_encoded_is_not_decoded() {
        let object = Arc::new(ConfigMap::default());
        let text = bytes(r#"{"metadata":{"name":"just-encoded"}}"#);
        know(&text, object.clone());
        let found = decode::<ConfigMap>(&bytes(r#"{"metadata":{"name":"just-encoded"}}"#)).expect("it is one");
        assert!(Arc::ptr_eq(&object, &found));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_each_time() {
        for _ in 0..2 {
            assert!(decode::<ConfigMap>(&bytes("{")).is_err());
            assert!(decode::<ConfigMap>(&Bytes::from_static(b"{\"data\":{\"a\":\"\xff\"}}")).is_err());
        }
    }

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let mut table = Table::default();
        let held = Arc::new(0u32);
        let text = bytes(&"x".repeat(1 << 20));
        table.add((TypeId::of::<u32>(), 0), text.clone(), held.clone());
        for number in 1..100 {
            table.add((TypeId::of::<u32>(), number), text.clone(), Arc::new(1u32));
        }
        assert!(table.size <= SPARE + (3 << 20), "{}", table.size);
        assert!(table.find::<u32>(&(TypeId::of::<u32>(), 0), &text).is_some());
    }
}
