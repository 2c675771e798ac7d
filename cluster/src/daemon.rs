//! The background process: assembles the components, runs them until it is told to stop, and stops them in order.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use orrery_api::message::{Direct, Identity, Service, Transport};
use orrery_api::meta::ObjectKey;
use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_apiserver::https::{self, TlsFiles};
use orrery_apiserver::{ApiServer, NodeConnector};
use orrery_client::{Api, Client};
use orrery_kubelet::Kubelet;
use orrery_kubelet::docker::{DockerOptions, DockerRuntime, HostNetwork};
use orrery_proxy::PacketFilter;
use orrery_proxy::iptables::Iptables;
use orrery_store::{FileDisk, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::kubeconfig::{self, Access};
use crate::pki::Authority;
use crate::place::{self, Place};
use crate::progress::Progress;
use crate::{host, lock, room};

/// The node must be Ready within so long after everything else runs.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Containers have at most so long to end by themselves when the cluster stops, whatever their pods grant them.
pub const STOP_GRACE: Duration = Duration::from_secs(10);
/// Stopping containers must not take longer.
pub const STOP_LIMIT: Duration = Duration::from_secs(45);

/// What ends the process before its time, in words for its user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// Makes of an error a failure of `what`.
pub fn fail<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure {
    move |error| Failure(format!("{what}: {error}"))
}

/// What the process is told.
pub struct Settings {
    /// Where the cluster lives.
    pub place: Place,
    /// The API server's port.
    pub port: u16,
}

/// The Docker half of the node.
pub fn docker_options(place: &Place) -> DockerOptions {
    DockerOptions {
        cluster: place::NAME.to_owned(),
        node: place::NAME.to_owned(),
        network: place::NAME.to_owned(),
        bridge: place::BRIDGE.to_owned(),
        subnet: place::POD_SUBNET.to_owned(),
        data: place.volumes(),
        ..DockerOptions::default()
    }
}

/// The packet filter of this machine.
pub fn packet_filter() -> Iptables {
    Iptables::new(vec![place::BRIDGE.to_owned()])
}

/// Reaches the one kubelet there is.
struct OwnKubelet(Arc<OnceLock<Arc<dyn Service>>>);

impl NodeConnector for OwnKubelet {
    fn connect(&self, node: &str) -> Option<Arc<dyn Transport>> {
        let service = self.0.get().filter(|_| node == place::NAME)?;
        Some(Arc::new(Direct::new(
            service.clone(),
            Identity::new("kube-apiserver-kubelet-client", &["system:masters"]),
        )))
    }
}

/// Runs the cluster until SIGTERM or SIGINT. Says on `progress` how it comes up; `ready` is called once it is.
pub async fn run(settings: &Settings, progress: &Progress, ready: impl FnOnce()) -> Result<(), Failure> {
    let place = &settings.place;
    let since = orrery_api::clock::now();
    let _held = lock::take(&place.lock())
        .map_err(fail("cannot take the lock"))?
        .ok_or_else(|| Failure("another process runs this cluster".to_owned()))?;
    let _room = room::take(place).await?.ours()?;
    let mut terminate = signal(SignalKind::terminate()).map_err(fail("cannot listen for signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail("cannot listen for signals"))?;

    let runtime = DockerRuntime::connect(docker_options(place))
        .await
        .map_err(fail("Docker"))?;
    progress.done("Docker answers; the pods' network and the pause image are there");
    let disk = FileDisk::open(place.store()).map_err(fail("the store cannot be opened"))?;
    let store = Store::open(Arc::new(disk), orrery_store::Options::default())
        .await
        .map_err(fail("the store cannot be opened"))?;
    progress.done(&format!("the store is open at revision {}", store.revision()));

    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(fail("the system gives no random numbers"))?;
    let random = Random::from_seed(seed);
    let kubelet_service = Arc::new(OnceLock::new());
    let options = orrery_apiserver::Options {
        advertise: Some((place::NODE_ADDRESS.to_owned(), settings.port)),
        nodes: Arc::new(OwnKubelet(kubelet_service.clone())),
        ..orrery_apiserver::Options::default()
    };
    let service_subnet = format!("{}/{}", options.ranges.network, options.ranges.prefix);
    let service_subnet = service_subnet.parse().map_err(fail("the services' subnet"))?;
    let service_address = IpAddr::V4(options.ranges.api_address());
    let server = ApiServer::new(store.clone(), options, random.clone());

    let authority = Authority::open(place).map_err(fail("the certificates"))?;
    let node_address: Ipv4Addr = place::NODE_ADDRESS.parse().map_err(fail("the node's address"))?;
    let host_name = host::name();
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        place::NAME,
        &host_name,
    ];
    let addresses = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(node_address),
        service_address,
    ];
    let pair = authority.server(&names, &addresses).map_err(fail("the certificates"))?;
    let acceptor = https::acceptor(&TlsFiles {
        certificate: pair.certificate.as_bytes(),
        key: pair.key.as_bytes(),
        client_authority: authority.certificate().as_bytes(),
    })
    .map_err(fail("the certificates"))?;

    let tasks = TaskGroup::new();
    let own = server.clone();
    tasks.spawn(async move { own.run().await });
    // This machine alone: loopback for people, the bridge for pods.
    for address in [Ipv4Addr::LOCALHOST, node_address] {
        let listener = https::bind(SocketAddr::new(IpAddr::V4(address), settings.port))
            .await
            .map_err(|error| {
                Failure(format!(
                    "{error}; stop what uses the port, or choose another: `orrery start --port N`"
                ))
            })?;
        tasks.spawn(https::serve(listener, acceptor.clone(), server.clone()));
    }
    write_kubeconfig(place, settings.port, &authority)?;
    wait_until(Duration::from_secs(10), || server.is_ready())
        .await
        .ok_or_else(|| Failure("the API server did not become ready within 10 s; the log says more".to_owned()))?;
    progress.done(&format!(
        "the API server answers at https://127.0.0.1:{}",
        settings.port
    ));

    let client = |identity: Identity, agent: &str| Client::new(Arc::new(Direct::new(server.clone(), identity)), agent);
    let scheduler = client(Identity::new("system:kube-scheduler", &[]), "kube-scheduler");
    tasks.spawn(orrery_scheduler::run(
        scheduler,
        orrery_scheduler::Options::default(),
        random.stream("scheduler"),
    ));
    let manager = client(
        Identity::new("system:kube-controller-manager", &[]),
        "kube-controller-manager",
    );
    let manager_options = orrery_controllers::Options {
        cluster_ca: authority.certificate().to_owned(),
        ..orrery_controllers::Options::default()
    };
    tasks.spawn(orrery_controllers::run(
        manager,
        manager_options,
        random.stream("controllers"),
    ));

    let filter: Arc<dyn PacketFilter> = Arc::new(packet_filter());
    let subnet = place::POD_SUBNET.parse().map_err(fail("the pods' subnet"))?;
    let proxy_options = orrery_proxy::Options {
        service_cidr: Some(service_subnet),
        ..orrery_proxy::Options::new(place::NAME, vec![node_address], subnet)
    };
    let proxy = client(Identity::new("system:kube-proxy", &[]), "kube-proxy");
    tasks.spawn(orrery_proxy::run(
        proxy,
        proxy_options,
        filter.clone(),
        random.stream("proxy"),
    ));

    let node = client(Identity::node(place::NAME), "kubelet");
    let network = Arc::new(HostNetwork);
    let kubelet = Kubelet::new(
        kubelet_options(place, node_address, service_address),
        node.clone(),
        runtime.clone(),
        network,
        random,
    );
    let _ = kubelet_service.set(kubelet.service());
    tasks.spawn(async move { kubelet.run().await });
    wait_for_node(&node, since).await?;
    progress.done(&format!("the node {} is Ready", place::NAME));
    ready();

    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        why = server.failed() => {
            orrery_api::log::line("orrery", format_args!("stopping, since nothing can be written any more: {why}"));
        }
    }
    // The components go first, so that none repairs what is now taken down.
    drop(tasks);
    let rest = async {
        let stopped = DockerRuntime::stop_everything(place::NAME, STOP_GRACE).await;
        let cleared = filter.clear().await;
        store.close().await;
        stopped.map_err(fail("containers could not be stopped"))?;
        cleared.map_err(fail("packet filter rules could not be removed"))
    };
    tokio::time::timeout(STOP_LIMIT, rest)
        .await
        .map_err(|_| Failure("stopping took too long".to_owned()))?
}

async fn wait_until(limit: Duration, mut holds: impl FnMut() -> bool) -> Option<()> {
    let end = Instant::now() + limit;
    while !holds() {
        if Instant::now() >= end {
            return None;
        }
        sleep(Duration::from_millis(2)).await;
    }
    Some(())
}

/// Waits until the node is Ready by its own word of this run: what an earlier run said may no longer hold.
async fn wait_for_node(client: &Client, since: Timestamp) -> Result<(), Failure> {
    let nodes: Api<Node> = Api::new(client);
    let leases: Api<Lease> = Api::new(client);
    let end = Instant::now() + READY_LIMIT;
    loop {
        let lease = leases.get(&ObjectKey::new("kube-node-lease", place::NAME)).await.ok();
        let renewed = lease
            .as_ref()
            .and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref())
            .is_some_and(|time| time.0 >= since);
        let node = nodes.get(&ObjectKey::new("", place::NAME)).await.ok();
        let conditions = node
            .as_ref()
            .and_then(|node| node.status.as_ref()?.conditions.as_deref());
        let conditions = conditions.unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
        if renewed && ready.is_some_and(|condition| condition.status == "True") {
            return Ok(());
        }
        if Instant::now() >= end {
            let why = ready
                .and_then(|condition| condition.message.clone())
                .unwrap_or_default();
            return Err(Failure(format!(
                "the node did not become Ready within {} s: {why}",
                READY_LIMIT.as_secs()
            )));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

fn kubelet_options(place: &Place, node_address: Ipv4Addr, service_address: IpAddr) -> orrery_kubelet::Options {
    orrery_kubelet::Options {
        node_name: place::NAME.to_owned(),
        node_ip: IpAddr::V4(node_address),
        control_plane: true,
        pod_cidr: Some(place::POD_SUBNET.to_owned()),
        capacity: host::capacity(&place.volumes()),
        kernel_version: host::kernel(),
        os_image: host::os_image(),
        architecture: host::architecture().to_owned(),
        machine_id: host::machine_id(),
        boot_id: host::boot_id(),
        api_server: Some((service_address.to_string(), 443)),
        service_links: true,
        ..orrery_kubelet::Options::default()
    }
}

fn write_kubeconfig(place: &Place, port: u16, authority: &Authority) -> Result<(), Failure> {
    let user = authority
        .client("kubernetes-admin", &["system:masters"])
        .map_err(fail("the certificates"))?;
    let server = format!("https://127.0.0.1:{port}");
    let access = Access {
        name: place::NAME,
        server: &server,
        authority: authority.certificate(),
        user: &user,
    };
    kubeconfig::merge(&place.kubeconfig(), &access).map_err(fail("the kubeconfig"))
}
