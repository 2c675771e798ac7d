//! A machine on which a cluster cannot start: it says why, soon, and leaves nothing behind.

use std::net::TcpListener;
use std::time::Duration;

use orrery_tests::{Session, tests};

tests![
    what_was_never_started_is_not_running,
    a_start_without_docker_is_refused_within_seconds,
    a_start_on_a_taken_port_is_refused,
    commands_that_do_not_exist_are_refused_with_help,
];

fn what_was_never_started_is_not_running(session: &Session<'_>) {
    let cluster = session.cluster();
    let status = cluster.orrery("status");
    assert_eq!(status.code, Some(3), "{status}");
    assert!(status.text().contains("no cluster"), "{status}");
    for line in ["stop", "delete"] {
        let outcome = cluster.orrery(line);
        assert!(outcome.is_success(), "{line}: {outcome}");
    }
    assert!(!cluster.home().exists());
}

fn a_start_without_docker_is_refused_within_seconds(session: &Session<'_>) {
    let cluster = session.cluster();
    let line = format!("start --port {}", cluster.port());
    let outcome = cluster.orrery_with(&line, &[("DOCKER_HOST", "unix:///nonexistent/docker.sock")]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("Docker"), "{outcome}");
    assert!(outcome.took < Duration::from_secs(10), "{outcome}");
    assert_eq!(cluster.traces(), Vec::<String>::new());
    assert!(!cluster.home().exists() && !cluster.kubeconfig().exists());
}

fn a_start_on_a_taken_port_is_refused(session: &Session<'_>) {
    let cluster = session.cluster();
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    let port = taken.local_addr().expect("it is bound").port();
    let outcome = cluster.orrery(&format!("start --port {port}"));
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains(&port.to_string()), "{outcome}");
    assert_eq!(cluster.traces(), Vec::<String>::new());
    assert!(!cluster.home().exists() && !cluster.kubeconfig().exists());
}

fn commands_that_do_not_exist_are_refused_with_help(session: &Session<'_>) {
    let outcome = session.cluster().orrery("stat");
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("status"), "{outcome}");
}
