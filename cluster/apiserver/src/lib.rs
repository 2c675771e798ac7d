//! HTTP in front of the object model and the store; the only door to the store.
//!
//! A request's way: [`server`] (who, may they, what), [`body`] or [`patching`] (decoding), [`mod@write`], [`delete`],
//! [`read`] or [`subresources`] (the work, in one transaction of the store), [`watch`] for what follows. A kind is
//! declared in [`resources`], once, or given by whoever assembles the server (`custom`); nothing else knows kinds by
//! name but where a kind has a part of its own ([`allocation`], [`admission`], [`subresources`]). Sockets and TLS are
//! in [`https`] alone.

mod admission;
mod allocation;
mod authorization;
mod body;
mod bootstrap;
mod cache;
mod custom;
mod delete;
pub mod discovery;
mod documents;
pub mod feed;
#[cfg(not(madsim))]
pub mod https;
mod impersonation;
mod kinds;
mod metadata;
mod noderestriction;
pub mod openapi;
mod patching;
mod read;
#[cfg(feature = "mutants")]
mod repair;
mod request;
pub mod resource;
pub mod resources;
mod scale;
mod selection;
mod server;
mod storage;
mod subresources;
pub mod table;
mod watch;
mod watchers;
mod write;

pub use allocation::Ranges;
pub use custom::{CustomResource, CustomResourceDefinition};
pub use documents::{Document, KUBERNETES_VERSION};
pub use kinds::Kinds;
pub use server::{ApiServer, NoNodes, NodeConnector, Options};
pub use storage::ROOT;
