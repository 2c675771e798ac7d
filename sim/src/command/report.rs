//! `report`: a run to look at, as one HTML page or as a file for the Perfetto viewer.

use clap::Args;

use super::limit::Limit;
use super::place::Place;
use super::subject::Subject;
use crate::exit;
use crate::explain::explain;
use crate::recording::Index;
use crate::timeline::{page, perfetto, timeline};

/// Writes one self-contained HTML page that shows a run: lanes, pods, faults, and the causal chain of a failure.
#[derive(Args)]
pub struct Report {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    limit: Limit,
    /// Where to write the page, `-` for standard output; `report.html` unless only `--perfetto` is asked for.
    #[arg(long, value_name = "FILE")]
    out: Option<String>,
    /// Write trace-event JSON for the Perfetto viewer to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    perfetto: Option<String>,
}

impl Report {
    /// Does it; the exit code: 0, whatever the run came to.
    pub fn execute(&self) -> u8 {
        let recording = match self.subject.recording(self.limit) {
            Ok(recording) => recording,
            Err(code) => return code,
        };
        let index = Index::new(&recording);
        let timeline = timeline(&index, explain(&index).as_ref());
        let paths = [&self.out, &self.perfetto].into_iter().flatten();
        if paths.map(|path| Place::of(path)).any(|place| place == Place::Output) {
            eprintln!("{}: {}", timeline.title, timeline.verdict);
        } else {
            println!("{}: {}", timeline.title, timeline.verdict);
        }
        let mut code = exit::HELD;
        if let Some(path) = &self.perfetto {
            code = code.max(write(path, &perfetto::trace(&timeline).to_string()));
        }
        let default = if self.perfetto.is_none() {
            Some("report.html")
        } else {
            None
        };
        if let Some(path) = self.out.as_deref().or(default) {
            code = code.max(write(path, &page::page(&timeline)));
        }
        code
    }
}

fn write(path: &str, text: &str) -> u8 {
    let place = Place::of(path);
    match place.put(text) {
        Ok(()) if place == Place::Output => exit::HELD,
        Ok(()) => {
            println!("written: {path} ({} KB)", text.len() / 1024);
            exit::HELD
        }
        Err(error) => {
            eprintln!("error: cannot write {path}: {error}");
            exit::WRONG
        }
    }
}
