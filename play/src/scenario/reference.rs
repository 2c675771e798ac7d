//! The reference of the format, `scenarios/README.md`, is true: each of its examples is read, and no
//! word of faults, steps and operations is missing.

use super::{ChurnKind, FaultKind, faults, read, workload};

const TEXT: &str = include_str!("../../../scenarios/README.md");

/// The examples, with the line they begin at.
fn examples() -> Vec<(usize, String)> {
    let mut examples = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in TEXT.lines().enumerate() {
        match (&mut open, line) {
            (None, "```yaml") => open = Some((number + 2, String::new())),
            (Some(_), "```") => examples.extend(open.take()),
            (Some((_, text)), line) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, _) => {}
        }
    }
    examples
}

#[test]
fn every_example_is_read() {
    let manifest = include_str!("../../../scenarios/manifests/web.yaml");
    let examples = examples();
    assert!(examples.len() > 10, "{}", examples.len());
    for (line, text) in examples {
        let whole = if text.starts_with("name: ") {
            text
        } else {
            format!("name: part\ntopology: {{ nodes: 3, apiservers: 2 }}\nduration: 10m\n{text}")
        };
        if let Err(error) = read("README.md", &whole, |_| Ok(manifest.to_owned())) {
            panic!("the example at line {line}: {error}\n{whole}");
        }
    }
}

#[test]
fn every_fault_every_step_and_every_operation_is_there() {
    for key in faults::KEYS.iter().chain(workload::KEYS) {
        assert!(TEXT.contains(&format!("    {key}: ")), "no example of `{key}`");
    }
    for kind in ChurnKind::ALL {
        assert!(TEXT.contains(&format!("`{}`", kind.as_str())), "no `{}`", kind.as_str());
    }
    for kind in FaultKind::ALL {
        assert!(
            TEXT.contains(&format!("    {}: ", kind.as_str())),
            "no `{}`",
            kind.as_str()
        );
    }
}
