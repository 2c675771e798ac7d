//! What must hold of websites, at every moment and in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use orrery_api::meta::Object;
use orrery_sim::{Cluster, Invariant, Item, Missing, Report, Role, Seen};
use website_controller::{DOMAINS, HOLDER, Website};

/// Nobody takes a domain from a website that lives and wants it.
///
/// Judged at every write of a record. A website whose wish is younger than the controller's lawful lag is left out: its
/// controller may not know of it yet.
#[derive(Default)]
pub struct DomainKept {
    /// By the website's uid: the domain that it wants, and since when.
    wishes: BTreeMap<String, (String, Duration)>,
}

impl Invariant for DomainKept {
    fn id(&self) -> &'static str {
        "domain-kept"
    }

    fn statement(&self) -> &'static str {
        "A website that lives keeps its domain as long as it wants it."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Change(change) = seen else { return };
        let item = change.after.as_ref().filter(|item| item.id.is_of::<Website>());
        if let Some(website) = item.and_then(|item| item.read::<Website>()) {
            let wish = self.wishes.entry(website.uid().to_owned()).or_default();
            if wish.0 != website.spec.domain {
                *wish = (website.spec.domain, cluster.now);
            }
        }
        if !change.id.is_of::<ConfigMap>() || change.id.namespace != DOMAINS {
            return;
        }
        let Some(uid) = change.before.as_deref().and_then(holder) else {
            return;
        };
        if change.after.as_deref().and_then(holder) == Some(uid) {
            return;
        }
        let lag = Role::named("website-controller").map_or(Duration::ZERO, |role| cluster.lag(role));
        let lives = cluster.by_uid(uid).filter(|website| !website.is_terminating());
        if let (Some(website), Some((domain, since))) = (lives, self.wishes.get(uid))
            && *domain == change.id.name
            && *since + lag < cluster.now
        {
            let message = format!(
                "{} was taken at revision {} from {} (uid {uid}), which has wanted it since {since:?}",
                change.id, change.revision, website.id
            );
            report.broken(
                self.id(),
                message,
                &["website-controller", "careless-website-controller"],
            );
        }
    }
}

/// The uid of the website that holds the domain of a record.
fn holder(record: &Item) -> Option<&str> {
    record.meta.labels.as_ref()?.get(HOLDER).map(String::as_str)
}

/// In the end each website has what it wants, or knows whose it is, and no domain belongs to nobody.
pub struct WebsiteServed;

impl Invariant for WebsiteServed {
    fn id(&self) -> &'static str {
        "website-served"
    }

    fn statement(&self) -> &'static str {
        "In the end each website has its servers and its domain, unless that is another's; and no domain is nobody's."
    }

    fn observe(&mut self, _seen: &Seen<'_>, _cluster: &Cluster, _report: &mut Report) {}

    fn missing(&self, cluster: &Cluster, missing: &mut Missing) {
        for item in cluster.all_of::<Website>() {
            let Some(website) = item.read::<Website>() else {
                continue;
            };
            let status = website.status.clone().unwrap_or_default();
            if Some(status.observed_generation) != website.metadata.generation {
                missing.push(format!("{}: {} is not observed", self.id(), item.id));
            }
            if status.ready_replicas != website.spec.replicas {
                let (is, wanted) = (status.ready_replicas, website.spec.replicas);
                missing.push(format!("{}: {} has {is} of {wanted} replicas", self.id(), item.id));
            }
            let record = cluster.find("configmaps", DOMAINS, &website.spec.domain);
            let has = record.and_then(|record| holder(record)) == Some(website.uid());
            if record.is_none() || has != (status.domain.as_ref() == Some(&website.spec.domain)) {
                missing.push(format!("{}: {} does not know whose its domain is", self.id(), item.id));
            }
        }
        for record in cluster
            .all_of::<ConfigMap>()
            .filter(|item| item.id.namespace == DOMAINS)
        {
            let Some(uid) = holder(record) else { continue };
            let website = cluster.by_uid(uid).and_then(|item| item.read::<Website>());
            if website.is_none_or(|website| website.spec.domain != record.id.name) {
                missing.push(format!("{}: {} belongs to nobody who wants it", self.id(), record.id));
            }
        }
    }
}
