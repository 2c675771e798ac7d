//! The timeline as one HTML page that needs nothing else: no network, no files beside it.

use serde_json::{Value, json};

use super::{LaneKind, MarkKind, Timeline};

const HTML: &str = include_str!("assets/page.html");
const CSS: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");

/// The page.
pub fn page(timeline: &Timeline) -> String {
    // In a script's text only the end of the script could be misread.
    let data = data(timeline)
        .to_string()
        .replace("</", "<\\/")
        .replace("<!--", "\\u003c!--");
    let mut page = String::with_capacity(HTML.len() + CSS.len() + SCRIPT.len() + data.len());
    let mut rest = HTML;
    // Once through the page: what is put in is not looked at again.
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            break;
        };
        page.push_str(before);
        match name {
            "title" => page.push_str(&escape(&timeline.title)),
            "css" => page.push_str(CSS),
            "js" => page.push_str(SCRIPT),
            "data" => page.push_str(&data),
            _ => {}
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Milliseconds with a microsecond's precision.
fn milliseconds(at: std::time::Duration) -> f64 {
    at.as_micros() as f64 / 1000.0
}

/// What the page's script reads. Marks are columns: there may be a hundred thousand of them.
fn data(timeline: &Timeline) -> Value {
    let marks = &timeline.marks;
    let column = |value: fn(&super::Mark) -> Value| -> Vec<Value> { marks.iter().map(value).collect() };
    let longest = marks
        .iter()
        .filter_map(|mark| Some(mark.until?.saturating_sub(mark.at)))
        .max()
        .unwrap_or_default();
    let optional = |place: Option<usize>| place.map_or(json!(-1), |place| json!(place));
    json!({
        "title": timeline.title,
        "verdict": timeline.verdict,
        "held": timeline.held,
        "facts": format!(
            "{:.1} s simulated, {} events recorded, trace {}",
            timeline.lasted.as_secs_f64(), timeline.events, timeline.hash
        ),
        "finding": timeline.finding,
        "storyHead": if timeline.chain.iter().any(|step| step.mark.is_some()) { "How it came to that" } else { "What is missing" },
        "lasted": milliseconds(timeline.lasted),
        "longest": milliseconds(longest),
        "lanes": timeline.lanes.iter().map(|lane| json!({
            "name": lane.name, "group": lane.group, "rows": lane.rows,
            "kind": match lane.kind {
                LaneKind::Faults => "faults",
                LaneKind::Users => "users",
                LaneKind::Component => "component",
                LaneKind::Pods => "pods",
            },
        })).collect::<Vec<_>>(),
        "marks": {
            "at": column(|mark| json!(milliseconds(mark.at))),
            "until": column(|mark| json!(mark.until.map_or(0.0, milliseconds))),
            "lane": column(|mark| json!(mark.lane)),
            "row": column(|mark| mark.row.map_or(json!(-1), |row| json!(row))),
            "kind": column(|mark| json!(number(mark.kind))),
            "text": column(|mark| json!(mark.text)),
            "from": column(|mark| mark.from.map_or(json!(-1), |from| json!(from))),
        },
        "spans": timeline.spans.iter().map(|span| json!({
            "lane": span.lane, "row": span.row, "kind": span.kind, "label": span.label, "text": span.text,
            "from": milliseconds(span.from), "until": milliseconds(span.until), "whole": milliseconds(span.whole),
        })).collect::<Vec<_>>(),
        "faults": timeline.faults.iter().map(|fault| json!({
            "from": milliseconds(fault.from), "until": milliseconds(fault.until), "text": fault.text,
            "lanes": fault.lanes, "all": fault.lanes.is_empty(),
        })).collect::<Vec<_>>(),
        "lines": timeline.lines.iter().map(|line| json!({
            "at": milliseconds(line.at), "kind": line.kind, "text": line.text,
        })).collect::<Vec<_>>(),
        "chain": timeline.chain.iter().map(|step| json!({
            "mark": optional(step.mark), "at": step.at.map(milliseconds), "line": step.line, "notes": step.notes,
        })).collect::<Vec<_>>(),
    })
}

/// The number of a kind in the script's list.
fn number(kind: MarkKind) -> u8 {
    match kind {
        MarkKind::Write => 0,
        MarkKind::Read => 1,
        MarkKind::Shown => 2,
        MarkKind::Failed => 3,
        MarkKind::Said => 4,
        MarkKind::Process => 5,
        MarkKind::Runtime => 6,
        MarkKind::Stored => 7,
        MarkKind::Broken => 8,
        MarkKind::Fault => 9,
    }
}
