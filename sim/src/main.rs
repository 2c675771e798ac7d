//! The command `orrery-sim`.
fn main() {}
