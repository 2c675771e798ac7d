//! The kind.

use serde::{Deserialize, Serialize};

/// The namespace of the domains' records.
pub const DOMAINS: &str = "domains";
/// Label of a record: the uid of the website that holds the domain.
pub const HOLDER: &str = "example.com/website-uid";
/// Keeps a website until its domain is free.
pub const FINALIZER: &str = "example.com/domain";

/// What is wanted of a website.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebsiteSpec {
    /// Its domain, for example `www.example.com`.
    pub domain: String,
    /// The image of its server.
    pub image: String,
    /// How many servers.
    pub replicas: i32,
}

/// What there is of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebsiteStatus {
    /// The generation that was acted on.
    pub observed_generation: i64,
    /// How many servers are ready.
    pub ready_replicas: i32,
    /// The domain, if it has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// What is in its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

orrery_client::custom_resource! {
    /// A website.
    pub struct Website("example.com", "v1", "websites", namespaced) {
        spec: WebsiteSpec,
        status: WebsiteStatus,
    }
}
