//! The components' assembly: what each process is given. The components are the same as in the real world.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Taint;
use orrery_api::message::Identity;
use orrery_api::random::Random;
use orrery_apiserver::ApiServer;
use orrery_client::{Client, LeaderElection, lead};
use orrery_kubelet::Kubelet;
use orrery_proxy::ruleset::Cidr;
use orrery_store::Store;

use super::machine::POD_CIDR;
use super::{CONTROL_PLANE, Machine, Place, Process, Server, World};
use crate::feed::LateFeed;
use crate::link::SimTransport;
use crate::model::Seen;
use crate::runtime::SharedRuntime;
use crate::scenario::Role;
use orrery_play::vocabulary;

use crate::simulator;

/// The certificate authority of a simulated cluster, which nobody looks into.
pub const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\nsimulated\n-----END CERTIFICATE-----\n";

/// The main task of a process.
pub fn main(world: Arc<World>, process: Process, random: Random) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    match process.role {
        Role::ApiServer => Box::pin(api_server(world, process, random)),
        Role::Scheduler => Box::pin(scheduler(world, process, random)),
        Role::ControllerManager => Box::pin(controller_manager(world, process, random)),
        Role::Kubelet => Box::pin(kubelet(world, process, random)),
        Role::Proxy => Box::pin(proxy(world, process, random)),
        Role::Store => Box::pin(store(world, process)),
        Role::Custom(name) => Box::pin(custom(world, process, random, name)),
    }
}

fn client(world: &Arc<World>, process: &Process, identity: Identity, agent: &str, random: &Random) -> Client {
    let link = random.stream("link");
    let transport = SimTransport::new(world, &process.name, &process.machine, identity, link);
    Client::new(transport, agent)
}

/// Opens the store on the control plane's disk; none if that cannot be done.
async fn open_store(world: &Arc<World>, process: &Process) -> Option<Store> {
    let disk = world.machine(CONTROL_PLANE)?.disk.clone()?;
    let harm = disk.harm();
    match Store::open(disk.clone(), world.store_options()).await {
        Ok(store) => {
            world.witness.attach(world, &store);
            Some(store)
        }
        Err(error) => {
            world.cannot_open(process, &error, disk.harm() > harm);
            None
        }
    }
}

/// The store of several API servers.
async fn store(world: Arc<World>, process: Process) {
    if let Some(store) = open_store(&world, &process).await {
        world.set_store(Some(store.clone()));
        world.network.notify();
        let why = store.failed().await;
        world.fails(&process, &why.to_string());
        std::future::pending().await
    }
}

async fn api_server(world: Arc<World>, process: Process, random: Random) {
    let place = Place {
        name: process.name.clone(),
        machine: process.machine.clone(),
    };
    let several = world.api_servers().len() > 1;
    let store = if several {
        Some(world.store().await)
    } else {
        open_store(&world, &process).await
    };
    let (Some(store), Some(machine)) = (store, world.machine(CONTROL_PLANE)) else {
        return;
    };
    if !several {
        world.set_store(Some(store.clone()));
    }
    let (news, started) = (world.clone(), store.clone());
    let options = orrery_apiserver::Options {
        // Pods reach all servers at one address, as behind a load balancer.
        advertise: Some((machine.address.to_string(), 6443)),
        feed: Arc::new(move |watcher| Box::new(LateFeed::new(&news, &place, watcher, started.revision()))),
        // Short runs must be able to leave somebody behind.
        watch_backlog: 100,
        kinds: vocabulary().kinds,
        ..orrery_apiserver::Options::default()
    };
    let server = ApiServer::new(store, options, random);
    if let Some(node) = world.handle.get_node(process.node) {
        let service = server.clone();
        world.set_server(&process.name, Some(Server { service, node }));
    }
    if several {
        return server.run().await;
    }
    // As the real process does: without a disk to write to it ends.
    tokio::select! {
        biased;
        () = server.run() => {}
        why = server.failed() => world.fails(&process, &why),
    }
    std::future::pending().await
}

async fn scheduler(world: Arc<World>, process: Process, random: Random) {
    let identity = Identity::new("system:kube-scheduler", &[]);
    let client = client(&world, &process, identity, "kube-scheduler", &random);
    let twins = world.scenario.topology.schedulers;
    let work = |client| orrery_scheduler::run(client, orrery_scheduler::Options::default(), random.clone());
    alone_or_leading(&world, &client, "kube-scheduler", &process, twins, &random, work).await;
}

async fn controller_manager(world: Arc<World>, process: Process, random: Random) {
    let identity = Identity::new("system:kube-controller-manager", &[]);
    let client = client(&world, &process, identity, "kube-controller-manager", &random);
    let twins = world.scenario.topology.controller_managers;
    let work = |client| {
        let options = orrery_controllers::Options {
            cluster_ca: AUTHORITY.to_owned(),
            custom_kinds: simulator::parts().collected.clone(),
            ..orrery_controllers::Options::default()
        };
        orrery_controllers::run(client, options, random.clone())
    };
    alone_or_leading(
        &world,
        &client,
        "kube-controller-manager",
        &process,
        twins,
        &random,
        work,
    )
    .await;
}

/// A component of a user's own. It may do everything: roles as objects are not served yet.
async fn custom(world: Arc<World>, process: Process, random: Random, name: &'static str) {
    let Some(component) = simulator::parts().component(name) else {
        return;
    };
    let identity = Identity::new(name, &["system:masters"]);
    let client = client(&world, &process, identity, name, &random);
    let twins = world.scenario.topology.replicas(&component.words());
    let rivals = if component.elects() { twins } else { 1 };
    let work = |client| component.run(client, random.clone());
    alone_or_leading(&world, &client, name, &process, rivals, &random, work).await;
    world.fails(&process, "its run has returned");
}

/// A process without twins needs no lease: it would only wait for its own old one after a restart.
async fn alone_or_leading<F, Fut>(
    world: &World,
    client: &Client,
    name: &str,
    process: &Process,
    twins: u32,
    random: &Random,
    work: F,
) where
    F: Fn(Client) -> Fut,
    Fut: Future<Output = ()>,
{
    let work = |client| {
        world.witness.observe(world, &Seen::Leads { process: &process.name });
        work(client)
    };
    if twins > 1 {
        let identity = format!("{}_{}", process.name, process.starts);
        lead(client, LeaderElection::new(name, &identity), random, work).await;
    } else {
        work(client.clone()).await;
    }
}

async fn kubelet(world: Arc<World>, process: Process, random: Random) {
    let Some(machine) = world.machine(&process.machine) else {
        return;
    };
    let Some(worker) = &machine.worker else { return };
    let spec = &worker.spec;
    let client = client(&world, &process, Identity::node(&spec.name), "kubelet", &random);
    let mut labels: BTreeMap<String, String> = spec.labels.clone();
    labels
        .entry("topology.kubernetes.io/zone".to_owned())
        .or_insert_with(|| worker.zone.clone());
    let defaults = orrery_kubelet::Options::default();
    let mut capacity = defaults.capacity.clone();
    capacity.extend(world.scenario.topology.node.clone());
    capacity.extend(spec.capacity.clone());
    let taints = spec.taints.iter().map(|taint| Taint {
        key: taint.key.clone(),
        value: taint.value.clone(),
        effect: taint.effect.clone(),
        time_added: None,
    });
    let boot = world.random.stream(&format!("boot/{}/{}", spec.name, machine.boots()));
    let options = orrery_kubelet::Options {
        node_name: spec.name.clone(),
        node_ip: IpAddr::V4(machine.address),
        labels,
        taints: taints.collect(),
        pod_cidr: Some(worker.pod_cidr()),
        capacity,
        machine_id: machine_id(&world, machine),
        boot_id: boot.uid(),
        api_server: Some(("10.96.0.1".to_owned(), 443)),
        ..defaults
    };
    let runtime = Arc::new(SharedRuntime(worker.runtime.clone()));
    let kubelet = Kubelet::new(options, client, runtime.clone(), runtime, random);
    kubelet.run().await;
}

/// The id of a machine: another one of the same name has another.
fn machine_id(world: &World, machine: &Machine) -> String {
    let own = world.random.stream(&format!("machine/{}", machine.name));
    match machine.generation() {
        0 => own.uid(),
        generation => own.stream(&generation.to_string()).uid(),
    }
}

async fn proxy(world: Arc<World>, process: Process, random: Random) {
    let Some(machine) = world.machine(&process.machine) else {
        return;
    };
    let Some(worker) = &machine.worker else { return };
    let client = client(
        &world,
        &process,
        Identity::new("system:kube-proxy", &[]),
        "kube-proxy",
        &random,
    );
    let mut options = orrery_proxy::Options::new(
        worker.spec.name.clone(),
        vec![machine.address],
        Cidr::new(POD_CIDR.0, POD_CIDR.1),
    );
    options.service_cidr = Some(Cidr::new(Ipv4Addr::new(10, 96, 0, 0), 16));
    orrery_proxy::run(client, options, worker.filter.clone(), random).await;
}
