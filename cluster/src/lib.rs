//! A Kubernetes-compatible cluster on this machine's Docker and iptables.
