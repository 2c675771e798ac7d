//! What a sandbox and a container shall be, from the pod's spec. Pure.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use orrery_api::meta::Object;

use crate::downward::Surroundings;
use crate::env::{environment, expand};
use crate::options::Options;
use crate::plan::grace;
use crate::resources::{Amounts, amounts, container_requests, oom_score_adj};
use crate::runtime::{ContainerConfig, DnsConfig, ImageInfo, Resources, SandboxConfig, Security, SecurityProfile};
use crate::sources::Sources;
use crate::view::{host_network, identity, spec_hash};
use crate::volumes::mounts;

/// The weight of a container that requests nothing, and the least there is.
const LEAST_CPU_SHARES: u64 = 2;
/// The longest host name that Linux takes.
const HOSTNAME_LIMIT: usize = 63;

/// What the pod's sandbox shall be.
pub fn sandbox_config(pod: &Pod, options: &Options, attempt: u32) -> SandboxConfig {
    let nothing = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&nothing);
    let aliases = spec.host_aliases.iter().flatten().filter_map(|alias| {
        let ip: IpAddr = alias.ip.parse().ok()?;
        Some((ip, alias.hostnames.clone().unwrap_or_default()))
    });
    let sysctls = spec
        .security_context
        .as_ref()
        .and_then(|context| context.sysctls.as_deref())
        .unwrap_or_default();
    SandboxConfig {
        pod: identity(pod),
        attempt,
        hostname: hostname(pod, spec, options),
        host_network: host_network(pod),
        host_pid: spec.host_pid == Some(true),
        host_ipc: spec.host_ipc == Some(true),
        share_processes: spec.share_process_namespace == Some(true),
        grace: grace(pod),
        dns: dns(pod, spec, options),
        host_aliases: aliases.collect(),
        sysctls: sysctls
            .iter()
            .map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()))
            .collect(),
    }
}

fn hostname(pod: &Pod, spec: &PodSpec, options: &Options) -> String {
    if host_network(pod) {
        return options.node_name.clone();
    }
    let name = spec
        .hostname
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or(pod.name());
    let cut: String = name.chars().take(HOSTNAME_LIMIT).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// Source: Kubernetes' documentation "DNS for Services and Pods", pod's DNS policy.
fn dns(pod: &Pod, spec: &PodSpec, options: &Options) -> DnsConfig {
    let mut dns = DnsConfig::default();
    let cluster = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "ClusterFirst" => !host_network(pod),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    if cluster && !options.cluster_dns.is_empty() {
        let (namespace, domain) = (pod.namespace(), &options.cluster_domain);
        dns.servers = options.cluster_dns.clone();
        dns.searches = vec![
            format!("{namespace}.svc.{domain}"),
            format!("svc.{domain}"),
            domain.clone(),
        ];
        dns.options = vec!["ndots:5".to_owned()];
    }
    if let Some(own) = &spec.dns_config {
        dns.servers.extend(own.nameservers.iter().flatten().cloned());
        dns.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            dns.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    dns
}

/// What a container of `image` shall be, or why it cannot be configured.
pub fn container_config(
    pod: &Pod,
    container: &Container,
    image: &ImageInfo,
    attempt: u32,
    sources: &Sources,
    options: &Options,
    around: &Surroundings<'_>,
) -> Result<ContainerConfig, String> {
    let env = environment(pod, container, sources, options.api_server.as_ref(), around)?;
    let known = |name: &str| env.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
    let words = |words: Option<&Vec<String>>| -> Vec<String> {
        words.into_iter().flatten().map(|word| expand(word, known)).collect()
    };
    let policy = container.termination_message_policy.as_deref();
    Ok(ContainerConfig {
        pod: identity(pod),
        name: container.name.clone(),
        attempt,
        image: container.image.clone().unwrap_or_default(),
        command: words(container.command.as_ref()),
        args: words(container.args.as_ref()),
        working_dir: container.working_dir.clone().filter(|folder| !folder.is_empty()),
        mounts: mounts(pod, container, &env),
        env,
        resources: resources(pod, container, around.allocatable),
        security: security(pod, container, image)?,
        stdin: container.stdin == Some(true),
        tty: container.tty == Some(true),
        termination_message_path: container
            .termination_message_path
            .clone()
            .unwrap_or_else(|| "/dev/termination-log".to_owned()),
        termination_message_from_logs: policy == Some("FallbackToLogsOnError"),
        spec_hash: spec_hash(container),
    })
}

fn resources(pod: &Pod, container: &Container, allocatable: &Amounts) -> Resources {
    let requests = container_requests(container);
    let limits = amounts(
        container
            .resources
            .as_ref()
            .and_then(|resources| resources.limits.as_ref()),
    );
    let positive = |amount: i64| u64::try_from(amount).ok().filter(|amount| *amount > 0);
    let millis = requests
        .get("cpu")
        .and_then(|cpu| positive(cpu.milli_value()))
        .unwrap_or(0);
    Resources {
        cpu_shares: Some((millis * 1024 / 1000).max(LEAST_CPU_SHARES)),
        cpu_limit_millis: limits.get("cpu").and_then(|cpu| positive(cpu.milli_value())),
        memory_limit_bytes: limits.get("memory").and_then(|memory| positive(memory.value())),
        oom_score_adj: oom_score_adj(pod, container, allocatable.get("memory").copied().unwrap_or_default()),
    }
}

/// Why a container that must not run as root may do so, if it may. Source: Kubernetes' documentation "Configure a
/// Security Context for a Pod or Container", `runAsNonRoot`.
fn may_be_root(run_as_user: Option<i64>, image: &ImageInfo) -> Option<String> {
    let image_user = image.user.as_deref().map(user_of);
    match (run_as_user, image_user.map(|user| (user, user.parse()))) {
        (Some(0), _) => Some("container's runAsUser breaks non-root policy".to_owned()),
        (Some(_), _) => None,
        (None, None | Some((_, Ok(0_i64)))) => Some("container has runAsNonRoot and image will run as root".to_owned()),
        (None, Some((_, Ok(_)))) => None,
        (None, Some((user, Err(_)))) => Some(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root"
        )),
    }
}

/// The user of what an image says: `user`, or `user:group`.
fn user_of(image_user: &str) -> &str {
    image_user.split(':').next().unwrap_or_default()
}

fn security(pod: &Pod, container: &Container, image: &ImageInfo) -> Result<Security, String> {
    let of_pod = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.clone())
        .unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let capabilities = own.capabilities.unwrap_or_default();
    let run_as_user = own.run_as_user.or(of_pod.run_as_user);
    let shall_not = own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true);
    if let Some(why) = may_be_root(run_as_user, image).filter(|_| shall_not) {
        return Err(format!(
            "{why} (pod: \"{}\", container: {})",
            identity(pod),
            container.name
        ));
    }
    let run_as_group = own.run_as_group.or(of_pod.run_as_group);
    // A group of its own changes nothing about the user, who has to be named with it.
    let image_user = || image.user.as_deref().map_or("0", user_of).to_owned();
    let user = run_as_user.map(|user| user.to_string());
    let user = user.or_else(|| run_as_group.map(|_| image_user()));
    let mut supplemental_groups = of_pod.supplemental_groups.unwrap_or_default();
    supplemental_groups.extend(of_pod.fs_group);
    let seccomp = own.seccomp_profile.or(of_pod.seccomp_profile);
    let seccomp = profile(seccomp.map(|profile| (profile.type_, profile.localhost_profile)))?;
    if let SecurityProfile::Localhost(name) = &seccomp {
        return Err(format!(
            "seccomp profile {name:?}: profiles of the node (Localhost) are not supported"
        ));
    }
    let app_armor = own.app_armor_profile.or(of_pod.app_armor_profile);
    let app_armor = profile(app_armor.map(|profile| (profile.type_, profile.localhost_profile)))?;
    Ok(Security {
        user,
        group: run_as_group,
        supplemental_groups,
        privileged: own.privileged == Some(true),
        read_only_root: own.read_only_root_filesystem == Some(true),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        seccomp,
        app_armor,
    })
}

/// The profile that is asked for by its type and its name; unless one is, the runtime's own.
fn profile(asked: Option<(String, Option<String>)>) -> Result<SecurityProfile, String> {
    let Some((kind, name)) = asked else {
        return Ok(SecurityProfile::default());
    };
    match kind.as_str() {
        "RuntimeDefault" => Ok(SecurityProfile::RuntimeDefault),
        "Unconfined" => Ok(SecurityProfile::Unconfined),
        "Localhost" => Ok(SecurityProfile::Localhost(name.unwrap_or_default())),
        _ => Err(format!("security profile type {kind:?} is unknown")),
    }
}

/// The longest that stopping may take beyond the grace, before the runtime is thought to hang.
pub const STOP_MARGIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    /// How a container is confined with these security contexts of its pod and its own, in an image of this user.
    fn secured(of_pod: serde_json::Value, own: serde_json::Value, user: Option<&str>) -> Result<Security, String> {
        let pod = serde_json::json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u1"},
            "spec": {"securityContext": of_pod, "containers": [{"name": "web", "securityContext": own}]},
        });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let image = ImageInfo {
            id: "image".to_owned(),
            size: 1,
            user: user.map(str::to_owned),
        };
        let container = &pod.spec.as_ref().expect("a spec").containers[0];
        security(&pod, container, &image)
    }

    /// As whom it runs then.
    fn runs_as(
        of_pod: serde_json::Value,
        own: serde_json::Value,
        user: Option<&str>,
    ) -> Result<(Option<String>, Option<i64>), String> {
        secured(of_pod, own, user).map(|security| (security.user, security.group))
    }

    #[test]
    fn who_must_not_be_root_is_not_started_as_root() {
        let refused = |of_pod, own, user| {
            let why = runs_as(of_pod, own, user).expect_err("it is refused");
            why.split(" (pod").next().unwrap_or_default().to_owned()
        };
        let (shall_not, nothing) = (serde_json::json!({"runAsNonRoot": true}), serde_json::json!({}));
        let as_root = "container has runAsNonRoot and image will run as root";
        for user in [None, Some("0"), Some("0:1000")] {
            assert_eq!(refused(shall_not.clone(), nothing.clone(), user), as_root);
            assert_eq!(refused(nothing.clone(), shall_not.clone(), user), as_root);
        }
        let named = refused(shall_not.clone(), nothing.clone(), Some("nginx"));
        assert!(named.contains("non-numeric"), "{named}");
        let root = serde_json::json!({"runAsUser": 0});
        assert!(refused(shall_not.clone(), root, Some("7")).contains("breaks non-root policy"));
        let user = serde_json::json!({"runAsUser": 7});
        assert_eq!(runs_as(shall_not.clone(), user, None), Ok((Some("7".to_owned()), None)));
        assert_eq!(runs_as(shall_not.clone(), nothing, Some("7:8")), Ok((None, None)));
        let lifted = serde_json::json!({"runAsNonRoot": false});
        assert_eq!(runs_as(shall_not, lifted, None), Ok((None, None)));
    }

    #[test]
    fn a_group_of_its_own_leaves_the_images_user_as_it_is() {
        let group = serde_json::json!({"runAsGroup": 9});
        let as_user = |user| runs_as(group.clone(), serde_json::json!({}), user).expect("it may run");
        assert_eq!(as_user(Some("app:8")), (Some("app".to_owned()), Some(9)));
        assert_eq!(as_user(None), (Some("0".to_owned()), Some(9)));
    }

    #[test]
    fn a_container_is_confined_as_it_asks_for_and_else_as_its_pod_does() {
        let nothing = || serde_json::json!({});
        let seccomp = |kind: &str| serde_json::json!({"seccompProfile": {"type": kind, "localhostProfile": "own"}});
        let confined = |of_pod, own| secured(of_pod, own, None).map(|security| security.seccomp);
        assert_eq!(confined(nothing(), nothing()), Ok(SecurityProfile::RuntimeDefault));
        let by_pod = confined(seccomp("Unconfined"), nothing());
        assert_eq!(by_pod, Ok(SecurityProfile::Unconfined));
        let by_itself = confined(seccomp("Unconfined"), seccomp("RuntimeDefault"));
        assert_eq!(by_itself, Ok(SecurityProfile::RuntimeDefault));
        let refused = confined(nothing(), seccomp("Localhost")).expect_err("there is no such profile");
        assert!(refused.contains("\"own\""), "{refused}");
        let app_armor = serde_json::json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "own"}});
        let named = secured(app_armor, nothing(), None).expect("it may run").app_armor;
        assert_eq!(named, SecurityProfile::Localhost("own".to_owned()));
    }
}
