//! Traces of runs while they are played, or from files, and where two of them part.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::campaign::Input;
use crate::child::{self, End, Watched};
use crate::exit;

/// So many equal events are shown before the first that differs, and so many from it on.
const CONTEXT: usize = 5;

/// A trace, and the process that prints it, if one does.
pub type Trace = (Box<dyn BufRead>, Option<Watched>);

/// The trace of a run while it is played, for no longer than the limit.
///
/// # Errors
/// No process can be started.
pub fn played(input: &Input, limit: Duration) -> io::Result<Trace> {
    let mut command = child::command("run", &input.scenario, input.seed, &input.variation);
    command.args(["--trace", "-"]).stderr(Stdio::null());
    let (output, process) = Watched::start(&mut command, limit)?;
    Ok((Box::new(BufReader::new(output)), Some(process)))
}

/// Where two traces part, and how their processes ended.
pub struct Compared {
    /// Where they part.
    pub parted: Parted,
    /// The exit codes; none of a trace from a file, or of a process that was killed.
    pub codes: [Option<i32>; 2],
    /// The first whose trace is over though it came to no end, if there is one: its place, the exit code that tells it,
    /// and how it went, in words. Such traces do not differ: it would have gone on.
    pub lost: Option<(usize, u8, String)>,
}

/// Where two traces part.
#[derive(Debug, PartialEq, Eq)]
pub struct Parted {
    /// So many events are the same.
    pub same: u64,
    /// The last of them.
    pub before: Vec<String>,
    /// What follows on each side; nothing where a trace is over.
    pub after: [Vec<String>; 2],
}

impl Parted {
    /// Which of them are over; both, if they are the same.
    pub fn over(&self) -> [bool; 2] {
        self.after.each_ref().map(Vec::is_empty)
    }
}

/// Compares two traces event by event, where `event` takes from a line what is compared.
///
/// # Errors
/// One cannot be read.
pub fn compare(traces: [Trace; 2], limit: Duration, event: fn(&str) -> &str) -> io::Result<Compared> {
    let [(mut one, first), (mut other, second)] = traces;
    let parted = part(&mut one, &mut other, event);
    drop((one, other));
    let over = parted.as_ref().map_or([false; 2], Parted::over);
    // A process whose trace is over ends by itself; one that would go on is of no use any more.
    let ends = [(first, over[0]), (second, over[1])].map(|(process, is_over)| {
        let process = process?;
        let end = if is_over { process.end() } else { process.stop() };
        end.ok()
    });
    let lost = [0, 1].into_iter().find_map(|side: usize| {
        let (code, how) = lost(ends[side].filter(|_| over[side])?, limit)?;
        Some((side, code, how))
    });
    Ok(Compared {
        parted: parted?,
        codes: ends.map(|end| end.and_then(End::code)),
        lost,
    })
}

/// The exit code and the words for a process that came to no end, if it is one.
fn lost(end: End, limit: Duration) -> Option<(u8, String)> {
    match end {
        End::Late => {
            let how = format!("did not end within {} s of real time", limit.as_secs());
            Some((exit::NOT_CONVERGED, how))
        }
        End::Ended(status) if status.code().is_none() => Some((exit::PANICKED, format!("died: {status}"))),
        End::Ended(_) | End::Unwanted => None,
    }
}

/// Where two traces part, in constant memory.
///
/// # Errors
/// One cannot be read.
pub fn part(one: &mut dyn BufRead, other: &mut dyn BufRead, event: fn(&str) -> &str) -> io::Result<Parted> {
    let mut before = VecDeque::new();
    let mut same = 0;
    loop {
        let (left, right) = (line(one, event)?, line(other, event)?);
        match left {
            Some(line) if right.as_ref() == Some(&line) => {
                if before.len() == CONTEXT {
                    before.pop_front();
                }
                before.push_back(line);
                same += 1;
            }
            left => {
                return Ok(Parted {
                    same,
                    before: before.into(),
                    after: [rest(left, one, event)?, rest(right, other, event)?],
                });
            }
        }
    }
}

/// What follows in a trace from this event on.
fn rest(first: Option<String>, from: &mut dyn BufRead, event: fn(&str) -> &str) -> io::Result<Vec<String>> {
    let mut lines: Vec<String> = first.into_iter().collect();
    while !lines.is_empty() && lines.len() < CONTEXT {
        let Some(line) = line(from, event)? else { break };
        lines.push(line);
    }
    Ok(lines)
}

/// The next event. A line that was torn when its process was killed is none.
fn line(from: &mut dyn BufRead, event: fn(&str) -> &str) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    from.read_until(b'\n', &mut bytes)?;
    let whole = bytes.strip_suffix(b"\n");
    Ok(whole.map(|line| event(&String::from_utf8_lossy(line)).to_owned()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn traces_are_compared_up_to_where_one_is_over() {
        let parted = |mut one: &[u8], mut other: &[u8]| part(&mut one, &mut other, str::trim_end).expect("it is read");
        let same = |one: &[u8], other: &[u8]| {
            let parted = parted(one, other);
            (parted.same, parted.over())
        };
        assert_eq!(same(b"a\nb\n", b"a\nb\n"), (2, [true, true]));
        // Torn lines are no events.
        assert_eq!(same(b"a\nb", b"a\nbc"), (1, [true, true]));
        assert_eq!(same(b"a\nb", b"a\nb\n"), (1, [true, false]));
        let wanted = Parted {
            same: 1,
            before: vec!["a".to_owned()],
            after: [vec!["b".to_owned()], vec!["c".to_owned(), "d".to_owned()]],
        };
        assert_eq!(parted(b"a\nb\n", b"a\nc\nd\n"), wanted);
    }

    /// The trace of a process that does so.
    fn trace(script: &str, limit: Duration) -> Trace {
        let started = Watched::start(Command::new("sh").args(["-c", script]), limit);
        let (output, process) = started.expect("there is a shell");
        (Box::new(BufReader::new(output)), Some(process))
    }

    #[test]
    fn a_run_that_was_stopped_here_is_not_lost_and_one_that_was_late_or_died_is() {
        let lost = |script: &str, limit: Duration| {
            let traces = [trace("seq 9; exec sleep 60", limit), trace(script, limit)];
            let compared = compare(traces, limit, str::trim_end).expect("they are read");
            compared.lost.map(|(side, code, _)| (side, code))
        };
        let long = Duration::from_secs(60);
        assert_eq!(lost("seq 1; kill -9 $$", long), Some((1, exit::PANICKED)));
        assert_eq!(lost("seq 1; exit 10", long), None);
        let short = Duration::from_millis(200);
        assert_eq!(lost("seq 9; exec sleep 60", short), Some((0, exit::NOT_CONVERGED)));
    }
}
