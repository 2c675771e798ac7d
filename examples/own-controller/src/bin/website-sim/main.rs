//! The simulator with the website controller in it: all commands of `cargo sim`, as `cargo website-sim`.
//!
//! In the real world, without `--cfg madsim`, there is nothing to simulate with.

#[cfg(madsim)]
mod invariants;

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    use orrery_sim::{Component, Kind, Simulator};
    use website_controller::Website;

    let replicas_make_sense = |website: &Website| match website.spec.replicas {
        0.. => Vec::new(),
        negative => vec![format!("{negative} replicas: there cannot be less than none")],
    };
    Simulator::new()
        .command("cargo website-sim")
        .kind(
            Kind::<Website>::of()
                .short_names(&["site"])
                .validate(replicas_make_sense),
        )
        .component(Component::new("website-controller", website_controller::run).leader_election())
        // Runs only in scenarios that ask for it.
        .component(Component::new("careless-website-controller", website_controller::run_careless).replicas(0))
        .invariant(invariants::DomainKept::default)
        .invariant(|| invariants::WebsiteServed)
        .main()
}

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    eprintln!("error: this is simulation only: use `cargo website-sim …`, which passes `--cfg madsim`");
    std::process::ExitCode::from(2)
}
