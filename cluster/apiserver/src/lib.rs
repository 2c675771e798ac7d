//! HTTP in front of the object model and the store; the only door to the store.
