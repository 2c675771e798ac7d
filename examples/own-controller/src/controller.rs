//! The controller: observes by caches, and acts by writes that hold only for what was judged.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use orrery_api::meta::{Object, ObjectKey, controller_of, has_finalizer, is_controlled_by};
use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_client::{Api, Cache, Change, Client, DeleteParams, Error, Informer, ListParams, Next, WorkQueue, process};
use tokio::time::sleep;

use crate::kind::{DOMAINS, FINALIZER, HOLDER, Website};
use crate::plan;

/// How many websites are looked at at once.
const WORKERS: usize = 2;
/// When to look again at what is in the way.
const PAUSE: Duration = Duration::from_secs(5);
/// Failures are tried again no later than that: after an outage all is soon well.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What there is to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// A website.
    Website(ObjectKey),
    /// A domain's record, whose website may be gone.
    Record(ObjectKey),
}

struct Controller {
    websites: Cache<Website>,
    deployments: Cache<Deployment>,
    services: Cache<Service>,
    records: Cache<ConfigMap>,
    website_api: Api<Website>,
    deployment_api: Api<Deployment>,
    service_api: Api<Service>,
    record_api: Api<ConfigMap>,
    queue: WorkQueue<Task>,
    careless: bool,
}

/// The controller. Never returns.
pub async fn run(client: Client, random: Random) {
    work(client, random, false).await;
}

/// The controller with a mistake: it deletes a domain's record by name, again and again until it is answered. After a
/// lost answer the record may be another website's by then.
pub async fn run_careless(client: Client, random: Random) {
    work(client, random, true).await;
}

async fn work(client: Client, random: Random, careless: bool) {
    let tasks = TaskGroup::new();
    let queue = WorkQueue::with_backoff(Duration::from_millis(5), LONGEST_PAUSE);
    let websites = Informer::<Website>::new(&client, &random);
    let deployments = Informer::<Deployment>::new(&client, &random).labels("example.com/website");
    let services = Informer::<Service>::new(&client, &random).labels("example.com/website");
    let records = Informer::<ConfigMap>::new(&client, &random).namespace(DOMAINS);
    let controller = Arc::new(Controller {
        websites: websites.cache(),
        deployments: deployments.cache(),
        services: services.cache(),
        records: records.cache(),
        website_api: Api::new(&client),
        deployment_api: Api::new(&client),
        service_api: Api::new(&client),
        record_api: Api::new(&client),
        queue: queue.clone(),
        careless,
    });
    let own = controller.clone();
    tasks.spawn(websites.on_change(move |change| own.website_changed(change)).run());
    let wake = queue.clone();
    tasks.spawn(
        deployments
            .on_change(move |change| wake_owner(&wake, &**change.object()))
            .run(),
    );
    let wake = queue.clone();
    tasks.spawn(
        services
            .on_change(move |change| wake_owner(&wake, &**change.object()))
            .run(),
    );
    let own = controller.clone();
    tasks.spawn(records.on_change(move |change| own.record_changed(change)).run());
    // Nobody decides on half a picture.
    controller.websites.wait_synced().await;
    controller.deployments.wait_synced().await;
    controller.services.wait_synced().await;
    controller.records.wait_synced().await;
    let workers = (0..WORKERS).map(|_| {
        let own = controller.clone();
        process(queue.clone(), move |task| own.clone().look_at(task))
    });
    futures_util::future::join_all(workers).await;
}

fn wake_owner(queue: &WorkQueue<Task>, object: &impl Object) {
    if let Some(owner) = controller_of(object.metadata()).filter(|owner| owner.kind == "Website") {
        queue.add(Task::Website(ObjectKey::new(object.namespace(), &owner.name)));
    }
}

impl Controller {
    fn website_changed(&self, change: &Change<Website>) {
        self.queue.add(Task::Website(change.key()));
        if matches!(change, Change::Deleted(_)) {
            let uid = change.object().uid();
            let records = self.records.list();
            let own = records.iter().filter(|record| record.label(HOLDER) == Some(uid));
            own.for_each(|record| self.queue.add(Task::Record(record.key())));
        }
    }

    fn record_changed(&self, change: &Change<ConfigMap>) {
        self.queue.add(Task::Record(change.key()));
        let websites = self.websites.list();
        let concerned = websites
            .iter()
            .filter(|website| website.spec.domain == change.key().name);
        concerned.for_each(|website| self.queue.add(Task::Website(website.key())));
    }

    async fn look_at(self: Arc<Self>, task: Task) -> Result<Next, Error> {
        match task {
            Task::Website(key) => self.reconcile(&key).await,
            Task::Record(key) => self.judge(&key).await,
        }
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, Error> {
        let Some(website) = self.websites.get(key) else {
            return Ok(Next::Done);
        };
        if website.is_terminating() {
            return self.finish(&website).await;
        }
        if !has_finalizer(&website.metadata, FINALIZER) {
            // The domain is taken only when it is sure to be freed; the event of this write comes back here.
            let mut held = (*website).clone();
            held.metadata
                .finalizers
                .get_or_insert_default()
                .push(FINALIZER.to_owned());
            self.website_api.replace(&held).await?;
            return Ok(Next::Done);
        }
        let has_domain = self.claim(&website).await?;
        self.free(&website, Some(&website.spec.domain)).await?;
        let is_served = self.serve(&website).await?;
        let deployment = self.deployments.get(key);
        let deployment = deployment.filter(|own| is_controlled_by(&own.metadata, website.uid()));
        let status = plan::status(&website, has_domain, deployment.as_deref());
        if website.status.as_ref() != Some(&status) {
            let mut told = (*website).clone();
            told.status = Some(status);
            self.website_api.replace_status(&told).await?;
        }
        Ok(if has_domain && is_served {
            Next::Done
        } else {
            Next::After(PAUSE)
        })
    }

    /// Takes the domain if it is free; whether the website has it.
    async fn claim(&self, website: &Website) -> Result<bool, Error> {
        let key = plan::record_key(&website.spec.domain);
        let is_own = |record: &ConfigMap| record.label(HOLDER) == Some(website.uid());
        if self.records.get(&key).is_some_and(|record| is_own(&record)) {
            return Ok(true);
        }
        match self.record_api.get(&key).await {
            Ok(record) => Ok(is_own(&record)),
            // The name is the domain: of two creates one is refused.
            Err(error) if error.is_not_found() => match self.record_api.create(&plan::record(website)).await {
                Ok(_) => Ok(true),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Frees the domains that a website holds, as the server has them now, but the one that it keeps.
    async fn free(&self, website: &Website, kept: Option<&str>) -> Result<(), Error> {
        let own = ListParams {
            namespace: Some(DOMAINS.to_owned()),
            labels: Some(format!("{HOLDER}={}", website.uid())),
            ..ListParams::default()
        };
        let known = self.records.list();
        let is_clear = known
            .iter()
            .all(|record| record.label(HOLDER) != Some(website.uid()) || kept == Some(record.name()));
        if kept.is_some() && is_clear {
            return Ok(());
        }
        let records = self.record_api.list(&own).await?;
        for record in records.items.iter().filter(|record| kept != Some(record.name())) {
            self.delete(record).await?;
        }
        Ok(())
    }

    /// Deletes a record; one that is gone is a success.
    async fn delete(&self, record: &ConfigMap) -> Result<(), Error> {
        let params = if self.careless {
            DeleteParams::default()
        } else {
            DeleteParams::exactly(record)
        };
        loop {
            match self.record_api.delete(&record.key(), &params).await {
                Err(error) if self.careless && error.outcome_unknown() => sleep(Duration::from_secs(1)).await,
                Err(error) if !error.is_not_found() => return Err(error),
                _ => return Ok(()),
            }
        }
    }

    /// Lets a website go that is being deleted: its domain first. What it owns is collected.
    async fn finish(&self, website: &Website) -> Result<Next, Error> {
        if !has_finalizer(&website.metadata, FINALIZER) {
            return Ok(Next::Done);
        }
        self.free(website, None).await?;
        let mut free = website.clone();
        free.metadata
            .finalizers
            .get_or_insert_default()
            .retain(|own| own != FINALIZER);
        match self.website_api.replace(&free).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(Next::Done),
        }
    }

    /// Makes the website's deployment and service what they should be; false if their name is another's.
    async fn serve(&self, website: &Website) -> Result<bool, Error> {
        let key = website.key();
        match self.deployments.get(&key) {
            Some(current) if !is_controlled_by(&current.metadata, website.uid()) => return Ok(false),
            Some(current) => {
                if let Some(new) = plan::corrected(website, &current) {
                    self.deployment_api.replace(&new).await?;
                }
            }
            None => match self.deployment_api.create(&plan::deployment(website)).await {
                Err(error) if error.is_already_exists() => return Ok(false),
                created => drop(created?),
            },
        }
        match self.services.get(&key) {
            Some(current) => Ok(is_controlled_by(&current.metadata, website.uid())),
            None => match self.service_api.create(&plan::service(website)).await {
                Err(error) if error.is_already_exists() => Ok(false),
                created => created.map(|_| true),
            },
        }
    }

    /// Deletes the record of a website that is gone: its create may have come true after its website had let go.
    async fn judge(&self, key: &ObjectKey) -> Result<Next, Error> {
        let Some(record) = self.records.get(key) else {
            return Ok(Next::Done);
        };
        let Some((website, uid)) = plan::holder(&record) else {
            return Ok(Next::Done);
        };
        if self.websites.get(&website).is_some_and(|known| known.uid() == uid) {
            return Ok(Next::Done);
        }
        let lives = match self.website_api.get(&website).await {
            Ok(live) => live.uid() == uid,
            Err(error) if error.is_not_found() => false,
            Err(error) => return Err(error),
        };
        if !lives {
            self.delete(&record).await?;
        }
        Ok(Next::Done)
    }
}
