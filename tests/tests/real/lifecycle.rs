//! The cluster's own life: a second start, a stop and a start, the death of its process, its deletion.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use orrery_tests::wait::wait_until;
use orrery_tests::{Session, machine, process, tests};
use serde_json::Value;

tests![
    a_second_start_says_that_it_is_running,
    a_cordoned_node_takes_no_new_pods,
    a_stop_and_a_start_bring_everything_back,
    what_was_acknowledged_survives_the_death_of_the_process,
    containers_are_taken_over_after_the_death_of_the_process,
    a_second_cluster_is_refused_and_harms_nothing,
];

/// The last ones: the cluster goes.
pub const LAST: &[orrery_tests::harness::Test] =
    &[("a_deleted_cluster_leaves_nothing", a_deleted_cluster_leaves_nothing)];

/// Everything that is written down: uid by kind, namespace and name. Leases and events come and go by themselves.
fn uids(session: &Session<'_>) -> BTreeMap<String, String> {
    let kinds = "namespaces,nodes,pods,services,deployments,replicasets,configmaps,secrets,serviceaccounts";
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entry = |item: &Value| {
        let meta = &item["metadata"];
        (
            format!("{} {} {}", item["kind"], meta["namespace"], meta["name"]),
            text(&meta["uid"]),
        )
    };
    session.items(&format!("{kinds} -A")).iter().map(entry).collect()
}

fn settled(session: &Session<'_>) {
    wait_until("what earlier tests left is gone", 120, || {
        session
            .items("namespaces -A")
            .iter()
            .all(|namespace| namespace["metadata"].get("deletionTimestamp").is_none())
    });
}

fn a_second_start_says_that_it_is_running(session: &Session<'_>) {
    let cluster = session.cluster();
    let process = cluster.process();
    let outcome = cluster.start();
    assert!(outcome.text().contains("already running"), "{outcome}");
    assert!(outcome.took < Duration::from_secs(5), "{outcome}");
    assert_eq!(cluster.process(), process);
    let status = cluster.orrery("status");
    assert!(status.is_success() && status.stdout.contains("running"), "{status}");
}

fn a_cordoned_node_takes_no_new_pods(session: &Session<'_>) {
    session.kubectl("run before --image=orrery-test/web:1");
    session.kubectl("wait pod before --for=condition=Ready --timeout=60s");
    assert_eq!(session.kubectl("cordon orrery"), "node/orrery cordoned\n");
    session.kubectl("run after --image=orrery-test/web:1");
    wait_until("the scheduler says why", 30, || {
        session
            .kubectl("get events --field-selector involvedObject.name=after")
            .contains("node(s) were unschedulable")
    });
    assert!(session.kubectl("get nodes").contains("Ready,SchedulingDisabled"));
    assert_eq!(session.kubectl("uncordon orrery"), "node/orrery uncordoned\n");
    session.kubectl("wait pod before after --for=condition=Ready --timeout=60s");
}

fn a_stop_and_a_start_bring_everything_back(session: &Session<'_>) {
    let cluster = session.cluster();
    session.deploy("web", 2);
    session.kubectl("expose deployment web --type=NodePort --port=80");
    session.kubectl("create configmap kept --from-literal=a=b");
    settled(session);
    let before = uids(session);
    let revision = session.json("configmaps")["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|text| text.parse::<u64>().ok());

    let stopped = cluster.orrery("stop");
    assert!(stopped.is_success(), "{stopped}");
    assert_eq!(cluster.orrery("status").code, Some(3));
    assert!(session.try_kubectl("get pods --request-timeout=5s").code != Some(0));
    let running = machine::docker_lines(&["ps", "--quiet", "--filter", "label=io.orrery.cluster=orrery"]);
    assert!(running.is_empty(), "{running:?} run in a stopped cluster");
    assert!(cluster.orrery("stop").is_success(), "a second stop is as good");

    cluster.start();
    assert_eq!(uids(session), before);
    let later = session.json("configmaps")["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|text| text.parse::<u64>().ok());
    assert!(later >= revision, "revisions never go back: {revision:?}, {later:?}");
    session.kubectl("wait deployment web --for=condition=Available --timeout=90s");
    session.kubectl("wait pods -l app=web --for=condition=Ready --timeout=90s");
    let node_port = session.field("service web", ".spec.ports[0].nodePort");
    session.web(&format!("127.0.0.1:{node_port}"), "/");
    assert_eq!(uids(session), before, "the same pods run again");
}

/// Ends the cluster's process as a power cut would, and waits until it is gone.
fn kill(session: &Session<'_>) {
    let id = session.cluster().process().expect("the cluster runs").to_string();
    let mut command = Command::new("kill");
    command.args(["-9", &id]);
    let outcome = process::run(command, b"", Duration::from_secs(10)).expect("there is a kill");
    assert!(outcome.is_success(), "{outcome}");
    wait_until("the process is gone", 20, || {
        let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    });
}

fn what_was_acknowledged_survives_the_death_of_the_process(session: &Session<'_>) {
    const FILES: usize = 4;
    const EACH: usize = 250;
    let folder = session.cluster().home().with_file_name("thousand");
    fs::create_dir_all(&folder).expect("writable");
    let writers: Vec<_> = (0..FILES)
        .map(|file| {
            let object = |number| {
                format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{file}-{number}}}\ndata: {{a: b}}\n")
            };
            let path = folder.join(format!("{file}.yaml"));
            fs::write(&path, (0..EACH).map(object).collect::<String>()).expect("writable");
            session.follow(&format!("create -f {}", path.display()))
        })
        .collect();
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    // Killed while all of them write.
    for writer in &writers {
        acknowledged.extend(writer.read_until("the sixtieth is acknowledged", 60, {
            let mut count = 0;
            move |_| {
                count += 1;
                count == 60
            }
        }));
    }
    kill(session);
    writers.iter().for_each(|writer| acknowledged.extend(writer.rest()));
    assert!(acknowledged.len() >= FILES * 60, "{}", acknowledged.len());
    assert!(
        acknowledged.len() < FILES * EACH,
        "the process died too late to test anything"
    );

    session.cluster().start();
    let listed: BTreeSet<String> = session
        .kubectl("get configmaps -o name")
        .lines()
        .map(|line| format!("{line} created"))
        .collect();
    let lost: Vec<&String> = acknowledged.difference(&listed).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged objects are lost: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    println!(
        "     killed after {} of {} writes were acknowledged; none was lost",
        acknowledged.len(),
        FILES * EACH
    );
}

fn containers_are_taken_over_after_the_death_of_the_process(session: &Session<'_>) {
    session.deploy("web", 2);
    session.kubectl("expose deployment web --port=80");
    let cluster_ip = session.field("service web", ".spec.clusterIP");
    session.web(&format!("{cluster_ip}:80"), "/");
    let before = state(session);
    kill(session);
    assert!(
        session.try_web(&format!("{cluster_ip}:80"), "/").is_ok(),
        "what runs, runs on without us"
    );
    session.cluster().start();
    session.kubectl("wait pods -l app=web --for=condition=Ready --timeout=60s");
    session.rolled_out("web");
    assert_eq!(state(session), before, "nothing was restarted");
    session.kubectl("scale deployment web --replicas=3");
    session.rolled_out("web");
}

/// What runs of the deployment `web`: the pods' uids, addresses and containers.
fn state(session: &Session<'_>) -> BTreeSet<[Option<String>; 3]> {
    let text = |pod: &Value, pointer: &str| pod.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let pointers = [
        "/metadata/uid",
        "/status/podIP",
        "/status/containerStatuses/0/containerID",
    ];
    let pods = session.pods("web");
    pods.iter()
        .map(|pod| pointers.map(|pointer| text(pod, pointer)))
        .collect()
}

fn a_second_cluster_is_refused_and_harms_nothing(session: &Session<'_>) {
    let cluster = session.cluster();
    session.deploy("web", 1);
    let before = state(session);
    let first = cluster.home().display().to_string();
    let second = cluster.home().with_file_name("second");
    let (home, kubeconfig) = (second.display().to_string(), format!("{}.conf", second.display()));
    let place = [("ORRERY_HOME", home.as_str()), ("KUBECONFIG", kubeconfig.as_str())];
    let refused = || {
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|any| any.local_addr());
        let port = port.expect("there is a free port").port();
        let outcome = cluster.orrery_with(&format!("start --port {port}"), &place);
        assert_eq!(outcome.code, Some(1), "{outcome}");
        assert!(
            outcome.stderr.contains(&format!("the cluster in {first} ")),
            "{outcome}"
        );
        assert!(!second.exists(), "nothing was made");
    };
    refused();
    let status = cluster.orrery_with("status", &place);
    assert!(status.code == Some(3) && status.text().contains(&first), "{status}");

    // One that was made before deletes itself, and what is not its own stays.
    fs::create_dir_all(second.join("store")).expect("writable");
    fs::write(second.join("orrery.pid"), "").expect("writable");
    fs::write(second.join("notes"), "mine").expect("writable");
    let deleted = cluster.orrery_with("delete", &place);
    assert!(deleted.is_success() && deleted.text().contains(&first), "{deleted}");
    assert!(!second.join("store").exists() && !second.join("orrery.pid").exists());
    assert_eq!(fs::read_to_string(second.join("notes")).expect("it stays"), "mine");
    fs::remove_dir_all(&second).expect("removed");

    // Nobody runs the first one, but its containers run on.
    kill(session);
    refused();
    cluster.start();
    session.kubectl("wait pods -l app=web --for=condition=Ready --timeout=60s");
    assert_eq!(state(session), before, "nothing was restarted");
}

fn a_deleted_cluster_leaves_nothing(session: &Session<'_>) {
    let cluster = session.cluster();
    session.kubectl("create namespace last");
    session.kubectl("create deployment web --image=orrery-test/web:1 --replicas=2 -n last");
    session.kubectl("rollout status deployment web -n last --timeout=60s");
    session.kubectl("expose deployment web --type=NodePort --port=80 -n last");
    let outcome = cluster.orrery("delete");
    // Docker itself may count users of a network that are gone (moby issue 42119), and then lets nobody remove it.
    let is_stuck = outcome.stderr.contains("Docker keeps the network orrery");
    assert!(outcome.is_success() || is_stuck, "{outcome}");
    let mut left = cluster.traces();
    if is_stuck {
        println!("     Docker keeps the network orrery although nothing uses it; a restart of Docker frees it");
        left.retain(|trace| !trace.contains("orrery0") && trace != "network orrery");
    }
    assert!(left.is_empty(), "left behind: {left:#?}");
    assert!(!cluster.home().exists());
    let kubeconfig = fs::read_to_string(cluster.kubeconfig()).unwrap_or_default();
    assert!(!kubeconfig.contains("orrery"), "{kubeconfig}");
    assert_eq!(cluster.orrery("status").code, Some(3));
    let again = cluster.orrery("delete");
    assert!(
        again.is_success() && again.text().contains("nothing to delete"),
        "{again}"
    );
}
