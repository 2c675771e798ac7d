//! Kubernetes quantities: exact arithmetic and the canonical text.
