//! The command `orrery-sim`.

fn main() -> std::process::ExitCode {
    orrery_sim::command::main()
}
