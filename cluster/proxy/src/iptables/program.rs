//! Running a program with a text on its standard input, and telling what its failure means.

use std::io::ErrorKind;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::filter::FilterError;

/// Where these programs live on systems that keep them from the PATH of ordinary users.
const SYSTEM_FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// Runs `program` to its end and gives what it printed. It dies when the caller no longer waits.
pub(super) async fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, FilterError> {
    let output = start(program, arguments, input).await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failure(
        program,
        &String::from_utf8_lossy(&output.stderr),
        output.status.to_string(),
    ))
}

async fn start(program: &str, arguments: &[&str], input: &str) -> Result<Output, FilterError> {
    let path = std::env::var("PATH").unwrap_or_default();
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => FilterError::Missing(program.to_string()),
        ErrorKind::PermissionDenied => FilterError::NotPermitted(error.to_string()),
        _ => FilterError::Failed {
            program: program.to_string(),
            message: error.to_string(),
        },
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{path}:{SYSTEM_FOLDERS}"))
        // Messages are read by us.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let write = async {
        // A program that gives up early closes its input; its own message says why, not ours.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    output.map_err(failed)
}

fn failure(program: &str, message: &str, status: String) -> FilterError {
    let message = message.trim();
    let lacks_rights = ["Permission denied", "Operation not permitted", "you must be root"];
    if lacks_rights.iter().any(|sign| message.contains(sign)) {
        return FilterError::NotPermitted(message.lines().next().unwrap_or_default().to_string());
    }
    let message = if message.is_empty() {
        status
    } else {
        message.to_string()
    };
    FilterError::Failed {
        program: program.to_string(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_reads_its_input_and_its_failure_is_told() {
        assert_eq!(run("cat", &[], "rules").await, Ok("rules".to_string()));
        let error = run("no-such-program-here", &[], "").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "no-such-program-here is not installed or not on the PATH"
        );
        let error = run("sh", &["-c", "echo wrong >&2; exit 3"], "").await.unwrap_err();
        assert_eq!(error.to_string(), "sh failed: wrong");
    }

    #[test]
    fn missing_rights_are_told_from_wrong_rules() {
        let denied = "iptables-save v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)";
        assert!(
            failure("iptables-save", denied, String::new())
                .to_string()
                .starts_with("iptables needs root")
        );
        assert!(matches!(
            failure("iptables-restore", "line 3 failed", String::new()),
            FilterError::Failed { .. }
        ));
    }
}
