//! OpenAPI.
use crate::documents::Document;
/// x
pub fn index() -> Document { Document { body: bytes::Bytes::new(), content_type: "", etag: String::new() } }
/// x
pub fn document(_p: &[&str]) -> Option<Document> { None }
