//! The command `orrery-sim`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    orrery_sim::Simulator::new().command("cargo sim").main()
}
