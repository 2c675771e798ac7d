//! Validation of names, label keys and label values, with Kubernetes' own messages.
