//! Decisions in plain English: who did what to which object.

use std::time::Duration;

use crate::recording::{Difference, Index, RuntimeState, Verb, What};

/// So many changed fields of a write are named.
const NAMED: usize = 3;

/// A moment, as reports show it.
pub fn moment(at: Duration) -> String {
    format!("{:>11.6} s", at.as_secs_f64())
}

/// A time that passed, in few digits.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 10.0 {
        format!("{seconds:.1} s")
    } else if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{:.0} ms", (seconds * 1000.0).max(1.0))
    }
}

/// What a write does, for a sentence that begins with who does it.
pub fn deed(index: &Index<'_>, write: usize) -> String {
    let Some(written) = index.written(write) else {
        return String::new();
    };
    let id = &written.object;
    let facts = index.facts(write);
    match written.verb {
        Verb::Create => match facts.and_then(|facts| facts.controller.as_ref()) {
            Some((kind, name)) => format!("creates {id} for {kind} {name}"),
            None => format!("creates {id}"),
        },
        Verb::Delete => format!("removes {id}"),
        Verb::Update => {
            let changes = index.changes(write);
            let find = |path: &str| changes.iter().find(|change| change.path == path);
            let values = |change: &Difference| {
                (
                    crate::recording::brief(change.before.as_ref()),
                    crate::recording::brief(change.after.as_ref()),
                )
            };
            if find("metadata.deletionTimestamp").is_some_and(|change| change.before.is_none()) {
                format!("begins the deletion of {id}")
            } else if let Some(change) = find("spec.nodeName").filter(|change| change.before.is_none()) {
                format!("binds {id} to {}", values(change).1)
            } else if let Some(change) = find("spec.replicas") {
                let (before, after) = values(change);
                format!("scales {id} from {before} to {after}")
            } else if changes.is_empty() {
                format!("renews {id}")
            } else {
                format!("changes {id}: {}", list(changes))
            }
        }
    }
}

/// Fields that follow from others and are worth no words beside them.
const FOLLOWING: &[&str] = &[
    "observedGeneration",
    "metadata.generation",
    "containerID",
    "imageID",
    "lastState",
    "podIPs[",
    "hostIP",
    ".serving",
    ".started",
    "conditions[ContainersReady]",
    "conditions[PodReadyToStartContainers]",
    "conditions[Initialized]",
    "targetRef",
    "addresses[",
    ".state.",
    "nodeName",
    ".zone",
    "].message",
    "].reason",
    "].type",
];

/// The most telling changes.
pub fn list(all: &[Difference]) -> String {
    let telling = |change: &&Difference| !FOLLOWING.iter().any(|part| change.path.contains(part));
    let told: Vec<&Difference> = all.iter().filter(telling).collect();
    let changes: Vec<&Difference> = if told.is_empty() { all.iter().collect() } else { told };
    let rank = |change: &&Difference| match change.path.as_str() {
        "metadata.generation" | "status.observedGeneration" => 4,
        path if path.starts_with("status.conditions[Ready]") && path.ends_with("status") => 0,
        "status.phase" => 0,
        path if path.ends_with("status") => 2,
        path if path.starts_with("status") => 3,
        path if path.starts_with("metadata.annotations") => 2,
        _ => 1,
    };
    let mut sorted = changes;
    sorted.sort_by_key(rank);
    let mut text: Vec<String> = sorted
        .iter()
        .take(NAMED)
        .map(|change| with_reason(change, all))
        .collect();
    if sorted.len() > NAMED {
        text.push(format!("{} more", sorted.len() - NAMED));
    }
    text.join(", ")
}

/// A change; of a condition that does not hold any more, or not yet, with why, as far as that is among all the changes.
fn with_reason(change: &Difference, all: &[Difference]) -> String {
    let condition = change
        .path
        .strip_suffix(".status")
        .filter(|path| path.contains("conditions["));
    let Some(condition) = condition.filter(|_| change.after == Some("False".into())) else {
        return change.to_string();
    };
    let of = |field: &str| {
        let path = format!("{condition}.{field}");
        let found = all.iter().find(|other| other.path == path)?;
        found.after.as_ref()?.as_str().filter(|text| !text.is_empty())
    };
    match (of("reason"), of("message")) {
        (Some(reason), Some(message)) => format!("{change} ({reason}: {message})"),
        (Some(why), None) | (None, Some(why)) => format!("{change} ({why})"),
        (None, None) => change.to_string(),
    }
}

/// What a request asked for, and what came of it, for a sentence that begins with who asks.
pub fn decision(index: &Index<'_>, asked: usize) -> String {
    let Some(request) = index.request_at(asked) else {
        return String::new();
    };
    let writes = index.writes_by(request.number);
    let mut text = match writes {
        [] => format!("asks: {} {}", request.method, request.uri),
        [write] => deed(index, *write),
        [write, rest @ ..] => format!("{} and writes {} more objects", deed(index, *write), rest.len()),
    };
    if let Some(written) = writes.first().and_then(|write| index.written(*write)) {
        text.push_str(&format!(" (revision {})", written.revision));
    }
    match index.ended(request.number).map(|place| &index.event(place).what) {
        Some(What::Received { status, .. }) if *status >= 300 => text.push_str(&format!("; answered {status}")),
        Some(What::Unanswered { why, .. }) => text.push_str(&format!("; it hears nothing of it ({why})")),
        _ => {}
    }
    text
}

/// What happened at a place, as a sentence.
pub fn event(index: &Index<'_>, place: usize) -> String {
    match &index.event(place).what {
        What::Written(written) => match index.author(place).and_then(|asked| index.request_at(asked)) {
            Some(request) => format!(
                "{} {} (revision {})",
                request.client,
                deed(index, place),
                written.revision
            ),
            None => format!("somebody {} (revision {})", deed(index, place), written.revision),
        },
        What::Asked(request) => format!("{} {}", request.client, decision(index, place)),
        What::Answered { request, status, .. } => {
            let who = index
                .asked(*request)
                .map(|asked| asking(index, asked))
                .unwrap_or_default();
            format!("the API server answers {who}: {status}")
        }
        What::Received { request, status } => {
            let who = index
                .asked(*request)
                .map(|asked| asking(index, asked))
                .unwrap_or_default();
            format!("{who} is answered {status}")
        }
        What::Unanswered { request, why } => {
            let who = index
                .asked(*request)
                .map(|asked| asking(index, asked))
                .unwrap_or_default();
            format!("{who} is not answered: {why}")
        }
        What::WatchOpened {
            client, resource, from, ..
        } => match from {
            Some(revision) => format!("{client} watches {resource} from revision {revision} on"),
            None => format!("{client} begins to watch {resource}"),
        },
        What::Shown { stream, kind, .. } => {
            let client = index.watch(*stream).map_or("somebody", |watch| watch.client.as_str());
            match index.shown_at(place) {
                Some((id, revision)) => format!(
                    "{client} is shown {id} at revision {revision} ({})",
                    kind.to_lowercase()
                ),
                None => format!("{client} is shown a {}", kind.to_lowercase()),
            }
        }
        What::WatchClosed { stream } => {
            let client = index.watch(*stream).map_or("somebody", |watch| watch.client.as_str());
            format!("a watch of {client} ends")
        }
        What::Process { name, state, .. } => format!("{name} {}", process(*state)),
        What::Power { machine, up: true } => format!("machine {machine} gets power"),
        What::Power { machine, up: false } => format!("machine {machine} loses power"),
        What::FaultBegins { text, kind, .. } => {
            format!("fault: {}", if text.is_empty() { kind } else { text })
        }
        What::FaultEnds { .. } => "a fault is over".to_owned(),
        What::Healed { left } if left.is_empty() => "the chaos is over, everything is healed".to_owned(),
        What::Healed { left } => format!("the chaos is over; {} stay broken", left.join(", ")),
        What::Runtime {
            machine,
            pod_uid,
            state,
            id,
        } => {
            let pod = index
                .by_uid(pod_uid)
                .map_or_else(|| pod_uid.clone(), ToString::to_string);
            let which = match state {
                RuntimeState::Ended | RuntimeState::Stopping => format!(" ({})", id.get(..12).unwrap_or(id)),
                _ => String::new(),
            };
            format!("on {machine}, {pod}: {state}{which}")
        }
        What::Said { actor, text } => format!("{actor} says: {text}"),
        What::Broken { invariant, message, .. } => format!("{invariant} is broken: {message}"),
    }
}

fn asking(index: &Index<'_>, asked: usize) -> String {
    index
        .request_at(asked)
        .map(|request| {
            format!(
                "{} ({} {})",
                request.client,
                request.method,
                request.uri.split('?').next().unwrap_or_default()
            )
        })
        .unwrap_or_default()
}

/// What became of a process.
pub fn process(state: crate::recording::ProcessState) -> String {
    use crate::recording::ProcessState;
    match state {
        ProcessState::Started(1) => "starts".to_owned(),
        ProcessState::Started(times) => format!("starts, for the {times}. time"),
        ProcessState::Killed => "is killed".to_owned(),
        ProcessState::Paused => "stands still".to_owned(),
        ProcessState::Resumed => "goes on".to_owned(),
    }
}
