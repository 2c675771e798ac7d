//! Sandboxes and containers in Docker's words.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, Mount as DockerMount, MountType,
    NetworkingConfig,
};

use super::{DockerOptions, labels, pause};
use crate::runtime::{ContainerConfig, SandboxConfig};

/// The period over which processor time is limited, in microseconds.
const CPU_PERIOD: i64 = 100_000;
/// The least quota that the kernel takes, in microseconds.
const LEAST_CPU_QUOTA: i64 = 1_000;
/// A pod's sandbox is the last to be killed when memory is short.
const SANDBOX_OOM_SCORE: i64 = -998;

/// The least `oom_score_adj` that can be had here: lowering one's own needs a privilege that a confined Docker lacks,
/// and containers that ask for it then do not start.
pub(super) fn least_oom_score() -> i64 {
    const OWN: &str = "/proc/self/oom_score_adj";
    let Ok(before) = std::fs::read_to_string(OWN) else {
        return 0;
    };
    let lower = before.trim().parse::<i64>().map_or(0, |score| score - 1).max(-1000);
    if std::fs::write(OWN, lower.to_string()).is_err() {
        return 0;
    }
    let _ = std::fs::write(OWN, before);
    -1000
}

/// A sandbox with `address`, or in the host's network.
pub(super) fn sandbox(
    options: &DockerOptions,
    config: &SandboxConfig,
    address: Option<Ipv4Addr>,
    least_oom_score: i64,
) -> ContainerCreateBody {
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let hosts = config
        .host_aliases
        .iter()
        .flat_map(|(ip, names)| names.iter().map(move |name| format!("{name}:{ip}")));
    let endpoint = address.map(|address| EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    });
    let network = if address.is_some() {
        options.network.clone()
    } else {
        "host".to_owned()
    };
    let sysctls: HashMap<String, String> = config.sysctls.clone().into_iter().collect();
    ContainerCreateBody {
        image: Some(options.pause_image.clone()),
        entrypoint: Some(vec![pause::PROGRAM.to_owned()]),
        hostname: address.is_some().then(|| config.hostname.clone()),
        labels: Some(labels::of_sandbox(options, config, address)),
        host_config: Some(HostConfig {
            network_mode: Some(network.clone()),
            ipc_mode: Some("shareable".to_owned()),
            pid_mode: config.host_pid.then(|| "host".to_owned()),
            oom_score_adj: Some(SANDBOX_OOM_SCORE.max(least_oom_score)),
            dns: some(config.dns.servers.clone()),
            dns_search: some(config.dns.searches.clone()),
            dns_options: some(config.dns.options.clone()),
            extra_hosts: some(hosts.collect()),
            sysctls: (!sysctls.is_empty()).then_some(sysctls),
            ..HostConfig::default()
        }),
        networking_config: endpoint.map(|endpoint| NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network, endpoint)])),
        }),
        ..ContainerCreateBody::default()
    }
}

/// Which processes a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Processes {
    /// Its own.
    Own,
    /// Those of the pod.
    Pod,
    /// Those of the host.
    Host,
}

/// A container in `sandbox` with `mounts`: source, target, read only.
pub(super) fn container(
    options: &DockerOptions,
    config: &ContainerConfig,
    sandbox: &str,
    processes: Processes,
    mounts: Vec<(String, String, bool)>,
    least_oom_score: i64,
) -> ContainerCreateBody {
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let shared = format!("container:{sandbox}");
    let limits = &config.resources;
    let security = &config.security;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let user = security.user.as_ref().map(|user| match security.group {
        Some(group) => format!("{user}:{group}"),
        None => user.clone(),
    });
    let groups: Vec<String> = security.supplemental_groups.iter().map(i64::to_string).collect();
    let mounts: Vec<DockerMount> = mounts
        .into_iter()
        .map(|(source, target, read_only)| DockerMount {
            typ: Some(MountType::BIND),
            source: Some(source),
            target: Some(target),
            read_only: Some(read_only),
            ..DockerMount::default()
        })
        .collect();
    ContainerCreateBody {
        image: Some(config.image.clone()),
        entrypoint: some(&config.command),
        cmd: some(&config.args),
        env: Some(
            config
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        working_dir: config.working_dir.clone(),
        user,
        tty: Some(config.tty),
        open_stdin: Some(config.stdin),
        labels: Some(labels::of_container(options, config, sandbox)),
        host_config: Some(HostConfig {
            network_mode: Some(shared.clone()),
            ipc_mode: Some(shared.clone()),
            pid_mode: match processes {
                Processes::Own => None,
                Processes::Pod => Some(shared),
                Processes::Host => Some("host".to_owned()),
            },
            cpu_shares: limits.cpu_shares.map(number),
            cpu_period: limits.cpu_limit_millis.map(|_| CPU_PERIOD),
            cpu_quota: limits
                .cpu_limit_millis
                .map(|millis| (number(millis).saturating_mul(CPU_PERIOD) / 1000).max(LEAST_CPU_QUOTA)),
            memory: limits.memory_limit_bytes.map(number),
            // No swap beyond the limit, as in Kubernetes.
            memory_swap: limits.memory_limit_bytes.map(number),
            oom_score_adj: Some(i64::from(limits.oom_score_adj).max(least_oom_score)),
            privileged: Some(security.privileged),
            readonly_rootfs: Some(security.read_only_root),
            security_opt: security.no_new_privileges.then(|| vec!["no-new-privileges".to_owned()]),
            cap_add: some(&security.add_capabilities),
            cap_drop: some(&security.drop_capabilities),
            group_add: some(&groups),
            mounts: Some(mounts),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
