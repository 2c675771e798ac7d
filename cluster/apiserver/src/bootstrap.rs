//! The objects every cluster has: the first namespaces, the service `kubernetes` and its endpoints. Kept, not only
//! made: what a user deletes comes back.

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Namespace, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort as SlicePort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orrery_api::status::ApiError;
use orrery_api::{log, mutant, shared};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::kinds::Kinds;
use crate::resource::AnyObject;
use crate::server::ApiServer;
use crate::storage;
use crate::write::Part;

const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// How often to look whether everything is there; the same as kube-apiserver's.
const PERIOD: Duration = Duration::from_secs(10);

/// Keeps what every cluster has, for ever.
pub async fn keep(server: &ApiServer) {
    let mut pause = Duration::from_millis(100);
    loop {
        match keep_once(server).await {
            Ok(()) if mutant::active("O170") => std::future::pending().await,
            Ok(()) => pause = PERIOD,
            Err(error) => log::line("apiserver", format_args!("cannot make what every cluster has: {error}")),
        }
        sleep(pause).await;
    }
}

async fn keep_once(server: &ApiServer) -> Result<(), ApiError> {
    for name in NAMESPACES {
        let object = Namespace {
            metadata: meta("", name),
            ..Namespace::default()
        };
        ensure(server, "", "namespaces", object, |_, _| true).await?;
    }
    ensure(server, "", "services", service(server), |_, _| true).await?;
    if let Some((address, port)) = &server.options.advertise {
        let same = |own: &Endpoints, found: &Endpoints| own.subsets == found.subsets;
        ensure(server, "", "endpoints", endpoints(address, *port), same).await?;
        let same =
            |own: &EndpointSlice, found: &EndpointSlice| own.endpoints == found.endpoints && own.ports == found.ports;
        ensure(
            server,
            "discovery.k8s.io",
            "endpointslices",
            slice(address, *port),
            same,
        )
        .await?;
    }
    Ok(())
}

/// Makes `object` if it is not there, and makes it so again if what is found is not the same.
async fn ensure<K: AnyObject + DeserializeOwned + Clone>(
    server: &ApiServer,
    group: &str,
    plural: &str,
    mut object: K,
    same: impl Fn(&K, &K) -> bool,
) -> Result<(), ApiError> {
    let resource = Kinds::default()
        .find(group, "v1", plural)
        .ok_or_else(ApiError::no_such_path)?;
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    let name = object.meta().name.clone().unwrap_or_default();
    // What defaults add is part of what is right.
    resource.set_defaults(&mut object);
    let Some(kv) = server.store.get(&storage::key(resource, &namespace, &name)) else {
        return match server.create(resource, &namespace, Box::new(object), false).await {
            Err(error) if error.reason() == "AlreadyExists" => Ok(()),
            outcome => outcome.map(drop),
        };
    };
    let found = shared::decode::<K>(&kv.value).map_err(ApiError::internal)?;
    if !same(&object, &found) {
        let change = |_: &crate::write::Current| Ok(object.boxed_clone());
        server
            .update(resource, &namespace, &name, Part::Main, false, false, change)
            .await?;
    }
    Ok(())
}

fn meta(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        ..ObjectMeta::default()
    }
}

fn labelled(mut meta: ObjectMeta, labels: &[(&str, &str)]) -> ObjectMeta {
    meta.labels = Some(
        labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    );
    meta
}

fn service(server: &ApiServer) -> Service {
    let port = server.options.advertise.as_ref().map_or(6443, |(_, port)| *port);
    Service {
        metadata: labelled(
            meta("default", "kubernetes"),
            &[("component", "apiserver"), ("provider", "kubernetes")],
        ),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some(server.options.ranges.api_address().to_string()),
            ports: Some(vec![ServicePort {
                name: Some("https".to_owned()),
                port: 443,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::Int(i32::from(port))),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn endpoints(address: &str, port: u16) -> Endpoints {
    Endpoints {
        metadata: labelled(
            meta("default", "kubernetes"),
            &[("endpointslice.kubernetes.io/skip-mirror", "true")],
        ),
        subsets: Some(vec![EndpointSubset {
            addresses: Some(vec![EndpointAddress {
                ip: address.to_owned(),
                ..EndpointAddress::default()
            }]),
            ports: Some(vec![EndpointPort {
                name: Some("https".to_owned()),
                port: i32::from(port),
                protocol: Some("TCP".to_owned()),
                ..EndpointPort::default()
            }]),
            ..EndpointSubset::default()
        }]),
    }
}

fn slice(address: &str, port: u16) -> EndpointSlice {
    EndpointSlice {
        metadata: labelled(
            meta("default", "kubernetes"),
            &[("kubernetes.io/service-name", "kubernetes")],
        ),
        address_type: "IPv4".to_owned(),
        endpoints: vec![Endpoint {
            addresses: vec![address.to_owned()],
            conditions: Some(EndpointConditions {
                ready: Some(true),
                ..EndpointConditions::default()
            }),
            ..Endpoint::default()
        }],
        ports: Some(vec![SlicePort {
            name: Some("https".to_owned()),
            port: Some(i32::from(port)),
            protocol: Some("TCP".to_owned()),
            ..SlicePort::default()
        }]),
    }
}
