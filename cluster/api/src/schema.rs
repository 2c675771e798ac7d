//! The Kubernetes API as one table: which fields a message has, how they are numbered, typed, merged and written.
//!
//! The table (`schema/kubernetes-1.35.tsv`) is data: facts read off Kubernetes' published protobuf definitions and Go
//! struct tags of v1.35, for the groups that are served. From it come the decoding of [protobuf](crate::protobuf)
//! bodies, [strict](crate::strict) field checks and [strategic merge](crate::patch::strategic); server-side apply and
//! OpenAPI find their list keys here too.
//!
//! It does not hold defaults that Kubernetes sets in code (only those declared on a type), nor validation rules,
//! nor custom resources.

mod field;
mod resolve;
mod table;

pub use field::{Cardinality, Field, Go, ListType, PatchStrategy, Type};
pub use resolve::{Message, Schema};
