//! Sandboxes and containers in Docker's words.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountType, NetworkingConfig,
};

use super::{DockerOptions, labels, pause};
use crate::runtime::{ContainerConfig, MountPropagation, SandboxConfig, Security, SecurityProfile};

/// The period over which processor time is limited, in microseconds.
const CPU_PERIOD: i64 = 100_000;
/// The least quota that the kernel takes, in microseconds.
const LEAST_CPU_QUOTA: i64 = 1_000;
/// A pod's sandbox is the last to be killed when memory is short.
const SANDBOX_OOM_SCORE: i64 = -998;
/// The mode of a namespace that is the host's.
const HOST: &str = "host";
/// How long a file of a container's log gets, and how many of them are kept. Source: `containerLogMaxSize` and
/// `containerLogMaxFiles` of Kubernetes' kubelet.
const LOG_LIMITS: [(&str, &str); 2] = [("max-size", "10m"), ("max-file", "5")];

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
        HOST.to_owned()
    };
    let ipc = if config.host_ipc { HOST } else { "shareable" };
    let sysctls: HashMap<String, String> = config.sysctls.clone().into_iter().collect();
    ContainerCreateBody {
        image: Some(options.pause_image.clone()),
        entrypoint: Some(vec![pause::PROGRAM.to_owned()]),
        hostname: address.is_some().then(|| config.hostname.clone()),
        labels: Some(labels::of_sandbox(options, config, address)),
        host_config: Some(HostConfig {
            network_mode: Some(network.clone()),
            ipc_mode: Some(ipc.to_owned()),
            pid_mode: config.host_pid.then(|| HOST.to_owned()),
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

/// The namespaces of a sandbox that its containers live in, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Namespaces {
    sandbox: String,
    network: String,
    ipc: String,
    /// Which processes a container sees; its own, if none.
    processes: Option<String>,
}

impl Namespaces {
    /// Those of the sandbox `id`, as it was made.
    pub(super) fn of(id: &str, sandbox: &ContainerInspectResponse) -> Self {
        let of_sandbox = format!("container:{id}");
        let own_labels = sandbox.config.as_ref().and_then(|config| config.labels.as_ref());
        let is_shared = own_labels.is_some_and(|own| own.contains_key(labels::SHARED));
        let modes = sandbox.host_config.as_ref();
        let is_host = |mode: Option<&String>| mode.is_some_and(|mode| mode == HOST);
        let processes = if is_host(modes.and_then(|modes| modes.pid_mode.as_ref())) {
            Some(HOST.to_owned())
        } else {
            is_shared.then(|| of_sandbox.clone())
        };
        let ipc = if is_host(modes.and_then(|modes| modes.ipc_mode.as_ref())) {
            HOST.to_owned()
        } else {
            of_sandbox.clone()
        };
        Namespaces {
            sandbox: id.to_owned(),
            network: of_sandbox,
            ipc,
            processes,
        }
    }
}

/// A path of the host as a container sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Bind {
    pub(super) source: PathBuf,
    pub(super) target: String,
    pub(super) read_only: bool,
    pub(super) propagation: MountPropagation,
}

impl Bind {
    fn into_mount(self) -> Mount {
        let propagation = match self.propagation {
            MountPropagation::None => MountBindOptionsPropagationEnum::RPRIVATE,
            MountPropagation::HostToContainer => MountBindOptionsPropagationEnum::RSLAVE,
            MountPropagation::Bidirectional => MountBindOptionsPropagationEnum::RSHARED,
        };
        Mount {
            typ: Some(MountType::BIND),
            source: Some(self.source.to_string_lossy().into_owned()),
            target: Some(self.target),
            read_only: Some(self.read_only),
            bind_options: Some(MountBindOptions {
                propagation: Some(propagation),
                ..MountBindOptions::default()
            }),
            ..Mount::default()
        }
    }
}

/// How the kernel shall confine a container where that is not Docker's usual way.
fn security_options(security: &Security) -> Option<Vec<String>> {
    let profile = |by: &str, profile: &SecurityProfile| match profile {
        SecurityProfile::RuntimeDefault => None,
        SecurityProfile::Unconfined => Some(format!("{by}=unconfined")),
        SecurityProfile::Localhost(name) => Some(format!("{by}={name}")),
    };
    let all = [
        security.no_new_privileges.then(|| "no-new-privileges".to_owned()),
        profile("seccomp", &security.seccomp),
        profile("apparmor", &security.app_armor),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    (!all.is_empty()).then_some(all)
}

/// A container in these namespaces of a sandbox, with what it sees of the host.
pub(super) fn container(
    options: &DockerOptions,
    config: &ContainerConfig,
    namespaces: &Namespaces,
    binds: Vec<Bind>,
    least_oom_score: i64,
) -> ContainerCreateBody {
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let limits = &config.resources;
    let security = &config.security;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let user = security.user.as_ref().map(|user| match security.group {
        Some(group) => format!("{user}:{group}"),
        None => user.clone(),
    });
    let groups: Vec<String> = security.supplemental_groups.iter().map(i64::to_string).collect();
    let log_limits = LOG_LIMITS.map(|(name, value)| (name.to_owned(), value.to_owned()));
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
        labels: Some(labels::of_container(options, config, &namespaces.sandbox)),
        // Whether it is well is found out by probes; what the image says would only run besides.
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        host_config: Some(HostConfig {
            network_mode: Some(namespaces.network.clone()),
            ipc_mode: Some(namespaces.ipc.clone()),
            pid_mode: namespaces.processes.clone(),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from(log_limits)),
            }),
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
            security_opt: security_options(security),
            cap_add: some(&security.add_capabilities),
            cap_drop: some(&security.drop_capabilities),
            group_add: some(&groups),
            mounts: Some(binds.into_iter().map(Bind::into_mount).collect()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sandbox as Docker shows it that was made so.
    fn inspected(config: &SandboxConfig) -> ContainerInspectResponse {
        let body = sandbox(&DockerOptions::default(), config, None, 0);
        let body = serde_json::to_value(body).expect("a body");
        let shown = serde_json::json!({"HostConfig": body["HostConfig"], "Config": {"Labels": body["Labels"]}});
        serde_json::from_value(shown).expect("an answer")
    }

    /// What Docker is asked for to get a container in such a sandbox.
    fn made(config: &ContainerConfig, in_sandbox: &SandboxConfig, binds: Vec<Bind>) -> serde_json::Value {
        let namespaces = Namespaces::of("s1", &inspected(in_sandbox));
        let body = container(&DockerOptions::default(), config, &namespaces, binds, 0);
        serde_json::to_value(body).expect("a body")
    }

    #[test]
    fn containers_live_in_the_namespaces_of_their_sandbox_or_of_the_host() {
        let modes = |in_sandbox: SandboxConfig| {
            let body = made(&ContainerConfig::default(), &in_sandbox, Vec::new());
            let mode = |name: &str| body["HostConfig"][name].as_str().map(str::to_owned);
            let modes = [mode("NetworkMode"), mode("IpcMode"), mode("PidMode")];
            modes.map(Option::unwrap_or_default)
        };
        let own = modes(SandboxConfig::default());
        assert_eq!(own, ["container:s1", "container:s1", ""]);
        let shared = modes(SandboxConfig {
            share_processes: true,
            ..SandboxConfig::default()
        });
        assert_eq!(shared, ["container:s1", "container:s1", "container:s1"]);
        let host = modes(SandboxConfig {
            host_pid: true,
            host_ipc: true,
            ..SandboxConfig::default()
        });
        assert_eq!(host, ["container:s1", "host", "host"]);
    }

    #[test]
    fn logs_are_rotated_and_the_images_own_health_checks_do_not_run() {
        let body = made(&ContainerConfig::default(), &SandboxConfig::default(), Vec::new());
        assert_eq!(
            body["HostConfig"]["LogConfig"],
            serde_json::json!({"Type": "json-file", "Config": {"max-size": "10m", "max-file": "5"}})
        );
        assert_eq!(body["Healthcheck"], serde_json::json!({"Test": ["NONE"]}));
    }

    #[test]
    fn profiles_and_propagation_are_passed_on_in_dockers_words() {
        let options = |security: Security| {
            let config = ContainerConfig {
                security,
                ..ContainerConfig::default()
            };
            made(&config, &SandboxConfig::default(), Vec::new())["HostConfig"]["SecurityOpt"].clone()
        };
        assert_eq!(options(Security::default()), serde_json::Value::Null);
        let freed = options(Security {
            no_new_privileges: true,
            seccomp: SecurityProfile::Unconfined,
            app_armor: SecurityProfile::Localhost("own".to_owned()),
            ..Security::default()
        });
        assert_eq!(
            freed,
            serde_json::json!(["no-new-privileges", "seccomp=unconfined", "apparmor=own"])
        );
        let bind = |propagation| Bind {
            source: PathBuf::from("/srv"),
            target: "/data".to_owned(),
            propagation,
            ..Bind::default()
        };
        let binds = [
            MountPropagation::None,
            MountPropagation::HostToContainer,
            MountPropagation::Bidirectional,
        ];
        let binds = binds.map(bind).to_vec();
        let body = made(&ContainerConfig::default(), &SandboxConfig::default(), binds);
        let mounts = body["HostConfig"]["Mounts"].as_array().expect("a list");
        let propagations: Vec<&serde_json::Value> = mounts
            .iter()
            .map(|mount| &mount["BindOptions"]["Propagation"])
            .collect();
        assert_eq!(propagations, ["rprivate", "rslave", "rshared"]);
    }
}
