//! Filter and score; binds pods to nodes.
