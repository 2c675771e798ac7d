//! HTTP in front of the object model and the store; the only door to the store.

pub mod discovery;
pub mod openapi;
pub mod resource;
pub mod resources;
pub mod table;
