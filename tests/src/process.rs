//! Commands with a limit: what they said, and how they ended.

use std::fmt;
use std::io::{self, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit code; `None` when a signal or its limit ended it.
    pub code: Option<i32>,
    /// Its output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Whether the exit code is 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// Output and errors together, for messages and for texts that may stand in either.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => writeln!(f, "[exit code {code}, {:.1} s]", self.took.as_secs_f64())?,
            None => writeln!(f, "[killed after {:.1} s]", self.took.as_secs_f64())?,
        }
        write!(f, "{}", shortened(&self.text()))
    }
}

/// A text of at most some thousand characters: its beginning and its end.
fn shortened(text: &str) -> String {
    const SIDE: usize = 2500;
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= 2 * SIDE {
        return text.to_owned();
    }
    let (head, tail) = (&letters[..SIDE], &letters[letters.len() - SIDE..]);
    format!(
        "{}\n[…]\n{}",
        head.iter().collect::<String>(),
        tail.iter().collect::<String>()
    )
}

/// Runs `command` with `input` on its standard input, and kills it when it takes longer than `limit`.
pub fn run(mut command: Command, input: &[u8], limit: Duration) -> io::Result<Outcome> {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A command that ends without reading its input is no error of ours.
        thread::spawn(move || stdin.write_all(&input));
    }
    let code = end_of(&mut child, started + limit)?;
    Ok(Outcome {
        code,
        stdout: text_of(stdout),
        stderr: text_of(stderr),
        took: started.elapsed(),
    })
}

fn collect(source: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            // What came until an error is still worth showing.
            let _ = source.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn text_of(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
}

fn end_of(child: &mut Child, deadline: Instant) -> io::Result<Option<i32>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The words of a line as a shell would take them: blanks divide, single quotes hold together.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            letter if letter.is_whitespace() && !quoted => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(
            words("get  pods -o jsonpath='{.a b}' ''"),
            ["get", "pods", "-o", "jsonpath={.a b}", ""]
        );
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let outcome = run(command, b"", Duration::from_millis(50)).expect("there is a sleep");
        assert_eq!(outcome.code, None);
        assert!(outcome.took < Duration::from_secs(30));
    }

    #[test]
    fn input_and_both_outputs_are_passed_on() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo bad >&2; exit 3"]);
        let outcome = run(command, b"good", Duration::from_secs(30)).expect("there is a shell");
        assert_eq!(
            (outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()),
            (Some(3), "good", "bad\n")
        );
    }
}
