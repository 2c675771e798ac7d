//! Makes a node's packet filter match the cluster's services.
