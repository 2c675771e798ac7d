//! What this machine has for the tests, and what a cluster must not leave on it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use crate::process::{self, Outcome};

const LIMIT: Duration = Duration::from_secs(30);

/// What is missing for a real cluster here, in a sentence; `None` when all is there.
pub fn lack() -> Option<String> {
    if !docker(&["version", "--format", "{{.Server.Version}}"]).is_ok_and(|outcome| outcome.is_success()) {
        return Some("Docker does not answer".to_owned());
    }
    if !command("iptables-save", &["-t", "nat"]).is_ok_and(|outcome| outcome.is_success()) {
        return Some("iptables-save does not work (it needs root, and the package iptables)".to_owned());
    }
    None
}

/// Runs `docker`.
pub fn docker(arguments: &[&str]) -> io::Result<Outcome> {
    command("docker", arguments)
}

/// The lines of `docker`'s output.
///
/// # Panics
///
/// When it fails.
#[track_caller]
pub fn docker_lines(arguments: &[&str]) -> Vec<String> {
    let outcome = docker(arguments).expect("docker can be run");
    assert!(outcome.is_success(), "docker {arguments:?}: {outcome}");
    outcome.stdout.lines().map(str::to_owned).collect()
}

/// The rules and chains of the packet filter, without counters.
///
/// # Panics
///
/// When they cannot be read.
#[track_caller]
pub fn packet_filter() -> Vec<String> {
    let outcome = command("iptables-save", &[]).expect("iptables-save can be run");
    assert!(outcome.is_success(), "iptables-save: {outcome}");
    let chain = |line: &str| line.split(" [").next().unwrap_or_default().to_owned();
    let own = |line: &&str| line.starts_with("-A") || (line.starts_with(':') && line.contains(" - ["));
    outcome
        .stdout
        .lines()
        .filter(own)
        .map(|line| {
            if line.starts_with(':') {
                chain(line)
            } else {
                line.to_owned()
            }
        })
        .collect()
}

/// The rules that speak of `text`.
#[track_caller]
pub fn rules_about(text: &str) -> Vec<String> {
    packet_filter().into_iter().filter(|line| line.contains(text)).collect()
}

/// What a cluster makes on a machine: containers, networks, interfaces, rules and chains.
///
/// # Panics
///
/// When Docker or iptables cannot be asked.
#[track_caller]
pub fn traces() -> BTreeSet<String> {
    let containers = docker_lines(&["ps", "--all", "--format", "container {{.Names}}"]);
    let networks = docker_lines(&["network", "ls", "--format", "network {{.Name}}"]);
    let volumes = docker_lines(&["volume", "ls", "--format", "volume {{.Name}}"]);
    let interfaces = fs::read_dir("/sys/class/net")
        .expect("Linux lists its interfaces")
        .flatten();
    let interfaces = interfaces.map(|entry| format!("interface {}", entry.file_name().to_string_lossy()));
    let rules = packet_filter().into_iter().map(|rule| format!("rule {rule}"));
    containers
        .into_iter()
        .chain(networks)
        .chain(volumes)
        .chain(interfaces)
        .chain(rules)
        .collect()
}

fn command(program: &str, arguments: &[&str]) -> io::Result<Outcome> {
    let mut command = Command::new(program);
    command.args(arguments);
    process::run(command, b"", LIMIT)
}
