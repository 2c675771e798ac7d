//! Deleting objects: at once, in order (grace, finalizers), or not at all (preconditions, protected namespaces).
//!
//! Sources: Kubernetes' "Garbage Collection", "Finalizers" and "Pod termination"; the API conventions on deletion.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orrery_api::clock;
use orrery_api::field;
use orrery_api::mutant;
use orrery_api::status::ApiError;
use orrery_store::{Compare, Operation, Outcome, Transaction};
use serde::Deserialize;
use serde_json::json;

use crate::allocation;
use crate::resource::{AnyObject, AnyResource};
use crate::server::ApiServer;
use crate::storage;
use crate::write::Current;

const TRIES: usize = 16;
/// Namespaces that must stay.
const PROTECTED_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// Dependents go first.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Dependents stay.
pub const ORPHAN: &str = "orphan";

/// How to delete (`DeleteOptions`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    /// Seconds until the object is forced to go.
    pub grace_period_seconds: Option<i64>,
    /// What must hold.
    pub preconditions: Option<Preconditions>,
    /// What becomes of dependents: `Background`, `Foreground`, `Orphan`.
    pub propagation_policy: Option<String>,
    /// The old way to say that dependents stay.
    pub orphan_dependents: Option<bool>,
    /// `All` when nothing may happen.
    pub dry_run: Option<Vec<String>>,
}

impl DeleteOptions {
    /// 422 for options that nobody knows or that contradict each other.
    fn validate(&self) -> Result<(), ApiError> {
        const POLICIES: [&str; 4] = ["Foreground", "Background", "Orphan", "nil"];
        let mut faults = Vec::new();
        if let Some(policy) = self.propagation_policy.as_deref() {
            if !POLICIES[..3].contains(&policy) {
                faults.push(field::Error::not_supported("propagationPolicy", policy, &POLICIES));
            }
            if self.orphan_dependents.is_some() {
                let rule = "orphanDependents and deletionPropagation cannot be both set";
                faults.push(field::Error::invalid("propagationPolicy", policy, rule));
            }
        }
        let stages = self.dry_run.as_deref().unwrap_or_default();
        if stages.iter().any(|stage| stage != "All") {
            faults.push(field::Error::not_supported("dryRun", stages, &["All"]));
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid("DeleteOptions.meta.k8s.io", "", &faults))
    }
}

/// What must hold for a deletion.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preconditions {
    /// The object's uid.
    pub uid: Option<String>,
    /// The object's revision.
    pub resource_version: Option<String>,
}

/// What a deletion came to.
pub enum Deleted {
    /// The object is gone; its last state.
    Gone(Bytes),
    /// The object goes; its state.
    Going(Bytes),
}

impl ApiServer {
    /// Deletes an object, or begins to.
    pub(crate) async fn delete(
        &self,
        resource: &'static dyn AnyResource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        let info = resource.info();
        let dry_run = options.dry_run.as_ref().is_some_and(|stages| !stages.is_empty());
        options.validate()?;
        if info.group.is_empty() && info.plural == "namespaces" && PROTECTED_NAMESPACES.contains(&name) {
            return Err(ApiError::forbidden(
                "namespaces",
                name,
                "this namespace may not be deleted",
            ));
        }
        for attempt in 0..TRIES {
            let current = self.current(resource, namespace, name)?;
            if attempt == 0 || !mutant::active("O33") {
                check_preconditions(resource, &current, options, name)?;
            }
            let old = current.object.as_ref();
            let mut new = old.boxed_clone();
            mark(resource, new.as_mut(), options);
            if is_finished(resource, new.as_ref()) {
                // What goes at once shows its last state as it was, not as if it had lingered.
                let last = old.boxed_clone();
                if dry_run {
                    return Ok(Deleted::Gone(current.kv.value));
                }
                if let Some(bytes) = self.remove(resource, &current, last).await? {
                    return Ok(Deleted::Gone(bytes));
                }
                continue;
            }
            if resource.has_generation() && old.meta().deletion_timestamp.is_none() {
                new.meta_mut().generation = Some(old.meta().generation.unwrap_or(0) + 1);
            }
            let json = new.to_json();
            if json == *current.kv.value || dry_run {
                return Ok(Deleted::Going(Bytes::from(json)));
            }
            let (value, written) = storage::restamped(resource, new, json, self.cache.hints());
            let compare = Compare::ModRevision {
                key: current.kv.key.clone(),
                is: current.kv.mod_revision,
            };
            let put = Operation::Put {
                key: current.kv.key.clone(),
                value,
                lease: current.kv.lease,
            };
            if let Outcome::Committed { .. } =
                storage::commit(&self.store, Transaction::new().when(compare).then(put)).await?
            {
                return Ok(Deleted::Going(written.bytes()?));
            }
        }
        Err(ApiError::stale(&info.qualified(), name))
    }

    /// Removes an object and what it claims; `None` when somebody was faster.
    async fn remove(
        &self,
        resource: &'static dyn AnyResource,
        current: &Current,
        last: Box<dyn AnyObject>,
    ) -> Result<Option<Bytes>, ApiError> {
        let key = current.kv.key.clone();
        let mut transaction = Transaction::new().when(Compare::ModRevision {
            key: key.clone(),
            is: current.kv.mod_revision,
        });
        for claim in allocation::claims(current.object.as_ref()) {
            transaction = transaction.then(Operation::Delete {
                key: claim.as_str().into(),
                last: None,
            });
        }
        let (value, written) = storage::stamped(resource, last, self.cache.hints());
        transaction = transaction.then(Operation::Delete { key, last: Some(value) });
        match storage::commit(&self.store, transaction).await? {
            Outcome::Committed { .. } => written.bytes().map(Some),
            Outcome::Conflict { .. } => Ok(None),
        }
    }
}

/// Whether nothing keeps the object any longer: it is being deleted, its grace is over and no finalizer is left.
pub fn is_finished(resource: &dyn AnyResource, object: &dyn AnyObject) -> bool {
    let meta = object.meta();
    let namespace_is_full = object
        .as_any()
        .downcast_ref::<Namespace>()
        .and_then(|namespace| namespace.spec.as_ref()?.finalizers.as_ref())
        .is_some_and(|finalizers| !finalizers.is_empty());
    let graceful = resource.grace_period(object, Some(1)).is_some();
    meta.deletion_timestamp.is_some()
        && meta.finalizers.as_ref().is_none_or(Vec::is_empty)
        && !namespace_is_full
        && (!graceful || meta.deletion_grace_period_seconds.unwrap_or(0) == 0)
}

fn check_preconditions(
    resource: &dyn AnyResource,
    current: &Current,
    options: &DeleteOptions,
    name: &str,
) -> Result<(), ApiError> {
    let Some(preconditions) = &options.preconditions else {
        return Ok(());
    };
    let meta = current.object.meta();
    let compare = |what: &str, wanted: &Option<String>, is: &Option<String>| match wanted {
        Some(wanted) if Some(wanted) != is.as_ref() => {
            let is = is.as_deref().unwrap_or_default();
            let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {is}");
            Err(ApiError::conflict(&resource.info().qualified(), name, &why))
        }
        _ => Ok(()),
    };
    compare("UID", &preconditions.uid, &meta.uid)?;
    compare(
        "ResourceVersion",
        &preconditions.resource_version,
        &meta.resource_version,
    )
}

/// Marks an object as being deleted: when it will be, and what must happen before.
fn mark(resource: &dyn AnyResource, object: &mut dyn AnyObject, options: &DeleteOptions) {
    let grace = resource.grace_period(object, options.grace_period_seconds);
    let is_collected = !object.as_any().is::<Event>();
    let meta = object.meta_mut();
    let before = meta.deletion_grace_period_seconds.unwrap_or(0);
    let is_pending = grace.is_some() && meta.deletion_timestamp.is_some() && before > 0;
    // The kind is asked when a deletion begins, and no more: what a later one names stands as it is, though the pod has
    // ended meanwhile (`BeforeDelete`).
    let named = options.grace_period_seconds.filter(|_| is_pending);
    let seconds = match named.or(grace).unwrap_or(0) {
        ..0 if is_pending => 1,
        seconds => seconds.max(0),
    };
    // A deletion is never taken back. A later one may shorten the grace if it names one, counted from the first.
    let is_shorter = options.grace_period_seconds.is_some() && seconds < before;
    if is_pending && !is_shorter {
        // One that cannot changes nothing at all, as in Kubernetes: what was said of dependents stands, too.
        return;
    }
    let mut finalizers = meta.finalizers.take().unwrap_or_default();
    let policy = match (options.propagation_policy.as_deref(), options.orphan_dependents) {
        // Nobody would ever take the finalizers off: Kubernetes' strategy of events says the same (`rest.Unsupported`).
        _ if !is_collected => "Background",
        (Some(policy), _) => policy,
        (None, Some(true)) => "Orphan",
        (None, Some(false)) => "Background",
        // A second delete without a policy leaves the first one's.
        (None, None) => "",
    };
    if !policy.is_empty() {
        finalizers.retain(|finalizer| finalizer != FOREGROUND && finalizer != ORPHAN);
        match policy {
            "Foreground" => finalizers.push(FOREGROUND.to_owned()),
            "Orphan" => finalizers.push(ORPHAN.to_owned()),
            _ => {}
        }
    }
    meta.finalizers = (!finalizers.is_empty()).then_some(finalizers);
    let begun = match &meta.deletion_timestamp {
        None => Some(clock::now()),
        Some(until) => is_shorter.then(|| after(until.0, -before)),
    };
    if let Some(begun) = begun {
        let until = match seconds > 0 && mutant::active("O162") {
            true => begun,
            false => after(begun, seconds),
        };
        meta.deletion_timestamp = Some(Time(clock::whole_seconds(until)));
        meta.deletion_grace_period_seconds = Some(seconds);
    }
    if let Some(namespace) = object.as_any_mut().downcast_mut::<Namespace>() {
        namespace.status.get_or_insert_default().phase = Some("Terminating".to_owned());
    }
}

/// The moment so many seconds after (or before) another; the last one there is when that is too far.
fn after(moment: Timestamp, seconds: i64) -> Timestamp {
    let step = SignedDuration::from_secs(seconds);
    moment.checked_add(step).unwrap_or(Timestamp::MAX)
}

/// The answer to a deletion that is done.
pub fn success(resource: &dyn AnyResource, name: &str, last: &[u8]) -> Bytes {
    #[derive(Deserialize)]
    struct Stub {
        metadata: StubMeta,
    }
    #[derive(Deserialize)]
    struct StubMeta {
        uid: Option<String>,
    }
    let uid = serde_json::from_slice::<Stub>(last)
        .ok()
        .and_then(|stub| stub.metadata.uid);
    let info = resource.info();
    let mut details = json!({"name": name, "kind": info.plural, "uid": uid});
    if !info.group.is_empty() {
        details["group"] = json!(info.group);
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    Bytes::from(status.to_string())
}
