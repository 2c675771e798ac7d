//! The Kubernetes API as one table of messages and fields.
