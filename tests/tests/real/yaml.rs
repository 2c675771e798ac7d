//! One deployment, written by hand: three ways to get its indentation wrong and what is said of them, and the right
//! one.

use orrery_tests::{Session, tests};

tests![
    a_file_that_is_no_yaml_is_refused_with_its_line,
    fields_that_slid_out_of_spec_are_named,
    a_label_that_slid_out_of_the_selector_is_named,
    the_file_as_it_was_meant_makes_two_pods,
    fields_written_twice_are_named,
];

/// As it is pasted after its indentation was lost.
const LOST: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
name: mi-nginx
spec:
replicas: 2
selector:
    matchLabels:
    app: nginx
template:
    metadata:
    labels:
        app: nginx
    spec:
    containers:
    - name: nginx
        image: nginx
        ports:
        - containerPort: 80
";

/// As it was meant; the image is one that is here.
const MEANT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: mi-nginx
spec:
  replicas: 2
  selector:
    matchLabels:
      app: nginx
  template:
    metadata:
      labels:
        app: nginx
    spec:
      containers:
      - name: nginx
        image: orrery-test/web:1
        ports:
        - containerPort: 80
";

fn a_file_that_is_no_yaml_is_refused_with_its_line(session: &Session<'_>) {
    for command in [
        "apply -f -",
        "create -f -",
        "apply --server-side -f -",
        "create --validate=ignore -f -",
    ] {
        let refused = session.try_kubectl_with(command, LOST);
        assert_eq!(refused.code, Some(1), "{refused}");
        let wanted = "error converting YAML to JSON: yaml: line 17: mapping values are not allowed in this context";
        assert!(refused.stderr.contains(wanted), "{refused}");
    }
}

fn fields_that_slid_out_of_spec_are_named(session: &Session<'_>) {
    let file = LOST.replace("        image: nginx", "      image: nginx").replace(
        "        ports:\n        - containerPort",
        "      ports:\n      - containerPort",
    );
    let refused = session.refused_with("create -f -", &file);
    let wanted = "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: ";
    assert!(
        refused.contains("(BadRequest)") && refused.contains(wanted),
        "{refused}"
    );
    for field in ["name", "replicas", "selector", "template"] {
        assert!(refused.contains(&format!("unknown field \"{field}\"")), "{refused}");
    }
    let refused = session.refused_with("create --validate=ignore -f -", &file);
    assert!(
        refused.contains("resource name may not be empty") || refused.contains("name or generateName is required"),
        "{refused}"
    );
}

fn a_label_that_slid_out_of_the_selector_is_named(session: &Session<'_>) {
    let file = MEANT.replace("      app: nginx\n  template", "    app: nginx\n  template");
    let refused = session.refused_with("create -f -", &file);
    assert!(
        refused.contains("strict decoding error: unknown field \"spec.selector.app\""),
        "{refused}"
    );
    let refused = session.refused_with("create --validate=ignore -f -", &file);
    assert!(refused.contains("The Deployment \"mi-nginx\" is invalid"), "{refused}");
    for fault in [
        "spec.selector: Required value",
        "`selector` does not match template `labels`",
    ] {
        assert!(refused.contains(fault), "{refused}");
    }
}

fn the_file_as_it_was_meant_makes_two_pods(session: &Session<'_>) {
    assert_eq!(
        session.kubectl_with("apply -f -", MEANT),
        "deployment.apps/mi-nginx created\n"
    );
    session.rolled_out("mi-nginx");
    assert_eq!(session.pods("nginx").len(), 2);
    assert_eq!(
        session.kubectl_with("apply -f -", MEANT),
        "deployment.apps/mi-nginx unchanged\n"
    );
    let three = MEANT.replace("replicas: 2", "replicas: 3");
    assert_eq!(
        session.kubectl_with("apply -f -", &three),
        "deployment.apps/mi-nginx configured\n"
    );
    session.rolled_out("mi-nginx");
    assert_eq!(session.pods("nginx").len(), 3);
    session.kubectl_with("delete -f -", MEANT);
}

fn fields_written_twice_are_named(session: &Session<'_>) {
    let object =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"},"data":{"a":"1"},"data":{"a":"2"}}"#;
    // kubectl would drop one of them by itself; raw, the file is sent as it is.
    let path = format!(
        "/api/v1/namespaces/{}/configmaps?fieldValidation=Strict",
        session.namespace()
    );
    let refused = session.refused_with(&format!("create --raw {path} -f -"), object);
    assert!(refused.contains("duplicate field \"data\""), "{refused}");
}
