//! Discovery.
use crate::documents::Document;
/// x
pub fn document(_p: &[&str], _a: &str) -> Option<Document> { None }
