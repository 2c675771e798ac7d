//! One test's view of the cluster: a kubectl, a namespace of its own, and a record of all it typed and read.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::Cluster;
use crate::http;
use crate::kubectl::Kubectl;
use crate::process::{self, Outcome};
use crate::wait::wait_for;

/// A test at work.
#[derive(Debug)]
pub struct Session<'a> {
    cluster: &'a Cluster,
    kubectl: &'a Kubectl,
    namespace: String,
    record: RefCell<Vec<String>>,
}

impl<'a> Session<'a> {
    /// A session whose commands are about `namespace`.
    pub fn new(cluster: &'a Cluster, kubectl: &'a Kubectl, namespace: &str) -> Self {
        Session {
            cluster,
            kubectl,
            namespace: namespace.to_owned(),
            record: RefCell::default(),
        }
    }

    /// The cluster.
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// The namespace of this test.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The minor version of the kubectl: 33 of `1.33`.
    pub fn minor_version(&self) -> u32 {
        self.kubectl
            .version
            .split('.')
            .nth(1)
            .and_then(|minor| minor.parse().ok())
            .unwrap_or_default()
    }

    /// The last commands and what came back.
    pub fn record(&self) -> String {
        let record = self.record.borrow();
        record[record.len().saturating_sub(12)..].join("\n")
    }

    /// Runs `kubectl LINE` in this namespace, whatever comes of it.
    pub fn try_kubectl(&self, line: &str) -> Outcome {
        self.try_kubectl_with(line, "")
    }

    /// Runs `kubectl LINE` with `input`, whatever comes of it.
    pub fn try_kubectl_with(&self, line: &str, input: &str) -> Outcome {
        self.run(line, input, &[])
    }

    /// Runs `kubectl LINE` with more environment, whatever comes of it.
    pub fn try_kubectl_as(&self, line: &str, environment: &[(&str, &str)]) -> Outcome {
        self.run(line, "", environment)
    }

    fn run(&self, line: &str, input: &str, environment: &[(&str, &str)]) -> Outcome {
        let outcome = self
            .cluster
            .kubectl(self.kubectl, &self.placed(line), input, environment);
        self.record.borrow_mut().push(format!("$ kubectl {line}\n{outcome}"));
        outcome
    }

    /// Runs `kubectl LINE`, which has to succeed; gives its output.
    #[track_caller]
    pub fn kubectl(&self, line: &str) -> String {
        self.kubectl_with(line, "")
    }

    /// Runs `kubectl LINE` with `input`, which has to succeed; gives its output.
    #[track_caller]
    pub fn kubectl_with(&self, line: &str, input: &str) -> String {
        let outcome = self.try_kubectl_with(line, input);
        assert!(outcome.is_success(), "kubectl {line}: {outcome}");
        outcome.stdout
    }

    /// Runs `kubectl LINE`, which has to fail; gives what it says.
    #[track_caller]
    pub fn refused(&self, line: &str) -> String {
        self.refused_with(line, "")
    }

    /// Runs `kubectl LINE` with `input`, which has to fail; gives what it says.
    #[track_caller]
    pub fn refused_with(&self, line: &str, input: &str) -> String {
        let outcome = self.try_kubectl_with(line, input);
        assert!(
            matches!(outcome.code, Some(code) if code != 0),
            "kubectl {line} has to fail: {outcome}"
        );
        outcome.text()
    }

    /// What `kubectl get LINE -o json` gives.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        let text = self.kubectl(&format!("get {line} -o json"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line} is no JSON ({error}): {text}"))
    }

    /// The items of `kubectl get LINE -o json`.
    #[track_caller]
    pub fn items(&self, line: &str) -> Vec<Value> {
        match self.json(line)["items"].take() {
            Value::Array(items) => items,
            other => panic!("{line} is no list: {other}"),
        }
    }

    /// What a JSONPath says of `kubectl get LINE`.
    #[track_caller]
    pub fn field(&self, line: &str, path: &str) -> String {
        self.kubectl(&format!("get {line} -o 'jsonpath={{{path}}}'"))
    }

    /// Starts `kubectl LINE`, which does not end by itself.
    #[track_caller]
    pub fn follow(&self, line: &str) -> Following {
        self.record.borrow_mut().push(format!("$ kubectl {line} &"));
        let mut command = self.cluster.kubectl_command(self.kubectl);
        command.args(process::words(&self.placed(line)));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl can be run");
        let output = child.stdout.take().expect("it is a pipe");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Following { child, lines }
    }

    /// Makes a deployment of our image with some replicas and waits until all are available.
    #[track_caller]
    pub fn deploy(&self, name: &str, replicas: usize) {
        self.kubectl(&format!(
            "create deployment {name} --image=orrery-test/web:1 --port=80 --replicas={replicas}"
        ));
        self.rolled_out(name);
    }

    /// Waits for a rollout by `kubectl rollout status`.
    #[track_caller]
    pub fn rolled_out(&self, name: &str) {
        let said = self.kubectl(&format!("rollout status deployment {name} --timeout=90s"));
        assert!(
            said.contains(&format!("deployment \"{name}\" successfully rolled out")),
            "{said}"
        );
    }

    /// The pods with `app=NAME` that are not being deleted.
    #[track_caller]
    pub fn pods(&self, app: &str) -> Vec<Value> {
        let living = |pod: &Value| pod["metadata"].get("deletionTimestamp").is_none();
        self.items(&format!("pods -l app={app}"))
            .into_iter()
            .filter(living)
            .collect()
    }

    /// Asks `look` until it finds something.
    #[track_caller]
    pub fn wait_for<T, E: Display>(&self, what: &str, seconds: u64, look: impl FnMut() -> Result<T, E>) -> T {
        wait_for(what, seconds, look)
    }

    /// The body of `http://ADDRESS PATH`, which may take a moment to answer 200.
    #[track_caller]
    pub fn web(&self, address: &str, path: &str) -> String {
        let body = wait_for(&format!("http://{address}{path} answers"), 20, || {
            http::body(address, path)
        });
        self.record
            .borrow_mut()
            .push(format!("$ curl http://{address}{path}\n{body}"));
        body
    }

    /// One answer, at once.
    pub fn try_web(&self, address: &str, path: &str) -> io::Result<String> {
        let body = http::body(address, path);
        self.record
            .borrow_mut()
            .push(format!("$ curl http://{address}{path}\n{body:?}"));
        body
    }

    fn placed(&self, line: &str) -> String {
        let elsewhere = line.contains(" -n ") || line.contains(" -A") || line.contains("--all-namespaces");
        if elsewhere {
            line.to_owned()
        } else {
            format!("-n {} {line}", self.namespace)
        }
    }
}

/// A kubectl that goes on until this is dropped.
#[derive(Debug)]
pub struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    /// Reads lines until one is as `wanted`; gives all that came.
    ///
    /// # Panics
    ///
    /// After `seconds` without such a line.
    #[track_caller]
    pub fn read_until(&self, what: &str, seconds: u64, mut wanted: impl FnMut(&str) -> bool) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let mut read = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("after {seconds} s not yet {what}; it said:\n{}", read.join("\n"));
            };
            let is_last = wanted(&line);
            read.push(line);
            if is_last {
                return read;
            }
        }
    }

    /// Every line until it ends.
    pub fn rest(&self) -> Vec<String> {
        self.lines.iter().collect()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
