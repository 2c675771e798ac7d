//! Containers' logs as Docker keeps them: frames that begin with their time.

use bollard::container::LogOutput;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use crate::runtime::{LogLine, LogSource};

/// Makes lines of frames. A frame is a line, or, from a terminal, any piece of several.
#[derive(Default)]
pub(super) struct Lines {
    rest: BytesMut,
}

impl Lines {
    /// The lines that `frame` completes.
    pub(super) fn take(&mut self, frame: LogOutput) -> Vec<LogLine> {
        match frame {
            LogOutput::StdErr { message } => vec![line(LogSource::Stderr, message)],
            LogOutput::StdOut { message } | LogOutput::StdIn { message } => vec![line(LogSource::Stdout, message)],
            LogOutput::Console { message } => {
                self.rest.extend_from_slice(&message);
                let mut lines = Vec::new();
                while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                    lines.push(line(LogSource::Stdout, self.rest.split_to(end + 1).freeze()));
                }
                lines
            }
        }
    }

    /// What is left at the end.
    pub(super) fn finish(&mut self) -> Option<LogLine> {
        (!self.rest.is_empty()).then(|| line(LogSource::Stdout, self.rest.split().freeze()))
    }
}

fn line(stream: LogSource, frame: Bytes) -> LogLine {
    let space = frame.iter().position(|byte| *byte == b' ');
    let stamped = space.and_then(|space| {
        let time: Timestamp = std::str::from_utf8(&frame[..space]).ok()?.parse().ok()?;
        Some((time, frame.slice(space + 1..)))
    });
    let (time, bytes) = stamped.unwrap_or((Timestamp::UNIX_EPOCH, frame.clone()));
    LogLine { time, stream, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_become_lines_with_their_time() {
        let mut lines = Lines::default();
        let message = Bytes::from_static(b"2026-01-02T03:04:05.000000006Z hello world\n");
        let line = &lines.take(LogOutput::StdErr { message })[0];
        assert_eq!(
            (line.stream, &line.bytes[..]),
            (LogSource::Stderr, &b"hello world\n"[..])
        );
        assert_eq!(line.time.to_string(), "2026-01-02T03:04:05.000000006Z");
    }

    #[test]
    fn pieces_from_a_terminal_are_put_together() {
        let mut lines = Lines::default();
        let piece = |text: &'static str| LogOutput::Console {
            message: Bytes::from_static(text.as_bytes()),
        };
        assert!(lines.take(piece("2026-01-02T03:04:05Z a")).is_empty());
        assert_eq!(lines.take(piece("b\n2026-01-02T03:04:05Z c"))[0].bytes, "ab\n");
        assert_eq!(lines.finish().map(|line| line.bytes), Some(Bytes::from_static(b"c")));
    }
}
