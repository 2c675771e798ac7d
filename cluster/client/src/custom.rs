//! Custom resources as types: [`custom_resource!`](crate::custom_resource) declares one.

/// Declares the type of a custom resource, for [`Api`](crate::Api), [`Informer`](crate::Informer) and all that takes a
/// kind:
///
/// ```
/// #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
/// pub struct WebsiteSpec {
///     pub replicas: i32,
/// }
///
/// #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
/// pub struct WebsiteStatus {
///     pub ready: i32,
/// }
///
/// orrery_client::custom_resource! {
///     /// A website.
///     pub struct Website("example.com", "v1", "websites", namespaced) {
///         spec: WebsiteSpec,
///         status: WebsiteStatus,
///     }
/// }
///
/// let website = Website::default();
/// assert_eq!(serde_json::json!(website)["apiVersion"], "example.com/v1");
/// ```
///
/// Group, version and plural name are those of its `CustomResourceDefinition`; the scope is `namespaced` or
/// `cluster_wide`. The crate that uses it depends on `k8s-openapi` and on `serde` with `derive`.
#[macro_export]
macro_rules! custom_resource {
    (
        $(#[$about:meta])*
        $visibility:vis struct $kind:ident($group:literal, $version:literal, $plural:literal, $scope:ident) {
            spec: $spec:ty,
            status: $status:ty $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, ::serde::Deserialize)]
        $visibility struct $kind {
            /// The metadata.
            #[serde(default)]
            pub metadata: ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is wanted.
            #[serde(default)]
            pub spec: $spec,
            /// What is; written by its controller.
            #[serde(default)]
            pub status: ::std::option::Option<$status>,
        }

        impl ::k8s_openapi::Resource for $kind {
            const API_VERSION: &'static str = ::std::concat!($group, "/", $version);
            const GROUP: &'static str = $group;
            const KIND: &'static str = ::std::stringify!($kind);
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = $crate::custom_resource!(@scope $scope);
        }

        impl ::k8s_openapi::Metadata for $kind {
            type Ty = ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

            fn metadata(&self) -> &Self::Ty {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut Self::Ty {
                &mut self.metadata
            }
        }

        impl ::serde::Serialize for $kind {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> ::std::result::Result<S::Ok, S::Error> {
                use ::serde::ser::SerializeStruct as _;
                let mut object = serializer.serialize_struct(::std::stringify!($kind), 5)?;
                object.serialize_field("apiVersion", <Self as ::k8s_openapi::Resource>::API_VERSION)?;
                object.serialize_field("kind", <Self as ::k8s_openapi::Resource>::KIND)?;
                object.serialize_field("metadata", &self.metadata)?;
                object.serialize_field("spec", &self.spec)?;
                match &self.status {
                    ::std::option::Option::Some(status) => object.serialize_field("status", status)?,
                    ::std::option::Option::None => object.skip_field("status")?,
                }
                object.end()
            }
        }
    };
    (@scope namespaced) => { ::k8s_openapi::NamespaceResourceScope };
    (@scope cluster_wide) => { ::k8s_openapi::ClusterResourceScope };
}

#[cfg(test)]
mod tests {
    use k8s_openapi::Resource as _;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Size {
        size: i32,
    }

    custom_resource! {
        /// A thing.
        struct Thing("example.com", "v1alpha1", "things", cluster_wide) {
            spec: Size,
            status: Size,
        }
    }

    #[test]
    fn a_custom_resource_is_written_as_it_is_read() {
        let wire = json!({
            "apiVersion": "example.com/v1alpha1", "kind": "Thing",
            "metadata": {"name": "a"}, "spec": {"size": 3}, "status": {"size": 1}
        });
        let thing: Thing = serde_json::from_value(wire.clone()).expect("a thing");
        assert_eq!((thing.spec.size, json!(thing)), (3, wire));
        assert_eq!((Thing::KIND, Thing::URL_PATH_SEGMENT), ("Thing", "things"));
        assert_eq!(json!(Thing::default()).get("status"), None);
    }
}
