//! The page and the file for the viewer, of recordings made by hand.

use std::collections::BTreeSet;

use super::lanes::Rows;
use super::*;
use crate::explain::explain;
use crate::explain::tests::{one_pod, pod};
use crate::recording::{Recording, Verb};

fn failing() -> Recording {
    let mut tape = one_pod();
    tape.at(5_500).fault("node-1 crashes for 1s </script> <!--");
    tape.at(6_000).done(
        "controller-manager/1",
        ("POST", "/api/v1/namespaces/default/pods"),
        Verb::Create,
        "pods/default/web-b",
        &pod("web-b"),
    );
    tape.broken("pods/default/web-a at revision 3 is one too many");
    tape.end(Ending::Violated)
}

fn of(recording: &Recording) -> Timeline {
    let index = Index::new(recording);
    timeline(&index, explain(&index).as_ref())
}

#[test]
fn lanes_are_those_of_the_machines_and_marks_rest_on_one_another() {
    let recording = failing();
    let timeline = of(&recording);
    let lanes: Vec<String> = timeline
        .lanes
        .iter()
        .map(|lane| format!("{}|{}", lane.group, lane.name))
        .collect();
    insta::assert_snapshot!(lines(&lanes), @r"
    |faults
    |user
    control-plane|apiserver/1
    control-plane|controller-manager/1
    node-1|kubelet/node-1
    node-1|pods
    |pods of no node
    ");
    let shown = timeline
        .marks
        .iter()
        .position(|mark| mark.kind == MarkKind::Shown)
        .unwrap();
    let write = timeline.marks[shown].from.unwrap();
    assert_eq!(timeline.marks[write].kind, MarkKind::Stored);
    let hit: Vec<&str> = timeline.faults[0]
        .lanes
        .iter()
        .map(|lane| timeline.lanes[*lane].name.as_str())
        .collect();
    assert_eq!(hit, ["kubelet/node-1", "pods"]);
    let chain: Vec<String> = timeline.chain.iter().map(|step| step.line.clone()).collect();
    insta::assert_snapshot!(lines(&chain), @r"
    user creates replicasets.apps/default/web (revision 2)
    controller-manager/1, shown revision 2 2 ms before, creates pods/default/web-a for ReplicaSet web (revision 3)
    P2 is broken
    ");
}

fn lines(lines: &[String]) -> String {
    lines.join("\n")
}

#[test]
fn the_page_needs_nothing_else_and_no_text_ends_its_script() {
    let page = page::page(&of(&failing()));
    assert!(
        !page.contains("http://") && !page.contains("https://") && !page.contains("src="),
        "{page}"
    );
    assert_eq!(page.matches("</script>").count(), 2);
    let data = page
        .split_once("application/json\">")
        .unwrap()
        .1
        .split_once("</script>")
        .unwrap()
        .0;
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["verdict"], "P2 is broken");
    let marks = data["marks"]["at"].as_array().unwrap().len();
    for column in ["until", "lane", "row", "kind", "text", "from"] {
        assert_eq!(data["marks"][column].as_array().unwrap().len(), marks, "{column}");
    }
}

#[test]
fn slices_of_a_thread_nest_and_the_chain_is_one_flow() {
    let trace = perfetto::trace(&of(&failing()));
    let events = trace["traceEvents"].as_array().unwrap();
    let mut slices: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let number = |field: &str| event[field].as_f64().unwrap();
        let from = number("ts");
        slices
            .entry(event["tid"].to_string())
            .or_default()
            .push((from, from + number("dur")));
    }
    for (thread, slices) in slices {
        for one in &slices {
            let crosses = |other: &&(f64, f64)| one.0 < other.0 && other.0 < one.1 && one.1 < other.1;
            assert!(!slices.iter().any(|other| crosses(&other)), "{thread}: {slices:?}");
        }
    }
    let flow: Vec<&serde_json::Value> = events.iter().filter(|event| event["cat"] == "cause").collect();
    let phases: Vec<&str> = flow.iter().filter_map(|event| event["ph"].as_str()).collect();
    assert_eq!((phases.first(), phases.last()), (Some(&"s"), Some(&"f")));
    for step in flow {
        let is_here = |event: &&serde_json::Value| event["ts"] == step["ts"] && event["tid"] == step["tid"];
        assert!(events.iter().filter(is_here).any(|event| event["ph"] == "X"), "{step}");
    }
    let names: BTreeSet<&str> = events
        .iter()
        .filter(|event| event["name"] == "process_name")
        .filter_map(|event| event["args"]["name"].as_str())
        .collect();
    assert!(names.contains("node-1") && names.contains("control-plane"), "{names:?}");
}

#[test]
fn what_takes_no_time_is_an_instant_unless_the_chain_goes_through_it() {
    let timeline = of(&failing());
    let trace = perfetto::trace(&timeline);
    let events = trace["traceEvents"].as_array().unwrap();
    let instants: Vec<&serde_json::Value> = events.iter().filter(|event| event["ph"] == "i").collect();
    let chained = |number: &usize| timeline.chain.iter().any(|step| step.mark == Some(*number));
    let marks = timeline.marks.iter().enumerate();
    let moments = marks.filter(|(number, mark)| mark.until.is_none() && !chained(number));
    assert_eq!(instants.len(), moments.count());
    assert!(!instants.is_empty());
    for instant in instants {
        assert!(instant["s"] == "t" && instant["dur"].is_null(), "{instant}");
    }
}

#[test]
fn a_run_that_was_cut_says_so_and_shows_what_was_asked_last() {
    let timeline = of(&one_pod().end(Ending::Endless { seconds: 300 }));
    let cut = "did not end within 300 s of real time, and was cut at 5.016000 s of its own";
    assert_eq!(timeline.verdict, cut);
    assert!(!timeline.held);
    assert_eq!(timeline.finding, [format!("the run {cut}")]);
    let last = timeline.chain.last().unwrap();
    assert!(last.line.contains("creates pods/default/web-a"), "{}", last.line);
}

#[test]
fn rows_are_shared_by_what_does_not_overlap() {
    let seconds = Duration::from_secs;
    let mut rows = Rows::default();
    assert_eq!(rows.take(seconds(0), seconds(5)), 0);
    assert_eq!(rows.take(seconds(3), seconds(8)), 1);
    assert_eq!(rows.take(seconds(5), seconds(6)), 0);
}

#[test]
fn the_shade_of_a_machine_that_stays_broken_lasts_to_the_end_and_others_end_with_the_chaos() {
    let until = |kind: &str, machine: &str| {
        let mut tape = one_pod();
        tape.at(6_000).fault_called(kind, "node-1 is hit for 60s");
        tape.at(20_000).healed_but(machine);
        tape.at(50_000);
        of(&tape.end(Ending::Held)).faults[0].until.as_secs()
    };
    assert_eq!(until("crash of machine node-1", "node-1"), 50);
    assert_eq!(until("crash of machine node-1", "node-2"), 20);
    assert_eq!(until("lingering flows of node-1", "node-1"), 50);
    assert_eq!(until("wrong clock of node-1", "node-1"), 20);
}
