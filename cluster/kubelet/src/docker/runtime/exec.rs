//! Commands in containers. What does not end in its time is killed, though not what it has started itself.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bytes::BytesMut;
use futures_util::StreamExt;
use orrery_api::task::moment_after;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::{timeout, timeout_at};

use crate::docker::error::to_runtime;
use crate::runtime::{ErrorKind, ExecOutcome, RuntimeError};

/// The most output of a command that is kept.
const OUTPUT_LIMIT: usize = 10 * 1024;
/// How long Docker may take to say which process a command is.
const LOOK_LIMIT: Duration = Duration::from_millis(500);

/// Runs `command` in a container to its end, or for as long as it may.
pub(super) async fn exec(
    docker: &Docker,
    container_id: &str,
    command: &[String],
    limit: Duration,
) -> Result<ExecOutcome, RuntimeError> {
    let deadline = moment_after(limit);
    let late = |_| RuntimeError::new(ErrorKind::Timeout, "the command took too long");
    let config = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command.to_vec()),
        ..ExecConfig::default()
    };
    let made = timeout_at(deadline, docker.create_exec(container_id, config)).await;
    let exec_id = made.map_err(late)?.map_err(to_runtime)?.id;
    match timeout_at(deadline, outcome(docker, &exec_id)).await {
        Ok(outcome) => outcome.map_err(to_runtime),
        Err(elapsed) => {
            kill(docker, container_id, &exec_id).await;
            Err(late(elapsed))
        }
    }
}

/// What a command comes to.
async fn outcome(docker: &Docker, exec_id: &str) -> Result<ExecOutcome, Error> {
    let started = docker.start_exec(exec_id, None::<StartExecOptions>).await?;
    let mut all = BytesMut::new();
    if let StartExecResults::Attached { mut output, .. } = started {
        while let Some(piece) = output.next().await {
            let piece = piece?.into_bytes();
            let room = OUTPUT_LIMIT.saturating_sub(all.len()).min(piece.len());
            all.extend_from_slice(&piece[..room]);
        }
    }
    let code = docker.inspect_exec(exec_id).await?.exit_code.unwrap_or(0);
    Ok(ExecOutcome {
        exit_code: i32::try_from(code).unwrap_or(1),
        output: all.freeze(),
    })
}

/// Kills the process of a command. Docker has no call for that, but says which process of the machine it is.
async fn kill(docker: &Docker, container_id: &str, exec_id: &str) {
    let Ok(Ok(seen)) = timeout(LOOK_LIMIT, docker.inspect_exec(exec_id)).await else {
        return;
    };
    let pid = seen.pid.filter(|_| seen.running == Some(true));
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
    let Some(pid) = pid.and_then(Pid::from_raw) else {
        return;
    };
    // Held before it is looked at: should it end, its number may be another's by the time of the signal.
    if let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
        && is_in(container_id, pid)
    {
        // It may have ended by now.
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

/// Whether a process is one of the container's: a Docker in a virtual machine counts other processes than ours.
fn is_in(container_id: &str, pid: Pid) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
    groups.is_ok_and(|groups| !container_id.is_empty() && groups.contains(container_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_in_the_container_is_told_apart() {
        let own = rustix::process::getpid();
        assert!(!is_in(&"0123456789abcdef".repeat(4), own));
        assert!(!is_in("", own));
        // All are in some group, whose name ends the line.
        let groups = std::fs::read_to_string("/proc/self/cgroup").expect("a list of groups");
        let group = groups.lines().next().and_then(|line| line.rsplit(':').next());
        assert!(is_in(group.expect("a group"), own));
    }
}
