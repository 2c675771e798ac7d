//! The command `orrery`.
fn main() {}
