//! The exit codes of commands that play scenarios, the same in both worlds: scripts tell by them what came of a run.

/// All that was looked at held, or the command did what it was asked to.
pub const HELD: u8 = 0;
/// What was compared differs: two runs, or two worlds.
pub const DIFFERENT: u8 = 1;
/// A known bug that was put into a component was not found.
pub const MISSED: u8 = 1;
/// The scenario or the command line is wrong, something cannot be written, or what is to be looked at is not there.
pub const WRONG: u8 = 2;
/// An invariant was violated.
pub const VIOLATED: u8 = 10;
/// The cluster did not become what it was to become, or the run did not end.
pub const NOT_CONVERGED: u8 = 11;
/// Two runs that were to be the same are not.
pub const NOT_DETERMINISTIC: u8 = 12;
/// A component panicked, or the process that played the run died.
pub const PANICKED: u8 = 13;
/// Interrupted, having told what it had come to; a campaign may go on.
pub const INTERRUPTED: u8 = 130;
