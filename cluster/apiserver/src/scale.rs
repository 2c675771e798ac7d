//! The subresource `scale`: the number of replicas, the same for every kind that has them.

use bytes::Bytes;
use http::Method;
use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orrery_api::clock;
use orrery_api::field;
use orrery_api::message::{Request, Response};
use orrery_api::mutant;
use orrery_api::status::ApiError;
use serde_json::{Value, json};

use crate::patching;
use crate::request::{Query, ResourcePath, Shape, negotiate};
use crate::resource::{AnyObject, AnyResource};
use crate::resources::cells;
use crate::server::{ApiServer, json_response};
use crate::subresources::read;
use crate::write::{Part, base_version, is_at};

impl ApiServer {
    /// GET, PUT and PATCH of `scale`.
    pub(crate) async fn scale(
        &self,
        path: &ResourcePath,
        query: &Query,
        request: &Request,
    ) -> Result<Response, ApiError> {
        let resource = path.resource;
        let show = |object: &dyn AnyObject| -> Result<Scale, ApiError> {
            scale_of(resource, object).ok_or_else(ApiError::no_such_path)
        };
        let shape = negotiate(request)?;
        if *request.method() == Method::GET {
            let current = self.current(resource, &path.namespace, &path.name)?;
            return scale_response(&show(current.object.as_ref())?, shape);
        }
        let put: Option<Scale> = if *request.method() == Method::PUT {
            Some(read(request)?)
        } else {
            patching::check_media_type(request)?;
            None
        };
        let once = put
            .as_ref()
            .is_some_and(|scale| base_version(&scale.metadata).is_some());
        let part = match mutant::active("O168") {
            true => Part::Finalize,
            false => Part::Main,
        };
        let bytes = self
            .update(
                resource,
                &path.namespace,
                &path.name,
                part,
                once,
                query.dry_run()?,
                |current| {
                    let before = show(current.object.as_ref())?;
                    let wanted = match &put {
                        Some(scale) => scale.clone(),
                        None => {
                            let value = serde_json::to_value(&before).map_err(ApiError::internal)?;
                            let patched = patching::apply(request, value, "autoscaling/v1", "Scale")?;
                            serde_json::from_value(patched).map_err(|error| ApiError::bad_request(error.to_string()))?
                        }
                    };
                    is_at(&wanted.metadata, true, &path.namespace, &path.name)?;
                    let replicas = wanted.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
                    if replicas < 0 {
                        let fault =
                            field::Error::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
                        return Err(ApiError::invalid("Scale.autoscaling", &path.name, &[fault]));
                    }
                    let mut new = current.object.boxed_clone();
                    new.meta_mut().resource_version = wanted.metadata.resource_version;
                    if wanted.metadata.uid.is_some() {
                        new.meta_mut().uid = wanted.metadata.uid;
                    }
                    resource.set_scale(new.as_mut(), replicas);
                    Ok(new)
                },
            )
            .await?;
        let object = resource.read(&bytes).map_err(ApiError::internal)?;
        scale_response(&show(object.as_ref())?, shape)
    }
}

fn scale_of(resource: &dyn AnyResource, object: &dyn AnyObject) -> Option<Scale> {
    let view = resource.scale(object)?;
    let meta = object.meta();
    Some(Scale {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            creation_timestamp: meta.creation_timestamp.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(ScaleSpec {
            replicas: Some(view.wanted),
        }),
        status: Some(ScaleStatus {
            replicas: view.current,
            selector: Some(view.selector),
        }),
    })
}

fn scale_response(scale: &Scale, shape: Shape) -> Result<Response, ApiError> {
    let value: Value = serde_json::to_value(scale).map_err(ApiError::internal)?;
    let value = match shape {
        Shape::Object => value,
        Shape::Table(version) => scale_table(scale, value, version),
        Shape::Metadata => {
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]})
        }
    };
    Ok(json_response(200, Bytes::from(value.to_string())))
}

/// A scale as `kubectl get --subresource=scale` prints it.
fn scale_table(scale: &Scale, value: Value, version: &str) -> Value {
    let column = |name: &str, kind: &str, description: &str| {
        let format = if name == "Name" { "name" } else { "" };
        json!({"name": name, "type": kind, "format": format, "description": description, "priority": 0})
    };
    let wanted = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    let current = scale.status.as_ref().map_or(0, |status| status.replicas);
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": {"resourceVersion": scale.metadata.resource_version},
        "columnDefinitions": [
            column("Name", "string", "The name of the object that is scaled."),
            column("Desired", "integer", "Replicas wanted."),
            column("Available", "integer", "Replicas there are."),
            column("Age", "string", "The time since it was made."),
        ],
        "rows": [{
            "cells": [scale.metadata.name, wanted, current, cells::age(&scale.metadata, clock::now())],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": value["metadata"]},
        }],
    })
}
