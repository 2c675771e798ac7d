//! What the commands say, on standard output and standard error.
//!
//! The standard library's `println!` and its like panic where nothing can be written any more. Here are macros of the
//! same names, which all modules of this crate see instead: on a full device the program ends with a line that says so.
//! Whoever only stops reading (`| head`) ends it by SIGPIPE, without a word.

use std::fmt;
use std::io::{self, Write};

/// As the standard library's, but it does not panic.
macro_rules! print {
    ($($what:tt)*) => { $crate::output::say(format_args!($($what)*)) };
}

/// As the standard library's, but it does not panic.
macro_rules! println {
    ($($what:tt)*) => { $crate::output::say(format_args!("{}\n", format_args!($($what)*))) };
}

/// As the standard library's, but it does not panic.
macro_rules! eprint {
    ($($what:tt)*) => { $crate::output::complain(format_args!($($what)*)) };
}

/// As the standard library's, but it does not panic.
macro_rules! eprintln {
    ($($what:tt)*) => { $crate::output::complain(format_args!("{}\n", format_args!($($what)*))) };
}

/// Writes to standard output, at once; ends the program if that is not possible.
pub fn say(what: fmt::Arguments<'_>) {
    let mut output = io::stdout().lock();
    // What is only kept for later would be lost in silence.
    written(output.write_fmt(what).and_then(|()| output.flush()));
}

/// Ends the program, and says why, if what was written to standard output did not get there.
pub fn written(result: io::Result<()>) {
    if let Err(error) = result {
        eprintln!("error: cannot write to standard output: {error}");
        std::process::exit(i32::from(crate::exit::WRONG));
    }
}

/// Writes to standard error. If that is not possible there is nobody left to tell; the exit code does.
pub fn complain(what: fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(what);
}
